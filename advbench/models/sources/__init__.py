"""Where classifiers come from."""
