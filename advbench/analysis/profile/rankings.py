"""How the ranking of models changes between threats: ranks and Kendall's tau. Does not import torch."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from advbench.analysis.arrays import Floats
from advbench.analysis.profile.profiles import Profile
from advbench.analysis.profile.threat_rows import ThreatRow
from advbench.analysis.threats import ROBUST

FEWEST = 3
"""Smallest number of models that are ranked."""
DRAWS = 1000
"""Number of bootstrap samples of the images for an interval."""


class Tau(NamedTuple):
    """Kendall's tau between two threats, with its 95 % interval over images.

    Example:
        >>> print(Tau(0.8, 0.6, 1.0))
        0.80 [0.60, 1.00]
    """

    value: float
    """Value from -1, opposite order, to 1, same order."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


class Rankings(NamedTuple):
    """The ranking of several models on one data set, under every threat that all of them have."""

    dataset: str
    """Label of the data set."""
    models: tuple[str, ...]
    """Labels of the models."""
    threats: tuple[ThreatRow | None, ...]
    """The threats, as rows of the first model; None: clean images."""
    rates: Floats
    """Share of the images that survive, by threat and model (T, M)."""
    ranks: Floats
    """Ranks of the models (T, M), 1 for the best; ties share their mean rank."""
    tau: tuple[tuple[Tau | None, ...], ...]
    """Kendall's tau between all threats (T, T); None where a threat does not distinguish the models."""

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        keys = [None if row is None else dict(zip(_KEY, key_of(row), strict=True)) for row in self.threats]
        return {
            "dataset": self.dataset,
            "models": list(self.models),
            "threats": keys,
            "rates": self.rates.tolist(),
            "ranks": self.ranks.tolist(),
            "tau": [[None if each is None else each._asdict() for each in row] for row in self.tau],
        }


_KEY = ("kind", "goal", "norm", "eps", "mask", "severity")


def key_of(row: ThreatRow) -> tuple[Any, ...]:
    """The fields that distinguish threats, whatever the model."""
    return tuple(getattr(row, name) for name in _KEY)


def rankings(found: Sequence[Profile]) -> tuple[Rankings, ...]:
    """Rank the models on each data set that at least `FEWEST` of them have.

    Args:
        found: Profiles of a run.
    """
    groups: dict[str, list[Profile]] = {}
    for profile in found:
        groups.setdefault(profile.dataset, []).append(profile)
    return tuple(_ranked(dataset, own) for dataset, own in groups.items() if len(own) >= FEWEST)


def _ranked(dataset: str, found: Sequence[Profile]) -> Rankings:
    by_key = [{key_of(row): row for row in profile.rows} for profile in found]
    shared = [key for key in by_key[0] if all(key in rows for rows in by_key)]
    standing = [[profile.right for profile in found]]
    standing += [[rows[key].state == ROBUST for rows in by_key] for key in shared]
    rates = np.array([[own.mean() for own in row] for row in standing])
    return Rankings(
        dataset=dataset,
        models=tuple(profile.model for profile in found),
        threats=(None, *(by_key[0][key] for key in shared)),
        rates=rates,
        ranks=ranks_of(rates),
        tau=_taus(rates, drawn_again(standing)),
    )


def ranks_of(rates: Floats) -> Floats:
    """Ranks of the models under each threat, 1 for the largest rate: (T, M) -> (T, M).

    Example:
        >>> ranks_of(np.array([[0.5, 0.9, 0.5]])).tolist()
        [[2.5, 1.0, 2.5]]
    """
    above = (rates[:, None, :] > rates[:, :, None]).sum(2)
    equal = (rates[:, None, :] == rates[:, :, None]).sum(2)
    places: Floats = above + (equal + 1) / 2
    return places


def kendall(rates: Floats) -> Floats:
    """Kendall's tau-b between all threats: (..., T, M) -> (..., T, T); NaN where a threat has one rate for all models.

    References:
        M. G. Kendall, The treatment of ties in ranking problems, 1945

    Example:
        >>> kendall(np.array([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])).tolist()
        [[1.0, -1.0], [-1.0, 1.0]]
    """
    first, second = np.triu_indices(rates.shape[-1], 1)
    order = np.sign(rates[..., first] - rates[..., second])
    untied = (order**2).sum(-1)
    with np.errstate(invalid="ignore"):
        found: Floats = (order @ np.swapaxes(order, -1, -2)) / np.sqrt(untied[..., :, None] * untied[..., None, :])
    return found


def drawn_again(standing: Sequence[Sequence[NDArray[np.bool_]]]) -> Floats | None:
    """Bootstrap: rates over images resampled with replacement, `DRAWS` times.

    Args:
        standing: Which images survive (N,), by threat and model.

    Returns:
        Rates (`DRAWS`, T, M); None if the models have different numbers of images.

    Example:
        >>> drawn_again([[np.array([True, True]), np.array([False, False])]])[0]
        array([[1., 0.]])
    """
    counts = {len(own) for row in standing for own in row}
    if len(counts) != 1 or 0 in counts:
        return None
    every, count = np.array(standing, float), counts.pop()
    times = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), DRAWS).astype(float)
    # divided at the end: sums of whole numbers are exact, so models with equal counts tie
    found: Floats = np.einsum("bn,tmn->btm", times, every) / count
    return found


def _taus(rates: Floats, drawn: Floats | None) -> tuple[tuple[Tau | None, ...], ...]:
    value, several = kendall(rates), None if drawn is None else kendall(drawn)

    def tau(one: int, other: int) -> Tau | None:
        if np.isnan(value[one, other]):
            return None
        sure = [-1.0, 1.0] if several is None else _ends(several[:, one, other])
        return Tau(float(value[one, other]), *sure)

    return tuple(tuple(tau(one, other) for other in range(len(rates))) for one in range(len(rates)))


def _ends(values: Floats) -> list[float]:
    """Ends of the middle 95 % of the known values."""
    known = values[~np.isnan(values)]
    return [float(each) for each in np.quantile(known, [0.025, 0.975])] if len(known) else [-1.0, 1.0]
