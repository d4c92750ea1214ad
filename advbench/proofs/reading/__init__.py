"""Convert a torch module to a network: its code is traced, and each layer becomes one or more nodes."""
