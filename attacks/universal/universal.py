"""Universal perturbations: one change that fools a model on most images."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from attacks.geometry.warp import warp
from attacks.goals import Goal
from attacks.losses import cross_entropy
from attacks.norms import Linf, Norm
from attacks.objectives.standing import unlike
from attacks.protocols import Model, Precision
from attacks.queries.gradients import form_for, slope
from attacks.queries.inputs import check_eps, check_parameters, check_size
from attacks.searches.draws import uniform
from attacks.searches.momentum import accumulate
from attacks.universal.clean import Clean, CleanLogits
from attacks.universal.fooling import Loader, MakeGoal, batches_of, fooled, untargeted
from attacks.universal.perturbation import Perturbation


class FitState(NamedTuple):
    """The state of a fit, sufficient to resume it.

    Example:
        >>> states, x = [], torch.tensor([[0.6, 0.5]])
        >>> whole = UniversalPerturbation(steps=4).fit(lambda x: x, [x], on_step=states.append)
        >>> again = UniversalPerturbation(steps=4).fit(lambda x: x, [x], start=states[1])
        >>> [state.step for state in states], bool((again.delta == whole.delta).all())
        ([1, 2, 3, 4], True)
    """

    step: int
    """Number of gradient steps done."""
    epoch: int
    """Number of passes through the loader begun before the next batch."""
    batch: int
    """Number of the next batch in its pass."""
    delta: Tensor
    """The perturbation after these steps (1, C, H, W)."""
    momentum: Tensor
    """Running sum of gradients (1, C, H, W)."""
    best: Tensor
    """The perturbation, scaled to fill the budget, that met the goal on most held-out images; without any, the last
    one."""
    best_rate: float = -1.0
    """The fraction of these images; -1 before the first evaluation."""
    over: bool = False
    """Whether all held-out images are fooled, and there are enough of them."""
    weakness: float = 0.0
    """Strength of the weakening of views, from 0 (none) to 1 (most); see :func:`weakened`."""
    loss: float = 0.0
    """Mean loss over the latest batch."""

    def __repr__(self) -> str:
        where = f"step={self.step}, epoch={self.epoch}, batch={self.batch}, best_rate={self.best_rate:.4g}"
        return f"FitState({where}, loss={self.loss:.4g}, delta of shape {tuple(self.delta.shape)})"


MANY = 100
"""Number of classes below which the likelihood is descended, as far as :data:`CERTAIN`: there every rival matters."""
CERTAIN = 9.0
"""Number of nats below certainty at which the log-likelihood of a class is low enough."""
CELLS = 8
"""Number of cells along each side of a perturbation (C, H, W), some of which are dropped at random in a view."""
LEFT_OUT = 0.3
"""Mean fraction of cells dropped from a view at the strongest weakening."""
LESS = 0.5
"""Largest reduction in the strength of a view's perturbation."""
PACE = 0.1
"""Change of the weakness per step, relative to the difference between the fraction fooled and `still_fooled`."""
STRETCH = 2.0
"""Factor by which all values are multiplied at the end, before projection: alternating steps leave many inside the
budget."""
ENOUGH = 50
"""Smallest number of held-out images with which a fit may end early: with fewer, fooling all of them may be chance."""
AT_ONCE = 2**20
"""Number of image values per gradient computation: more take more memory, and more time for each."""

_NOTHING = FitState(step=0, epoch=0, batch=0, delta=torch.zeros(1), momentum=torch.zeros(1), best=torch.zeros(1))

OnStep = Callable[[FitState], None]
"""Called after every step with the state of the fit."""


