"""The images that a network is trained on."""
