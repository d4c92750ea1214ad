"""The most telling images of a run, chosen from the adversarial images that it kept. Does not import torch."""

import io
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from advbench.analysis.labels.codes import as_set
from advbench.config.budgets import describe_size
from advbench.records.adversarials import kept_rows, kept_tensors
from advbench.records.record import UNKNOWN
from advbench.report.html.document import data_uri
from advbench.sanitize import display_name

if TYPE_CHECKING:
    from advbench.records.stored_run import StoredRun


Pixels = NDArray[np.float32]
Floats = NDArray[np.float64]
Row = dict[str, Any]

KINDS = {
    "smallest": "smallest perturbations",
    "confident": "most confident mistakes",
    "unbroken": "never broken",
}
"""Kind of telling images -> heading, in the order in which they are shown."""
_EACH = 4
_IMAGE = ["model", "dataset", "sample_id"]
_THREAT = ["model", "dataset", "goal", "norm"]
_BARS = 3
_SMALL = 96
"""Largest side in pixels of a picture that is stored losslessly and drawn with hard edges."""


class Bar(NamedTuple):
    """A class and the model's confidence in it."""

    name: str
    """Name of the class."""
    percent: float
    """Softmax probability, 0 to 100; of several labels the sigmoid of each."""
    first: bool
    """Whether it was the top class on the original, or one of several labels."""


class Picture(NamedTuple):
    """One image of the gallery."""

    kind: str
    """A key of `KINDS`."""
    model: str
    """The model under attack."""
    name: str
    """Name of the image in its data set."""
    caption: str
    """Attack, size and outcome in words."""
    images: tuple[str, str, str]
    """Original, perturbation and adversarial picture, as addresses of an `<img>`."""
    before: tuple[Bar, ...]
    """The top classes of the original."""
    after: tuple[Bar, ...]
    """The top classes of the adversarial picture."""
    small: bool
    """Whether it has few enough pixels to show each of them."""


def gallery(run: "StoredRun", classes: Mapping[str, Sequence[str]]) -> list[Picture]:
    """Choose and read the most telling images.

    Args:
        run: The stored run; without adversarial images in `adv/` the gallery is empty.
        classes: Data set -> names of its classes.
    """
    kept = list(kept_rows(run))
    if not kept:
        return []
    rows = pd.concat(kept, ignore_index=True)
    rows = rows[(rows["status"] == "ok") & (rows["attack"] != "noise")]
    return [_picture(run.folder, kind, row, classes) for kind, row in _chosen(rows, _broken(run.frame))]


def _broken(frame: pd.DataFrame) -> pd.MultiIndex:
    """Model, data set and id of the images that are wrong when clean, that anything in a run broke, or may have.

    Where a threat has budgets, a minimum-norm attack breaks what it changes within the largest of them.
    """
    wrong = frame["label"].notna() & (frame["label"] != frame["clean_class"])
    met = frame["met"].fillna(False).astype(bool)
    largest = frame.groupby(_THREAT, observed=True, dropna=False)["eps"].transform("max")
    beyond = frame["eps"].isna() & (_sizes(frame) > largest)
    unknown = frame["status"] == UNKNOWN
    return pd.MultiIndex.from_frame(frame.loc[wrong | unknown | met & ~beyond, _IMAGE].astype(str))


def _sizes(rows: pd.DataFrame) -> "pd.Series[float]":
    """Sizes of the perturbations, each in the norm of its row."""
    sizes = pd.Series(np.nan, rows.index)
    for norm in rows["norm"].unique():
        sizes = sizes.where(rows["norm"] != norm, rows[norm].astype(float))
    return sizes


