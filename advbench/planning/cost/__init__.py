"""What a unit of work costs, counted before it is run."""
