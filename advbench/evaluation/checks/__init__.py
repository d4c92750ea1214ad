"""Trust flags for a model, a data set or an attack, checked before or alongside a run's attacks."""