def _chosen(rows: pd.DataFrame, broken: pd.MultiIndex) -> Iterator[tuple[str, Row]]:
    """A few images of each kind, each image once, taking the models in turn."""
    met = rows["met"].fillna(False).to_numpy(bool)
    unbroken = rows[~pd.MultiIndex.from_frame(rows[_IMAGE].astype(str)).isin(broken)]
    changed = rows[met & rows["flipped"].fillna(False).to_numpy(bool)]
    rank = _sizes(changed).groupby(changed["norm"], observed=True).rank(pct=True)
    orders = {
        "smallest": changed.loc[rank.sort_values(kind="stable").index],
        "confident": changed.sort_values("adv_confidence", ascending=False, kind="stable"),
        "unbroken": unbroken.sort_values("clean_confidence", ascending=False, kind="stable"),
    }
    seen: set[str] = set()
    for kind, ordered in orders.items():
        for row in _in_turn(ordered, seen):
            seen.add(row["sample_id"])
            yield kind, row


def _in_turn(rows: pd.DataFrame, seen: set[str]) -> list[Row]:
    """The first rows, shared out evenly among the models, without images seen before."""
    fresh = rows[~rows["sample_id"].isin(seen)].drop_duplicates("sample_id")
    turn = fresh.groupby("model", observed=True, sort=False).cumcount().to_numpy()
    found: list[Row] = fresh.iloc[np.argsort(turn, kind="stable")[:_EACH]].to_dict("records")  # type: ignore[assignment]
    return found


def _picture(folder: Path, kind: str, row: Row, classes: Mapping[str, Sequence[str]]) -> Picture:
    tensors = kept_tensors(folder / "adv" / str(row["file"]), int(row["place"]))
    x, x_adv = tensors["x"].astype(np.float32), tensors["x_adv"].astype(np.float32)
    names = classes.get(str(row["dataset"]), ())
    logits = tensors["clean_logits"], tensors["adv_logits"]
    found = as_set(row.get("clean_labels"))
    shares = [_softmax(each) if found is None else _sigmoid(each) for each in logits]
    first = {int(np.argmax(logits[0]))} if found is None else set(found)
    small = max(x.shape[1:]) <= _SMALL
    return Picture(
        kind=kind,
        model=str(row["model"]),
        name=name if isinstance(name := row["sample_name"], str) and name else row["sample_id"],
        caption=f"{row['attack']} · {_outcome(row)}",
        images=(_address(x, small), _address(_scaled(x_adv - x), small), _address(x_adv, small)),
        before=_bars(shares[0], names, first),
        after=_bars(shares[1], names, first),
        small=small,
    )


def _outcome(row: Row) -> str:
    size = row[row["norm"]]
    return "not broken" if pd.isna(size) else describe_size(row["norm"], float(size))


def _softmax(logits: NDArray[np.generic]) -> Floats:
    shifted = np.exp(logits.astype(float) - float(np.max(logits)))
    shares: Floats = shifted / shifted.sum()
    return shares


def _sigmoid(logits: NDArray[np.generic]) -> Floats:
    shares: Floats = 0.5 * (1 + np.tanh(logits.astype(float) / 2))
    return shares


def _bars(shares: Floats, names: Sequence[str], first: Container[int]) -> tuple[Bar, ...]:
    """The top classes with their probabilities, or the labels that are likeliest to apply."""
    order = np.argsort(-shares, kind="stable")[:_BARS].tolist()
    called = [names[i] if i < len(names) else f"class {i}" for i in order]
    return tuple(
        Bar(display_name(name, limit=40), round(100 * float(shares[i]), 1), i in first)
        for i, name in zip(order, called, strict=True)
    )


def _scaled(delta: Pixels) -> Pixels:
    """A perturbation scaled so that its largest value is black or white; grey means no change."""
    largest = float(np.abs(delta).max()) or 1.0
    scaled: Pixels = (delta / largest + 1) * np.float32(128 / 255)
    return scaled


def _address(image: Pixels, small: bool) -> str:
    """An image (C, H, W) in [0, 1] as the address of an `<img>`."""
    values = np.clip(np.rint(image * 255), 0, 255).astype(np.uint8)
    picture = Image.fromarray(values[0] if len(values) == 1 else np.ascontiguousarray(values.transpose(1, 2, 0)))
    file = io.BytesIO()
    if small:
        picture.save(file, format="PNG", optimize=True)
        return data_uri(file.getvalue(), "image/png")
    picture.save(file, format="WEBP", quality=82, method=4)
    return data_uri(file.getvalue(), "image/webp")
