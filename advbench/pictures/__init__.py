"""Single pictures: what stands behind `advbench attack` and `advbench universal`."""
