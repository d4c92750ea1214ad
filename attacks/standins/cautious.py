"""A random model for cautious attacks: an image counts as fooled only if several passes agree."""

from functools import update_wrapper

import torch
from torch import Tensor

from attacks.goals import Goal
from attacks.protocols import Model
from attacks.queries.answers import ask
from attacks.queries.gradients import asked_ids
from attacks.queries.places import Places
from attacks.queries.randomness import is_random
from attacks.searches.draws import derive, seeded
from attacks.searches.patterns import pattern
from attacks.standins.bridges import through

_SHOWN = 8


class Cautious:
    """Returns the logits of the pass, out of several, that is farthest from the goal, with the gradient of their mean.

    So the goal counts as met only if it is met in every pass. Every call draws fresh numbers, so that an attack cannot
    fit one set of draws.

    Args:
        model: Images in [0, 1] -> logits, drawing from torch's global generator.
        goal: The goal of all images in later queries.
        draws: Number of passes per call.
        seed: The seed of the passes; torch's generator is left unchanged.

    Example:
        >>> from attacks import Untargeted
        >>> noisy = lambda x: x + torch.randn_like(x)
        >>> cautious = Cautious(noisy, Untargeted(torch.tensor([0])), draws=100)
        >>> bool(cautious(torch.zeros(1, 2)).diff() < -1)
        True
    """

    def __init__(self, model: Model, goal: Goal, draws: int, seed: int = 0) -> None:
        self._model, self._goal, self._draws, self._seed, self._calls = model, goal, draws, seed, 0
        self._places = Places(goal.ids)
        update_wrapper(self, model, assigned=(), updated=())

    def __call__(self, x: Tensor, /) -> Tensor:
        """Logits (N, C)."""
        self._calls += 1
        with seeded(derive(self._seed, self._calls), x.device):
            answers = torch.stack([ask(self._model, x) for _ in range(self._draws)])
        goal = self._goal_of(len(x), x.device)
        if goal is None:
            return answers.mean(0)
        margins = torch.stack([goal.margin(answer.detach()) for answer in answers])
        worst = answers.detach()[margins.argmax(0), torch.arange(len(x), device=x.device)]
        return through(worst, answers.mean(0)) if answers.requires_grad else worst

    def _goal_of(self, count: int, device: torch.device) -> Goal | None:
        """The goal of the images in the query; None if it is unknown which they are."""
        ids = asked_ids()
        if ids is None or len(ids) != count:
            return self._goal if len(self._goal.ids) == count else None
        return self._goal.select(self._places.of(ids).to(device))


def wavers(model: Model, x: Tensor) -> bool:
    """Whether a model's answers are random, for given or random images, see :func:`is_random`.

    Args:
        model: Images in [0, 1] -> logits, probabilities or labels.
        x: Images (N, ...); random ones of the same shape are used too. Torch's generator is left unchanged.

    Example:
        >>> x = torch.rand(1, 3)
        >>> wavers(lambda x: x, x), wavers(lambda x: x + torch.rand(1), x)
        (False, True)
    """
    with seeded(0, x.device):
        return is_random(model, _with_drawn(x))


def spread(model: Model, x: Tensor) -> float:
    """Spread of an image's logits: the median standard deviation over given and random images; never 0.

    Args:
        model: Images in [0, 1] -> logits.
        x: Images (N, ...); random ones of the same shape are used too. Torch's generator is left unchanged.

    Example:
        >>> round(spread(lambda x: torch.tensor([[-2.0, 2.0]]).expand(len(x), 2), torch.rand(1, 3)), 3)
        2.828
    """
    with seeded(0, x.device), torch.no_grad():
        found = float(ask(model, _with_drawn(x)).std(1).median())
    return found if found > 0 else 1.0


def _with_drawn(x: Tensor) -> Tensor:
    ids = torch.arange(_SHOWN, device=x.device)
    return torch.cat([x, *(pattern(1, ids[i : i + 1], i, x[:1]) for i in range(_SHOWN))])
