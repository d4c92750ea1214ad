"""From a torch module to a network: its code is followed, and each layer becomes one node or several."""
