"""The form of a network in which attacks take their gradients: measured once on a machine, chosen once for a run."""

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
"""Name of the form that is the network as it is."""
LEAST = 5e5
"""Operations of a forward pass below which a network stays as it is: to try its forms would take too long for it."""
TRIED_SECONDS = 0.25
"""Expected time of one gradient of the images on which the forms are tried, on one core of `SPEED`."""
MOST_TRIED = 32
"""Largest number of images on which the forms are tried."""
WORTHWHILE_BATCH = 1.05
"""Least factor by which doubling a batch must speed up each image for it to be doubled."""
BRIEF = 0.005
"""Seconds of a gradient of one image below which a network that nothing is known of stays as it is: what its form saves
in an attack on some photographs is no more than it takes to make it."""
FIRST_PASSES = 100
"""Number of passes within which an attack asks for a faster form, if it ever does."""


class Choice(NamedTuple):
    """How a network is attacked."""

    form: str
    """Name of the form, one of :data:`attacks.speed.folding.FORMS`."""
    batch: int = 1
    """Batch size beyond which an image costs no less."""


AS_IT_IS = Choice(PLAIN)
"""The network as it is, in batches of any size."""


def choose_form(model: Classifier, images: Tensor, size: Footprint) -> Choice:
    """The form in which gradients of a network are fastest here, as :func:`attacks.fast` finds it.

    Args:
        model: Classifier to be attacked.
        images: Some images (N, C, H, W) of those to be attacked, on the model's device; a form has to say of them what
            the network says.
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
    """How fast each form of a network is here, as it was measured before, or is measured now.

    A form that was found before is compared with the network again, and all are measured anew if it says something
    else now. What is measured while threads get in each other's way is not kept, nor is that of a network whose code
    cannot be told from another's.

    Args:
        model: Classifier to be attacked.
        images: Some images (N, C, H, W) of those to be attacked.
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
    """The network in the form in which its gradients are fastest here, made and compared once.

    Where it was not measured before and no more than a form of float32 is wanted, only that one is tried: to measure
    all of them, and batches, takes as long as half of an attack on one photograph.

    Args:
        model: Classifier to be attacked.
        images: Some images (N, C, H, W) of those to be attacked, on the model's device.
        most: The most changed form that is wanted.

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
    """The network in a form, or as it is where that takes as long or is brief enough."""
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
    # Where images are cheap, units hold many of them anyway.
    batch = _least_batch(forms[form], image, MEMORY // max(1, size.kept)) if count < MOST_TRIED else 1
    return Calibration(setting=setting, model=model.name, form=form, batch=batch, seconds=taken)


def _least_batch(model: Fast, image: Tensor, most: int) -> int:
    """Batch size beyond which an image costs no less; at most `MOST_TRIED`, and as many as memory allows."""
    count, taken = 1, seconds(model, image.unsqueeze(0))
    while 2 * count <= min(most, MOST_TRIED):
        more = seconds(model, image.expand(2 * count, *image.shape).contiguous()) / (2 * count)
        if more * WORTHWHILE_BATCH > taken:
            break
        count, taken = 2 * count, more
    return count


def crowded() -> bool:
    """Whether torch's threads get in each other's way here: several take longer than one.

    So they do where other programs want the same cores.
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
    """The most changed of the forms of a network in which an attack takes gradients, where there is one.

    Args:
        name: Registry name of the attack.
        attack: The attack, which is run on a tiny model.
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
    """How each of some models of the table is attacked here, and why, in words.

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
