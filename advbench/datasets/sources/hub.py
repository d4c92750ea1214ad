"""Data sets on the Hugging Face hub, from its cache or the network, and folders saved by the package datasets."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image

from advbench.catalog.cards import DatasetCard
from advbench.catalog.user_datasets import HUB
from advbench.config.data.source import DataSource
from advbench.datasets.dataset import Dataset
from advbench.datasets.images.files import PictureError, decode_picture, read_picture
from advbench.datasets.sources.columns import LABELS, listed, pick
from advbench.datasets.sources.label_sets import truth_of
from advbench.datasets.sources.parquet import open_shards
from advbench.datasets.sources.shards import shards
from advbench.datasets.sources.splits import chosen
from advbench.errors import UserError, reason

_MEANWHILE = "meanwhile: `parquet` reads files that you have, and `advbench datasets` lists those that need no network"


def load(card: DatasetCard, source: DataSource) -> Dataset:
    """The loader of data sets on the hub or in a folder.

    Images are decoded by advbench, like all others: upright, 8 bits, four formats.

    Args:
        card: Card whose name is `hf/` and the name of a data set, or a folder that begins with `.`, `/` or `~`.
        source: Configuration, split, revision and columns; the split may be a slice, such as "test[:100]".

    Raises:
        UserError: The package datasets is not installed; there is no such data set, configuration, split or column, or
            it is neither in the cache nor can it be fetched; or its labels cannot be used.
    """
    name = card.name.removeprefix(HUB)
    if name.startswith((".", "/", "~")):
        folder = Path(name).expanduser()
        if not _is_saved(folder):
            inside = folder / source.config if source.config else folder
            return open_shards(card.name, shards(inside, ".parquet", source.split), source)
        return _dataset(card.name, _saved(folder, source), source)
    return _dataset(card.name, _of_the_hub(name, source), source)


def of_table(name: str, table: Any) -> Dataset:
    """Wrap a table of the package as a data set; its images and labels are found by their types and names.

    Args:
        name: Name of the data set in records.
        table: Table of the package, a `datasets.Dataset`.

    Raises:
        UserError: There is no column of images or labels, or several.
    """
    return _dataset(name, table, DataSource())


def _is_saved(folder: Path) -> bool:
    """Whether a folder was written by `save_to_disk`."""
    return any((folder / file).is_file() for file in ("dataset_dict.json", "state.json"))


def _package() -> Any:
    try:
        import datasets
        import datasets.exceptions  # any folder called datasets can be imported; only the package has this
    except ImportError:
        message = "data sets of the Hugging Face hub need the package datasets, which is not installed"
        raise UserError(message, hint=f'pip install "advbench[hf]"; {_MEANWHILE}') from None
    return datasets


def _saved(folder: Path, source: DataSource) -> Any:
    try:
        found = _package().load_from_disk(str(folder))
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"{folder} is not a data set saved by save_to_disk: {reason(error)}"
        raise UserError(message, hint="save it again") from None
    return _split(found, source.split, str(folder))


def _split(found: Any, split: str | None, where: str) -> Any:
    """One split of data that may have several."""
    if not isinstance(found, Mapping):
        return found
    name = chosen(split, found) or ("" if split else next(iter(found), ""))
    if name not in found:
        raise UserError(f"{where} has no split {split or name!r}", hint=f"there are: {listed(found)}")
    return found[name]


def _of_the_hub(name: str, source: DataSource) -> Any:
    package = _package()
    try:
        found = package.load_dataset(name, source.config, split=source.split, revision=source.revision)
    except Exception as error:  # the package raises errors of many kinds
        raise _refusal(name, source, error) from None
    return _split(found, source.split, f"{HUB}{name}")


def _refusal(name: str, source: DataSource, error: Exception) -> UserError:
    """The error that reports an exception of the package."""
    shown = f"{HUB}{name}"
    given = source.given()
    options = "".join(f", {key}={given[key]!r}" for key in ("config", "revision") if key in given)
    fetch = f'python -c "import datasets; datasets.load_dataset({name!r}{options.replace("config=", "name=")})"'
    if isinstance(error, _package().exceptions.DatasetNotFoundError):
        hint = "check the spelling; for one that is private or gated, log in with `hf auth login`"
        return UserError(f"there is no data set {shown}, or you may not read it", hint=hint)
    if isinstance(error, ConnectionError):
        message = f"{shown} is not in the cache of the Hugging Face hub, and the hub cannot be reached"
        return UserError(message, hint=f"on a connected machine: {fetch}; {_MEANWHILE}")
    if "script" in str(error):
        message = f"{shown} is a script that generates its data, and untrusted scripts are never run"
        return UserError(message, hint="look for its Parquet files: revision = 'refs/convert/parquet'")
    return UserError(f"{shown} cannot be loaded: {reason(error)}", hint=_MEANWHILE)


def _dataset(name: str, found: Any, source: DataSource) -> Dataset:
    """Wrap a table of the package as a data set."""
    package, features = _package(), found.features
    coded = [column for column, kind in features.items() if isinstance(kind, package.Image)]
    image = pick(coded, source.image_column, "image", name, features)
    if image is None:
        raise UserError(f"no column of {name} holds images", hint=f"there are: {listed(features)}")
    if image not in coded:
        hint = f"columns of images: {listed(coded)}"
        raise UserError(f"column {image} of {name} is of type {type(features[image]).__name__}", hint=hint)
    inner = {column: getattr(kind, "feature", kind) for column, kind in features.items()}  # for a list, its items
    named = {column: kind.names for column, kind in inner.items() if isinstance(kind, package.ClassLabel)}
    columns = [column for column in features if column in named or column.lower() in LABELS]
    label = pick(columns, source.label_column, "label", name, features)
    if label is None:
        hint = f'name it: label_column = "...". There are: {listed(features)}'
        raise UserError(f"no column of {name} holds labels", hint=hint)
    values = found.select_columns([label]).with_format(None)[:][label]
    truth = truth_of(values, len(values), f"column {label} of {name}", named.get(label))
    rows = found.select_columns([image]).with_format(None).cast_column(image, package.Image(decode=False))

    def read(number: int) -> Image.Image:
        return _picture(rows[number][image], f"row {number} of {name}")

    images = tuple(f"row_{number:05}" for number in range(len(values)))
    return Dataset(name=name, images=images, read=read, **truth._asdict())


def _picture(stored: Any, what: str) -> Image.Image:
    """An image of a table, from its bytes or from the cached file that it names."""
    content = stored or {}
    if content.get("bytes") is not None:
        return decode_picture(content["bytes"], what)
    path = content.get("path")
    with suppress(OSError, ValueError):
        if path and Path(path).is_file():
            return read_picture(path)
    raise PictureError(what, "there are no bytes in this row, but at most the path of a file that is not here")
