"""Accuracies in words, for the terminal and for pages alike."""

from collections.abc import Mapping
from typing import Any


def describe_score(score: Mapping[str, Any]) -> str:
    """An accuracy with its interval and the number of images.

    Args:
        score: Mapping with `accuracy`, `low`, `high` and `n`.

    Example:
        >>> describe_score({"accuracy": 0.99, "low": 0.98, "high": 0.995, "n": 1000})
        '99.0 % (98.0 to 99.5, n = 1,000)'
    """
    accuracy, low, high = (100 * score[key] for key in ("accuracy", "low", "high"))
    return f"{accuracy:.1f} % ({low:.1f} to {high:.1f}, n = {score['n']:,})"
