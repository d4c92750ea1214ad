"""The baseline: a small file, committed with the code, with the outcome of each image. Does not import torch."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from advbench.analysis.compare import Key, Outcomes, outcomes
from advbench.analysis.labels.codes import as_set
from advbench.analysis.metrics import NO_BUDGETS, Budgets
from advbench.errors import UserError
from advbench.records.storage.atomic import ANOTHER_FILE, write_atomic

_MAKE = "create one with `advbench baseline write DIR --baseline FILE`"
_UPDATE = "if the change is intended, run `advbench baseline update DIR`, and commit the file"
_MOST_BYTES = 64 * 2**20
_LEFT_OUT = "-"


class BaselineImages(BaseModel):
    """The images of one model and data set, at the model's resolution."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    """Label of the model."""
    dataset: str
    """Label of the data set."""
    weights_sha256: str = ""
    """Digest of the weights that produced these outcomes; other weights may be compared with them."""
    digest: str
    """Digest of the ids and labels."""
    samples: tuple[str, ...]
    """Ids of the images, in the order of the outcomes."""


class Entry(BaseModel):
    """The outcomes of one cell."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    """Label of the model."""
    dataset: str
    """Label of the data set."""
    goal: str
    """Goal, which defines what counted as broken."""
    norm: str
    """Norm in which perturbations were measured."""
    attack: str
    """Label of the attack or of the corruption, `WORST_CASE` or `CLEAN`."""
    params: str
    """Parameters of the attack, as JSON."""
    eps: float | None
    """Budget, image units; None: no bound."""
    outcomes: Annotated[str, Field(pattern="^[01?-]*$")]
    """One character per image: 1 robust, 0 broken, ? unknown, - left out because the goal has no meaning for it."""
    form: str = ""
    """Form of the network in which the attack computed gradients; empty if not recorded."""


class Baseline(BaseModel):
    """Outcomes of a run, image by image, with which later runs are compared.

    Example:
        >>> Baseline(run_id="r", advbench="0.1.0", images=(), cells=()).outcomes()
        []
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    """Version of the file's format."""
    run_id: str
    """Id of the run that it was made from."""
    advbench: str
    """Version of advbench that made the run."""
    images: tuple[BaselineImages, ...]
    """The images of each model and data set."""
    cells: tuple[Entry, ...]
    """Outcomes, cell by cell."""

    def __repr__(self) -> str:
        return (
            f"Baseline(run {self.run_id}: {len(self.cells)} cells, images of {len(self.images)} models and data sets)"
        )

    __str__ = __repr__

    @classmethod
    def of(cls, frame: pd.DataFrame, *, run_id: str, version: str, eps: Budgets = NO_BUDGETS) -> Self:
        """Make the baseline of a run.

        Args:
            frame: Rows of the run.
            run_id: Id of the run.
            version: Version of advbench.
            eps: Budgets, as for :func:`advbench.analysis.metrics.cells_of`.
        """
        images = tuple(_images(frame))
        samples = {(each.model, each.dataset): each.samples for each in images}
        cells = tuple(
            Entry(
                model=each.model,
                outcomes=_letters(each, samples[each.model, each.key.dataset]),
                form=each.form,
                **each.key._asdict(),
            )
            for each in outcomes(frame, eps)
        )
        return cls(run_id=run_id, advbench=version, images=images, cells=cells)

    def outcomes(self) -> list[Outcomes]:
        """The cells, to be compared with those of a run."""
        samples = {(images.model, images.dataset): images.samples for images in self.images}
        found = []
        for cell in self.cells:
            pairs = zip(samples[cell.model, cell.dataset], cell.outcomes, strict=True)
            found.append(
                Outcomes(
                    model=cell.model,
                    key=Key(cell.dataset, cell.goal, cell.norm, cell.attack, cell.params, cell.eps),
                    samples=tuple(sample for sample, letter in pairs if letter != _LEFT_OUT),
                    letters=cell.outcomes.replace(_LEFT_OUT, ""),
                    form=cell.form,
                )
            )
        return found

    def of_model(self, model: str) -> Self:
        """The part about one model."""
        images = tuple(each for each in self.images if each.model == model)
        return self.model_copy(update={"images": images, "cells": tuple(c for c in self.cells if c.model == model)})

    def replaced(self, parts: Sequence["Baseline"]) -> Self:
        """Return this baseline, with its entries replaced by those of other baselines for the models in them."""
        fresh = {images.model for part in parts for images in part.images}
        kept = [images for images in self.images if images.model not in fresh]
        images = sorted([*kept, *(each for part in parts for each in part.images)], key=lambda i: (i.model, i.dataset))
        cells = [c for c in self.cells if c.model not in fresh] + [c for part in parts for c in part.cells]
        cells.sort(key=lambda cell: (cell.model, cell.dataset))
        return self.model_copy(update={"images": tuple(images), "cells": tuple(cells)})

    def refuse_others(self, other: "Baseline", *, labels: bool = True) -> None:
        """Check that another run has the same images and the same attacks.

        Args:
            other: Baseline of that run.
            labels: Whether to compare the images' labels too; before a run starts, they are not known.

        Raises:
            UserError: They differ; the message names the difference.
        """
        ours, theirs = (
            {(i.model, i.dataset): i.digest if labels else sorted(i.samples) for i in each.images}
            for each in (self, other)
        )
        mine, yours = ({_name(cell) for cell in each.cells} for each in (self, other))
        for what, differing in (
            ("models or data sets", [" on ".join(key) for key in sorted(ours.keys() ^ theirs.keys())]),
            ("images or labels", [" on ".join(key) for key in ours if ours[key] != theirs.get(key)]),
            ("attacks", sorted(mine ^ yours)),
        ):
            if differing:
                more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
                raise UserError(f"the baseline has other {what}: {', '.join(differing[:3])}{more}", hint=_UPDATE)

    def write(self, path: Path, *, hint: str = ANOTHER_FILE) -> Path:
        """Write the file; the same run always gives the same bytes.

        Args:
            path: Path of the file.
            hint: What to do if it cannot be written.

        Raises:
            UserError: It cannot be written.
        """
        content = json.dumps(self.model_dump(), indent=1, allow_nan=False) + "\n"
        return write_atomic(path, content.encode("ascii"), hint=hint)


