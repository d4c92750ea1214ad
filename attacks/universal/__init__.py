"""One perturbation for many images: fitting, storing and measuring it."""
