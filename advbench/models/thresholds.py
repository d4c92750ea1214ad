"""The thresholds of multi-label classifiers."""

import math
from collections.abc import Sequence

from advbench.errors import UserError


def checked_thresholds(given: float | Sequence[float] | None, num_classes: int) -> tuple[float, ...] | None:
    """Check the thresholds of a classifier, and expand them to one for each class.

    Args:
        given: One for all classes, or one for each; None: none.
        num_classes: Number of classes.

    Raises:
        ValueError: Their number differs from that of the classes, or one is not finite.

    Example:
        >>> checked_thresholds(0.5, 2), checked_thresholds([0, 1], 2), checked_thresholds(None, 2)
        ((0.5, 0.5), (0.0, 1.0), None)
    """
    if given is None:
        return None
    numbers = (float(given),) * num_classes if isinstance(given, int | float) else tuple(map(float, given))
    numbers = numbers * num_classes if len(numbers) == 1 else numbers
    if len(numbers) != num_classes:
        raise ValueError(f"expected {num_classes} thresholds, one for each class, got {len(numbers)}")
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"expected finite thresholds, got {given}")
    return numbers


def refuse_several(thresholds: Sequence[float] | None, name: str, what: str) -> None:
    """Refuse a multi-label model for a use that needs one class per image.

    Args:
        thresholds: Thresholds of the model; None: it has one class for each image.
        name: Name of the model.
        what: The use, in the plural.

    Raises:
        UserError: The model has thresholds.

    Example:
        >>> refuse_several((0.0, 0.0), "tags.onnx", "universal perturbations")
        Traceback (most recent call last):
        advbench.errors.UserError: model tags.onnx has several labels for each image: universal perturbations are for...
    """
    if thresholds is not None:
        raise UserError(
            f"model {name} has several labels for each image: {what} are for models with one class for each",
            hint="`advbench attack` and `advbench run` accept it",
        )
