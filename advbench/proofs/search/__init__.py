"""Better bounds by search: over the slopes of lines, and over the signs of activations."""
