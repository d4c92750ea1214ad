"""Match the classes of a data set to those of a model: by name, WordNet id or number."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

from advbench.catalog.registry import near_misses, number_of
from advbench.datasets.dataset import Dataset
from advbench.errors import UserError

How = Literal["name", "WordNet id", "number", "order", "map"]
"""How a class was matched. By order: the model's classes have no names, and their number is the same."""

_WORDNET_ID = re.compile(r"(n\d{8})(?:[\W_].*)?", re.DOTALL)
_NO_WORD = re.compile(r"[\W_]+")
_SHOWN = 5
"""Number of classes that a message lists."""


@dataclass(frozen=True, slots=True)
class Match:
    """A class of a data set, matched to one of a model."""

    name: str
    """Name of the class in the data set."""
    index: int | None
    """Its number among the classes of the model; None: its images are left out."""
    how: How
    """How it was matched."""


class Matched(NamedTuple):
    """A data set whose labels are classes of a model."""

    dataset: Dataset
    """The data set, with labels as numbers of the model's classes, or of `among`."""
    matches: tuple[Match, ...] = ()
    """The classes of the data set; none if its labels were numbers to begin with."""
    among: tuple[int, ...] | None = None
    """The classes on which the model is judged, ascending; None: all."""


def matched(dataset: Dataset, classes: Sequence[str], table: Path | None = None, *, several: bool = False) -> Matched:
    """Convert the labels of a data set to classes of a model.

    Args:
        dataset: Data set with its own classes, or with labels that are numbers of the model's classes.
        classes: Names of the model's classes, in the order of its logits.
        table: A JSON file that maps classes of the data set to those of the model: a name, a WordNet id or a number;
            null leaves out their images, or, for several labels, the label.
        several: Whether the model is multi-label. Images with one class each then have only that label.

    Raises:
        UserError: A class is not among the model's, or is ambiguous; the hint lists similar names. Or images have
            several labels but the model has one class for each, or different labels from the images.

    Example:
        >>> pets = Dataset(name="pets", images=("a", "b"), labels=(1, 0), read=lambda i: None, classes=("cat", "Dog"))
        >>> matched(pets, ["dog", "horse", "cat"]).dataset.labels
        (0, 2)
    """
    if several:
        return _several(dataset, classes, table)
    if dataset.label_sets is not None:
        raise UserError(
            f"data set {dataset.name} has several labels for each image, but the model has one class for each",
            hint="name a multi-label model; declare your own as one with thresholds = 0 or --thresholds 0",
        )
    if dataset.classes is None:
        if table is not None:
            raise UserError(f"data set {dataset.name} has no names of classes, which {table} could map")
        return Matched(dataset)
    given = {} if table is None else _read_table(table, dataset)
    matches = match_classes(dataset.classes, classes, dataset.name, given)
    if dataset.labels is None:
        return Matched(dataset, matches)
    known = {label: match.index for label, match in enumerate(matches) if match.index is not None}
    among = tuple(sorted(set(known.values()))) if dataset.restricted else None
    if among is not None:
        known = {label: among.index(index) for label, index in known.items()}
    kept = [number for number, label in enumerate(dataset.labels) if label in known]
    found = replace(
        dataset,
        images=tuple(dataset.images[number] for number in kept),
        labels=tuple(known[dataset.labels[number]] for number in kept),
        read=dataset.read if len(kept) == len(dataset) else lambda number: dataset.read(kept[number]),
        classes=None,
    )
    return Matched(found, matches, among)


