"""Experiment trackers: a finished run goes to MLflow, Weights & Biases or Trackio, where one is asked for."""
