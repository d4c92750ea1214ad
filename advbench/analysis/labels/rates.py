"""Rates of each label of a multi-label model: predicted when clean and under attack, and flipped.

They are over all images and all attacks of a run, whatever the goal, without noise: how often any of the attacks
flipped the label. An attack that targets one label may flip others as well, and these count too; the worst case for a
label is measured by a separate goal, such as `label-off:boat`. Does not import torch.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from advbench.analysis.arrays import Bools, Floats
from advbench.analysis.labels.codes import as_set
from advbench.analysis.statistics import Proportion
from advbench.catalog.attacks import CORRUPTION
from advbench.records.record import LEFT_OUT, OK, PROOF, largest_size

_NOISE = "noise"


class LabelRates(NamedTuple):
    """The rates of one label."""

    label: int
    """Number of the label."""
    name: str
    """Name of the label."""
    images: int
    """Number of images with this label; for unlabelled images, those where the model predicts it."""
    clean: Proportion
    """Share of all images for which the model is right about it when clean."""
    robust: Proportion
    """Share of all images for which it is right when clean and no attack flips it."""
    off: Proportion
    """Share of the images where the model predicts it when clean for which an attack turns it off."""
    on: Proportion
    """Share of the other images for which an attack turns it on."""


class LabelTable(NamedTuple):
    """The rates of all labels of a model on a data set, under all attacks in one norm within one eps."""

    model: str
    """Label of the model."""
    dataset: str
    """Label of the data set."""
    norm: str
    """Norm in which perturbations are measured."""
    eps: float | None
    """Budget, image units; None: no bound."""
    attacks: tuple[str, ...]
    """Names of the attacks."""
    clean: Proportion
    """Subset accuracy: share of the images for which the model is right about every label when clean."""
    robust: Proportion
    """Subset accuracy under attack: right about every label when clean, and no attack flips any."""
    rates: tuple[LabelRates, ...]
    """Rates of each label."""
    relative: bool
    """Whether images lack labels, so that "right" means as when clean."""

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        plain = {name: getattr(self, name) for name in ("model", "dataset", "norm", "eps", "relative")}
        return plain | {
            "attacks": list(self.attacks),
            "clean": self.clean.as_dict(),
            "robust": self.robust.as_dict(),
            "labels": [
                {
                    name: value.as_dict() if isinstance(value, Proportion) else value
                    for name, value in each._asdict().items()
                }
                for each in self.rates
            ],
        }


def label_tables(frame: pd.DataFrame, classes: Mapping[str, Sequence[str]]) -> tuple[LabelTable, ...]:
    """Rates of each label, for each multi-label model, data set, norm and eps.

    Args:
        frame: Rows of a run.
        classes: Data set -> names of its labels; numbers replace missing names.

    Example:
        >>> label_tables(pd.DataFrame({"clean_labels": [None]}), {})
        ()
    """
    if "clean_labels" not in frame or not frame["clean_labels"].notna().any():
        return ()
    attack = frame["attack"].astype(str)
    attacks = ~(attack.isin([_NOISE, PROOF]) | attack.str.startswith(CORRUPTION))
    found = []
    for (model, dataset), rows in frame.groupby(["model", "dataset"], sort=False, observed=True):
        if rows["clean_labels"].notna().any():
            images = _Images(rows, classes.get(str(dataset), ()))
            tried = rows[attacks.loc[rows.index]]
            for norm, own in tried.groupby("norm", sort=False, observed=True):
                found += [images.table(str(model), str(dataset), str(norm), eps, own) for eps in _levels(own)]
    return tuple(found)


def _levels(rows: pd.DataFrame) -> list[float | None]:
    bounds: list[float] = sorted(set(rows["eps"].dropna().astype(float).tolist()))
    return [*bounds] or [None]


class _Images:
    """The images of a model and a data set: their labels, and those that the model predicts when they are clean."""

    def __init__(self, rows: pd.DataFrame, names: Sequence[str]) -> None:
        codes, self.samples = pd.factorize(rows["sample_id"])
        truth, clean = (self._first(rows[name], codes) for name in ("labels", "clean_labels"))
        seen = [*truth, *clean, *map(as_set, rows["adv_labels"].astype(object))]
        count = max([len(names), *(max(labels) + 1 for labels in seen if labels)])
        self.names = [names[i] if i < len(names) else str(i) for i in range(count)]
        self.known = np.array([labels is not None for labels in clean])
        self.relative = any(labels is None for labels in truth)
        self.clean = self._matrix(clean)
        self.truth = np.where(np.array([labels is None for labels in truth])[:, None], self.clean, self._matrix(truth))

    def _first(self, column: pd.Series, codes: NDArray[np.int64]) -> list[tuple[int, ...] | None]:
        """The first set of labels in a column for each image."""
        found: list[tuple[int, ...] | None] = [None] * len(self.samples)
        for code, value in zip(codes.tolist(), column.astype(object), strict=True):
            if found[code] is None:
                found[code] = as_set(value)
        return found

    def _matrix(self, sets: Sequence[tuple[int, ...] | None]) -> Bools:
        """Which labels are in each set (n, labels)."""
        found = np.zeros((len(sets), len(self.names)), bool)
        for row, labels in zip(found, sets, strict=True):
            row[list(labels or ())] = True
        return found

    def table(self, model: str, dataset: str, norm: str, eps: float | None, rows: pd.DataFrame) -> LabelTable:
        """The rates under the attacks of some rows, within an eps."""
        place = pd.Index(self.samples).get_indexer(pd.Index(rows["sample_id"]))
        size, given = (rows[name].to_numpy(float, na_value=np.nan) for name in (norm, "eps"))
        ok, aside = ((rows["status"] == status).to_numpy(bool) for status in (OK, LEFT_OUT))
        counts = ok & (_within(size, eps) | _within(given, eps) | (eps is None))
        flipped = np.zeros_like(self.clean)
        adv = self._matrix([as_set(value) for value in rows["adv_labels"].astype(object)])
        np.logical_or.at(flipped, place[counts], adv[counts] != self.clean[place[counts]])
        speaking = np.isnan(given) | (given == eps)
        unknown = ~self.known | self._unattacked(rows[speaking], place[speaking])
        unknown[place[~ok & ~aside & speaking]] = True
        right = (self.clean == self.truth) & self.known[:, None]
        every, any_flip = right.all(1), flipped.any(1)
        return LabelTable(
            model=model,
            dataset=dataset,
            norm=norm,
            eps=eps,
            attacks=tuple(dict.fromkeys(rows["attack"].astype(str))),
            clean=Proportion.of(every, ~self.known),
            robust=Proportion.of(every & ~any_flip & ~unknown, every & ~any_flip & unknown | ~self.known),
            rates=tuple(
                self._rates(label, right[:, label], flipped[:, label], unknown) for label in range(len(self.names))
            ),
            relative=self.relative,
        )

    def _unattacked(self, rows: pd.DataFrame, place: NDArray[np.int64]) -> Bools:
        """Images without a row for every attack: a run that stops once decided skips some in its last attack."""
        found = np.zeros(len(self.samples), bool)
        for own in rows.groupby(["attack", "params", "goal"], observed=True).indices.values():
            missing = np.ones(len(self.samples), bool)
            missing[place[own]] = False
            found |= missing
        return found

    def _rates(self, label: int, right: Bools, flipped: Bools, unknown: Bools) -> LabelRates:
        found, truth = self.clean[:, label] & self.known, self.truth[:, label]
        others = ~self.clean[:, label] & self.known
        return LabelRates(
            label=label,
            name=self.names[label],
            images=int(truth.sum()),
            clean=Proportion.of(right, ~self.known),
            robust=Proportion.of(right & ~flipped & ~unknown, right & ~flipped & unknown | ~self.known),
            off=Proportion.of(flipped[found], unknown[found] & ~flipped[found]),
            on=Proportion.of(flipped[others], unknown[others] & ~flipped[others]),
        )


def _within(size: Floats, eps: float | None) -> Bools:
    """Whether sizes or budgets are within an eps; NaN is not."""
    found: Bools = size <= (np.inf if eps is None else largest_size(eps))
    return found


_NUMBERS, _PARTS = ("clean", "robust", "off", "on"), tuple(Proportion(0, 0).as_dict())
_SHARED = ("model", "dataset", "norm", "eps")
FLAT = (*_SHARED, "label", "images", *(f"{name}_{part}" for name in _NUMBERS for part in _PARTS))
"""Headings of :func:`flat`."""


def flat(tables: Sequence[LabelTable]) -> Iterator[tuple[Any, ...]]:
    """Yield the rates of all tables as rows under the headings `FLAT`, for a spreadsheet."""
    for table in tables:
        for rates in table.rates:
            shares = (share for name in _NUMBERS for share in getattr(rates, name).as_dict().values())
            yield (*(getattr(table, name) for name in _SHARED), rates.name, rates.images, *shares)
