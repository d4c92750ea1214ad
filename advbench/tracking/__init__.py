"""Experiment trackers: sends a finished run to MLflow, Weights & Biases or Trackio, if requested."""
