"""Robust accuracy from a random part of the images, with bounds that hold whenever a run stops."""
