"""Evidence: a run's claims with the images that support them, in one file that others can check without attacking."""
