"""What `advbench attack` sets up once, for all pictures."""
