"""Units of work: how attacks, checks and proofs are cut into them."""
