"""The rates of each label in the report."""
