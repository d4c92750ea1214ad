"""One attack on one batch: run it under the meter, round the candidates to 8 bits, and have the judge measure them."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from advbench.evaluation.judge import Verdicts, check_candidates, judge, nearest_levels
from advbench.evaluation.memory import keep_memory
from advbench.evaluation.meter import Meter
from attacks import Attack, AttackError, Goal, Model, quantize
from attacks.queries.answers import ask


class Evaluation(NamedTuple):
    """The outcome of one attack on one batch; tensors have a row for each image."""

    x_adv: Tensor
    """Candidates (N, ...), as the attack returned them."""
    x_8bit: Tensor
    """The candidates in 8 bits: :func:`evaluate` searches for a rounding that still meets the goal;
    :func:`evaluate_quickly` uses the nearest levels, and the clean image where the goal is not met."""
    verdicts: Verdicts
    """The judge's measurements."""
    forwards: Tensor
    """Forward passes of the attack on each image (N,); rounding and judging are not counted."""
    backwards: Tensor
    """Backward passes of the attack on each image (N,)."""
    answered: Tensor
    """Whether all the model's outputs for the image during the attack were finite, bool (N,)."""
    seconds: float
    """Wall time of the attack, divided by N."""
    errors: dict[int, str]
    """Row of each image on which the attack failed -> the reason."""


class Instead:
    """A model that judges, paired with another one that is attacked in its place.

    Args:
        model: Images -> logits; its answer is the one that counts.
        attacked: The model that attacks see.

    Example:
        >>> model = Instead(lambda x: x, attacked=lambda x: 2 * x)
        >>> model(torch.ones(1, 2)), attacked_of(model)(torch.ones(1, 2))
        (tensor([[1., 1.]]), tensor([[2., 2.]]))
    """

    def __init__(self, model: Model, attacked: Model) -> None:
        self._model, self.attacked = model, attacked

    def __call__(self, x: Tensor, /) -> Tensor:
        """The answer of the model that judges."""
        return self._model(x)

    @property
    def wrapped(self) -> Model:
        """The model that judges."""
        return self._model


def attacked_of(model: Model) -> Model:
    """The model that attacks run on: the model itself, unless it names another."""
    return model.attacked if isinstance(model, Instead) else model


def evaluate(
    model: Model,
    attack: Attack,
    x: Tensor,
    goal: Goal,
    *,
    eps: float | None,
    seed: int,
    on_pass: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Attack a batch and measure the candidates.

    Args:
        model: The classifier; a :class:`attacks.Fast` model serves the attack only, and its original is judged. With
            :class:`Instead` the attack runs on another model.
        attack: Any attack, of either kind.
        x: Images (N, C, H, W) in [0, 1].
        goal: What counts as fooled.
        eps: Largest allowed size in the attack's norm; None: no bound.
        seed: Seed of all random draws.
        on_pass: Called at each forward pass of the attack.

    Raises:
        ValueError: The attack refuses its arguments, or returns something other than a batch of candidates.
    """
    tried = attempt(attacked_of(model), attack, x, goal, eps=eps, seed=seed, on_pass=on_pass)
    x_8bit = quantize(model, x, tried.x_adv, goal, attack.norm, eps=eps)
    verdicts = judge(model, x, tried.x_adv, goal, attack.norm, eps, x_8bit)
    return Evaluation(x_8bit=x_8bit, verdicts=verdicts, **tried._asdict())


def evaluate_quickly(
    model: Model, attack: Attack, x: Tensor, clean: Tensor, goal: Goal, *, eps: float | None, seed: int
) -> Evaluation:
    """Attack and measure like :func:`evaluate`, with few passes beyond those of the attack.

    Images that the attack did not change keep their known logits; the others take one pass. 8-bit images are not
    searched for: candidates that meet the goal are rounded to the nearest levels, as the judge does it.

    Args:
        model: The classifier, as for :func:`evaluate`.
        attack: Any attack, of either kind.
        x: Images (N, C, H, W) in [0, 1].
        clean: Logits of the images (N, classes).
        goal: What counts as fooled.
        eps: Largest allowed size in the attack's norm; None: no bound.
        seed: Seed of all random draws.

    Raises:
        ValueError: As for :func:`evaluate`.
    """
    tried = attempt(attacked_of(model), attack, x, goal, eps=eps, seed=seed)
    known = Remembered(model, x, clean)
    with torch.no_grad():
        known.learn(tried.x_adv)
    verdicts = judge(known, x, tried.x_adv, goal, attack.norm, eps)
    x_8bit, met = x.clone(), verdicts.met
    x_8bit[met] = nearest_levels(tried.x_adv[met])
    return Evaluation(x_8bit=x_8bit, verdicts=verdicts, **tried._asdict())


class Remembered:
    """A model with cached logits for some images, on which it is not run again.

    Args:
        model: Images -> logits.
        x: Images (N, ...).
        logits: The model's logits for them (N, C).

    Example:
        >>> model = Remembered(lambda x: 1 / x, torch.ones(2, 2), torch.ones(2, 2))
        >>> model(torch.tensor([[1.0, 1.0], [2.0, 4.0]]))
        tensor([[1.0000, 1.0000],
                [0.5000, 0.2500]])
    """

    def __init__(self, model: Model, x: Tensor, logits: Tensor) -> None:
        self._model, self._known = model, [(x, logits)]

    @property
    def anew(self) -> Model:
        """The model itself, without the cache."""
        return self._model

    def __call__(self, x: Tensor, /) -> Tensor:
        """Logits (N, C); rows that equal the known images bit for bit are not recomputed.

        A batch of another length is not compared: the model is run on all of it.
        """
        for images, logits in self._known:
            if torch.equal(x, images):
                return logits
        images, logits = self._known[0]
        if len(x) != len(images):
            return ask(self._model, x)
        new = (x != images).flatten(1).any(1).nonzero().squeeze(1)
        return logits.index_copy(0, new, ask(self._model, x[new]).to(logits)) if len(new) else logits

    def learn(self, x: Tensor) -> Tensor:
        """The logits of ``x``, which are cached from now on."""
        logits = self(x)
        self._known.append((x, logits))
        return logits


class Attempt(NamedTuple):
    """The candidates that an attack returned, and their cost; see :class:`Evaluation`."""

    x_adv: Tensor
    """Candidates (N, ...)."""
    forwards: Tensor
    """Forward passes on each image (N,)."""
    backwards: Tensor
    """Backward passes on each image (N,)."""
    answered: Tensor
    """Whether all outputs for the image were finite, bool (N,)."""
    seconds: float
    """Wall time, divided by N."""
    errors: dict[int, str]
    """Row of each image on which it failed -> the reason."""


def attempt(
    model: Model,
    attack: Attack,
    x: Tensor,
    goal: Goal,
    *,
    eps: float | None,
    seed: int,
    on_pass: Callable[[], None] = lambda: None,
) -> Attempt:
    """Run an attack under the meter.

    Raises:
        ValueError: The attack refuses its arguments, or returns something other than a batch of candidates.
    """
    errors: dict[int, str] = {}
    keep_memory(x.device)
    with Meter(model, goal.ids, on_pass) as metered:
        try:
            # A copy: the attack may work in place, and distances are measured from the clean images.
            x_adv = attack(metered, x.clone(), goal, eps=eps, seed=seed)  # type: ignore[arg-type]
        except AttackError as error:
            x_adv, errors = error.x_adv, error.errors
    check_candidates(x, x_adv)
    answered = metered.not_finite == 0
    return Attempt(x_adv.detach(), metered.forwards, metered.backwards, answered, metered.seconds / len(x), errors)
