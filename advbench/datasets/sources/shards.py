"""The files of a sharded data set: a file, a folder, or a pattern such as `val-{000..049}.tar`."""

import re
from pathlib import Path

from advbench.config.folders import files_below
from advbench.datasets.sources.splits import SPLITS, plain
from advbench.errors import UserError
from advbench.sanitize import display_name

MOST_SHARDS = 100_000
"""Maximum number of names that a pattern may expand to."""

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_SPLIT = re.compile(rf"({'|'.join(SPLITS)})(?![a-z])", re.IGNORECASE)


def shards(path: Path, suffix: str, split: str | None = None) -> tuple[Path, ...]:
    """Find the files that a path refers to.

    Args:
        path: A file; a folder, searched with its subfolders; or a pattern with `*`, `?`, `{000..049}` or `{a,b}`.
        suffix: Suffix of the files to find in a folder, such as ".tar".
        split: The split to use, recognised by the prefix of its file names or the name of their folder, as on the
            Hugging Face hub. None: if the names distinguish splits, the test split, else the validation split.

    Returns:
        The files, in the order of the pattern, else sorted.

    Raises:
        UserError: There are none.

    Example:
        >>> expanded("val-{08..10}.tar")
        ['val-08.tar', 'val-09.tar', 'val-10.tar']
    """
    shown = display_name(path, limit=200)
    if path.is_file():
        return (path,)
    if path.is_dir():
        found = sorted(files_below(path, suffix))
        if not found:
            raise UserError(f"there are no {suffix} files in {shown}", hint="name the folder that holds them")
        return _part(found, path, split)
    names = expanded(str(path))
    files = [file for name in names for file in _matches(name)]
    if missing := [file for file in files if not file.is_file()]:
        more = f", and {len(missing) - 1:,} more" if len(missing) > 1 else ""
        raise UserError(f"there is no file {display_name(missing[0], limit=200)}{more}", hint="check the spelling")
    if not files:
        raise UserError(f"no file matches {shown}", hint="check the spelling")
    return tuple(dict.fromkeys(files))


def expanded(pattern: str) -> list[str]:
    """Expand a pattern with braces to names.

    Args:
        pattern: Text with any number of `{000..049}` or `{a,b}`, not nested.

    Raises:
        UserError: There are more than `MOST_SHARDS`.

    Example:
        >>> expanded("{train,val}-{0..1}")
        ['train-0', 'train-1', 'val-0', 'val-1']
    """
    found = _BRACES.search(pattern)
    if found is None:
        return [pattern]
    heads, tails = _alternatives(found[1], pattern), expanded(pattern[found.end() :])
    if len(heads) * len(tails) > MOST_SHARDS:
        raise _too_many(pattern)
    return [f"{pattern[: found.start()]}{head}{tail}" for head in heads for tail in tails]


def _alternatives(inside: str, pattern: str) -> list[str]:
    if numbers := _RANGE.fullmatch(inside):
        first, last = int(numbers[1]), int(numbers[2])
        if abs(last - first) >= MOST_SHARDS:
            raise _too_many(pattern)
        step = 1 if last >= first else -1
        return [f"{number:0{len(numbers[1])}}" for number in range(first, last + step, step)]
    return inside.split(",") if "," in inside else [f"{{{inside}}}"]


def _too_many(pattern: str) -> UserError:
    return UserError(f"{display_name(pattern, limit=200)} expands to more than {MOST_SHARDS:,} files")


def _matches(name: str) -> list[Path]:
    """The files that match a name with wildcards."""
    path = Path(name)
    if not any(sign in name for sign in "*?["):
        return [path]
    return sorted(each for each in Path(path.anchor or ".").glob(str(path.relative_to(path.anchor))) if each.is_file())


def _split_of(file: Path, folder: Path) -> str:
    """The split named by a file or its folders; empty if there is none."""
    for part in reversed(file.relative_to(folder).parts):
        if found := _SPLIT.match(part):
            return plain(found[1])
    return ""


def _part(files: list[Path], folder: Path, split: str | None) -> tuple[Path, ...]:
    splits = {file: _split_of(file, folder) for file in files}
    measured_on = (each for each in map(plain, SPLITS) if each in splits.values())
    part = next(measured_on, "") if split is None else plain(split)
    called = re.compile(rf"{re.escape(split or part)}(?![A-Za-z0-9])")
    found = tuple(file for file, each in splits.items() if each == part or (split and called.match(file.name)))
    if not found:
        there = ", ".join(sorted({each or "files without a split" for each in splits.values()}))
        raise UserError(f"there is no split {split!r} in {display_name(folder, limit=200)}", hint=f"there are: {there}")
    return found
