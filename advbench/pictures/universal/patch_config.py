"""Options for patches."""

from dataclasses import dataclass, field
from pathlib import Path

from advbench.catalog import DEFAULT_MODEL
from advbench.config.data.name import ChosenImages
from advbench.config.goals import GoalSpec
from advbench.config.model_description import NOTHING, Description

_UNTARGETED = GoalSpec("untargeted")


@dataclass(frozen=True, kw_only=True)
class PatchFit:
    """Options of `advbench patch fit`."""

    paths: tuple[str | Path, ...]
    """Pictures and folders of pictures."""
    data: ChosenImages | None = None
    """Images of a data set, in place of such paths."""
    model: str = DEFAULT_MODEL
    """A name of `advbench models`."""
    weights: Path | None = None
    """A file with the model's weights, replacing the published ones."""
    about: Description = NOTHING
    """What is said of a model of the user's own that its file or function does not."""
    goal: GoalSpec = _UNTARGETED
    """Goal, which defines what counts as fooled."""
    share: float = 0.05
    """Share of the image that the patch covers at its largest."""
    shape: str = "square"
    """Shape of the patch, square or circle."""
    rotation: float = 20.0
    """Largest rotation in either direction, degrees."""
    min_scale: float = 0.7
    """Smallest side length as a fraction of the largest."""
    steps: int = 200
    """Number of gradient steps."""
    held_out: float = 0.2
    """Fraction of the pictures held out, to measure the fooling rate of the patch."""
    batch_size: int = 8
    """Number of placed patches per step."""
    seed: int = 0
    """Seed of all random draws."""
    device: str = "cpu"
    """Device to compute on."""
    out: Path = Path("reports/patch")
    """Folder for the results."""


@dataclass(frozen=True, kw_only=True)
class PatchUse:
    """Options of `advbench patch eval` and `apply`."""

    patch: Path
    """File of the patch."""
    paths: tuple[str | Path, ...]
    """Pictures and folders of pictures."""
    data: ChosenImages | None = None
    """Images of a data set, in place of such paths."""
    model: str | None = None
    """A name of `advbench models`; None: the model it was made for."""
    weights: Path | None = None
    """A file with the model's weights."""
    about: Description = NOTHING
    """What is said of a model of the user's own that its file or function does not."""
    goal: GoalSpec | None = None
    """Goal, which defines what counts as fooled; None: the goal of the fit."""
    places: int | None = None
    """Number of random places on each picture; None: one, or many if there is a single picture."""
    seed: int = 0
    """Seed of the places."""
    batch_size: int = 32
    """Number of pictures per pass."""
    device: str = "cpu"
    """Device to compute on."""
    out: Path | None = field(default=None)
    """Folder for the results."""
