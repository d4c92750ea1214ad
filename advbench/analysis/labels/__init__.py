"""Multi-label models: their predictions as numbers, and the rates of each label. Does not import torch."""
