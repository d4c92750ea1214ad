"""The form of a network in which attacks compute gradients: measured once per machine, chosen once per run."""

import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from advbench import __version__
from advbench.catalog import ATTACKS
from advbench.errors import first_line
from advbench.models import load_model
from advbench.models.classifier import Classifier
from advbench.planning.cost.footprint import MEMORY, SPEED, Footprint, footprint
from advbench.planning.cost.passes import passes_of
from advbench.planning.forms.form_cache import Calibration, Setting, keep, recall
from advbench.planning.identity.environment import processor
from advbench.planning.identity.network import program_digest
from advbench.planning.identity.run import model_digest
from attacks import Attack, Fast
from attacks.queries.derivatives import has_gradient
from attacks.speed.folding import EXACT, FORMS, milder
from attacks.standins.fast import fastest, in_form, seconds, usable

PLAIN = FORMS[0]
"""Name of the unchanged network's form."""
LEAST = 5e5
"""Operations per forward pass below which a network stays unchanged: trying its forms would not pay off."""
TRIED_SECONDS = 0.25
"""Expected time of one gradient for the images on which the forms are tried, on one core of `SPEED`."""
MOST_TRIED = 32
"""Largest number of images on which the forms are tried."""
WORTHWHILE_BATCH = 1.05
"""Smallest speed-up per image for which the batch size is doubled."""
BRIEF = 0.005
"""Seconds per gradient of one image below which an unmeasured network stays unchanged: in an attack on a few
photographs, a form would save no more time than it takes to make."""
FIRST_PASSES = 100
"""Number of passes within which an attack requests a faster form, if it ever does."""


class Choice(NamedTuple):
    """The form and batch size with which a network is attacked."""

    form: str
    """Name of the form, one of :data:`attacks.speed.folding.FORMS`."""
    batch: int = 1
    """Batch size above which the cost per image no longer falls."""


AS_IT_IS = Choice(PLAIN)
"""The unchanged network, in batches of any size."""


def choose_form(model: Classifier, images: Tensor, size: Footprint) -> Choice:
    """The form in which a network's gradients are fastest here, as found by :func:`attacks.fast`.

    Args:
        model: Classifier to be attacked.
        images: Some of the images to be attacked (N, C, H, W), on the model's device; a form must give the network's
            predictions for them.
        size: Cost of one image.

    Example:
        >>> model = Classifier(torch.nn.Flatten(), num_classes=12)
        >>> choose_form(model, torch.zeros(1, 3, 2, 2), Footprint(flops=120.0, kept=0, weights=0))
        Choice(form='plain', batch=1)
    """
    if size.flops < LEAST or not has_gradient(model, images[:1]):
        return AS_IT_IS
    found = calibrated(model, images, size)
    return Choice(found.form, found.batch)


def calibrated(model: Classifier, images: Tensor, size: Footprint) -> Calibration:
    """Measure how fast each form of a network is here, or return an earlier measurement.

    A form that was chosen before is compared with the network again; if its predictions differ now, all forms are
    measured again. Measurements are not cached if threads compete for cores, or if the network's code cannot be
    identified.

    Args:
        model: Classifier to be attacked.
        images: Some of the images to be attacked (N, C, H, W).
        size: Cost of one image.
    """
    program = program_digest(model)
    setting = _setting(model, images[0], program or "")
    found = recall(setting) if program else None
    if found is None or in_form(model, found.form, images).form != found.form:
        found = _measured(model, images, size, setting)
        if program and not crowded():
            keep(found)
    return found


def fastest_here(model: Classifier, images: Tensor, most: str) -> Fast:
    """The network in the form in which its gradients are fastest here, built and checked once.

    If it has not been measured before and only a float32 form is wanted, just that one is tried: measuring all forms
    and batch sizes takes half as long as an attack on one photograph.

    Args:
        model: Classifier to be attacked.
        images: Some of the images to be attacked (N, C, H, W), on the model's device.
        most: The most aggressive form allowed.

    Example:
        >>> fastest_here(Classifier(torch.nn.Flatten(), num_classes=12), torch.zeros(1, 3, 2, 2), "bfloat16").form
        'plain'
    """
    program = program_digest(model)
    known = recall(_setting(model, images[0], program)) if program else None
    if known is not None:
        found = in_form(model, milder(known.form, most), images)
        if found.form == milder(known.form, most):
            return found
    elif FORMS.index(most) <= FORMS.index(EXACT):
        return _if_faster(model, images, most)
    chosen = choose_form(model, images, footprint(model, images[0]))
    return in_form(model, milder(chosen.form, most), images)


