"""Explain the most easily fooled images of a run, each in a row."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from advbench.config.budgets import describe_size
from advbench.config.data.paths import paths_from_elsewhere
from advbench.config.suite_files import refuse_code
from advbench.errors import UserError
from advbench.explain import attribution
from advbench.explain.embedding import hidden, principal_axes, widest
from advbench.explain.figures.codes import Coded, draw_codes
from advbench.explain.figures.strip import Tile, draw_strip
from advbench.explain.scene import Section, arrays
from advbench.models.classifier import Classifier
from advbench.models.thresholds import refuse_several
from advbench.pictures.outcome import Guess, first_classes
from advbench.planning.resources import Resources
from advbench.records.adversarials import kept_rows, kept_tensors
from advbench.records.stored_run import StoredRun, read_run


class FooledImage(NamedTuple):
    """An image of a run, with its adversarial version."""

    name: str
    """Name of the image in its data set."""
    how: str
    """Attack and size of the perturbation."""
    x: Tensor
    """Clean image (1, C, H, W), in [0, 1]."""
    x_adv: Tensor
    """Adversarial image, of the same shape as ``x``."""


def explain_run(
    folder: Path,
    *,
    worst: int = 12,
    device: str = "auto",
    allow_code: bool = False,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> list[Section]:
    """Explain the images of a run that were fooled by the smallest perturbations.

    Args:
        folder: Folder of the run, which must have kept adversarial images.
        worst: Number of images, for all models together.
        device: Device of the models.
        allow_code: Whether code of the user's own models may be run; the folder may be untrusted.
        progress: Called after every image.

    Returns:
        For each model, a section with a strip for each of its images, and one with the last hidden layer for all.

    Raises:
        UserError: The folder is not that of a run, no fooled image was kept, or one of its models cannot be loaded, or
            would run code without permission.
    """
    run = read_run(folder)
    if not allow_code:
        refuse_code(run.suite)
    rows = most_easily_fooled(run).head(worst)
    if rows.empty:
        raise UserError(f"run {folder} kept no image that was fooled", hint='run it with save = "gallery" or "all"')
    bench = Resources(run.suite.model_copy(update={"device": device}))
    with paths_from_elsewhere(run.suite, run.folder):
        return list(_sections(run, rows, bench, progress))


def _sections(
    run: StoredRun, rows: pd.DataFrame, bench: Resources, progress: Callable[[str, int, int], None]
) -> Iterator[Section]:
    """The sections of each model of the rows."""
    done = 0
    for label, own in rows.groupby("model", observed=True, sort=False):
        model, images, figures = bench.model(str(label)), [], {}
        refuse_several(model.thresholds, str(label), "explanations")
        for row in own.to_dict("records"):
            progress(f"{label}: {row['sample_name']}", done, len(rows))
            images.append(_read(run, row, bench.device))
            judged = bench.judged(str(label), str(row["dataset"]))
            figures[f"{label}-{len(images):02}"] = _strip(judged, images[-1])
            done += 1
        yield Section(f"worst-{label}", f"{label}: most easily fooled", _TEXT, figures)
        if section := _embedding(str(label), model, images):
            yield section


_TEXT = (
    "The images fooled by the smallest perturbations, smallest first. The maps show where the evidence for the "
    "clean image's class is in the clean image, and the evidence for the adversarial class in the adversarial one."
)


def most_easily_fooled(run: StoredRun) -> pd.DataFrame:
    """The rows whose kept images changed class, smallest perturbations first, each image once.

    Sizes in different norms are compared by their rank within the same norm.
    """
    kept = list(kept_rows(run))
    if not kept:
        return run.frame.head(0)
    rows = pd.concat(kept, ignore_index=True)
    fooled = rows["met"].fillna(False).to_numpy(bool) & rows["flipped"].fillna(False).to_numpy(bool)
    rows = rows[fooled & (rows["attack"] != "noise").to_numpy()]
    sizes = pd.Series([row[row["norm"]] for row in rows.to_dict("records")], rows.index, float)
    rows = rows[(sizes > 0).to_numpy()]
    rank = sizes[rows.index].groupby(rows["norm"], observed=True).rank(pct=True)
    ordered = rows.loc[rank.sort_values(kind="stable").index]
    found: pd.DataFrame = ordered.drop_duplicates(["model", "sample_id"])
    return found


def _read(run: StoredRun, row: dict[Any, Any], device: torch.device) -> FooledImage:
    tensors = kept_tensors(run.folder / "adv" / str(row["file"]), int(row["place"]))
    x, x_adv = (torch.from_numpy(tensors[name]).float().unsqueeze(0).to(device) for name in ("x", "x_adv"))
    name = row["sample_name"] if isinstance(row["sample_name"], str) and row["sample_name"] else row["sample_id"]
    return FooledImage(str(name), f"{row['attack']} · {describe_size(row['norm'], float(row[row['norm']]))}", x, x_adv)


def _strip(model: Classifier, image: FooledImage) -> bytes:
    """Draw clean image, perturbation, adversarial image, and the evidence for the class of each."""
    pair, delta = torch.cat([image.x, image.x_adv]), image.x_adv - image.x
    with torch.no_grad():
        clean, adversarial = (guesses[0] for guesses in first_classes(model(pair), 1, model))
    largest = float(delta.abs().max()) or 1.0
    tiles = [
        Tile(_said("clean", clean), arrays(image.x[0])),
        Tile(f"change, {0.5 / largest:.0f} times", arrays(delta[0] / largest / 2 + 0.5)),
        Tile(_said("fooled", adversarial), arrays(image.x_adv[0])),
    ]
    maps = _maps(model, pair, torch.tensor([clean.class_index, adversarial.class_index], device=pair.device))
    if maps is not None:
        for guess, picture, each in zip((clean, adversarial), pair, maps, strict=True):
            tiles.append(Tile(f"for {guess.name}", arrays(picture), arrays(each.amax(0))))
    return draw_strip(f"{image.name} · {model.name} · {image.how}", tiles)


def _said(what: str, guess: Guess) -> str:
    return f"{what}: {guess.name} {guess.confidence:.0%}"


def _maps(model: Classifier, x: Tensor, classes: Tensor) -> Tensor | None:
    """Grad-CAM, or smoothed saliency for a network without convolutions; None if neither is possible."""
    for method in (attribution.grad_cam, attribution.smooth_saliency):
        try:
            return method(model, x, classes).abs()
        except UserError:
            continue
    return None


def _embedding(label: str, model: Classifier, images: list[FooledImage]) -> Section | None:
    """The last hidden layer for all images; None if the network has none, or there are too few images."""
    if len(images) < 3:
        return None
    pairs = torch.cat([torch.cat([image.x, image.x_adv]) for image in images])
    try:
        units = hidden(model, pairs)
    except UserError:
        return None
    with torch.no_grad():
        guesses = first_classes(model(pairs), 1, model)
    names = tuple(guess[0].name for guess in guesses)
    order = sorted(range(len(names)), key=lambda row: (names[row].casefold(), row))
    place = {row: rank for rank, row in enumerate(order)}
    moves = tuple((place[2 * i], place[2 * i + 1]) for i in range(len(images)))
    places = (units - units[::2].mean(0)) @ principal_axes(units[::2])
    chosen, note = widest(units, units[::2])
    coded = Coded(arrays(units[order][:, chosen]), tuple(names[row] for row in order), arrays(places[order]), moves)
    text = (
        "Each line is an image as the last hidden layer sees it, grouped by class; clean images are blue, "
        "adversarial ones orange. Below, an arrow leads from each clean image to its adversarial version."
    )
    figure = draw_codes(f"Last hidden layer · {label}", coded, note)
    return Section(f"embedding-{label}", f"{label}: the last hidden layer", text, {f"embedding-{label}": figure})
