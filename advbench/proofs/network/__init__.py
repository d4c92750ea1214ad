"""What a network is here: a list of affine operations and activations, each with what bounds need to know of it."""
