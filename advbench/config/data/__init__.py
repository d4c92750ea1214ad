"""Data sets as people name them."""
