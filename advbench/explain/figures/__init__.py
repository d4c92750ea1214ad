"""Drawing of explanations; every function takes numpy arrays and returns a PNG file of the documented size."""
