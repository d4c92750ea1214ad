"""Names of the parts of a data set, and which is measured on where none is named: one table for all sources."""

from collections.abc import Container

SPLITS = ("test", "validation", "val", "valid", "dev", "train")
"""Names of parts in the order in which one is taken if none is named."""
_ALIKE = {"validation": "val", "valid": "val", "dev": "val"}


def plain(split: str) -> str:
    """A name of a part without case, and the same for all names of the validation part.

    Example:
        >>> plain("Validation"), plain("dev"), plain("test"), plain("extra")
        ('val', 'val', 'test', 'extra')
    """
    return _ALIKE.get(split.lower(), split.lower())


def alike(split: str) -> tuple[str, ...]:
    """The names of the same part, first the one that is given.

    Example:
        >>> alike("val"), alike("test")
        (('val', 'validation', 'valid', 'dev'), ('test',))
    """
    return (split, *(each for each in SPLITS if each != split and plain(each) == plain(split)))


def chosen(split: str | None, there: Container[str]) -> str | None:
    """The part that is meant, by the name that it has there.

    Args:
        split: Part that the user names, under any of its names; None: the first of `SPLITS` that is there.
        there: Names of the parts that there are.

    Returns:
        None if there is no such part.

    Example:
        >>> chosen("valid", ["train", "val"]), chosen(None, ["train", "val"]), chosen("test", ["train"])
        ('val', 'val', None)
    """
    return next((each for each in (SPLITS if split is None else alike(split)) if each in there), None)
