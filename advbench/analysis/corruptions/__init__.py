"""Accuracy under common corruptions, from the rows of a run. No torch."""
