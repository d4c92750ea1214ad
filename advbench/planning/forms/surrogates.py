"""Surrogates: models attacked instead of the judged one, loaded, checked, and adapted to the judged model's images."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from advbench.catalog import MODELS
from advbench.config.models.surrogate import Average, SurrogateSpec
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
    nets = []
    for each in spec.models:
        sides = resources.judged(each.label, dataset).sides(_sides(x))
        nets.append((resources.fast(each.label, dataset, form, shown_to(x, sides)), sides))
    return joined(nets, spec.average, x)


def joined(nets: Sequence[tuple[Model, tuple[int, int]]], average: Average, x: Tensor) -> Model:
    """A surrogate made of networks that may take images of other sizes.

    Args:
        nets: The networks, each with the height and width of its input.
        average: What is averaged over them, see :func:`attacks.ensemble`.
        x: Images that the surrogate takes (N, C, H, W).

    Example:
        >>> x = torch.ones(1, 1, 4, 4)
        >>> joined([(lambda x: x.flatten(1), (2, 1)), (lambda x: x.flatten(1)[:, :2], (4, 4))], "logits", x)(x)
        tensor([[1., 1.]])
    """
    members = [net if sides == _sides(x) else resized(net, sides) for net, sides in nets]
    return members[0] if len(members) == 1 else ensemble(members, average)


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
        sizes = [footprint(net, shown_to(images[:1], net.sides(_sides(images)))[0]) for net in members]
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
            shown = shown_to(images, members[largest].sides(_sides(images)))
            choice = forms.get(name) or choose_form(members[largest], shown, sizes[largest])
            chosen[name] = choice
        parts = {"members": [resources.digest(each.label) for each in spec.models], "average": spec.average}
        found[spec.label] = StandIn(size, choice, digest(parts))
    return found, chosen


def _member(resources: Resources, spec: SurrogateSpec, label: str, where: tuple[str, str], image: Tensor) -> Classifier:
    """A member of a surrogate, after checking that it has the model's classes and accepts its images."""
    names = {each.label: each.name for each in resources.suite.every_model}
    model, net = (Member(each, names[each], resources.judged(each, where[1])) for each in (where[0], label))
    told = f"surrogate {spec.label!r} does not fit the model {model.label!r} on {where[1]}"
    check_member(net, model, image, told, "use a surrogate for the same data, or remove that model or data set")
    return net.net


class Member(NamedTuple):
    """A model that is judged, or one that attacks are made on."""

    label: str
    """Label in messages."""
    name: str
    """Name in the catalogue."""
    net: Classifier
    """Classifier as it is judged on the data."""


def check_member(member: Member, judged: Member, image: Tensor, told: str, hint: str) -> None:
    """Check that a model of a surrogate has the classes of the model that is judged, and accepts its images.

    Args:
        member: Model of the surrogate.
        judged: Model that is judged.
        image: One of its images (C, H, W).
        told: Beginning of the message.
        hint: What to do.

    Raises:
        UserError: It does not.
    """
    net, model = member.net, judged.net
    if net.several or model.several:
        label = member.label if net.several else judged.label
        raise UserError(f"{told}: {label} has several labels for each image", hint=hint)
    kinds = [MODELS[each.name].data for each in (judged, member) if each.name in MODELS]
    if len(kinds) == 2 and kinds[0] != kinds[1]:
        raise UserError(f"{told}: {member.label} is for {kinds[1]}, and {judged.label} for {kinds[0]}", hint=hint)
    if net.num_classes != model.num_classes:
        counts = f"{member.label} has {net.num_classes} classes, and {judged.label} has {model.num_classes}"
        raise UserError(f"{told}: {counts}", hint=hint)
    if net.classes != model.classes and set(net.classes) == set(model.classes):
        raise UserError(f"{told}: {member.label} has the classes of {judged.label} in another order", hint=hint)
    try:
        try_model(net, shown_to(image.unsqueeze(0), net.sides(_sides(image.unsqueeze(0))))[0])
    except UserError as error:
        raise UserError(f"{told}: {error.message}", hint=error.hint or hint) from None


def _sides(x: Tensor) -> tuple[int, int]:
    return x.shape[2], x.shape[3]


def shown_to(x: Tensor, sides: tuple[int, int]) -> Tensor:
    """Images (N, C, H, W) as a network with an input of these sides takes them.

    Args:
        x: Images as the model that judges takes them.
        sides: Height and width of the network's input.
    """
    if sides == _sides(x):
        return x
    with torch.no_grad():
        return functional.interpolate(x, sides, mode="bilinear", antialias=True).clamp(0, 1)
