"""Universal perturbations and patches: fitting, measuring, applying and drawing them."""
