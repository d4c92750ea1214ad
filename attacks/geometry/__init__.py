"""Balls, boxes and planes: where perturbations may go, in any norm."""
