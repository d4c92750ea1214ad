"""The recipes, data and training loop behind the zoo's checkpoints: `advbench train`."""
