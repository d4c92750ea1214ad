"""Single pictures: the implementation of `advbench attack` and `advbench universal`."""
