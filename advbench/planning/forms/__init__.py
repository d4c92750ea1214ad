"""Forms of a network from which gradients come: the fastest on this machine, and those of surrogates."""
