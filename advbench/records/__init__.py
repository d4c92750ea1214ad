"""What a run leaves behind, and how it is written and read. No torch."""
