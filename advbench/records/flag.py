"""Trust flags: doubts about a number, recorded with it and shown above it. Does not import torch."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple, get_args

Severity = Literal["E", "F", "I"]
"""Severity of a flag. E: do not use the number; F: doubt it until the flag is understood; I: good to know."""

_FEW = 3
"""Largest number of model names listed in full."""


class Check(NamedTuple):
    """A check whose failure raises a trust flag."""

    asks: str
    """The property that the check requires."""
    severity: str
    """The severities that its flag may have: "E", "F", "I", or several, separated by slashes."""
    full: bool = False
    """Whether only a run with `trust = "full"` makes it in full."""


CHECKS = {
    "M1": Check("evaluation mode, and passes that leave the model unchanged", "E"),
    "M2": Check("deterministic outputs", "F"),
    "M3": Check("outputs that do not depend on the batch", "E"),
    "M4": Check("logits, not probabilities or other bounded outputs", "F"),
    "M5": Check("finite outputs and gradients", "E"),
    "M6": Check("gradients that exist and are not zero (Pintor's indicator 1)", "F"),
    "M7": Check("gradients that agree with differences", "F"),
    "M8": Check("no step inside without a gradient", "F"),
    "M9": Check("no gradients computed in the forward pass", "F"),
    "M10": Check("clean accuracy as published for the model", "F"),
    "D1": Check("labels that fit the classes of the model", "E"),
    "D2": Check("images normalised once, as the model was trained", "F"),
    "D3": Check("channels in the order that the model was trained with", "F"),
    "D4": Check("pictures resized once", "F"),
    "D5": Check("pictures that differ from each other", "F/I"),
    "D6": Check("no pictures that the model was trained on", "F"),
    "A1": Check("perturbations within eps and [0, 1]", "E"),
    "A2": Check("success confirmed by the predictions", "F"),
    "A3": Check("adversarial images that survive saving in 8 bits", "I"),
    "A4": Check("the best candidate of a search is returned (Pintor's indicator 3)", "F/I", full=True),
    "A5": Check("a converged search: twice as many steps find no more (Pintor's indicator 4)", "F/I", full=True),
    "A6": Check("a search that finds no more from other starts", "F/I", full=True),
    "A7": Check("iterative attacks at least as strong as single-step ones", "F/I"),
    "A8": Check("white-box attacks at least as strong as black-box ones", "F/I"),
    "A9": Check("attacks at least as strong as random points within the budget", "F/I", full=True),
    "A10": Check("success grows with eps", "F/I"),
    "A11": Check("without a bound, accuracy falls to chance (Pintor's indicator 6)", "F", full=True),
    "A12": Check("attacks of more than one kind, not only gradient-based ones", "I"),
    "A13": Check("margins that do not jump around the images (Pintor's indicator 2)", "F"),
    "A14": Check("gradients of a twin that carry over to the model (Pintor's indicator 5)", "F"),
    "A15": Check("planted perturbations are found (Zimmermann's binarisation)", "F", full=True),
    "P1": Check("no image both proved and fooled", "E"),
}
"""Id of each check -> what it requires. The single table of trust flags, printed by `advbench flags`."""


class Finding(NamedTuple):
    """A doubt about a model or a data set, before it becomes a flag."""

    id: str
    """A key of `CHECKS`."""
    severity: Severity
    """Severity of the flag."""
    message: str
    """Description of the finding, with its measured value."""
    advice: str
    """What to do next."""
    value: float | None = None
    """The measured value, if any."""


@dataclass(frozen=True, kw_only=True)
class Flag:
    """One doubt about the numbers of a model.

    Example:
        >>> flag = Flag(id="M4", severity="F", model="net", dataset="mnist", message="the outputs sum to 1",
        ...             advice="leave the softmax out")
        >>> print(flag)
        M4 net on mnist: the outputs sum to 1; leave the softmax out
        >>> Flag.from_dict(flag.as_dict()) == flag
        True
    """

    id: str
    """A key of `CHECKS`."""
    severity: Severity
    """Severity, as described above."""
    model: str
    """Label of the model whose numbers are in doubt."""
    dataset: str
    """Label of the data set."""
    attack: str | None = None
    """Name of the attack in doubt; None: all attacks."""
    message: str
    """Description of the finding, with its measured value."""
    advice: str
    """What to do next."""
    value: float | None = None
    """The measured value, to compare with the check's threshold."""

    @property
    def forbids_numbers(self) -> bool:
        """Whether the flag forbids to use any number of the model on the data set."""
        return self.severity == "E" and self.attack is None

    def as_dict(self) -> dict[str, Any]:
        """The flag as stored in `flags.json`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Flag":
        """The flag that :meth:`as_dict` wrote.

        Raises:
            TypeError: A field is missing, unknown or of the wrong type.
        """
        flag = cls(**fields)
        for name in ("id", "severity", "model", "dataset", "message", "advice"):
            if not isinstance(getattr(flag, name), str):
                raise TypeError(f"expected a flag with a text as its {name}, got {getattr(flag, name)!r}")
        return flag

    def __str__(self) -> str:
        where = f"{self.model} on {self.dataset}" + (f", {self.attack}" if self.attack else "")
        return f"{self.id} {where}: {self.message}; {self.advice}"


def for_people(flags: Iterable[Flag]) -> list[Flag]:
    """Merge flags that say the same about several models, so that a long list stays readable.

    Example:
        >>> flags = [Flag(id="A12", severity="I", model=name, dataset="d", message="m", advice="a") for name in "abcde"]
        >>> [flag.model for flag in for_people(flags)]
        ['a, b and 3 more models']
    """
    models: dict[Flag, list[str]] = {}
    for flag in flags:
        models.setdefault(replace(flag, model=""), []).append(flag.model)
    return [replace(flag, model=_listed(names)) for flag, names in models.items()]


def _listed(names: Sequence[str]) -> str:
    """List all names if there are few, else the first two."""
    if len(names) <= _FEW:
        return ", ".join(names)
    return f"{names[0]}, {names[1]} and {len(names) - 2} more models"


def check_severities(severities: object) -> None:
    """Check that a text names at least one severity and nothing else: otherwise a test would assert nothing.

    Raises:
        ValueError: It names none, or contains something else.

    Example:
        >>> check_severities("error")
        Traceback (most recent call last):
        ValueError: expected severities as letters of EFI, got 'error'
    """
    known = "".join(get_args(Severity))
    if not isinstance(severities, str) or not severities or set(severities) - set(known):
        raise ValueError(f"expected severities as letters of {known}, got {severities!r}")
