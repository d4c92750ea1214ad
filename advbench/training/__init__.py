"""Recipes that make the zoo's checkpoints, and what they are trained with: `advbench train`."""
