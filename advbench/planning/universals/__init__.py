"""Universal perturbations that a run makes itself."""
