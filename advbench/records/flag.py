"""Trust flags: doubts about a number, recorded with it and shown above it. No torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["E", "F", "I"]
"""Severity of a flag. E: do not use the number; F: doubt it until the flag is understood; I: good to know."""

CHECKS = {
    "M1": "evaluation mode",
    "M2": "deterministic answers",
    "M3": "answers do not depend on the batch",
    "M4": "logits, not probabilities or other bounded answers",
    "M5": "finite answers and gradients",
    "M6": "gradients that are there and not zero",
    "M7": "gradients that agree with differences",
    "M8": "no step inside without a gradient",
    "M9": "no gradients asked for inside",
    "D1": "labels that fit the classes of the model",
    "D2": "images normalised once, as the model was trained",
    "D3": "channels in the order that the model was trained with",
    "D4": "pictures resized once",
    "D5": "pictures that differ from each other",
    "D6": "no pictures that the model was trained on",
    "A1": "perturbations within eps and [0, 1]",
    "A2": "success confirmed by the predictions",
    "A7": "iterative attacks at least as strong as single-step ones",
    "A8": "white-box attacks at least as strong as black-box ones",
    "A10": "success grows with eps",
    "A11": "without a bound, accuracy falls to chance",
    "P1": "no image both proved and fooled",
}
"""Id of a check -> what it asks for."""


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
    """What was found, with its measure."""
    advice: str
    """What to do next."""
    value: float | None = None
    """What was measured, to be compared with the check's threshold."""

    def as_dict(self) -> dict[str, Any]:
        """The flag as it stands in `flags.json`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Flag":
        """The flag that :meth:`as_dict` wrote.

        Raises:
            TypeError: A field is missing or unknown.
        """
        return cls(**fields)

    def __str__(self) -> str:
        where = f"{self.model} on {self.dataset}" + (f", {self.attack}" if self.attack else "")
        return f"{self.id} {where}: {self.message}; {self.advice}"
