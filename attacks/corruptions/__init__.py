"""Common corruptions, computed on the fly from clean images: nothing is downloaded."""

from attacks.corruptions.constants import COMMON, CORRUPTIONS, EXTRA, SEVERITIES, SMALLEST
from attacks.corruptions.corruption import Corruption

__all__ = ["COMMON", "CORRUPTIONS", "EXTRA", "SEVERITIES", "SMALLEST", "Corruption"]
