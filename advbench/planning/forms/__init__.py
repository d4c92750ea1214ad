"""Forms of a network for computing gradients: the fastest on this machine, and those of surrogates."""
