"""Names of the splits of a data set, and the default split: one table for all sources."""

from collections.abc import Container

SPLITS = ("test", "validation", "val", "valid", "dev", "train")
"""Names of splits, in the order of preference if none is named."""
_ALIKE = {"validation": "val", "valid": "val", "dev": "val"}


def plain(split: str) -> str:
    """Normalise the name of a split: lower case, and one name for the validation split.

    Example:
        >>> plain("Validation"), plain("dev"), plain("test"), plain("extra")
        ('val', 'val', 'test', 'extra')
    """
    return _ALIKE.get(split.lower(), split.lower())


def alike(split: str) -> tuple[str, ...]:
    """All names of a split, starting with the given one.

    Example:
        >>> alike("val"), alike("test")
        (('val', 'validation', 'valid', 'dev'), ('test',))
    """
    return (split, *(each for each in SPLITS if each != split and plain(each) == plain(split)))


def chosen(split: str | None, there: Container[str]) -> str | None:
    """Pick a split from those available, by the name that it has there.

    Args:
        split: Split that the user names, by any of its names; None: the first of `SPLITS` that is available.
        there: Names of the available splits.

    Returns:
        Name of the split; None if there is no such split.

    Example:
        >>> chosen("valid", ["train", "val"]), chosen(None, ["train", "val"]), chosen("test", ["train"])
        ('val', 'val', None)
    """
    return next((each for each in (SPLITS if split is None else alike(split)) if each in there), None)
