"""Bounds of a network on a ball: by intervals, and by backward propagation of linear functions."""
