"""The guide: pages written by hand, and reference pages made of what the code says of itself. No torch."""
