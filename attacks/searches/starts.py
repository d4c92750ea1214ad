"""Starting points of decision-based attacks: images that meet the goal already, however far away."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from attacks.norms import Norm
from attacks.protocols import AttackError
from attacks.queries.inputs import check_images
from attacks.searches.patterns import pattern
from attacks.searches.track import Survivors

Fools = Callable[[Tensor, Tensor], Tensor]
"""Candidates (m, ...) and the rows (m,) of the images they are tried for -> whether the goal is met, bool (m,)."""


def needs_start(attack: Any) -> bool:
    """Whether an attack cannot begin on an image without a start that meets the goal.

    An attack declares this by its attribute ``needs_start``; a composed attack needs a start if all its parts do.

    Example:
        >>> from attacks import PGD, HopSkipJump, capped
        >>> needs_start(PGD()), needs_start(capped(HopSkipJump(), 500))
        (False, True)
    """
    parts = _parts(attack)
    return bool(getattr(attack, "needs_start", False)) or (bool(parts) and all(map(needs_start, parts)))


def takes_starts(attack: Any) -> bool:
    """Whether an attack, or one it is composed of, accepts images to start from.

    Example:
        >>> from attacks import DDN, HopSkipJump, worst_case
        >>> takes_starts(DDN()), takes_starts(worst_case([DDN(), HopSkipJump()]))
        (False, True)
    """
    own = bool(getattr(attack, "needs_start", False)) and hasattr(attack, "starts")
    return own or any(map(takes_starts, _parts(attack)))


def with_starts(attack: Any, starts: Tensor) -> Any:
    """Give an attack images to start from; one that needs none is returned unchanged.

    Args:
        attack: An attack of either kind. One that needs a start has a field ``starts``, which is filled in inner
            attacks too.
        starts: Images (M, ...) in [0, 1].

    Example:
        >>> from attacks import HopSkipJump, capped
        >>> with_starts(capped(HopSkipJump(), 500), torch.rand(4, 3, 8, 8)).attack.starts.shape
        torch.Size([4, 3, 8, 8])
    """
    if not takes_starts(attack):
        return attack
    if not (parts := _parts(attack)):
        return replace(attack, starts=starts)
    given = tuple(with_starts(part, starts) for part in parts)
    return replace(attack, attacks=given) if hasattr(attack, "attacks") else replace(attack, attack=given[0])


def _parts(attack: Any) -> tuple[Any, ...]:
    """The attacks that an attack is composed of."""
    if isinstance(several := getattr(attack, "attacks", None), tuple):
        return several
    return (attack.attack,) if hasattr(attack, "attack") else ()


def check_starts(starts: Tensor | None) -> None:
    """Check the images given to an attack to start from, before the images to attack are known.

    Raises:
        ValueError: ``expected ..., got ...`` if they are not images.

    Example:
        >>> check_starts(torch.full((1, 4), 2.0))
        Traceback (most recent call last):
        ValueError: expected starts in [0, 1], got values from 2 to 2
    """
    if starts is not None:
        check_images(starts, "starts")


def check_fit(starts: Tensor | None, x: Tensor) -> None:
    """Check that the images to start from have the same size as those to attack, (N, ...).

    Raises:
        ValueError: ``expected ..., got ...`` if they are not.

    Example:
        >>> check_fit(torch.zeros(5, 4), torch.zeros(2, 3))
        Traceback (most recent call last):
        ValueError: expected starts of the shape of the images, (3,), got (4,)
    """
    if starts is not None and starts.shape[1:] != x.shape[1:]:
        got = tuple(starts.shape[1:])
        raise ValueError(f"expected starts of the shape of the images, {tuple(x.shape[1:])}, got {got}")


def find_starts(
    fools: Fools, norm: Norm, x: Tensor, ids: Tensor, *, starts: Tensor | None, seed: int, draws: int
) -> tuple[Tensor, Tensor]:
    """Find an image that meets the goal for each image: the nearest given one, or else the first random one.

    For each image the given ones are tried in order of distance, up to the first that meets the goal; an image among
    them is not tried for itself. For the random ones see :func:`attacks.searches.patterns.pattern`.

    Args:
        fools: Function that asks the model whether candidates meet the goal.
        norm: The norm in which distances to the given images are measured.
        x: Clean images (n, ...).
        ids: Ids of the images (n,).
        starts: The given images (M, ...), or None.
        seed: The seed of the draws, which are numbered from 0.
        draws: Largest number of random images tried for each image.

    Returns:
        A start for each image (n, ...), the clean image if none was found; and where one was found, bool (n,).

    Example:
        >>> from attacks import L2
        >>> x, starts = torch.tensor([[0.5]]), torch.tensor([[0.0], [1.0], [0.75], [0.25]])
        >>> find_starts(lambda x, rows: x[:, 0] > 0.6, L2(), x, torch.tensor([3]), starts=starts, seed=0, draws=0)
        (tensor([[0.7500]]), tensor([True]))
    """
    found, start = torch.zeros(len(x), dtype=torch.bool, device=x.device), x.clone()

    def ask(candidates: Tensor, rows: Tensor) -> None:
        if len(rows):
            hit = fools(candidates, rows)
            start[rows[hit]], found[rows[hit]] = candidates[hit], True

    for candidates, rows in _nearest_first(norm, x, found, starts):
        ask(candidates, rows)
    for draw in range(draws):
        rows = (~found).nonzero().squeeze(1)
        if not len(rows):
            break
        ask(pattern(seed, ids[rows], draw, x[rows]), rows)
    return start, found


def why_none(drawn: int, starts: Tensor | None) -> str:
    """The message for an image for which no start was found.

    Example:
        >>> why_none(100, None)
        'no start: none of 100 drawn images meets the goal, so nothing was tried on it'
    """
    given = "" if starts is None else f"{len(starts)} given and "
    return f"no start: none of {given}{drawn} drawn images meets the goal, so nothing was tried on it"


def hand_over(active: Survivors, started: Tensor, x_adv: Tensor, draws: int, starts: Tensor | None) -> Tensor:
    """Assemble the result of an attack that needs starts.

    Args:
        active: The images under attack.
        started: Positions of the images that had a start (m,).
        x_adv: Candidates for these images (m, ...).
        draws: Number of random images, as for :func:`find_starts`.
        starts: Given images, as for :func:`find_starts`.

    Returns:
        Candidates for the whole batch (N, ...).

    Raises:
        AttackError: If there was no start for some of the images.

    Example:
        >>> from attacks import Linf, Untargeted
        >>> x = torch.tensor([[0.9, 0.3], [0.2, 0.8]])
        >>> active = Survivors(lambda x: x, x, Untargeted(torch.tensor([0, 0])), Linf(), eps=None)
        >>> hand_over(active, torch.tensor([0]), torch.tensor([[0.5, 0.6]]), 100, None)
        tensor([[0.5000, 0.6000],
                [0.2000, 0.8000]])
    """
    active.found[active.rows[started]] = active.norm.confine(active.x[started], x_adv)
    lost = sorted(set(active.rows.tolist()) - set(active.rows[started].tolist()))
    if lost:
        raise AttackError(active.found, dict.fromkeys(lost, why_none(draws, starts)))
    return active.found


def _nearest_first(norm: Norm, x: Tensor, found: Tensor, starts: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the given images in order of distance from each image (n, ...), until it is ``found``.

    Yields:
        Given images (m, ...), and the rows (m,) of the images to try them for.
    """
    if starts is None or not len(x):
        return
    starts = starts.detach().to(x)
    distance = torch.stack([norm.measure(starts - image) for image in x])
    order, same = distance.argsort(dim=1, stable=True), (distance == 0).sum(1)
    for turn in range(len(starts)):
        rows = (~found & (same + turn < len(starts))).nonzero().squeeze(1)
        if not len(rows):
            return
        yield starts[order[rows, same[rows] + turn]], rows
