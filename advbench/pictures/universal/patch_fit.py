"""Make a patch for a folder of pictures, or for one: behind `advbench patch fit`."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from advbench import __version__
from advbench.config.masks import PLACES
from advbench.datasets.images.loader import PictureStream, files_digest
from advbench.errors import UserError
from advbench.evaluation.goals import goal_maker
from advbench.evaluation.memory import keep_memory
from advbench.evaluation.recording import short_digest
from advbench.models import load_model
from advbench.models.classifier import Classifier
from advbench.pictures.attack import Progress
from advbench.pictures.choice import Choice, choose, suit
from advbench.pictures.universal.measure import enough, stream_of
from advbench.pictures.universal.patch_config import PatchFit
from advbench.pictures.universal.patch_measure import PANEL, PatchMeasured, check_room, draw_panel, measured_on
from advbench.planning.identity.run import model_digest
from advbench.records.storage.atomic import folder_for_results, write_atomic
from attacks import Placing, Sticker, UniversalPatch
from attacks.standins.fast import fast

FILE, CARD = "patch.png", "card.json"
"""Names of the files of a patch: its picture, which is all that is needed, and its card to be read."""


def fit_patch(config: PatchFit, progress: Progress = lambda *_: None) -> PatchMeasured:
    """Make a patch, and measure it on the pictures held out; of one picture, at other places of the same.

    The folder receives `patch.png`, which can be printed and has its card in it, `card.json` and `panel.png`.

    Raises:
        UserError: No pictures; a goal that the model cannot have; a patch larger than the model's input.
    """
    found, dataset = choose(config.paths, config.data, config.seed)
    paths = enough(found.pictures, found.problems, least=1)
    progress(f"loading {config.model}", 0, config.steps)
    model = load_model(config.model, weights=config.weights, about=config.about, device=config.device)
    placing = Placing(share=config.share, shape=config.shape, max_rotation=config.rotation, min_scale=config.min_scale)
    check_room(placing, model)
    if dataset is not None and config.data is not None:
        found, model = suit(found, dataset, config.data, model, config.model)
    fitted, kept = _split(model, found, config)
    with folder_for_results(config.out) as folder:
        sticker = _fit(config, model, fitted, placing, progress)
        places = PLACES if len(paths) == 1 else 1
        measured = measured_on(model, sticker, kept, config.goal, places=places, seed=config.seed)
        card = _about(config, model, paths) | {"fitted_to": len(fitted), "held_out": _result(measured)}
        measured = measured._replace(sticker=replace(sticker, card=card))
        write_atomic(folder / FILE, measured.sticker.as_bytes())
        write_atomic(folder / CARD, (json.dumps(card, indent=1) + "\n").encode())
        write_atomic(folder / PANEL, draw_panel(model, next(iter(kept))[0], measured, seed=config.seed))
    problems = {**fitted.problems, **kept.problems}
    return measured._replace(folder=folder, problems=(*found.problems, *problems.values()))


def _fit(config: PatchFit, model: Classifier, fitted: PictureStream, placing: Placing, progress: Progress) -> Sticker:
    keep_memory(next(model.buffers()).device)
    first = next(iter(fitted), None)
    if first is None:
        raise UserError("\n".join(str(problem) for problem in fitted.problems.values()))
    attack = UniversalPatch(
        placing=placing, goal=goal_maker(config.goal, model), steps=config.steps, views=config.batch_size
    )

    def on_step(step: int, loss: float) -> None:
        progress(f"step {step}, loss {loss:.2f}", step, config.steps)

    try:
        return attack.fit(fast(model, first[0][:4]), fitted, on_step=on_step, seed=config.seed)
    except ValueError as error:
        raise UserError(f"no patch can be made of these pictures: {error}") from None


def _split(model: Classifier, found: Choice, config: PatchFit) -> tuple[PictureStream, PictureStream]:
    """The pictures to fit to, and those held out; one picture is both."""
    order = sorted(found.pictures, key=lambda path: path.as_posix())
    random.Random(config.seed).shuffle(order)  # noqa: S311 - no secret
    count = max(1, round(config.held_out * len(order))) if len(order) > 1 else 0
    fitted, kept = tuple(order[count:]), tuple(order[:count] or order)
    return (
        stream_of(model, fitted, config.batch_size, seed=config.seed, read=found.read),
        stream_of(model, kept, config.batch_size, read=found.read),
    )


def _about(config: PatchFit, model: Classifier, paths: tuple[Path, ...]) -> dict[str, Any]:
    """What decided a fit, as JSON holds it."""
    given = {name: getattr(config, name) for name in _DECIDING}
    given |= {"about": said} if (said := config.about.said()) else {}
    return given | {
        "goal": str(config.goal),
        "weights": model_digest(model),
        "data": files_digest(paths) if config.data is None else short_digest(str(config.data), *map(str, paths)),
        "pictures": len(paths),
        "advbench": __version__,
        "torch": torch.__version__,
    }


_DECIDING = ("model", "share", "shape", "rotation", "min_scale", "steps", "held_out", "batch_size", "seed")


def _result(measured: PatchMeasured) -> dict[str, Any]:
    counts, share = measured.counts, measured.met(measured.counts)
    return {
        "pictures": measured.pictures,
        "placed": counts.images,
        "met": counts.met,
        "pointless": counts.pointless,
        "success": share.rate,
        "interval": [share.low, share.high],
        "random_colours_met": measured.noise.met,
        "dominant": [[name, count] for name, count in measured.classes[:10]],
    }
