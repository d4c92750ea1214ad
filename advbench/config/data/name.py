"""Parse data sets written as one word, such as `folder:val/,images=64`. Does not import torch."""

from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from advbench.catalog.registry import near_misses
from advbench.catalog.user_datasets import HUB, dataset_card
from advbench.config.data.guess import guessed_name
from advbench.config.data.word import at_home, parted
from advbench.config.suite import DatasetSpec
from advbench.errors import UserError
from advbench.sanitize import display_name

DATA_FORM = "NAME[:PATH][,KEY=VALUE...]"
"""The syntax of such a word."""
DATA_KEYS = tuple(name for name in DatasetSpec.model_fields if name not in ("name", "eps"))
"""Keys that it may contain."""


class NamedData(NamedTuple):
    """A data set, given by name or found at a path."""

    spec: DatasetSpec
    """The data set, as a suite would name it."""
    guessed: bool = False
    """Whether its kind was guessed from what is at the path."""


class ChosenImages(NamedTuple):
    """The images of a data set that a command works on."""

    spec: DatasetSpec
    """The data set."""
    images: tuple[str, ...] = ()
    """Names or numbers of the images; none: up to the limit."""
    limit: int | None = None
    """Maximum number of images, the same ones for the same seed; None: all."""


def parse_data(text: str) -> DatasetSpec:
    """Parse a data set written as one word.

    Args:
        text: `NAME[:PATH][,KEY=VALUE...]`: a name of `advbench datasets` or `hf/NAME`, the file or folder of a data set
            that is read from one, and fields of a data set in a suite. A comma starts a key only if `KEY=` follows.

    Returns:
        The data set. Paths are relative to the current folder; `~` is the home folder.

    Raises:
        UserError: An unknown name or key, a value of the wrong type, or a repeated key.

    Example:
        >>> data = parse_data("parquet:shards/,split=test,images=64")
        >>> data.name, data.path, data.split, data.images
        ('parquet', PosixPath('shards'), 'test', 64)
        >>> parse_data("folder:val,spilt=test")
        Traceback (most recent call last):
        advbench.errors.UserError: unknown key 'spilt' in folder:val,spilt=test
        did you mean split? There are: path, root, split, config, revision, image_column, label_column, classes, ...
    """
    name, fields = parted(text)
    try:
        dataset_card(name)
    except UserError as error:
        raise _with_guess(error, text, name) from None
    return _spec(text, name, fields)


def data_at(text: str) -> NamedData:
    """Parse a data set written as one word, or the path of one.

    Args:
        text: Data set, as :func:`parse_data` accepts it; or a file or folder instead of `NAME[:PATH]`, whose kind is
            guessed from its contents.

    Raises:
        UserError: As for :func:`parse_data`, or there is nothing known at the path.

    Example:
        >>> data_at("mnist-samples")
        NamedData(spec=DatasetSpec(...name='mnist-samples'...), guessed=False)
    """
    name, fields = parted(text)
    place = Path(name).expanduser()
    try:
        dataset_card(name)
    except UserError:
        if "path" in fields or (guess := guessed_name(place)) is None:
            return NamedData(parse_data(text))
        located = fields if guess.startswith(HUB) else {"path": str(place), **fields}
        return NamedData(_spec(text, guess, located), guessed=True)
    return NamedData(_spec(text, name, fields))


def _spec(text: str, name: str, fields: dict[str, str]) -> DatasetSpec:
    shown = display_name(text, limit=200)
    for key, value in fields.items():
        if key not in DATA_KEYS:
            close = near_misses(key, DATA_KEYS)
            guess = f"did you mean {' or '.join(close[:2])}? " if close else ""
            raise UserError(f"unknown key '{key}' in {shown}", hint=f"{guess}There are: {', '.join(DATA_KEYS)}")
        if not value.strip():
            raise UserError(f"the {key} is empty in {shown}", hint=f"the form is {DATA_FORM}")
    try:
        return DatasetSpec.model_validate({"name": name, **at_home(fields)}, context={"names": (name,)})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        wrong = f"{first['loc'][0]}: {first['msg'].removeprefix('Value error, ')}"
        raise UserError(f"{shown} is not a data set: {wrong}") from None


def _with_guess(error: UserError, text: str, name: str) -> UserError:
    """The error for an unknown name; for a path, its hint has the name that it needs."""
    guess = guessed_name(Path(name).expanduser())
    if guess is None:
        return error
    meant = guess if guess.startswith(HUB) else f"{guess}:{name}"
    return UserError(error.message, hint=f"it is a path: write {meant}{text[len(name) :]}")
