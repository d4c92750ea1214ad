"""Files that hold a network or its weights, and their descriptions of it."""
