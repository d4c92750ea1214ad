"""What a person asks for of a patch, checked before anything heavy is imported. No torch."""

from dataclasses import dataclass, field
from pathlib import Path

from advbench.catalog import DEFAULT_MODEL
from advbench.config.data.name import ChosenImages
from advbench.config.goals import GoalSpec
from advbench.config.model_description import NOTHING, Description
from advbench.errors import UserError

SHAPES = ("square", "circle")
"""Shapes that a patch may have."""
PLACES = 100
"""Places on each picture at which a patch is measured, where there is one picture; of several, one on each."""
_UNTARGETED = GoalSpec("untargeted")


@dataclass(frozen=True, kw_only=True)
class PatchFit:
    """All that `advbench patch fit` is asked for."""

    paths: tuple[str | Path, ...]
    """Pictures and folders of pictures."""
    data: ChosenImages | None = None
    """Images of a data set, in place of such paths."""
    model: str = DEFAULT_MODEL
    """A name of `advbench models`."""
    weights: Path | None = None
    """A file with the model's weights, in place of the published ones."""
    about: Description = NOTHING
    """What is said of a model of the user's own that its file or function does not."""
    goal: GoalSpec = _UNTARGETED
    """Goal, which says what counts as fooled."""
    share: float = 0.05
    """Share of the image that the patch covers at its largest."""
    shape: str = "square"
    """Shape of the patch, one of `SHAPES`."""
    rotation: float = 20.0
    """Largest angle either way, degrees."""
    min_scale: float = 0.7
    """Smallest side as a fraction of the largest."""
    steps: int = 100
    """Number of gradient steps."""
    held_out: float = 0.2
    """Fraction of the pictures held out, to measure how often the patch fools."""
    batch_size: int = 16
    """Placed patches in a step."""
    seed: int = 0
    """Seed of all random draws."""
    device: str = "cpu"
    """Device to compute on."""
    out: Path = Path("reports/patch")
    """Folder for the results."""


@dataclass(frozen=True, kw_only=True)
class PatchUse:
    """All that `advbench patch eval` and `apply` are asked for."""

    patch: Path
    """File of the patch."""
    paths: tuple[str | Path, ...]
    """Pictures and folders of pictures."""
    data: ChosenImages | None = None
    """Images of a data set, in place of such paths."""
    model: str | None = None
    """A name of `advbench models`; None: the one it was made for."""
    weights: Path | None = None
    """A file with the model's weights."""
    about: Description = NOTHING
    """What is said of a model of the user's own that its file or function does not."""
    goal: GoalSpec | None = None
    """Goal, which says what counts as fooled; None: the goal of the fit."""
    places: int | None = None
    """Random places on each picture; None: one, or `PLACES` where there is one picture."""
    seed: int = 0
    """Seed of the places."""
    batch_size: int = 32
    """Number of pictures in a pass."""
    device: str = "cpu"
    """Device to compute on."""
    out: Path | None = field(default=None)
    """Folder for the results."""


def parse_share(text: str, *, option: str = "--share") -> float:
    """The share of a picture that a patch covers, as a person writes it: `5%` or `0.05`.

    Args:
        text: Percentage or fraction.
        option: Name of the option in messages.

    Raises:
        UserError: It is no number, not above zero, or more than the whole picture.

    Example:
        >>> parse_share("5%"), parse_share("0.05")
        (0.05, 0.05)
        >>> parse_share("0")
        Traceback (most recent call last):
        advbench.errors.UserError: --share 0 covers nothing
        write it like 5%
    """
    number, percent = (text.strip()[:-1], True) if text.strip().endswith("%") else (text, False)
    try:
        share = float(number) / (100 if percent else 1)
    except ValueError:
        raise UserError(f"{option} {text!r} is not a share of a picture", hint="write it like 5%") from None
    if not share > 0:
        raise UserError(f"{option} {text} covers nothing", hint="write it like 5%")
    if share > 1:
        hint = f"did you mean {option} {number}%?" if not percent and share <= 100 else "write it like 5%"
        raise UserError(f"{option} {text} is more than the whole picture", hint=hint)
    return share