def _several(dataset: Dataset, classes: Sequence[str], table: Path | None) -> Matched:
    """Convert the labels of images that may have several to labels of a model."""
    sets = dataset.label_sets
    if sets is None and dataset.labels is not None:
        sets = tuple((label,) for label in dataset.labels)
    if dataset.classes is None:
        if table is not None:
            raise UserError(f"data set {dataset.name} has no names of labels, which {table} could map")
        _check_width(dataset, dataset.width, len(classes))
        most = max((label for labels in sets or () for label in labels), default=0)
        if most >= len(classes):
            message = f"data set {dataset.name} has the label {most}, and the model labels from 0 to {len(classes) - 1}"
            raise UserError(message, hint="are they counted from 1, or from another model?")
        return Matched(replace(dataset, labels=None, label_sets=sets))
    given = {} if table is None else _read_table(table, dataset)
    matches = match_classes(dataset.classes, classes, dataset.name, given)
    known = {label: match.index for label, match in enumerate(matches) if match.index is not None}
    _check_width(dataset, dataset.width and len(set(known.values())), len(classes))
    if sets is not None:
        sets = tuple(tuple(sorted({known[label] for label in labels if label in known})) for labels in sets)
    found = replace(dataset, labels=None, label_sets=sets, classes=None, width=dataset.width and len(classes))
    return Matched(found, matches)


def _check_width(dataset: Dataset, width: int | None, labels: int) -> None:
    if width is not None and width != labels:
        raise UserError(
            f"data set {dataset.name} has columns for {width} labels, but the model has {labels}",
            hint="give a column for each label of the model, in its order or with its names",
        )


def match_classes(
    own: Sequence[str], classes: Sequence[str], dataset: str, table: Mapping[str, str | int | None] | None = None
) -> tuple[Match, ...]:
    """Match the classes of a data set to those of a model.

    Args:
        own: Names of the data set's classes.
        classes: Names of the model's classes, in the order of its logits.
        dataset: Name of the data set, for messages.
        table: Class of the data set -> class of the model; only for those that need it.

    Returns:
        A match for each class of the data set. Names are compared ignoring case and the characters between words; in a
        name with commas, such as those of WordNet, each part counts. Numbers are indices from 0.

    Raises:
        UserError: A class is not among the model's, is ambiguous, or two match the same one.

    Example:
        >>> [match.index for match in match_classes(["Tiger_Shark", "0"], ["tench", "tiger shark"], "zoo")]
        [1, 0]
    """
    table = table or {}
    search = _Search(classes)
    if not table and search.nameless and len(own) == len(classes) and not all(name.isdecimal() for name in own):
        return tuple(Match(name, index, "order") for index, name in enumerate(own))
    found: list[Match] = []
    lacking: list[str] = []
    for name in own:
        wanted = table.get(name, name)
        if wanted is None:
            found.append(Match(name, None, "map"))
        elif (hit := search.find(str(wanted))) is None:
            lacking.append(name)
        else:
            found.append(Match(name, hit[0], "map" if name in table else hit[1]))
    if mapped := [name for name in lacking if name in table]:
        raise _badly_mapped(mapped, table, search, dataset)
    if lacking:
        raise _unmatched(lacking, own, search, dataset)
    _refuse_twins(found, dataset)
    return tuple(found)


