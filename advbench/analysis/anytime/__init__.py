"""Robust accuracy from a random part of the images, with bounds that are valid whenever a run stops."""
