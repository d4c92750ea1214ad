"""One attack on one batch: run it under the meter, round its images to 8 bits, let the judge measure."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from advbench.evaluation.judge import Verdicts, check_candidates, judge, nearest_levels
from advbench.evaluation.memory import keep_memory
from advbench.evaluation.meter import Meter
from attacks import Attack, AttackError, Goal, Model, quantize
from attacks.norms import column
from attacks.queries.answers import ask


class Evaluation(NamedTuple):
    """What one attack did to one batch; tensors have a row for each image."""

    x_adv: Tensor
    """Candidates (N, ...), as the attack returned them."""
    x_8bit: Tensor
    """The same in 8 bits: of :func:`evaluate`, rounded by a search for what still meets the goal; of
    :func:`evaluate_quickly`, each value to the nearest level, and the clean images where the goal is not met."""
    verdicts: Verdicts
    """The judge's measurements."""
    forwards: Tensor
    """Forward passes of the attack on each image (N,); rounding and judging are not counted."""
    backwards: Tensor
    """Backward passes (N,)."""
    answered: Tensor
    """All answers that the attack got from the model about the image were finite, bool (N,)."""
    seconds: float
    """Wall time of the attack, divided by N."""
    errors: dict[int, str]
    """Row of each image on which the attack failed -> why."""


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
    """Attack a batch and measure what came of it.

    Args:
        model: The classifier; a :class:`attacks.Fast` one helps the attack alone, and is judged as its original.
        attack: Any attack, of either kind.
        x: Images (N, C, H, W) in [0, 1].
        goal: What counts as fooled.
        eps: Largest allowed size in the attack's norm; None: no bound.
        seed: Of all random draws.
        on_pass: Called at each forward pass of the attack.

    Raises:
        ValueError: If the attack refuses its arguments or returns something that is no batch of candidates.
    """
    tried = attempt(model, attack, x, goal, eps=eps, seed=seed, on_pass=on_pass)
    x_8bit = quantize(model, x, tried.x_adv, goal, attack.norm, eps=eps)
    verdicts = judge(model, x, tried.x_adv, goal, attack.norm, eps, x_8bit)
    return Evaluation(tried.x_adv, x_8bit, verdicts, *tried[1:])


def evaluate_quickly(
    model: Model, attack: Attack, x: Tensor, clean: Tensor, goal: Goal, *, eps: float | None, seed: int
) -> Evaluation:
    """What :func:`evaluate` does, with few passes of its own.

    Images that the attack left as they are get the answers known before, the others one pass. No 8-bit image is
    searched for: those that meet the goal are rounded to the nearest levels, as the judge does.

    Args:
        model: As of :func:`evaluate`.
        attack: Any attack, of either kind.
        x: Images (N, C, H, W) in [0, 1].
        clean: Their logits (N, classes).
        goal: What counts as fooled.
        eps: Largest allowed size in the attack's norm; None: no bound.
        seed: Of all random draws.

    Raises:
        ValueError: As :func:`evaluate`.
    """
    tried = attempt(model, attack, x, goal, eps=eps, seed=seed)
    known = Remembered(model, x, clean)
    with torch.no_grad():
        known.learn(tried.x_adv)
    verdicts = judge(known, x, tried.x_adv, goal, attack.norm, eps)
    x_8bit = torch.where(column(verdicts.met, x), nearest_levels(tried.x_adv), x)
    return Evaluation(tried.x_adv, x_8bit, verdicts, *tried[1:])


class Remembered:
    """A model that has been asked about some images and does not need to be asked again.

    Args:
        model: Images -> logits.
        x: Images (N, ...).
        logits: What the model says of them (N, C).

    Example:
        >>> model = Remembered(lambda x: 1 / x, torch.ones(2, 2), torch.ones(2, 2))
        >>> model(torch.tensor([[1.0, 1.0], [2.0, 4.0]]))
        tensor([[1.0000, 1.0000],
                [0.5000, 0.2500]])
    """

    def __init__(self, model: Model, x: Tensor, logits: Tensor) -> None:
        self._model, self._known = model, [(x, logits)]

    def __call__(self, x: Tensor, /) -> Tensor:
        """Logits (N, C); rows that are those of the known images bit for bit are not computed again."""
        for images, logits in self._known:
            if torch.equal(x, images):
                return logits
        images, logits = self._known[0]
        new = (x != images).flatten(1).any(1).nonzero().squeeze(1)
        return logits.index_copy(0, new, ask(self._model, x[new]).to(logits)) if len(new) else logits

    def learn(self, x: Tensor) -> Tensor:
        """The logits of ``x``, which are known from now on."""
        logits = self(x)
        self._known.append((x, logits))
        return logits


class Attempt(NamedTuple):
    """What an attack returned, and what it cost; see :class:`Evaluation`."""

    x_adv: Tensor
    """Candidates (N, ...)."""
    forwards: Tensor
    """Forward passes on each image (N,)."""
    backwards: Tensor
    """Backward passes (N,)."""
    answered: Tensor
    """All answers about the image were finite, bool (N,)."""
    seconds: float
    """Wall time, divided by N."""
    errors: dict[int, str]
    """Row of each image on which it failed -> why."""


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
        ValueError: If it refuses its arguments or returns something that is no batch of candidates.
    """
    errors: dict[int, str] = {}
    keep_memory(x.device)
    with Meter(model, goal.ids, on_pass) as metered:
        try:
            # A copy: what the attack does to its images must not move the point that it is measured from.
            x_adv = attack(metered, x.clone(), goal, eps=eps, seed=seed)  # type: ignore[arg-type]
        except AttackError as error:
            x_adv, errors = error.x_adv, error.errors
    check_candidates(x, x_adv)
    answered = metered.not_finite == 0
    return Attempt(x_adv.detach(), metered.forwards, metered.backwards, answered, metered.seconds / len(x), errors)
