"""Masks for existing attacks, and a separate mask for each image."""

from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from attacks.geometry.ball import radii
from attacks.goals import Goal
from attacks.norms import Masked
from attacks.protocols import Attack, Model
from attacks.queries.classified import MadeOfOne
from attacks.queries.failures import Failures
from attacks.queries.inputs import check_arguments, check_call


def masked(attack: Attack, mask: Tensor) -> Attack:
    """Restrict an attack, in its own norm, to what a mask allows; see :class:`attacks.norms.masked.Masked`.

    Args:
        attack: An attack of this library, which may be composed of others, or one of Foolbox.
        mask: What may change, as for :class:`attacks.norms.masked.Masked`; the same for all images.

    Raises:
        ValueError: If the mask allows nothing, or the attack has no norm that can be replaced.

    Example:
        >>> from attacks import PGD, Untargeted, capped
        >>> x, goal = torch.tensor([[0.6, 0.5]]), Untargeted(torch.tensor([0]))
        >>> masked(capped(PGD(), 40), torch.tensor([True, False]))(lambda x: x, x, goal, eps=0.25)[:, 1]
        tensor([0.5000])
    """
    return _within(attack, mask)  # type: ignore[no-any-return]


def _within(attack: Any, mask: Tensor) -> Any:
    names = {field.name for field in fields(attack) if field.init} if is_dataclass(attack) else set[str]()
    changed: dict[str, Any] = {}
    if "norm" in names:
        # A patch attack wraps the norm it is given in a patched norm again.
        changed["norm"] = Masked(attack.norm.inside, mask)
    elif "attack" in names:
        changed["attack"] = _within(attack.attack, mask)
    elif "attacks" in names:
        changed["attacks"] = tuple(_within(each, mask) for each in attack.attacks)
    else:
        raise ValueError(f"expected an attack that can be given a norm, got {type(attack).__name__}: no mask support")
    return replace(attack, **changed)


@dataclass(frozen=True, eq=False)
class MaskedEach(MadeOfOne):
    """An attack with a separate mask for each image; see :func:`masked_each`.

    Example:
        >>> from attacks import PGD
        >>> MaskedEach(PGD(), torch.ones(2, 8, 8)).kind
        'budget'
    """

    attack: Attack
    """The attack, in a norm without a mask."""
    masks: Tensor
    """What may change in each image (N, ...)."""

    def __post_init__(self) -> None:
        given: object = self.masks
        if not isinstance(given, Tensor) or given.ndim < 2:
            got = f"shape {tuple(given.shape)}" if isinstance(given, Tensor) else type(given).__name__
            raise ValueError(f"expected masks as a tensor (N, ...), one for each image, got {got}")

    def __call__(
        self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """See :class:`attacks.protocols.BudgetAttack` and :class:`attacks.protocols.MinNormAttack`.

        Images with the same mask are attacked together.

        Raises:
            ValueError: As those do, and if there is not one mask per image, or a mask does not fit or allows nothing.
            AttackError: For images on which the attack failed.
        """
        check_call(self, eps, seed)
        check_arguments(model, x, goal, self.norm, eps)
        if len(self.masks) != len(x):
            raise ValueError(f"expected a mask for each of {len(x)} images, got {len(self.masks)}")
        x = x.detach()
        budgets = None if eps is None else radii(eps, x)
        kinds, which = self.masks.bool().unique(dim=0, return_inverse=True)  # type: ignore[no-untyped-call]
        x_adv, failed = x.clone(), Failures()
        for i, mask in enumerate(kinds):
            rows = (which.to(x.device) == i).nonzero().squeeze(1)
            radius = None if budgets is None else budgets[rows]
            attack, some = masked(self.attack, mask), goal.select(rows)
            x_adv[rows] = failed.catch(attack, model, x[rows], some, eps=radius, seed=seed, rows=rows)
        return failed.report(x_adv, torch.zeros(len(x), dtype=torch.bool, device=x.device))


def masked_each(attack: Attack, masks: Tensor) -> MaskedEach:
    """Give an attack a separate mask for each image.

    Args:
        attack: An attack, as for :func:`masked`.
        masks: What may change in each image (N, ...), as for :class:`attacks.norms.masked.Masked`.

    Raises:
        ValueError: If the masks are not a tensor (N, ...).

    Example:
        >>> from attacks import PGD, Untargeted
        >>> x, goal = torch.tensor([[0.6, 0.5], [0.5, 0.6]]), Untargeted(torch.tensor([0, 1]))
        >>> x_adv = masked_each(PGD(), torch.eye(2))(lambda x: x, x, goal, eps=0.25)
        >>> (x_adv != x).int()
        tensor([[1, 0],
                [0, 1]], dtype=torch.int32)
    """
    return MaskedEach(attack, masks)
