"""The networks that advbench defines itself."""
