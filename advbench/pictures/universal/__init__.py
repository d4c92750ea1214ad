"""Universal perturbations: fitted, measured, applied, drawn."""
