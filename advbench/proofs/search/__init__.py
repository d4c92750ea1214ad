"""Better bounds by search: over the slopes of lines, and over the sides of zero of activations."""
