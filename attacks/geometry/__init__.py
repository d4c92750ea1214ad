"""Balls, boxes and planes: geometry of perturbations in any norm."""
