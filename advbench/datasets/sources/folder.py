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
from advbench.errors import UserError
from advbench.sanitize import display_name

LABELS = "labels.csv"
"""Name of the file with the labels of the pictures beside it."""
LABEL_COLUMNS = (*columns.LABELS, "wnid", "index")
"""Columns of `LABELS` in which the label of a picture is looked for; the first that is there counts."""
_MOST_BYTES = 100_000_000
"""Size of the largest `LABELS`."""


def load(card: DatasetCard, source: DataSource) -> Dataset:
    """Open a folder of labelled pictures; they are read when they are needed.

    Args:
        card: Card of the data set.
        source: Path of the folder; names of the columns of its `labels.csv`, if they are unusual.

    Returns:
        The data set. Its classes are the names of the subfolders in the order of their code points, as torchvision's
        `ImageFolder` numbers them, or the different labels of the file; pictures are named by their path in the folder.

    Raises:
        UserError: The folder is missing or has no pictures, one subfolder has none, there is one class alone, or
            `labels.csv` cannot be understood.
    """
    folder = source.path
    if folder is None:
        raise UserError(f"data set {card.name} needs a folder", hint="give its path")
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise UserError(f"cannot read the folder '{display_name(folder, limit=200)}': it {what}")
    labelled = _from_file(folder, source) if (folder / LABELS).is_file() else _from_subfolders(folder)
    classes = tuple(sorted(set(labelled.values())))
    numbers = {name: number for number, name in enumerate(classes)}
    files = tuple(labelled)
    return Dataset(
        name=card.name,
        images=files,
        labels=tuple(numbers[label] for label in labelled.values()),
        read=lambda number: read_picture(folder / files[number]),
        classes=classes,
        restricted=card.restricted,
    )


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
        raise UserError(f"folder '{shown}' has one class alone, '{display_name(names[0])}'", hint=hint)
    labelled: dict[str, str] = {}
    for name in names:
        found = find_pictures([folder / name])
        if not found.pictures:
            raise UserError(str(found.problems[0]), hint="every subfolder is a class: remove those that are none")
        if found.problems:  # part of the class would be missing in every number
            raise UserError(f"part of the class '{display_name(name)}' is missing: {found.problems[0]}")
        labelled |= {file.relative_to(folder).as_posix(): name for file in found.pictures}
    return labelled


def _from_file(folder: Path, source: DataSource) -> dict[str, str]:
    """Path of each picture below the folder -> its label, as `LABELS` has them."""
    file = folder / LABELS
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise UserError(f"{file} has more than {_MOST_BYTES / 1e6:.0f} MB")
        with file.open(encoding="utf-8-sig", newline="") as opened:
            rows = csv.DictReader(opened)
            image = _column(rows.fieldnames or (), source, "image", file)
            label = _column(rows.fieldnames or (), source, "label", file)
            labelled = dict(_labelled(row, image, label, f"{file}, line {rows.line_num}") for row in rows)
            count = rows.line_num - 1
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {file}: {error}") from None
    if not labelled:
        raise UserError(f"{file} has no rows")
    if len(labelled) < count:
        raise UserError(f"{file} names a picture more than once: {count} rows, {len(labelled)} different files")
    for name in labelled:
        if not (folder / name).is_file():
            raise UserError(f"{file} names {name!r}, which is not in the folder")
    return labelled


def _labelled(row: Mapping[str, str | None], image: str, label: str, where: str) -> tuple[str, str]:
    """File and label of a row.

    Raises:
        UserError: One is missing, or the file is outside the folder.
    """
    name, text = (row[image] or "").strip(), (row[label] or "").strip()
    if not name or not text:
        raise UserError(f"{where}: the {'file' if not name else 'label'} is missing")
    path = Path(name)
    if path.is_absolute() or ".." in path.parts:
        raise UserError(f"{where}: {name!r} leaves the folder", hint="name files by their path in the folder")
    return path.as_posix(), text


def _column(there: Sequence[str], source: DataSource, what: Literal["image", "label"], file: Path) -> str:
    """The column that holds the files of the pictures, or their labels."""
    usual, named = (columns.FILES, source.image_column) if what == "image" else (LABEL_COLUMNS, source.label_column)
    found = [name for name in there if name.lower() in usual]
    if (picked := columns.pick(found, named, what, str(file), there, usual)) is not None:
        return picked
    kind = "the files of the pictures" if what == "image" else "their labels"
    hint = "name them with image_column and label_column"
    raise UserError(f"{file} has no column {' or '.join(usual)} for {kind}: it has {columns.listed(there)}", hint=hint)
