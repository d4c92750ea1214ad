"""Units of work: how attacks, checks and proofs are divided."""