def _if_faster(model: Classifier, images: Tensor, form: str) -> Fast:
    """The network in a form, or unchanged if the form is no faster or the network is fast enough."""
    plain = in_form(model, PLAIN, images)
    if not has_gradient(model, images[:1]) or (taken := seconds(plain, images[:1])) < BRIEF:
        return plain
    found = in_form(model, form, images)
    quicker = found.form != PLAIN and fastest({PLAIN: taken, form: seconds(found, images[:1])}) == form
    return found if quicker else plain


def _setting(model: Classifier, image: Tensor, program: str) -> Setting:
    return Setting(
        weights=model_digest(model),
        program=program,
        image=tuple(image.shape),
        device=torch.cuda.get_device_name(image.device) if image.is_cuda else processor(),
        threads=torch.get_num_threads(),
        versions=f"torch {torch.__version__}, advbench {__version__}",
    )


def _measured(model: Classifier, images: Tensor, size: Footprint, setting: Setting) -> Calibration:
    count, image = max(1, min(MOST_TRIED, int(TRIED_SECONDS * SPEED / (3 * size.flops)))), images[0]
    tried = image.expand(count, *image.shape).contiguous()
    forms = {each.form: each for each in usable(model, images)}
    taken = {form: seconds(each, tried) / count for form, each in forms.items()}
    form = fastest(taken)
    # If images are cheap, units contain many of them anyway.
    batch = _least_batch(forms[form], image, MEMORY // max(1, size.kept)) if count < MOST_TRIED else 1
    return Calibration(setting=setting, model=model.name, form=form, batch=batch, seconds=taken)


def _least_batch(model: Fast, image: Tensor, most: int) -> int:
    """Batch size above which the cost per image no longer falls; at most `MOST_TRIED`, and as memory allows."""
    count, taken = 1, seconds(model, image.unsqueeze(0))
    while 2 * count <= min(most, MOST_TRIED):
        more = seconds(model, image.expand(2 * count, *image.shape).contiguous()) / (2 * count)
        if more * WORTHWHILE_BATCH > taken:
            break
        count, taken = 2 * count, more
    return count


def crowded() -> bool:
    """Whether torch's threads compete with others here, so that several take longer than one.

    This happens when other programs use the same cores.
    """
    threads, x = torch.get_num_threads(), torch.rand(384, 384)

    def shortest(count: int) -> float:
        torch.set_num_threads(count)
        taken = []
        for _ in range(5):
            start = time.perf_counter()
            x @ x
            taken.append(time.perf_counter() - start)
        return sorted(taken)[2]

    try:
        return threads > 1 and shortest(threads) > shortest(1)
    finally:
        torch.set_num_threads(threads)


def roughest_form(name: str, attack: Attack, goal: str) -> str:
    """The most aggressive network form in which an attack computes gradients, if it exists.

    Args:
        name: Registry name of the attack.
        attack: The attack, run on a tiny model.
        goal: Kind of a goal that it takes.

    Example:
        >>> from attacks import FAB, FMN, PGD
        >>> [roughest_form(*each, "untargeted") for each in (("pgd", PGD()), ("fmn", FMN()), ("fab", FAB()))]
        ['bfloat16', 'channels_last', 'plain']
    """
    target = ATTACKS[name].target
    if not target.startswith("attacks.") or target.startswith("attacks.foolbox:"):
        return PLAIN
    return passes_of(attack, goal, most=FIRST_PASSES).form


def try_models(names: Iterable[str]) -> Iterator[str]:
    """Describe how each of some catalogue models is attacked here, and why.

    Args:
        names: Registry names of the models.
    """
    for name in names:
        model = load_model(name)
        image = torch.rand(3 if len(model.mean) == 3 else 1, *model.sides(otherwise=32))
        try:
            size = footprint(model, image)
        except (RuntimeError, ValueError) as error:
            yield f"{name}: plain, it cannot be tried: {first_line(error)}"
            continue
        if next(model.parameters(), None) is None:
            yield f"{name}: plain, it is not a network"
        elif size.flops < LEAST:
            yield f"{name}: plain, it has few operations ({size.flops / 1e6:.1f} million a pass)"
        else:
            yield calibrated(model, image.unsqueeze(0), size).describe()
