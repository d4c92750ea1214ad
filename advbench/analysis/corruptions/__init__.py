"""Accuracy under common corruptions, from the rows of a run. Does not import torch."""
