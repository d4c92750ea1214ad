"""Fits a universal perturbation to a folder of pictures: the implementation of `advbench universal fit`."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from advbench.catalog import DEFAULT_MODEL
from advbench.config.budgets import describe_norm
from advbench.config.data.name import ChosenImages
from advbench.config.goals import GoalSpec
from advbench.config.model_description import NOTHING, Description
from advbench.datasets.images.loader import PictureStream
from advbench.errors import UserError
from advbench.evaluation.goals import goal_maker
from advbench.evaluation.memory import keep_memory
from advbench.models import load_model
from advbench.models.classifier import Classifier
from advbench.models.thresholds import refuse_several
from advbench.pictures.attack import Progress
from advbench.pictures.choice import choose, refuse_own, suit
from advbench.pictures.files import as_perturbation, as_png
from advbench.pictures.universal.checkpoint import read_state, write_state
from advbench.pictures.universal.made_for import refuse_another, what_decides
from advbench.pictures.universal.measure import Measured, measured_on
from advbench.pictures.universal.panel import draw_universal, examples_of
from advbench.pictures.universal.streams import enough, split
from advbench.records.storage.atomic import folder_for_results, write_atomic
from attacks import NORMS, FitState, Perturbation, UniversalDeepFool, UniversalPerturbation
from attacks.standins.fast import fast, in_form

_UNTARGETED = GoalSpec("untargeted")
SAVE_EVERY = 25
"""Number of steps between two checkpoints."""


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """Options of `advbench universal fit`."""

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
    algorithm: str = "steps"
    """steps: :class:`attacks.UniversalPerturbation`; deepfool: the original, :class:`attacks.UniversalDeepFool`."""
    goal: GoalSpec = _UNTARGETED
    """Goal, which defines what counts as fooled."""
    norm: str = "linf"
    """Name of the norm, linf or l2."""
    eps: float = 10 / 255
    """Largest allowed size, image units."""
    steps: int = 800
    """Number of gradient steps; for deepfool, largest number of passes through the pictures."""
    held_out: float = 0.2
    """Fraction of the pictures held out, to choose the perturbation and to measure its fooling rate."""
    batch_size: int = 16
    """Number of pictures per step."""
    seed: int = 0
    """Seed of all random draws."""
    device: str = "cpu"
    """Device to compute on."""
    out: Path = Path("reports/universal-perturbation")
    """Folder for the results."""


def fit_perturbation(config: FitConfig, progress: Progress = lambda *_: None) -> Measured:
    """Fit a perturbation, or resume an interrupted fit, and measure it on the held-out pictures.

    The folder receives `checkpoint.safetensors` during the fit, then `perturbation.safetensors` with its card,
    `perturbation.png` and `panel.png`.

    Raises:
        UserError: No pictures, or too few; a goal that does not suit the model; a folder of another fit.
    """
    refuse_own(config.out, config.paths, config.data)
    found, dataset = choose(config.paths, config.data, config.seed)
    paths = enough(found.pictures, found.problems)
    progress(f"loading {config.model}", 0, config.steps)
    model = load_model(config.model, weights=config.weights, about=config.about, device=config.device)
    refuse_several(model.thresholds, config.model, "universal perturbations")
    if dataset is not None and config.data is not None:
        found, model = suit(found, dataset, config.data, model, config.model)
    fitted, kept = split(model, found, config)
    about = what_decides(config, _DECIDING, model, paths)
    with folder_for_results(config.out) as folder:
        refuse_another(folder / _FILE, about, Perturbation.load)
        delta = _fit(config, model, fitted, kept, _Checkpoint(folder / "checkpoint.safetensors", about), progress)
        measured = measured_on(model, delta.on_grid(), kept, config.goal)
        card = about | {"fitted_to": len(fitted), "held_out": _card(measured)}
        perturbation = replace(measured.perturbation, card=card)
        write_atomic(folder / _FILE, perturbation.as_bytes())
        write_atomic(folder / "perturbation.png", as_png(as_perturbation(perturbation.delta)))
        write_atomic(folder / "panel.png", draw_panel(model, next(iter(kept))[0][:_EXAMPLES], measured, perturbation))
        (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    problems = (*found.problems, *fitted.problems.values(), *kept.problems.values())
    return measured._replace(perturbation=perturbation, folder=folder, problems=problems)


def _fit(
    config: FitConfig,
    model: Classifier,
    fitted: PictureStream,
    kept: PictureStream,
    checkpoint: "_Checkpoint",
    progress: Progress,
) -> Perturbation:
    keep_memory(next(model.buffers()).device)
    norm, goal = NORMS[config.norm](), goal_maker(config.goal, model)
    if config.algorithm == "deepfool":
        progress("DeepFool, picture by picture", 0, config.steps)
        return UniversalDeepFool(norm=norm, eps=config.eps, goal=goal, passes=config.steps).fit(model, fitted)
    start, form = checkpoint.read()
    latest = start

    def on_step(state: FitState) -> None:
        nonlocal latest
        latest = state
        rate = f", fools {state.best_rate:.1%} of the pictures held out" if state.best_rate >= 0 else ""
        progress(f"step {state.step}{rate}", state.step, config.steps)
        if state.step % SAVE_EVERY == 0:
            checkpoint.write(state, quick.form)

    first = next(iter(fitted), None)
    if first is None:
        raise UserError("\n".join(str(problem) for problem in fitted.problems.values()))
    attack = UniversalPerturbation(norm=norm, eps=config.eps, goal=goal, steps=config.steps)
    quick = fast(model, first[0][:4]) if form is None else in_form(model, form, first[0][:4])
    try:
        return attack.fit(quick, fitted, held_out=kept, on_step=on_step, start=start, seed=config.seed)
    except KeyboardInterrupt:
        if latest is not None:
            checkpoint.write(latest, quick.form)
        raise


class _Checkpoint(NamedTuple):
    """Path of the checkpoint while a fit runs."""

    path: Path
    about: dict[str, Any]
    """Description of the fit; a checkpoint of another fit is rejected."""

    def read(self) -> tuple[FitState | None, str | None]:
        return read_state(self.path, self.about)

    def write(self, state: FitState, form: str) -> None:
        write_state(self.path, state, self.about, form)


_FILE = "perturbation.safetensors"
_DECIDING = ("model", "algorithm", "norm", "eps", "steps", "batch_size", "seed")


def _card(measured: Measured) -> dict[str, Any]:
    counts = measured.counts
    return {
        "images": counts.images,
        "changed": counts.changed,
        "met": counts.met,
        "dominant": [[name, count] for name, count in measured.classes[:10]],
    }


_EXAMPLES = 4


def draw_panel(model: Classifier, x: torch.Tensor, measured: Measured, perturbation: Perturbation) -> bytes:
    """Draw a perturbation and its effect on some images (n, C, H, W) as a PNG file."""
    x_adv = perturbation.apply(x)
    examples = examples_of(model, x, x_adv)
    counts, bound = measured.counts, describe_norm(perturbation.norm.name, perturbation.eps)
    title = f"{model.name} · {bound} · class changed on {counts.changed} of {counts.images}"
    dominant = measured.classes
    return draw_universal(title, as_perturbation(perturbation.delta), examples, dominant, counts.images)
