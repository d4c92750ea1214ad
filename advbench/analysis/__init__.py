"""Turns the rows of a run into its numbers and its verdict. Does not import torch."""
