"""A unit of work: one attack on one batch of images, named by a digest of its inputs. Does not import torch."""

import hashlib
import json
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from advbench.config.models.surrogate import SURROGATE
from advbench.sanitize import one_line

FORMAT = 2
"""Version of the format of stored runs; it is part of every unit's key."""

Task = Literal["clean", "checks", "attack", "prove"]
"""Predict the clean images, look for reasons to distrust the model, attack, or prove images that no attack fooled."""


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A unit of work in full; its images are located by their numbers and verified by their ids.

    Example:
        >>> unit = Unit(unit_id="ab", task="clean", model="m", dataset="d", samples=(0,), sample_ids=("ff",))
        >>> Unit.from_json(unit.to_json()) == unit
        True
    """

    unit_id: str
    """Key of the unit: 32 hexadecimal digits."""
    task: Task
    """Kind of work to do."""
    model: str
    """Label of the model."""
    dataset: str
    """Label of the data set."""
    samples: tuple[int, ...]
    """Numbers of the images in the data set."""
    sample_ids: tuple[str, ...]
    """Expected ids of the images, which are digests of their content."""
    attack: str = ""
    """Registry name of the attack, also for checks of an attack; `proof` for a proof."""
    params: str = "{}"
    """All parameters of the attack or of the proof, as JSON."""
    goal: str = ""
    """Goal, as written on the command line."""
    norm: str = ""
    """Norm of the perturbations."""
    eps: float | None = None
    """Largest allowed size, image units; None: no bound."""
    seed: int = 0
    """Seed of all random draws; the same for all batches of a cell, because draws belong to the image."""
    form: str = "plain"
    """Form of the network in which the attack may compute gradients; see :data:`attacks.speed.folding.FORMS`."""
    passes: float = 0.0
    """Expected forward passes per image, with backward passes counted double; does not affect results."""
    look: int = 0
    """Number of the look, from 1, that needs the unit in a run that stops once it is decided; 0: always needed."""

    def __repr__(self) -> str:
        return one_line(self)

    @property
    def has_rows(self) -> bool:
        """Whether its result has a row for each image."""
        return self.task in ("attack", "prove")

    @property
    def surrogate(self) -> str | None:
        """Label of the surrogate that is attacked instead of the model; None: the model itself."""
        found: str | None = json.loads(self.params).get(SURROGATE)
        return found

    @property
    def name(self) -> str:
        """Human-readable name: the attack, or the task, or both."""
        if self.surrogate is not None:
            return f"{self.attack} from {self.surrogate}"
        return f"checks of {self.attack}" if self.task == "checks" and self.attack else self.attack or self.task

    @property
    def threat(self) -> tuple[str, str, str, str]:
        """Model, data set, goal and norm."""
        return self.model, self.dataset, self.goal, self.norm

    def to_json(self) -> str:
        """One line of `plan.jsonl`."""
        return canonical(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse a line of `plan.jsonl`.

        Raises:
            ValueError: The line is damaged.
        """
        try:
            fields = json.loads(text)
            if damaged := [name for name, value in fields.items() if not _fits(name, value)]:
                raise TypeError(damaged[0])
            # thousands of units share the same images
            ids = tuple(map(sys.intern, fields["sample_ids"]))
            return cls(**fields | {"samples": tuple(fields["samples"]), "sample_ids": ids})
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"expected a unit of work as JSON, got {text[:60]!r}") from error


_TEXTS = ("task", "model", "dataset", "attack", "params", "goal", "norm", "form")
_KINDS: dict[str, Any] = {
    **dict.fromkeys(_TEXTS, str),
    **dict.fromkeys(("seed", "look"), int),
    "eps": int | float | None,
    "passes": int | float,
}
"""Field of a unit -> type of its value in JSON."""
_UNIT_ID = re.compile("[0-9a-f]{2,64}")


def _fits(name: str, value: Any) -> bool:
    """Whether a field of a unit can have this value; unknown fields are left to the constructor."""
    if name == "unit_id":  # part of the names of files
        return isinstance(value, str) and _UNIT_ID.fullmatch(value) is not None
    if name in ("samples", "sample_ids"):
        return isinstance(value, list) and {*map(type, value)} <= {int if name == "samples" else str}
    if isinstance(value, float) and not math.isfinite(value):
        return False
    if name == "params":
        return isinstance(value, str) and isinstance(json.loads(value), dict)
    return isinstance(value, _KINDS.get(name, object)) and not isinstance(value, bool)


def canonical(value: Mapping[str, Any]) -> str:
    """The canonical JSON text of a mapping: sorted, ASCII, no NaN.

    Example:
        >>> canonical({"b": 1, "a": (0.5, None)})
        '{"a":[0.5,null],"b":1}'
    """
    return json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":"))


def digest(value: Mapping[str, Any], *, digits: int = 32) -> str:
    """A digest in hexadecimal that changes with anything in the mapping.

    Example:
        >>> digest({"eps": 0.1}) == digest({"eps": 0.2})
        False
    """
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:digits]