@dataclass(frozen=True, kw_only=True)
class UniversalPerturbation:
    """Takes sign steps with momentum on the mean loss over many images, randomly enlarged, shifted and mirrored.

    The loss is the cosine between the logits and those of the clean image, both minus their mean, see
    :func:`attacks.objectives.standing.unlike`: a margin compares with one rival, and rivals change from image to image
    and step to step, so that the steps for different images undo each other. A model with few classes has few rivals,
    and there the loss is the likelihood. The random views keep the perturbation from overfitting to these images. Once
    most views are fooled, the perturbation is weakened: cells are dropped and the rest is scaled down, at random, as
    long as most views are still fooled. A perturbation that fools at part of its strength fools more images at full
    strength. With a loader of random images instead of the model's own kind, no data are needed.

    References:
        Moosavi-Dezfooli et al., Universal adversarial perturbations <https://arxiv.org/abs/1610.08401>, 2017, for the
        aim; Shafahi et al., Universal adversarial training <https://arxiv.org/abs/1811.11304>, 2020, for stochastic
        gradient steps; Zhang et al., Data-free universal adversarial perturbation and black-box attack, ICCV 2021, for
        the cosine. The clipped likelihood is the second's. Cells are left out as Ghiasi et al., DropBlock: A
        regularization method for convolutional networks <https://arxiv.org/abs/1810.12890>, 2018, leave out features.

    Example:
        >>> x = torch.tensor([[0.6, 0.5], [0.7, 0.5]])
        >>> found = UniversalPerturbation(eps=0.15, steps=20).fit(lambda x: x, [x])
        >>> found.apply(x).argmax(1)
        tensor([1, 1])
    """

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")
    precision: ClassVar[Precision] = "bfloat16"

    norm: Norm = Linf()
    """The norm in which ``eps`` is measured."""
    eps: float = 10 / 255
    """Largest allowed size, image units."""
    goal: MakeGoal = untargeted
    """Clean logits (N, C) and, by keyword, ids (N,) -> goal."""
    steps: int = 800
    """Number of gradient steps, each on a batch of the loader."""
    relative_step: float = 0.3
    """Length of the first step as a fraction of ``eps``; falls to a fiftieth along a cosine."""
    decay: float = 0.9
    """Weight of the earlier gradients; each gradient is scaled to L1 norm 1."""
    zoom: float = 1.4
    """Images (N, C, H, W) are enlarged by up to this factor, shifted within their frame, and mirrored where the model
    predicts the same for the mirror image; 1: never."""
    still_fooled: float = 0.8
    """Views of images (N, C, H, W) get a weakened perturbation as long as this fraction is fooled by it; 1: never."""
    looks: int = 10
    """Number of evaluations on the held-out images."""

    def __post_init__(self) -> None:
        check_eps(self.norm, self.eps)
        check_parameters(self)
        if self.still_fooled > 1:
            raise ValueError(f"expected still_fooled of UniversalPerturbation <= 1, got {self.still_fooled}")

    def fit(
        self,
        model: Model,
        loader: Loader,
        *,
        held_out: Loader | None = None,
        on_step: OnStep = lambda state: None,
        start: FitState | None = None,
        seed: int = 0,
    ) -> Perturbation:
        """Find a perturbation for a model.

        Args:
            model: Images in [0, 1] -> logits. For one made by :func:`attacks.fast`, gradients come from the faster
                form, and labels and rates from the original.
            loader: Batches of images (N, ...) in [0, 1], or of images and labels, which are ignored. It is iterated
                over as often as needed; its method ``set_epoch``, if any, gets the number of each pass.
            held_out: Images used to choose among intermediate perturbations; the fit ends when all are fooled and there
                are at least :data:`ENOUGH`.
            on_step: Function called after every step with a state that may be stored and is not changed afterwards.
            start: State of an interrupted fit with the same parameters and loader to resume. The result is the same.
            seed: The seed of all random draws.

        Raises:
            ValueError: If a batch or the model's output is not as above, batches have images of different sizes, the
                loader is empty or cannot be iterated over again, or the goal makes no sense for the model's classes.
        """
        clean, state = CleanLogits(model), start or _NOTHING
        batches = batches_of(loader, state.epoch, state.batch)
        while state.step < self.steps and not state.over:
            epoch, batch, x = next(batches)
            state = self._step(model, x, clean, state, seed)._replace(epoch=epoch, batch=batch + 1)
            if state.step * self.looks // self.steps > (state.step - 1) * self.looks // self.steps:
                state = self._look(model, held_out, state)
            on_step(state)
        return Perturbation(delta=state.best[0], norm=self.norm, eps=self.eps)

    def _step(self, model: Model, x: Tensor, clean: CleanLogits, state: FitState, seed: int) -> FitState:
        if not state.step:
            state = state._replace(delta=torch.zeros_like(x[:1]), momentum=torch.zeros_like(x[:1]))
        check_size(x, state.delta)
        asked = clean(x)
        goal = self.goal(asked.logits, ids=asked.ids)
        goal.check(asked.logits.shape[1])
        chance = uniform(seed, goal.ids, state.step, (5 + CELLS**2,)).to(x)
        seen = self._seen(x, asked, clean, chance[:, :4])
        moved = (seen + weakened(state.delta, state.weakness, chance[:, 4:])).clamp_(0, 1)
        value, rate, gradient = _descent(form_for(model, self.precision), moved, goal, asked.logits)
        # Also where a cell was dropped or a value clamped: otherwise a pixel that is black in most images, and was once
        # made darker, would have no gradient to bring it back.
        momentum = accumulate(state.momentum, gradient, self.decay)
        fall = (1 + math.cos(math.pi * state.step / self.steps)) / 2
        move = self.norm.steepest(-momentum, self.relative_step * (0.02 + 0.98 * fall) * self.eps)
        delta = self.norm.project(state.delta + move, self.eps)
        weakness = min(max(state.weakness + PACE * (rate - self.still_fooled), 0.0), 1.0)
        return state._replace(step=state.step + 1, delta=delta, momentum=momentum, weakness=weakness, loss=value)

    def _seen(self, x: Tensor, asked: Clean, clean: CleanLogits, chance: Tensor) -> Tensor:
        """Enlarge, shift and perhaps mirror each image in its frame, by ``chance`` (N, 4); flat rows stay unchanged.

        Images are mirrored only if the model predicts the same for the mirror image: a mirrored digit is not a digit.
        """
        if x.ndim != 4 or self.zoom <= 1:
            return x
        same = clean(x.flip(3)).logits.argmax(1) == asked.logits.argmax(1)
        scale = 1 + (self.zoom - 1) * chance[:, 0]
        # At most until the edge of the image reaches the edge of the frame.
        shift = (chance[:, 1:3] - 0.5) * (scale - 1).unsqueeze(1)
        seen = warp(x, torch.zeros_like(scale), scale, shift)
        mirrored = (chance[:, 3] < 0.5) & same
        return torch.where(mirrored.view(-1, 1, 1, 1), seen.flip(3), seen)

    def _look(self, model: Model, held_out: Loader | None, state: FitState) -> FitState:
        """Scale to fill the budget, and keep the result unless an earlier one met the goal on more held-out images."""
        full = self.norm.project(STRETCH * state.delta, self.eps)
        if held_out is None:
            return state._replace(best=full)
        now = Perturbation(delta=full[0], norm=self.norm, eps=self.eps)
        found = fooled(model, held_out, now.apply, self.goal)
        rate = found.met / max(found.images - found.pointless, 1)
        if rate < state.best_rate:
            return state
        return state._replace(best=full, best_rate=rate, over=rate == 1 and found.images >= ENOUGH)


