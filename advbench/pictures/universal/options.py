"""Options of universal perturbations and patches."""

from dataclasses import dataclass
from pathlib import Path

from advbench.catalog import DEFAULT_MODEL
from advbench.config.data.name import ChosenImages
from advbench.config.goals import GoalSpec
from advbench.config.model_description import NOTHING, Description

_UNTARGETED = GoalSpec("untargeted")


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Options that `advbench universal fit` and `advbench patch fit` share."""

    paths: tuple[str | Path, ...]
    """Pictures and folders of pictures."""
    data: ChosenImages | None = None
    """Images of a data set, instead of such paths."""
    model: str = DEFAULT_MODEL
    """A name of `advbench models`."""
    weights: Path | None = None
    """A file with the model's weights, replacing the published ones."""
    about: Description = NOTHING
    """Description of the user's own model, beyond what its file or function says."""
    goal: GoalSpec = _UNTARGETED
    """Goal, which defines what counts as fooled."""
    steps: int
    """Number of gradient steps; for DeepFool, largest number of passes through the pictures."""
    held_out: float = 0.2
    """Fraction of the pictures held out, to measure the fooling rate on them."""
    batch_size: int
    """Number of pictures, or of placed patches, per step."""
    seed: int = 0
    """Seed of all random draws."""
    device: str = "cpu"
    """Device to compute on."""
    out: Path
    """Folder for the results."""


@dataclass(frozen=True, kw_only=True)
class PatchUse:
    """Options of `advbench patch eval` and `apply`."""

    patch: Path
    """File of the patch."""
    paths: tuple[str | Path, ...]
    """Pictures and folders of pictures."""
    data: ChosenImages | None = None
    """Images of a data set, instead of such paths."""
    model: str | None = None
    """A name of `advbench models`; None: the model it was made for."""
    weights: Path | None = None
    """A file with the model's weights."""
    about: Description = NOTHING
    """Description of the user's own model, beyond what its file or function says."""
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
    out: Path | None = None
    """Folder for the results."""
