"""Everything that decides the results of a run, each part identified by a digest."""
