"""Reports for others: programs that read findings, model cards, and the forms of test laboratories."""
