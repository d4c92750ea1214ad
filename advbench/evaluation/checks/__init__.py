"""Trust flags that a model or a data set raises before anything is attacked."""
