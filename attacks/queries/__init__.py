"""Queries of a model for logits and gradients, and the checks before them."""
