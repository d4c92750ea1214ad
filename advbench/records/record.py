"""The record of one image under one attack, a row of a run's results. Does not import torch."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

OK, UNKNOWN, LEFT_OUT = "ok", "unknown", "left out"
"""Values of `Record.status`."""
PROOF, FOOLED = "proof", "fooled"
"""Value of `Record.attack` in the row of a proof, and of `proof_method` if an attack had already fooled the image."""
EPS_RELATIVE, EPS_ABSOLUTE = 1e-5, 1e-6
"""Amount by which a measured perturbation may exceed eps, for the float32 rounding of x + delta."""
_Size = TypeVar("_Size", float, "NDArray[np.float64]")


def largest_size(eps: _Size) -> _Size:
    """The largest measured size of a perturbation that counts as within an eps.

    Args:
        eps: Budget, image units, or one budget for each image (N,).

    Example:
        >>> 0.1 < largest_size(0.1) < 0.10001
        True
    """
    return eps * (1 + EPS_RELATIVE) + EPS_ABSOLUTE


class Reason(StrEnum):
    """Why the outcome of an image is unknown: the values of `Record.reason`."""

    INVALID = "invalid"
    """The attack returned an image that is not finite, leaves [0, 1] or exceeds eps."""
    NO_ANSWER = "no answer"
    """The model's outputs are not all finite."""
    CRASHED = "crashed"
    """The attack or the model failed on the image, or the process died."""
    UNREADABLE = "unreadable"
    """The image could not be read."""
    TIME_LIMIT = "time limit"
    """Its unit took longer than the suite's `time_limit`."""
    NOT_DONE = "not done"
    """Its unit has no result yet, or a damaged one."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One image under one attack. Unknown values are None: never NaN, infinity or a meaningless zero.

    Raises:
        ValueError: If a number is not finite, or if there is a reason although the status is not `unknown`, or none
            although it is.

    Example:
        >>> same = {"run_id": "r", "model": "vgg16", "dataset": "files", "sample_id": "s", "attack": "pgd"}
        >>> Record(**same, status=UNKNOWN, reason=Reason.UNREADABLE).met is None
        True
    """

    run_id: str
    """Digest of everything that decides the run's results."""
    unit_id: str = ""
    """Digest of everything that decides this row."""
    model: str
    """Registry name of the model."""
    weights_sha256: str = ""
    """SHA-256 digest of the weights file."""
    dataset: str
    """Registry name of the data set, or `files`."""
    sample_id: str
    """Id of the image: the first 16 hexadecimal digits of the SHA-256 of its content."""
    sample_name: str = ""
    """Name of the image in its data set, such as a file name or a number; empty for pictures given one by one."""
    label: int | None = None
    """True class, if known; None otherwise."""
    labels: tuple[int, ...] | None = None
    """True labels, ascending, if the data has several per image; None if they are unknown, and for all other data."""
    attack: str
    """Registry name of the attack; `proof` in the row of a proof."""
    params: str = "{}"
    """The parameters of the attack or of the proof, as JSON."""
    goal: str = ""
    """Goal, as written on the command line."""
    goal_labels: tuple[int, ...] | None = None
    """Labels that a multi-label goal names, ascending; None for all other goals."""
    surrogate: str = ""
    """Label of the surrogate that was attacked instead of the model; empty: the model itself."""
    surrogate_class: int | None = None
    """Class that the surrogate predicts for the clean image; None if there is no surrogate or it gave no answer."""
    norm: str = ""
    """Norm in which `eps` is measured."""
    eps: float | None = None
    """Largest allowed size, image units; None: no bound."""
    seed: int = 0
    """Seed of all random draws."""
    clean_class: int | None = None
    """Predicted class of the clean image."""
    clean_confidence: float | None = None
    """Its softmax probability."""
    adv_class: int | None = None
    """Predicted class of the adversarial image."""
    adv_confidence: float | None = None
    """Its softmax probability."""
    clean_topk: tuple[int, ...] | None = None
    """The k most likely classes of the clean image, best first."""
    adv_topk: tuple[int, ...] | None = None
    """The k most likely classes of the adversarial image, best first."""
    clean_labels: tuple[int, ...] | None = None
    """Labels that a multi-label model predicts for the clean image, ascending (it has no predicted class); None for all
    other models."""
    adv_labels: tuple[int, ...] | None = None
    """Labels that a multi-label model predicts for the adversarial image, ascending; None for all other models."""
    flipped: bool | None = None
    """Whether the predicted class changed, or any of the predicted labels, whatever the goal."""
    met: bool | None = None
    """Whether the goal was met within eps and [0, 1], as measured by the judge."""
    l0: float | None = None
    """Number of changed values; this and the other sizes are None if nothing was found."""
    l1: float | None = None
    """Sum of absolute changes, image units."""
    l2: float | None = None
    """Euclidean length of the perturbation, image units."""
    linf: float | None = None
    """Largest absolute change, image units."""
    forwards: float | None = None
    """Forward passes spent on this image."""
    backwards: float | None = None
    """Backward passes spent on this image."""
    seconds: float | None = None
    """Wall time of the attack, divided by the images of its batch."""
    survives_8bit: bool | None = None
    """Whether the goal is still met within eps with each value rounded to the nearest of 256 levels, as in a PNG. The
    picture that `advbench attack` writes is rounded by a search instead, and may succeed even if this fails."""
    judge_draws: int | None = None
    """Number of passes that judged the candidate: 1, or 20 if the model's outputs are random."""
    met_share: float | None = None
    """Share of those passes in which the goal was met; `met` requires half of them."""
    proved: bool | None = None
    """Whether it is proved that no perturbation within eps meets the goal; None in the row of an attack."""
    proof_bound: float | None = None
    """Lower bound on the goal's margin within eps, in units of logits; None if there is none."""
    proof_method: str | None = None
    """Method that gave the bound: interval, crown-ibp, crown, alpha-crown or split, or the name of another verifier;
    none: the network cannot be proved, and `error` says why; fooled: not tried, since the image is wrong when clean or
    an attack met the goal within eps."""
    proof_seconds: float | None = None
    """Wall time of the proof."""
    status: str
    """`ok`; `unknown`: the attack or the image failed, so nothing is known about the model here; or `left out`: the
    image already has the class that the goal wants first, so it was not attacked and is in no number of that goal."""
    reason: Reason | None = None
    """Reason why the status is `unknown`; None for every other status."""
    error: str | None = None
    """Description of the failure, why the image was left out, or why it cannot be proved."""
    form: str = "plain"
    """Form of the network in which the attack could compute gradients; verdicts always come from the original."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"expected a finite {name} or None, got {value}")
        if (self.status == UNKNOWN) != (self.reason is not None):
            raise ValueError(f"expected a reason where the status is unknown alone, got {self.status}, {self.reason}")


COLUMNS = tuple(field.name for field in fields(Record))
"""The columns of a run's frame, in order."""


def as_json(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as a JSON array in ASCII, without NaN and Infinity, which JSON does not have.

    ASCII passes through every pipe, even if a file name is not valid text.

    Raises:
        ValueError: If a number is not finite.

    Example:
        >>> print(as_json([{"eps": None}]))
        [
          {
            "eps": null
          }
        ]
    """
    return json.dumps(rows, indent=2, allow_nan=False)


def as_row(record: Record) -> dict[str, Any]:
    """A record as a plain dictionary, in the order of `COLUMNS`."""
    return dict(vars(record))  # `asdict` makes deep copies, which take longer than writing the file
