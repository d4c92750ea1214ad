"""Transfer in a report: from which model to which."""
