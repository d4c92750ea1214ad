"""Sessions: the setup of `advbench attack` that all pictures share."""
