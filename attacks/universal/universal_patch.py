"""Universal patches: one patch that fools a model at any place, on one image or on most."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from attacks.geometry.outline import outline
from attacks.goals import Goal
from attacks.losses import margin
from attacks.protocols import Model, Precision
from attacks.queries.gradients import form_for, slope
from attacks.queries.inputs import check_planes, check_size
from attacks.queries.plain import plain_number
from attacks.searches.adam import Adam
from attacks.searches.draws import uniform
from attacks.universal.clean import Clean, CleanLogits
from attacks.universal.fooling import Loader, MakeGoal, batches_of, untargeted
from attacks.universal.placing import Placing, Windows
from attacks.universal.sticker import Sticker
from attacks.universal.universal import AT_ONCE, CERTAIN

OnStep = Callable[[int, float], None]
"""Called after every step with its number, from 1, and the mean loss over its images."""


@dataclass(frozen=True, kw_only=True)
class UniversalPatch:
    """Minimises, with Adam, the mean loss over random positions, rotations and sizes of one patch on images.

    The loss is the margin, down to :data:`attacks.universal.universal.CERTAIN` below zero: images fooled beyond doubt
    no longer contribute, and images on which the model is confident do, unlike with the likelihood. Each image of a
    batch is repeated as needed for ``views`` of the patch, so that one image is enough: the patch then fools the model
    on that image, wherever it is placed.

    References:
        Brown et al., Adversarial patch <https://arxiv.org/abs/1712.09665>, 2017; Athalye et al., Synthesizing robust
        adversarial examples <https://arxiv.org/abs/1707.07397>, 2018, for the expectation over transformations.

    Deviations:
        Any goal; steps get shorter along a cosine.

    Example:
        >>> model = lambda x: torch.stack([x.new_full((len(x),), 5.0), x.sum((1, 2, 3))], 1)
        >>> x = torch.zeros(2, 1, 8, 8)
        >>> found = UniversalPatch(placing=Placing(share=0.25), steps=30).fit(model, [x])
        >>> model(found.apply(x)).argmax(1)
        tensor([1, 1])
    """

    precision: ClassVar[Precision] = "bfloat16"

    placing: Placing = field(default_factory=Placing)
    """Placement of the patch in images."""
    goal: MakeGoal = untargeted
    """Clean logits (N, C) and, by keyword, ids (N,) -> goal."""
    steps: int = 200
    """Number of gradient steps."""
    views: int = 8
    """Smallest number of placed patches in a step: few in many steps work better than many in few."""
    step_size: float = 0.05
    """Length of the first step, image units; falls to a fiftieth along a cosine."""

    def __post_init__(self) -> None:
        for name, kind in (("steps", int), ("views", int), ("step_size", (int, float))):
            value = plain_number(getattr(self, name))
            if isinstance(value, bool) or not isinstance(value, kind) or not value > 0:
                what = "a whole number" if kind is int else "a number"
                raise ValueError(f"expected {name} of UniversalPatch to be {what} above 0, got {value!r}")
            object.__setattr__(self, name, value)

    def fit(self, model: Model, loader: Loader, *, on_step: OnStep = lambda step, loss: None, seed: int = 0) -> Sticker:
        """Fit a patch to a model.

        Args:
            model: Images in [0, 1] -> logits. For one made by :func:`attacks.fast`, gradients come from the faster
                form, and labels from the original.
            loader: Batches of images (N, C, H, W) in [0, 1], or of images and labels, which are ignored. It is iterated
                over as often as needed; its method ``set_epoch``, if any, gets the number of each pass.
            on_step: Function called after every step with its number and the mean loss over its images.
            seed: Seed of all random draws.

        Returns:
            The patch, with an empty card. Values are multiples of 1/255.

        Raises:
            ValueError: If a batch or the model's output is not as above, images have different sizes or are too small
                for the patch, the loader is empty or cannot be iterated over again, or the goal makes no sense for the
                model's classes.
        """
        clean, batches = CleanLogits(model), (x for _, _, x in batches_of(loader))
        first = next(batches)
        check_planes(self, first)
        side = self.placing.side(*first.shape[2:])
        inside = outline(self.placing.shape, side).to(first.device)
        start = uniform(seed, torch.zeros(1, dtype=torch.long, device=first.device), 0, (first.shape[1], side, side))
        content = torch.where(inside, start[0].to(first), 1.0)  # the print is white outside a circle
        adam = Adam(content)
        for step, x in enumerate(itertools.islice(itertools.chain([first], batches), self.steps)):
            check_size(x, first)
            value, gradient = self._slope(model, x, clean(x), content, seed=seed, step=step)
            fall = (1 + math.cos(math.pi * step / self.steps)) / 2
            moved = content - self.step_size * (0.02 + 0.98 * fall) * adam.step(gradient)
            content = torch.where(inside, moved.clamp_(0, 1), 1.0)
            on_step(step + 1, value)
        return Sticker(content=content, placing=self.placing)

    def _slope(
        self, model: Model, x: Tensor, asked: Clean, content: Tensor, *, seed: int, step: int
    ) -> tuple[float, Tensor]:
        """The mean loss over placed patches, and its gradient with respect to the patch (C, S, S)."""
        goal = self.goal(asked.logits, ids=asked.ids)
        goal.check(asked.logits.shape[1])
        copies = math.ceil(self.views / len(x))
        value, gradient, form = 0.0, torch.zeros_like(content), form_for(model, self.precision)
        few = max(1, AT_ONCE // x[0].numel())
        for copy in range(copies):
            draw = step * copies + copy + 1
            for rows in torch.split(torch.arange(len(x), device=x.device), few):
                some = goal.select(rows)
                spots = self.placing.spots(x[rows], some.ids, seed=seed, draw=draw)
                windows = Windows.of(x[rows], spots, self.placing.shape)
                at = slope(form, windows.put(content, x[rows]), some, _clipped)
                value += float(at.loss.sum())
                gradient += windows.adjoint(content, at.gradient)
        return value / (copies * len(x)), gradient / (copies * len(x))


def _clipped(logits: Tensor, goal: Goal) -> Tensor:
    return margin(logits, goal).clamp_min(-CERTAIN)
