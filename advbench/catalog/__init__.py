"""Tables of the models, attacks and data sets that can be used by name. Plain data; does not import torch."""

from advbench.catalog.attacks import ATTACKS, CORRUPTION, DEFAULT_ATTACK, EXTRAS, UNIVERSAL, lacking
from advbench.catalog.datasets import DATASETS
from advbench.catalog.models import DEFAULT_MODEL, MODELS, Availability, availability, checkpoints_folder

__all__ = [
    "ATTACKS",
    "CORRUPTION",
    "DATASETS",
    "DEFAULT_ATTACK",
    "DEFAULT_MODEL",
    "EXTRAS",
    "MODELS",
    "UNIVERSAL",
    "Availability",
    "availability",
    "checkpoints_folder",
    "lacking",
]
