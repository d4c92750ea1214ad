"""One perturbation for many images: made, kept and measured."""
