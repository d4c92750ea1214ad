"""Readers of data sets: a module for each kind, with the loader that its card names."""
