"""The profile of a run: a line for each threat, in every format of the report."""
