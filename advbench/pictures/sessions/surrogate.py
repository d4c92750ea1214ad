"""The model that pictures are attacked on, instead of the one that judges them."""

from typing import NamedTuple

from PIL import Image
from torch import Tensor

from advbench.config.attack import AttackConfig
from advbench.config.models.surrogate import SurrogateSpec
from advbench.config.pictures.photograph import ORIGINAL
from advbench.datasets.dataset import Dataset
from advbench.evaluation.evaluate import Instead
from advbench.models import load_beside
from advbench.models.classifier import Classifier
from advbench.models.trial import input_of
from advbench.pictures.original.photograph import known_preprocessing
from advbench.planning.fitting import fitted
from advbench.planning.forms.fast_forms import fastest_here
from advbench.planning.forms.surrogates import Member, check_member, joined, shown_to
from attacks import Fast, Model

_SIDE = 64
"""Side of the image on which a surrogate of a network that takes any size is tried, pixels."""


class StandIn(NamedTuple):
    """A loaded surrogate."""

    spec: SurrogateSpec
    """Its models and how they are averaged."""
    members: tuple[Classifier, ...]
    """The classifiers of these models."""
    quick: tuple[Fast, ...] = ()
    """The same, in the forms in which their gradients are fastest here; empty: as they are."""

    @property
    def form(self) -> str:
        """The form that attacks take their gradients from; several, if those of the models differ."""
        return ", ".join(dict.fromkeys(each.form for each in self.quick))

    def before(self, model: Classifier, x: Tensor) -> Instead:
        """The model that judges, with the surrogate that attacks on images (N, C, H, W) see in its place."""
        sides = (x.shape[2], x.shape[3])
        seen: tuple[Model, ...] = self.quick or self.members
        nets = [(net, own.sides(sides)) for net, own in zip(seen, self.members, strict=True)]
        return Instead(model, joined(nets, self.spec.average, x))

    def hastened(self, x: Tensor, most: str) -> "StandIn":
        """The surrogate in the forms in which gradients are fastest on this machine.

        Args:
            x: Images of the model that judges (N, C, H, W), on which the forms are timed.
            most: The most aggressive form allowed.
        """
        sides = (x.shape[2], x.shape[3])
        forms = (fastest_here(net, shown_to(x, net.sides(sides)), most) for net in self.members)
        return self._replace(quick=tuple(forms))


def load_stand_in(config: AttackConfig, model: Classifier, dataset: Dataset | None) -> StandIn | None:
    """Load the surrogate that the options name; None if they name none.

    Args:
        config: Options of the command.
        model: Classifier that judges, as on the data set.
        dataset: Data set that the pictures come from, if any.

    Raises:
        UserError: It cannot be loaded, or does not have the model's classes or accept its images.
    """
    if config.surrogate is None:
        return None
    height, width = model.sides(otherwise=_SIDE)
    image = input_of(model, Image.new("RGB", (width, height)))
    judged = Member(config.model, config.model, model)
    told = f"surrogate {config.surrogate.label!r} does not fit the model {config.model!r}"
    members = []
    for each in config.surrogate.models:
        net = load_beside(each.name, config.about, config.device)
        if dataset is not None and config.data is not None:
            net = fitted(net, each.name, dataset, config.data.spec).model
        if config.size == ORIGINAL:
            known_preprocessing(net)
        check_member(Member(each.label, each.name, net), judged, image, told, "name a model for the same task")
        members.append(net)
    return StandIn(config.surrogate, tuple(members))