class _Search:
    """The classes of a model, indexed for searching."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = classes
        self.nameless = list(classes) == [str(index) for index in range(len(classes))]
        self._exact = _index(classes, lambda name: (name,))
        self._folded = _index(classes, lambda name: (folded(name), *map(folded, name.split(","))))
        is_imagenet = len(classes) == len(wordnet_ids()) and (self.nameless or "tench" in folded(classes[0]))
        self._wordnet = {wnid: index for index, wnid in enumerate(wordnet_ids())} if is_imagenet else {}

    def find(self, name: str) -> tuple[int, How] | None:
        """The class with that name, id or number; None if there is none, or if several have the name."""
        if (hits := self._exact.get(name) or self._folded.get(folded(name), ())) and len(hits) == 1:
            return hits[0], "number" if self.nameless else "name"
        if (wnid := _WORDNET_ID.fullmatch(name)) and wnid[1] in self._wordnet:
            return self._wordnet[wnid[1]], "WordNet id"
        numbers = () if hits else number_of(name, len(self.classes))
        return (numbers[0], "number") if numbers else None

    def near(self, name: str) -> str:
        """A hint about what a name may mean."""
        if len(hits := self._folded.get(folded(name), ())) > 1:
            return f"it is the name of {' and '.join(map(str, hits))}"
        close = [] if self.nameless else near_misses(name, self.classes)
        return f"did you mean {' or '.join(close[:2])}?" if close else ""


def _index(classes: Sequence[str], keys: Callable[[str], Sequence[str]]) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for index, name in enumerate(classes):
        for key in dict.fromkeys(keys(name)):
            found[key] = (*found.get(key, ()), index)
    return found


def folded(name: str) -> str:
    """Normalise a name: lower case, with single spaces between words.

    Example:
        >>> folded("T-shirt/top") == folded("t_shirt_TOP")
        True
    """
    return _NO_WORD.sub(" ", name.casefold()).strip()


def _unmatched(lacking: Sequence[str], own: Sequence[str], search: _Search, dataset: str) -> UserError:
    shown = [f"{name!r}{f' ({near})' if (near := search.near(name)) else ''}" for name in lacking[:_SHOWN]]
    more = f" and {len(lacking) - _SHOWN} more" if len(lacking) > _SHOWN else ""
    of = "" if search.nameless else f", such as {search.classes[0]!r}"
    message = f"{len(lacking)} of the {len(own)} classes of data set {dataset} are not among the model's"
    return UserError(
        f"{message} {len(search.classes)}{of}: {', '.join(shown)}{more}",
        hint="rename them, or map them in a JSON file: classes = 'map.json', "
        'with {"theirs": "the model\'s name, WordNet id or number"}, null to leave images out',
    )


def _badly_mapped(
    mapped: Sequence[str], table: Mapping[str, str | int | None], search: _Search, dataset: str
) -> UserError:
    """The error for classes that the map turns into ones that the model does not have."""
    first = mapped[0]
    more = f", and {len(mapped) - 1} more" if len(mapped) > 1 else ""
    what = f"the map of classes turns {first!r} into {table[first]!r}{more}, which is not a class of the model"
    near = search.near(str(table[first]))
    hint = f"{near} " if near else ""
    return UserError(
        f"data set {dataset}: {what}",
        hint=f"{hint}it takes a name, a WordNet id or a number from 0 to {len(search.classes) - 1}",
    )


def _refuse_twins(found: Sequence[Match], dataset: str) -> None:
    """Refuse two classes that match the same class of the model, unless the map says so."""
    seen: dict[int, Match] = {}
    for match in found:
        if match.index is None:
            continue
        other = seen.setdefault(match.index, match)
        if other is not match and "map" not in (other.how, match.how):
            both = f"{other.name!r} and {match.name!r}"
            raise UserError(f"classes {both} of data set {dataset} are both class {match.index} of the model")


def _read_table(file: Path, dataset: Dataset) -> dict[str, str | int | None]:
    """Read the map of classes of a data set from a JSON file."""
    try:
        table = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"cannot read the map of classes {file}: {error}") from None
    if not isinstance(table, dict) or not all(_is_class(value) for value in table.values()):
        wanted = 'an object such as {"tabby": "tabby cat", "other": null}'
        raise UserError(f"the map of classes {file} is wrong: expected {wanted}")
    if unknown := [name for name in table if name not in (dataset.classes or ())]:
        close = near_misses(unknown[0], dataset.classes or ())
        guess = f"did you mean {' or '.join(close[:2])}?" if close else ""
        raise UserError(f"{file} maps {unknown[0]!r}, which is not a class of data set {dataset.name}", hint=guess)
    return table


def _is_class(value: object) -> bool:
    return value is None or isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))


@cache
def wordnet_ids() -> tuple[str, ...]:
    """The WordNet ids of ImageNet's 1000 classes, in order.

    Example:
        >>> wordnet_ids()[292]
        'n02129604'
    """
    return tuple((Path(__file__).parent / "files" / "imagenet_wordnet_ids.txt").read_text().split())
