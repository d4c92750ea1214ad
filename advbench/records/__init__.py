"""The records of a run, and how they are written and read. Does not import torch."""
