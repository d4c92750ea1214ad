"""Trust flags raised only from the rows of a run."""
