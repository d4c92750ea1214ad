"""Trust flags that are raised from the rows of a run alone."""
