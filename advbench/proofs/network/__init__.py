"""The network representation: a list of affine operations and activations, each with what bounds need."""
