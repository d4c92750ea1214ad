"""Evidence: a run's claims with the images that carry them, in one file that others can check without any attack."""
