"""Attacks composed of other attacks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attacks.geometry.ball import radii
from attacks.geometry.rows import column
from attacks.goals import Goal, met
from attacks.norms import Norm
from attacks.objectives.rivals import Towards, distinct_aims
from attacks.protocols import Access, Attack, Kind, Model, Search
from attacks.queries.classified import MadeOfOne, access_of, check_attack, search_of
from attacks.queries.failures import Failures
from attacks.queries.gradients import forward
from attacks.queries.inputs import check_arguments, check_call, clean_logits
from attacks.queries.plain import whole_number
from attacks.searches.draws import derive


@dataclass(frozen=True)
class WorstCase:
    """Several attacks on each image, keeping the best result of any; see :func:`worst_case`.

    Example:
        >>> from attacks import FGSM, PGD
        >>> WorstCase((FGSM(), PGD())).norm
        Linf()
    """

    attacks: tuple[Attack, ...]
    """The attacks in the order in which they run; all of one kind and one norm."""
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0")

    def __post_init__(self) -> None:
        if not self.attacks:
            raise ValueError("expected at least one attack, got none")
        for attack in self.attacks:
            check_attack(attack)
        if len({attack.kind for attack in self.attacks}) > 1:
            kinds = ", ".join(attack.kind for attack in self.attacks)
            raise ValueError(f"expected attacks of one kind, got {kinds}")
        if len({attack.norm for attack in self.attacks}) > 1:
            norms = ", ".join(attack.norm.name for attack in self.attacks)
            raise ValueError(f"expected attacks in one norm, got {norms}")

    @property
    def kind(self) -> Kind:
        """The kind of its attacks."""
        return self.attacks[0].kind

    @property
    def norm(self) -> Norm:
        """The norm of its attacks."""
        return self.attacks[0].norm

    @property
    def access(self) -> Access | None:
        """The broadest access that any of its attacks needs; None if one does not declare it."""
        return access_of(self.attacks)

    @property
    def search(self) -> Search | None:
        """The most thorough search among its attacks; None if one does not declare it."""
        return search_of(self.attacks)

    def __call__(
        self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """See :class:`attacks.protocols.BudgetAttack` and :class:`attacks.protocols.MinNormAttack`.

        A budget attack sees only the images that the previous ones did not fool; the ``i``-th attack draws with the
        ``i``-th seed derived from ``seed``. Every minimum-norm attack sees every image, and the nearest result is kept.
        An image on which an attack fails with an error is left to the others; it counts as failed only if none of them
        fools it.
        """
        check_call(self, eps, seed)
        return _in_turn(model, x, goal, [(attack, goal) for attack in self.attacks], eps, seed)


@dataclass(frozen=True)
class MultiTargeted(MadeOfOne):
    """An attack run towards several rivals in turn; see :func:`multi_targeted`.

    Example:
        >>> from attacks import PGD
        >>> MultiTargeted(PGD(), 9).kind
        'budget'
    """

    attack: Attack
    """The attack, which is given a rival to aim at."""
    targets: int = 9
    """Number of rivals, the nearest first."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "targets", whole_number("targets", self.targets))

    def __call__(
        self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """See :class:`WorstCase`, here for one attack with several aims; any way of meeting the goal counts."""
        check_call(self, eps, seed)
        logits = clean_logits(model, x, goal, self.norm, eps)
        ways = [way if way is goal else Towards(goal, way) for way in distinct_aims(goal, logits, self.targets)]
        return _in_turn(model, x, goal, [(self.attack, way) for way in ways], eps, seed)


def _in_turn(
    model: Model, x: Tensor, goal: Goal, turns: Sequence[tuple[Attack, Goal]], eps: float | Tensor | None, seed: int
) -> Tensor:
    """Run each attack towards its aim, and keep the best candidate overall."""
    first, norm = turns[0][0], turns[0][0].norm
    check_arguments(model, x, goal, norm, eps)
    x = best = x.detach()
    size = x.new_full((len(x),), torch.inf)
    bound = None if eps is None else radii(eps, x)
    rows, failed = torch.arange(len(x), device=x.device), Failures()
    for i, (attack, aim) in enumerate(turns):
        some, budget = goal.select(rows), None if bound is None else bound[rows]
        x_adv = failed.catch(attack, model, x[rows], aim.select(rows), eps=budget, seed=derive(seed, i), rows=rows)
        fooled = met(some, forward(model, x_adv, some))
        distance = torch.where(fooled, norm.measure(x_adv - x[rows]), torch.inf)
        nearer = distance < size[rows]
        # A candidate that fails is still better than none, until something succeeds.
        take = nearer | (size[rows].isinf() & ~fooled)
        best = best.index_copy(0, rows, torch.where(column(take, x_adv), x_adv, best[rows]))
        size = size.index_copy(0, rows, torch.where(nearer, distance, size[rows]))
        if first.kind == "budget":
            rows = size.isinf().nonzero().squeeze(1)
        if not len(rows):
            break
    return failed.report(best, size.isfinite())


def worst_case(attacks: Sequence[Attack]) -> WorstCase:
    """Combine several attacks into one that is as strong on each image as the strongest of them.

    Args:
        attacks: All budget or all minimum-norm attacks, in one norm. Put the cheapest first.

    Raises:
        ValueError: If the list is empty, an element is not an attack, or they differ in kind or norm.

    Example:
        >>> from attacks import FGSM, PGD
        >>> worst_case([FGSM(), PGD(steps=100)]).kind
        'budget'
    """
    given: object = attacks
    if not isinstance(given, Iterable):
        raise ValueError(f"expected a list of attacks, got {type(given).__name__}")
    return WorstCase(tuple(attacks))


def restarts(attack: Attack, n: int) -> WorstCase:
    """Run the attack ``n`` times with different seeds; the first run is the attack itself.

    Raises:
        ValueError: If ``n`` is not a whole number of at least 1.

    Example:
        >>> from attacks import PGD
        >>> len(restarts(PGD(), 5).attacks)
        5
    """
    return WorstCase((attack,) * whole_number("restarts", n))


def multi_targeted(attack: Attack, targets: int = 9) -> MultiTargeted:
    """Aim the attack at one rival class after another, the nearest first, as APGD-T does in AutoAttack.

    An untargeted attack follows the class that happens to lead, and may miss one that is easier to reach. For goals
    other than untargeted the rivals are the ways to meet the goal, see :func:`attacks.objectives.rivals.ways_to`; where
    there is only one, the attack runs once.

    References:
        Croce and Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
        attacks <https://arxiv.org/abs/2003.01690>, 2020.

    Args:
        attack: An attack of either kind. With ``APGD(loss="margin")`` this is APGD-T, except for the scale of its loss.
        targets: Number of rivals; at most one less than the number of classes.

    Raises:
        ValueError: If ``targets`` is not a whole number of at least 1.

    Example:
        >>> from attacks import APGD, Untargeted
        >>> x, goal = torch.tensor([[0.6, 0.5, 0.4]]), Untargeted(torch.tensor([0]))
        >>> x_adv = multi_targeted(APGD(loss="margin"), 2)(lambda x: x, x, goal, eps=0.0625)
        >>> bool(goal.margin(x_adv) < 0)
        True
    """
    return MultiTargeted(attack, targets)
