"""Find the columns of a table that hold the images and the labels."""

from collections.abc import Iterable, Sequence
from typing import Literal

from advbench.errors import UserError
from advbench.sanitize import display_name

IMAGES = ("image", "images", "img", "picture", "photo", "jpg", "png")
"""Common names of image columns; the first that exists is preferred to other image columns."""
LABELS = ("label", "labels", "class", "target", "y", "cls")
"""Common names of label columns."""
FILES = ("file", "filename", "file_name", "image", "path")
"""Common names of the column with picture files in a text file."""


def pick(
    found: Sequence[str],
    named: str | None,
    what: Literal["image", "label"],
    where: str,
    there: Iterable[str],
    usual: Sequence[str] | None = None,
) -> str | None:
    """Pick a column.

    Args:
        found: Candidate columns, judging by their type or name.
        named: The column that the user names, whatever its type; None: none.
        what: Content of the column, for messages.
        where: Origin of the table in messages.
        there: Names of all columns of the table.
        usual: Preferred names, of which the first that exists is used; None: `IMAGES` or `LABELS`.

    Returns:
        Name of the column; None if there is none.

    Raises:
        UserError: The named column does not exist, or the choice is ambiguous.

    Example:
        >>> pick(["img", "thumbnail"], None, "image", "a.parquet", ["img", "thumbnail", "label"])
        'img'
    """
    if named is not None:
        if named not in there:
            raise UserError(f"there is no column {named!r} in {where}", hint=f"there are: {listed(there)}")
        return named
    if len(found) < 2:
        return found[0] if found else None
    lower = {name.lower(): name for name in found}
    first = usual or (IMAGES if what == "image" else LABELS)
    if known := next((lower[name] for name in first if name in lower), None):
        return known
    message = f"several columns of {where} could hold the {what}s: {listed(found)}"
    raise UserError(message, hint=f'choose one: {what}_column = "{display_name(found[0])}"')


def several_columns(named: str | None, there: Iterable[str]) -> tuple[str, ...]:
    """The columns in a comma-separated list, unless that is the name of a column itself; none otherwise.

    Example:
        >>> several_columns("cat, dog", ["file", "cat", "dog"]), several_columns("label", ["file", "label"])
        (('cat', 'dog'), ())
    """
    names = tuple(part.strip() for part in (named or "").split(","))
    known = set(there)
    return names if named not in known and len(names) > 1 and known.issuperset(names) else ()


def listed(names: Iterable[str]) -> str:
    r"""Format names from a file for a message, at most 20 of them.

    Example:
        >>> listed(["image", "lab\nel"])
        'image, lab\\nel'
    """
    return ", ".join(display_name(name) for name in list(names)[:20]) or "none"