def read_baseline(path: Path) -> Baseline:
    """Read a baseline.

    Raises:
        UserError: There is none, or it is damaged or from another version.

    Example:
        >>> read_baseline(Path("none.json"))
        Traceback (most recent call last):
        advbench.errors.UserError: there is no baseline at none.json
        create one with `advbench baseline write DIR --baseline FILE`
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UserError(f"{path} is not a baseline: it is larger than {_MOST_BYTES >> 20} MiB", hint=_MAKE)
        found = Baseline.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"there is no baseline at {path}", hint=_MAKE) from None
    except OSError as error:
        raise UserError(f"cannot read the baseline {path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"{path} is not a baseline: {where or 'file'}: {first['msg']}", hint=_MAKE) from None
    lengths = {(images.model, images.dataset): len(images.samples) for images in found.images}
    for cell in found.cells:
        if lengths.get((cell.model, cell.dataset)) != len(cell.outcomes):
            raise UserError(f"{path} is damaged: {_name(cell)} does not have one outcome for each image", hint=_MAKE)
    return found


def _letters(cell: Outcomes, samples: Sequence[str]) -> str:
    """The outcomes of a cell in the order of all images."""
    known = dict(zip(cell.samples, cell.letters, strict=True))
    return "".join(known.get(sample, _LEFT_OUT) for sample in samples)


def _images(frame: pd.DataFrame) -> list[BaselineImages]:
    """The images of each model and data set, with a digest of their ids and labels."""
    found = []
    for (model, dataset), rows in frame.groupby(["model", "dataset"], sort=False, observed=True):
        first = rows.groupby("sample_id", sort=False, observed=True).first()
        labels: list[Any] = [None if pd.isna(label) else int(label) for label in first["label"]]
        if "labels" in first:
            labels = [
                as_set(found) if known is None else known
                for known, found in zip(labels, first["labels"].astype(object), strict=True)
            ]
        pairs = sorted(zip(map(str, first.index), labels, strict=True))
        found.append(
            BaselineImages(
                model=str(model),
                dataset=str(dataset),
                weights_sha256=str(rows["weights_sha256"].iloc[0] or ""),
                digest=hashlib.sha256(json.dumps(pairs).encode()).hexdigest(),
                samples=tuple(map(str, first.index)),
            )
        )
    return found


def _name(cell: Entry) -> str:
    bound = "" if cell.eps is None else f" eps={cell.eps:.6g}"
    return f"{cell.model} on {cell.dataset}: {cell.attack} {cell.params} {cell.goal} {cell.norm}{bound}"
