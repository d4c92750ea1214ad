"""What decides the results of a run, each part named by a digest."""
