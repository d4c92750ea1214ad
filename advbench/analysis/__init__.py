"""From the rows of a run to its numbers and its verdict. No torch."""
