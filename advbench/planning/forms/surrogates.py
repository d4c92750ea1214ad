"""Surrogates: models attacked instead of the judged one, loaded, checked, and adapted to the judged model's images."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from advbench.catalog import MODELS
from advbench.config.models.surrogate import SurrogateSpec
from advbench.config.suite import Suite
from advbench.errors import UserError
from advbench.models.classifier import Classifier
from advbench.models.resized import resized
from advbench.models.trial import try_model
from advbench.planning.cells import PlannedAttack
from advbench.planning.cost.footprint import Footprint, footprint
from advbench.planning.forms.fast_forms import AS_IT_IS, Choice, choose_form
from advbench.planning.resources import Resources
from advbench.records.unit import digest
from attacks import Model, ensemble


class StandIn(NamedTuple):
    """A surrogate for one model on one data set, as used in planning."""

    size: Footprint
    """Cost of one image, summed over all members."""
    choice: Choice
    """Form in which its gradients are fastest here."""
    digest: str
    """Digest of its members and of the way they are averaged."""


def surrogate_model(resources: Resources, spec: SurrogateSpec, model: str, dataset: str, form: str, x: Tensor) -> Model:
    """A surrogate that takes the images of the judged model.

    If its input size differs, images are resized inside it, so that perturbations apply to the model's images.

    Args:
        resources: Models of the suite.
        spec: Surrogate, as specified in the suite.
        model: Label of the model that is judged.
        dataset: Label of the data set.
        form: Form of its members for computing gradients.
        x: Images of the model (N, C, H, W), on which the form is tried.
    """
    members = []
    for each in spec.models:
        sides = resources.judged(each.label, dataset).sides(_sides(x))
        fast = resources.fast(each.label, dataset, form, _shown(x, sides))
        members.append(fast if sides == _sides(x) else resized(fast, sides))
    return members[0] if len(members) == 1 else ensemble(members, spec.average)


def stand_ins(
    suite: Suite,
    resources: Resources,
    cells: Iterable[PlannedAttack],
    where: tuple[str, str],
    images: Tensor,
    forms: Mapping[str, Choice],
) -> tuple[dict[str | None, StandIn], dict[str, Choice]]:
    """The checked surrogates for the attacks on a model, and the forms of their members.

    Args:
        suite: Suite to run.
        resources: Models of the suite, loaded on demand.
        cells: Attacks of the model on the data set.
        where: Labels of model and data set.
        images: Some of its images (N, C, H, W), on the device.
        forms: Forms to keep, from the identity of an earlier plan; all others are chosen for this machine.

    Returns:
        Label -> surrogate, and name of each surrogate here -> form of its members.

    Raises:
        UserError: A surrogate has different classes than the model, or cannot process its images.
    """
    found, chosen = dict[str | None, StandIn](), dict[str, Choice]()
    labels = dict.fromkeys(cell.surrogate for cell in cells)
    for spec in (suite.surrogate(label) for label in labels if label is not None):
        members = [_member(resources, spec, each.label, where, images[0]) for each in spec.models]
        sizes = [footprint(net, _shown(images[:1], net.sides(_sides(images)))[0]) for net in members]
        size = Footprint(
            flops=sum(each.flops for each in sizes),
            kept=sum(each.kept for each in sizes),
            weights=sum(each.weights for each in sizes),
            image=images[0].nbytes,
        )
        name = f"surrogate {spec.label} for {where[0]} on {where[1]}"
        choice = AS_IT_IS
        if not suite.precise:
            largest = max(range(len(members)), key=lambda i: sizes[i].flops)
            shown = _shown(images, members[largest].sides(_sides(images)))
            choice = forms.get(name) or choose_form(members[largest], shown, sizes[largest])
            chosen[name] = choice
        parts = {"members": [resources.digest(each.label) for each in spec.models], "average": spec.average}
        found[spec.label] = StandIn(size, choice, digest(parts))
    return found, chosen


def _member(resources: Resources, spec: SurrogateSpec, label: str, where: tuple[str, str], image: Tensor) -> Classifier:
    """A member of a surrogate, after checking that it has the model's classes and accepts its images."""
    model, dataset = where
    judged, net = resources.judged(model, dataset), resources.judged(label, dataset)
    told = f"surrogate {spec.label!r} does not fit the model {model!r} on {dataset}"
    hint = "use a surrogate for the same data, or remove that model or data set"
    if net.several or judged.several:
        raise UserError(f"{told}: {label if net.several else model} has several labels for each image", hint=hint)
    names = {each.label: each.name for each in resources.suite.every_model}
    kinds = [MODELS[name].data for name in (names[model], names[label]) if name in MODELS]
    if len(kinds) == 2 and kinds[0] != kinds[1]:
        raise UserError(f"{told}: {label} is for {kinds[1]}, and {model} for {kinds[0]}", hint=hint)
    if net.num_classes != judged.num_classes:
        raise UserError(
            f"{told}: {label} has {net.num_classes} classes, and {model} has {judged.num_classes}", hint=hint
        )
    if net.classes != judged.classes and set(net.classes) == set(judged.classes):
        raise UserError(f"{told}: {label} has the classes of {model} in another order", hint=hint)
    try:
        try_model(net, _shown(image.unsqueeze(0), net.sides(_sides(image.unsqueeze(0))))[0])
    except UserError as error:
        raise UserError(f"{told}: {error.message}", hint=error.hint or hint) from None
    return net


def _sides(x: Tensor) -> tuple[int, int]:
    return x.shape[2], x.shape[3]


def _shown(x: Tensor, sides: tuple[int, int]) -> Tensor:
    """Images as passed to a member."""
    if sides == _sides(x):
        return x
    with torch.no_grad():
        return functional.interpolate(x, sides, mode="bilinear", antialias=True).clamp(0, 1)
