"""User settings, checked before anything is loaded: suites, goals, eps. Does not import torch."""
