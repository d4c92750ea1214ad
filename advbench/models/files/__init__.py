"""Files that hold a network or its weights, and what they say about it."""
