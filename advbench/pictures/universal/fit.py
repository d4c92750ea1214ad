"""Fits a universal perturbation to a folder of pictures: the implementation of `advbench universal fit`."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from advbench.config.budgets import describe_norm
from advbench.evaluation.goals import goal_maker
from advbench.evaluation.memory import keep_memory
from advbench.models.classifier import Classifier
from advbench.models.thresholds import refuse_several
from advbench.pictures.attack import Progress
from advbench.pictures.files import as_perturbation, as_png
from advbench.pictures.universal.checkpoint import read_state, write_state
from advbench.pictures.universal.made_for import refuse_another, what_decides
from advbench.pictures.universal.measure import Measured, measured_on
from advbench.pictures.universal.options import Fit
from advbench.pictures.universal.panel import draw_universal, examples_of
from advbench.pictures.universal.streams import Loaded, load
from advbench.records.storage.atomic import folder_for_results, write_atomic
from attacks import NORMS, FitState, Perturbation, UniversalDeepFool, UniversalPerturbation
from attacks.standins.fast import fast, in_form

SAVE_EVERY = 25
"""Number of steps between two checkpoints."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """How a universal perturbation is fitted, and how large it may be."""

    algorithm: str = "steps"
    """steps: :class:`attacks.UniversalPerturbation`; deepfool: the original, :class:`attacks.UniversalDeepFool`."""
    norm: str = "linf"
    """Name of the norm, linf or l2."""
    eps: float = 10 / 255
    """Largest allowed size, image units."""


def fit_perturbation(fit: Fit, method: Method, progress: Progress = lambda *_: None) -> Measured:
    """Fit a perturbation, or resume an interrupted fit, and measure it on the held-out pictures.

    The folder receives `checkpoint.safetensors` during the fit, then `perturbation.safetensors` with its card,
    `perturbation.png` and `panel.png`.

    Raises:
        UserError: No pictures, or too few; a goal that does not suit the model; a folder of another fit.
    """
    loaded = load(fit, progress, lambda model: refuse_several(model.thresholds, fit.model, "universal perturbations"))
    about = what_decides(fit, asdict(method), loaded)
    with folder_for_results(fit.out) as folder:
        refuse_another(folder / _FILE, about, Perturbation.load)
        checkpoint = _Checkpoint(folder / "checkpoint.safetensors", about)
        delta = _fitted(fit, method, loaded, checkpoint, progress)
        measured = measured_on(loaded.model, delta.on_grid(), loaded.kept, fit.goal)
        card = about | {"fitted_to": len(loaded.fitted), "held_out": _card(measured)}
        perturbation = replace(measured.perturbation, card=card)
        write_atomic(folder / _FILE, perturbation.as_bytes())
        write_atomic(folder / "perturbation.png", as_png(as_perturbation(perturbation.delta)))
        shown = next(iter(loaded.kept))[0][:_EXAMPLES]
        write_atomic(folder / "panel.png", draw_panel(loaded.model, shown, measured, perturbation))
        checkpoint.path.unlink(missing_ok=True)
    return measured._replace(perturbation=perturbation, folder=folder, problems=loaded.problems())


def _fitted(fit: Fit, method: Method, loaded: Loaded, checkpoint: "_Checkpoint", progress: Progress) -> Perturbation:
    model, norm, goal = loaded.model, NORMS[method.norm](), goal_maker(fit.goal, loaded.model)
    keep_memory(next(model.buffers()).device)
    if method.algorithm == "deepfool":
        progress("DeepFool, picture by picture", 0, fit.steps)
        return UniversalDeepFool(norm=norm, eps=method.eps, goal=goal, passes=fit.steps).fit(model, loaded.fitted)
    start, form = checkpoint.read()
    latest = start

    def on_step(state: FitState) -> None:
        nonlocal latest
        latest = state
        rate = f", fools {state.best_rate:.1%} of the pictures held out" if state.best_rate >= 0 else ""
        progress(f"step {state.step}{rate}", state.step, fit.steps)
        if state.step % SAVE_EVERY == 0:
            checkpoint.write(state, quick.form)

    attack = UniversalPerturbation(norm=norm, eps=method.eps, goal=goal, steps=fit.steps)
    some = loaded.some()
    quick = fast(model, some) if form is None else in_form(model, form, some)
    try:
        return attack.fit(quick, loaded.fitted, held_out=loaded.kept, on_step=on_step, start=start, seed=fit.seed)
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
