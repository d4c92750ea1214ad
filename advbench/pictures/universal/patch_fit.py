"""Makes a patch for a folder of pictures, or for a single one: the implementation of `advbench patch fit`."""

import json
from dataclasses import replace
from typing import Any

import torch

from advbench.config.masks import PLACES
from advbench.datasets.images.loader import PictureStream
from advbench.errors import UserError
from advbench.evaluation.goals import goal_maker
from advbench.evaluation.memory import keep_memory
from advbench.models import load_model
from advbench.models.classifier import Classifier
from advbench.pictures.attack import Progress
from advbench.pictures.choice import choose, refuse_own, suit
from advbench.pictures.universal.made_for import refuse_another, what_decides
from advbench.pictures.universal.patch_config import PatchFit
from advbench.pictures.universal.patch_measure import PANEL, PatchMeasured, check_room, draw_panel, measured_on
from advbench.pictures.universal.streams import enough, split
from advbench.records.storage.atomic import folder_for_results, write_atomic
from attacks import Placing, Sticker, UniversalPatch
from attacks.standins.fast import fast

FILE, CARD = "patch.png", "card.json"
"""File names of a patch: its picture, which is all that is needed, and its card as a readable file."""


def fit_patch(config: PatchFit, progress: Progress = lambda *_: None) -> PatchMeasured:
    """Make a patch, and measure it on the held-out pictures; for a single picture, at other places on it.

    The folder receives `patch.png`, which can be printed and contains its card, `card.json` and `panel.png`.

    Raises:
        UserError: No pictures; a goal that does not suit the model; a patch larger than the model's input; a
            folder of another fit.
    """
    refuse_own(config.out, config.paths, config.data)
    found, dataset = choose(config.paths, config.data, config.seed)
    paths = enough(found.pictures, found.problems, least=1)
    progress(f"loading {config.model}", 0, config.steps)
    model = load_model(config.model, weights=config.weights, about=config.about, device=config.device)
    placing = Placing(share=config.share, shape=config.shape, max_rotation=config.rotation, min_scale=config.min_scale)
    check_room(placing, model)
    if dataset is not None and config.data is not None:
        found, model = suit(found, dataset, config.data, model, config.model)
    fitted, kept = split(model, found, config)
    about = what_decides(config, _DECIDING, model, paths) | {"torch": torch.__version__}
    with folder_for_results(config.out) as folder:
        refuse_another(folder / FILE, about, Sticker.load)
        sticker = _fit(config, model, fitted, placing, progress)
        places = PLACES if len(paths) == 1 else 1
        measured = measured_on(model, sticker, kept, config.goal, places=places, seed=config.seed)
        card = about | {"fitted_to": len(fitted), "held_out": _result(measured)}
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
        raise UserError(f"no patch can be made from these pictures: {error}") from None


_DECIDING = ("model", "share", "shape", "rotation", "min_scale", "steps", "batch_size", "seed")


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
