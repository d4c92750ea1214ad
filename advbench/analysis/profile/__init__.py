"""Profile of a model: one row for each threat of a run, and the worst case image by image over all of them."""
