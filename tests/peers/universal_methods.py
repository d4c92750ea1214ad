"""Methods that find a universal perturbation, all with the same call: `(task) -> Perturbation`."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from advbench.models.classifier import Classifier
from attacks import Linf, Perturbation, UniversalDeepFool, UniversalPerturbation, fast
from attacks.losses import cross_entropy
from attacks.queries.gradients import quick_form, slope
from attacks.universal.fooling import untargeted

OURS = "UniversalPerturbation"
"""The method whose perturbations are saved."""
FEW = "UniversalPerturbation, ART's images"
"""The same, fitted to as few images as ART is given."""
QUICK = "UniversalPerturbation, ART's images, a quarter of the steps"
"""The same with a quarter of the steps."""
WITHOUT = "UniversalPerturbation, random pictures"
"""The same method, fitted to random pictures."""
OF_THE_ATTACK = (OURS, FEW, QUICK, WITHOUT)
"""The methods that are :class:`attacks.UniversalPerturbation`."""
VERSION = 3
"""Version of these methods: 3 since views get part of the perturbation once most are fooled."""
NOISE, PLAIN, ORIGINAL, ART = "noise", "UAP-SGD", "UniversalDeepFool", "ART UniversalPerturbation"


class Task(NamedTuple):
    """The input of a method."""

    model: Classifier
    """Model to fool."""
    x: Tensor
    """Images to fit to (N, C, H, W)."""
    eps: float
    """Budget in Linf."""
    steps: int
    """Maximum number of gradient steps."""
    batch: int
    """Number of images in a step."""


class Shuffled:
    """Images in batches, in a different order in each pass."""

    def __init__(self, x: Tensor, size: int) -> None:
        self.x, self.size, self.epoch = x, size, 0

    def set_epoch(self, epoch: int) -> None:
        """Set the number of the next pass."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Tensor]:
        order = torch.randperm(len(self.x), generator=torch.Generator().manual_seed(self.epoch))
        return iter(self.x[order].split(self.size))


def noise(task: Task) -> Perturbation:
    """Random signs."""
    signs = torch.randn(task.x[0].shape, generator=torch.Generator().manual_seed(0)).sign()
    return Perturbation(delta=task.eps * signs, norm=Linf(), eps=task.eps)


def ours(task: Task) -> Perturbation:
    """This project's attack, with its defaults."""
    attack = UniversalPerturbation(eps=task.eps, steps=task.steps)
    return attack.fit(fast(task.model, task.x[:4]), Shuffled(task.x, task.batch)).on_grid()


def quick(task: Task) -> Perturbation:
    """The same with a quarter of the steps."""
    return ours(task._replace(steps=task.steps // 4))


def without_photographs(task: Task) -> Perturbation:
    """The same, fitted to :func:`random_pictures`."""
    return ours(task._replace(x=random_pictures(task.x)))


def plain(task: Task) -> Perturbation:
    """Signs of the mean gradient of the top class's log-probability, in steps of equal length, without views.

    Shafahi et al., Universal adversarial training <https://arxiv.org/abs/1811.11304>, 2020, with the loss clipped at
    9 nats.
    """
    quick = fast(task.model, task.x[:4])
    model, loader = quick_form(quick) or quick, Shuffled(task.x, task.batch)
    delta, step = torch.zeros_like(task.x[:1]), 0
    while step < task.steps:
        for x in loader:
            with torch.no_grad():
                goal = untargeted(task.model(x), ids=torch.arange(len(x)))
            at = slope(
                model, (x + delta).clamp(0, 1), goal, lambda logits, goal: cross_entropy(logits, goal).clamp_min(-9)
            )
            delta = (delta - task.eps / 10 * at.gradient.mean(0, keepdim=True).sign()).clamp(-task.eps, task.eps)
            step += 1
            if step == task.steps:
                break
        loader.set_epoch(loader.epoch + 1)
    return Perturbation(delta=delta[0], norm=Linf(), eps=task.eps).on_grid()


def original(task: Task) -> Perturbation:
    """One pass of DeepFool through the images."""
    attack = UniversalDeepFool(eps=task.eps, passes=1)
    return attack.fit(task.model, Shuffled(task.x, task.batch)).on_grid()


def art(task: Task) -> Perturbation:
    """One pass of ART's universal perturbation with DeepFool inside, its default."""
    from art.attacks.evasion import UniversalPerturbation as Theirs
    from art.estimators.classification import PyTorchClassifier

    shape, loss = tuple(task.x.shape[1:]), torch.nn.CrossEntropyLoss()
    classes = task.model.num_classes
    victim = PyTorchClassifier(task.model, loss=loss, input_shape=shape, nb_classes=classes, clip_values=(0, 1))
    quiet = {"verbose": False}
    attack = Theirs(victim, "deepfool", attacker_params=quiet, eps=task.eps, norm="inf", max_iter=1, verbose=False)
    attack.generate(task.x.numpy())
    delta = Linf().project(torch.from_numpy(attack.noise).float(), task.eps)[0]
    return Perturbation(delta=delta, norm=Linf(), eps=task.eps)


def random_pictures(like: Tensor) -> Tensor:
    """Pictures of smooth random colours, each a mixture of coarse to fine noise, with the shape of ``like``.

    Example:
        >>> random_pictures(torch.zeros(2, 3, 64, 64)).shape
        torch.Size([2, 3, 64, 64])
    """
    generator, size = torch.Generator().manual_seed(0), like.shape[2:]
    mixed = torch.zeros_like(like)
    for cells in (2, 4, 8, 16, 32, 64):
        coarse = torch.randn(len(like), like.shape[1], cells, cells, generator=generator)
        weight = torch.rand(len(like), 1, 1, 1, generator=generator)
        mixed += weight * functional.interpolate(coarse, size=size, mode="bilinear")
    low, high = mixed.amin((1, 2, 3), keepdim=True), mixed.amax((1, 2, 3), keepdim=True)
    return (mixed - low) / (high - low)


METHODS: dict[str, Callable[[Task], Perturbation]] = {
    NOISE: noise,
    OURS: ours,
    PLAIN: plain,
    WITHOUT: without_photographs,
    ORIGINAL: original,
    ART: art,
    FEW: ours,
    QUICK: quick,
}
"""Name -> method."""
THEIRS = find_spec("art") is not None
"""Whether ART is installed here."""