def weakened(delta: Tensor, weakness: float, chance: Tensor) -> Tensor:
    """Weaken a perturbation for each image: by up to :data:`LESS` overall, and fading out in some cells.

    Args:
        delta: Perturbation (1, C, H, W); other shapes keep all cells.
        weakness: Strength of the weakening, from 0 (none) to 1 (most).
        chance: Uniform numbers in [0, 1), (N, 1 + CELLS²).

    Example:
        >>> weak = weakened(torch.ones(1, 1, 8, 8), 1.0, torch.full((3, 65), 0.5))
        >>> weak.shape, float(weak.amin()), float(weak.amax())
        (torch.Size([3, 1, 8, 8]), 0.75, 0.75)
    """
    if delta.ndim != 4 or not weakness:
        return delta
    strength = 1 - LESS * weakness * chance[:, :1]
    weight = strength * (chance[:, 1:] >= LEFT_OUT * weakness)
    return delta * functional.interpolate(weight.view(-1, 1, CELLS, CELLS), size=delta.shape[2:], mode="bilinear")


def _descent(model: Model, x: Tensor, goal: Goal, clean: Tensor) -> tuple[float, float, Tensor]:
    """Loss, fraction fooled, and gradient (1, ...), as means over the images (N, ...)."""
    value, count, gradient = 0.0, 0, torch.zeros_like(x[:1])
    for rows in torch.split(torch.arange(len(x), device=x.device), max(1, AT_ONCE // x[0].numel())):
        loss = unlike(clean[rows]) if clean.shape[1] >= MANY else _likelihood
        at = slope(model, x[rows], goal.select(rows), loss)
        value += float(at.loss.sum())
        count += int(at.fooled.sum())
        gradient += at.gradient.sum(0, keepdim=True)
    return value / len(x), count / len(x), gradient / len(x)


def _likelihood(logits: Tensor, goal: Goal) -> Tensor:
    """Like :func:`attacks.losses.cross_entropy`, but images fooled beyond doubt no longer contribute."""
    return cross_entropy(logits, goal).clamp_min(-CERTAIN)
