"""Makes a patch for a folder of pictures, or for a single one: the implementation of `advbench patch fit`."""

import json
from dataclasses import replace
from typing import Any

import torch

from advbench.config.masks import PLACES
from advbench.errors import UserError
from advbench.evaluation.goals import goal_maker
from advbench.evaluation.memory import keep_memory
from advbench.pictures.attack import Progress
from advbench.pictures.universal.made_for import refuse_another, what_decides
from advbench.pictures.universal.options import Fit
from advbench.pictures.universal.patch_measure import PANEL, PatchMeasured, check_room, draw_panel, measured_on
from advbench.pictures.universal.streams import Loaded, load
from advbench.records.storage.atomic import folder_for_results, write_atomic
from attacks import Placing, Sticker, UniversalPatch
from attacks.standins.fast import fast

FILE, CARD = "patch.png", "card.json"
"""File names of a patch: its picture, which is all that is needed, and its card as a readable file."""


def fit_patch(fit: Fit, placing: Placing, progress: Progress = lambda *_: None) -> PatchMeasured:
    """Make a patch, and measure it on the held-out pictures; for a single picture, at other places on it.

    The folder receives `patch.png`, which can be printed and contains its card, `card.json` and `panel.png`.

    Raises:
        UserError: No pictures; a goal that does not suit the model; a patch larger than the model's input; a
            folder of another fit.
    """
    loaded = load(fit, progress, lambda model: check_room(placing, model), least=1)
    about = what_decides(fit, _parameters(placing), loaded) | {"torch": torch.__version__}
    with folder_for_results(fit.out) as folder:
        refuse_another(folder / FILE, about, Sticker.load)
        sticker = _fitted(fit, placing, loaded, progress)
        places = PLACES if len(loaded.chosen.pictures) == 1 else 1
        measured = measured_on(loaded.model, sticker, loaded.kept, fit.goal, places=places, seed=fit.seed)
        card = about | {"fitted_to": len(loaded.fitted), "held_out": _result(measured)}
        measured = measured._replace(sticker=replace(sticker, card=card))
        write_atomic(folder / FILE, measured.sticker.as_bytes())
        write_atomic(folder / CARD, (json.dumps(card, indent=1) + "\n").encode())
        shown = next(iter(loaded.kept))[0]
        write_atomic(folder / PANEL, draw_panel(loaded.model, shown, measured, seed=fit.seed))
    return measured._replace(folder=folder, problems=loaded.problems())


def _fitted(fit: Fit, placing: Placing, loaded: Loaded, progress: Progress) -> Sticker:
    keep_memory(next(loaded.model.buffers()).device)
    some, goal = loaded.some(), goal_maker(fit.goal, loaded.model)
    attack = UniversalPatch(placing=placing, goal=goal, steps=fit.steps, views=fit.batch_size)

    def on_step(step: int, loss: float) -> None:
        progress(f"step {step}, loss {loss:.2f}", step, fit.steps)

    try:
        return attack.fit(fast(loaded.model, some), loaded.fitted, on_step=on_step, seed=fit.seed)
    except ValueError as error:
        raise UserError(f"no patch can be made from these pictures: {error}") from None


def _parameters(placing: Placing) -> dict[str, Any]:
    """The patch's parameters, as its card has them."""
    rotation, min_scale = placing.max_rotation, placing.min_scale
    return {"share": placing.share, "shape": placing.shape, "rotation": rotation, "min_scale": min_scale}


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
