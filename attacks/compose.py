"""Attacks made of attacks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attacks.draws import derive
from attacks.goals import Goal, met
from attacks.gradients import forward
from attacks.inputs import check_arguments
from attacks.norms import Norm, column
from attacks.protocols import Attack, Kind, Model


@dataclass(frozen=True)
class WorstCase:
    """Several attacks on each image, and the best that any of them finds; see :func:`worst_case`.

    Example:
        >>> from attacks import FGSM, PGD
        >>> WorstCase((FGSM(), PGD())).norm
        Linf()
    """

    attacks: tuple[Attack, ...]
    """In the order in which they run; all of one kind and one norm."""
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0")

    def __post_init__(self) -> None:
        if not self.attacks:
            raise ValueError("expected at least one attack, got none")
        if len({attack.kind for attack in self.attacks}) > 1:
            kinds = ", ".join(attack.kind for attack in self.attacks)
            raise ValueError(f"expected attacks of one kind, got {kinds}")
        if len({attack.norm for attack in self.attacks}) > 1:
            norms = ", ".join(attack.norm.name for attack in self.attacks)
            raise ValueError(f"expected attacks in one norm, got {norms}")

    @property
    def kind(self) -> Kind:
        """That of its attacks."""
        return self.attacks[0].kind

    @property
    def norm(self) -> Norm:
        """That of its attacks."""
        return self.attacks[0].norm

    def __call__(
        self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """See :class:`attacks.protocols.BudgetAttack` and :class:`attacks.protocols.MinNormAttack`.

        A budget attack sees only the images that those before it left; the ``i``-th attack draws with the ``i``-th
        seed derived from ``seed``. Of minimum-norm attacks each sees every image, and the nearest result is kept.
        """
        check_arguments(x, goal, self.norm, eps)
        if self.kind == "budget" and eps is None:
            raise ValueError("expected eps for budget attacks, got None")
        x = best = x.detach()
        size = x.new_full((len(x),), torch.inf)
        bound = None if eps is None else torch.as_tensor(eps, dtype=x.dtype, device=x.device).expand(len(x))
        rows = torch.arange(len(x), device=x.device)
        for i, attack in enumerate(self.attacks):
            some, budget = goal.select(rows), None if bound is None else bound[rows]
            x_adv = attack(model, x[rows], some, eps=budget, seed=derive(seed, i))  # type: ignore[arg-type]
            fooled = met(some, forward(model, x_adv, some))
            distance = torch.where(fooled, self.norm.measure(x_adv - x[rows]), torch.inf)
            nearer = distance < size[rows]
            # A candidate that fails is still better than none, until something succeeds.
            take = nearer | (size[rows].isinf() & ~fooled)
            best = best.index_copy(0, rows, torch.where(column(take, x_adv).bool(), x_adv, best[rows]))
            size = size.index_copy(0, rows, torch.where(nearer, distance, size[rows]))
            if self.kind == "budget":
                rows = size.isinf().nonzero().squeeze(1)
            if not len(rows):
                break
        return best


def worst_case(attacks: Sequence[Attack]) -> WorstCase:
    """One attack out of several, image by image as strong as the strongest of them.

    Args:
        attacks: All budget or all minimum-norm attacks, in one norm. Put the cheapest first.

    Raises:
        ValueError: If there is none, or they are of two kinds or norms.

    Example:
        >>> from attacks import FGSM, PGD
        >>> worst_case([FGSM(), PGD(steps=100)]).kind
        'budget'
    """
    return WorstCase(tuple(attacks))


def restarts(attack: Attack, n: int) -> WorstCase:
    """The attack run ``n`` times with different seeds; the first run is the attack itself.

    Raises:
        ValueError: If ``n`` is below 1.

    Example:
        >>> from attacks import PGD
        >>> len(restarts(PGD(), 5).attacks)
        5
    """
    if n < 1:
        raise ValueError(f"expected n >= 1 restarts, got {n}")
    return WorstCase((attack,) * n)
