"""Folders of pictures: a subfolder for each class, or one folder with the labels in `labels.csv`."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from advbench.catalog.cards import DatasetCard
from advbench.config.data.source import DataSource
from advbench.datasets.dataset import Dataset
from advbench.datasets.images.files import SUFFIXES, read_picture
from advbench.datasets.images.finding import find_pictures
from advbench.datasets.sources import columns
from advbench.datasets.sources.label_sets import BETWEEN, Truth, is_hot, truth_in_columns, truth_of
from advbench.errors import UserError
from advbench.sanitize import display_name

LABELS = "labels.csv"
"""Name of the file with the labels of the pictures next to it."""
LABEL_COLUMNS = (*columns.LABELS, "wnid", "index")
"""Columns of `LABELS` that may hold the label of a picture; the first that exists is used."""
_MOST_BYTES = 100_000_000
"""Maximum size of `LABELS` in bytes."""


def load(card: DatasetCard, source: DataSource) -> Dataset:
    """Open a folder of labelled pictures, which are read on demand.

    Args:
        card: Card of the data set.
        source: Path of the folder; names of the columns of its `labels.csv`, if they are not common ones.

    Returns:
        The data set. Its classes are the names of the subfolders in the order of their code points, as torchvision's
        `ImageFolder` numbers them, or the different labels of the file; pictures are named by their path in the folder.
        In the file, `|` or `;` separates the labels of a picture that has several, or each label has a column of 0 and
        1.

    Raises:
        UserError: The folder is missing or has no pictures, a subfolder has none, there is only one class, or
            `labels.csv` is invalid.
    """
    folder = source.path
    if folder is None:
        raise UserError(f"data set {card.name} needs a folder", hint="give its path")
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise UserError(f"cannot read the folder '{display_name(folder, limit=200)}': it {what}")
    if (folder / LABELS).is_file():
        files, truth = _from_file(folder, source)
    else:
        files, truth = _one_each(_from_subfolders(folder))
    return Dataset(
        name=card.name,
        images=files,
        read=lambda number: read_picture(folder / files[number]),
        restricted=card.restricted,
        **truth._asdict(),
    )


def _one_each(labelled: Mapping[str, str]) -> tuple[tuple[str, ...], Truth]:
    """The files, and the numbers of their labels in sorted order."""
    classes = tuple(sorted(set(labelled.values())))
    numbers = {name: number for number, name in enumerate(classes)}
    return tuple(labelled), Truth(tuple(numbers[label] for label in labelled.values()), classes)


def _from_subfolders(folder: Path) -> dict[str, str]:
    """Path of each picture below the folder -> name of the subfolder that it is in."""
    names = sorted(each.name for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))
    shown = display_name(folder, limit=200)
    if not names:
        flat = any(each.suffix.lower() in SUFFIXES for each in folder.iterdir())
        what = f"pictures, and neither subfolders nor a {LABELS}" if flat else "no pictures"
        hint = f"make a subfolder for each class, or write {LABELS} with the columns file and label"
        raise UserError(f"folder '{shown}' has {what}", hint=hint)
    if len(names) == 1:
        hint = f"name the folder that has a subfolder for each class; for pictures of one class, write a {LABELS}"
        raise UserError(f"folder '{shown}' has only one class, '{display_name(names[0])}'", hint=hint)
    labelled: dict[str, str] = {}
    for name in names:
        found = find_pictures([folder / name])
        if not found.pictures:
            raise UserError(str(found.problems[0]), hint="every subfolder is a class: remove those that are not")
        if found.lacks:  # otherwise part of the class would be missing from every number
            raise UserError(f"part of the class '{display_name(name)}' is missing: {found.lacks}")
        labelled |= {file.relative_to(folder).as_posix(): name for file in found.pictures}
    return labelled


def _from_file(folder: Path, source: DataSource) -> tuple[tuple[str, ...], Truth]:
    """Path of each picture below the folder, and their labels, from `LABELS`."""
    file = folder / LABELS
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise UserError(f"{file} has more than {_MOST_BYTES / 1e6:.0f} MB")
        with file.open(encoding="utf-8-sig", newline="") as opened:
            rows = csv.DictReader(opened)
            there = rows.fieldnames or ()
            image = _column(there, source, "image", file)
            found = [(f"{file}, line {rows.line_num}", row) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {file}: {error}") from None
    files = tuple(_file(row, image, where) for where, row in found)
    if not files:
        raise UserError(f"{file} has no rows")
    if len(set(files)) < len(files):
        raise UserError(f"{file} names a picture more than once: {len(files)} rows, {len(set(files))} different files")
    truth = _truth(found, image, there, source, file)
    for name in files:
        if not (folder / name).is_file():
            raise UserError(f"{file} names {name!r}, which is not in the folder")
    return files, truth


_Row = tuple[str, Mapping[str, str | None]]
"""Its position for messages, and its cells."""


def _truth(found: Sequence[_Row], image: str, there: Sequence[str], source: DataSource, file: Path) -> Truth:
    """The labels of the rows, from one column, or from a column of 0 and 1 for each label."""
    each = columns.several_columns(source.label_column, there)
    if not each and source.label_column is None and not any(name.lower() in LABEL_COLUMNS for name in there):
        each = tuple(name for name in there if name != image and is_hot(found[0][1][name]))
    if len(each) > 1:
        return truth_in_columns({name: [row[name] for _, row in found] for name in each}, str(file))
    label = _column(there, source, "label", file)
    texts = [(row[label] or "").strip() for _, row in found]
    if any(map(BETWEEN.search, texts)):
        return truth_of(texts, len(texts), f"column {label} of {file}")
    if "" in texts:
        raise UserError(f"{found[texts.index('')][0]}: the label is missing")
    return _one_each(dict(zip(map(str, range(len(texts))), texts, strict=True)))[1]


def _file(row: Mapping[str, str | None], image: str, where: str) -> str:
    """The picture file of a row.

    Raises:
        UserError: The file is missing, or outside the folder.
    """
    name = (row[image] or "").strip()
    if not name:
        raise UserError(f"{where}: the file is missing")
    path = Path(name)
    if path.is_absolute() or ".." in path.parts:
        raise UserError(f"{where}: {name!r} leaves the folder", hint="name files by their path in the folder")
    return path.as_posix()


def _column(there: Sequence[str], source: DataSource, what: Literal["image", "label"], file: Path) -> str:
    """The column with the files of the pictures, or with their labels."""
    usual, named = (columns.FILES, source.image_column) if what == "image" else (LABEL_COLUMNS, source.label_column)
    found = [name for name in there if name.lower() in usual]
    if (picked := columns.pick(found, named, what, str(file), there, usual)) is not None:
        return picked
    kind = "the files of the pictures" if what == "image" else "their labels"
    hint = "name them with image_column and label_column"
    raise UserError(f"{file} has no column {' or '.join(usual)} for {kind}: it has {columns.listed(there)}", hint=hint)
