"""Drawing for explanations; every function takes numpy arrays and gives a PNG file of the size it states."""
