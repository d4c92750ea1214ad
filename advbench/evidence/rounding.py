"""Searches, with the model, for 8-bit images where rounding undoes an attack or makes its perturbation too large."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from advbench.analysis.threats import Threat, within
from advbench.catalog.plugins import load_plugins
from advbench.config.data.paths import paths_from_elsewhere
from advbench.config.suite_files import refuse_code
from advbench.evidence.checking import BATCH, as_tensor, goal_of
from advbench.evidence.gathering import Carried, Goal, Kept, KeptImage, Search, as_levels, images_of
from advbench.evidence.standalone import size_of
from advbench.models.classifier import Classifier
from advbench.planning.resources import Resources
from advbench.records.stored_run import StoredRun
from advbench.records.unit import Unit
from attacks import NORMS
from attacks.geometry.quantize import quantize
from attacks.queries.answers import ask


def searcher(
    models: Mapping[str, Classifier] | None = None, plugins: Sequence[str] = (), *, allow_code: bool = False
) -> Search:
    """Make the function that :func:`advbench.evidence.build.make_archive` calls to recover images that rounding lost.

    Args:
        models: Label -> classifier, for models that were given to the run as objects.
        plugins: Names of plugin modules, as given to the run.
        allow_code: Whether the code of the user's own models may be run: the folder may come from a stranger.
    """

    def search(run: StoredRun, units: Sequence[Unit], kept: Kept, goals: Mapping[Threat, Goal]) -> None:
        load_plugins(plugins)
        if not (models or allow_code):
            refuse_code(run.suite)
        resources = Resources(run.suite, models)
        for unit in units:
            lost = kept.lost.get(Threat(*unit.threat), {})
            places = {place for each in lost.values() for unit_id, place in each if unit_id == unit.unit_id}
            images = [each for each in images_of(run, unit) if each.place in places] if places else []
            for start in range(0, len(images), BATCH):
                with paths_from_elsewhere(run.suite, run.folder):
                    model = resources.judged(unit.model, unit.dataset)
                _search(images[start : start + BATCH], Threat(*unit.threat), kept, goals, model)

    return search


def _search(
    images: Sequence[KeptImage], threat: Threat, kept: Kept, goals: Mapping[Threat, Goal], model: Classifier
) -> None:
    """Round some images with a search, and keep those that meet the goal."""
    decides, device = goals[threat], next(model.buffers()).device
    labels = [None if each.row["label"] is None else int(each.row["label"]) for each in images]
    clean = [kept.clean[each.sample] for each in images]
    goal = goal_of(decides.goal, labels, torch.from_numpy(np.stack([each.clean for each in images])))
    x, x_adv = as_tensor(clean).to(device), torch.from_numpy(np.stack([each.x_adv for each in images])).to(device)
    norm = NORMS[threat.norm]()
    sizes = norm.measure(torch.from_numpy(np.stack([each.x_adv - each.x for each in images]))).tolist()
    bounds = [_bound(size, decides.levels) for size in sizes]
    eps = None if None in bounds else torch.tensor(bounds, device=device)
    found = as_levels(quantize(model, x, x_adv, goal, norm, eps=eps).cpu().numpy())
    with torch.no_grad():
        margins = goal.margin(ask(model, as_tensor([*found]).to(device)).cpu()).tolist()
    for each, before, image, margin in zip(images, clean, found, margins, strict=True):
        size = size_of(image.astype(np.int64) - before, threat.norm)
        if margin < 0 and (rank := decides.rank(size, margin)) is not None:
            kept.offer(threat, each.sample, Carried(image, size, rank))


def _bound(size: float, levels: Sequence[float | None]) -> float | None:
    """The smallest budget that a perturbation fits in; None: no bound, or larger than all of them."""
    return next((eps for eps in levels if within(np.array(size), eps)), levels[-1])
