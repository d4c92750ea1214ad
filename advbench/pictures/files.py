"""Writes the files of an attacked picture."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from safetensors.numpy import save

from advbench.pictures.panel import draw_panel
from advbench.records.storage.atomic import write_atomic
from advbench.records.storage.tables import write_records

if TYPE_CHECKING:
    from torch import Tensor

    from advbench.pictures.outcome import PictureResult


def write_files(
    folder: Path,
    outcome: "PictureResult",
    x: "Tensor",
    x_adv: "Tensor",
    x_8bit: "Tensor",
    allowed: "Tensor | None" = None,
) -> Mapping[str, Path]:
    """Write the pictures, the exact floats, the panel and the record of one picture.

    Args:
        folder: Folder for the files; created if missing.
        outcome: Outcome of the picture.
        x: The clean image (C, H, W), in [0, 1].
        x_adv: The adversarial image.
        x_8bit: The adversarial image as it is saved, with values that are multiples of 1/255.
        allowed: The pixels that were allowed to change, bool (H, W); None: all of them.

    Returns:
        Name -> path: `adversarial.png`, `perturbation.png`, `panel.png`, `adversarial.safetensors`,
        `record.parquet`, `record.csv`; with a mask also `mask.png`, which can be passed to `--mask`, and for several
        attacks `attacks.parquet` and `attacks.csv` with the rows of all.

    Raises:
        UserError: If a file cannot be written.
    """
    adversarial, perturbation = as_picture(x_8bit), as_perturbation(x_adv - x)
    mask = None if allowed is None else as_picture(allowed.float().unsqueeze(0))
    contents = {
        "adversarial.png": as_png(adversarial),
        "perturbation.png": as_png(perturbation),
        "panel.png": draw_panel(as_picture(x), perturbation, adversarial, outcome, mask),
        "adversarial.safetensors": save({"adversarial": x_adv.cpu().contiguous().numpy()}),
    }
    contents |= {} if mask is None else {"mask.png": as_png(mask)}
    files = {name: write_atomic(folder / name, content) for name, content in contents.items()}
    parquet, csv = write_records(folder / "record", [outcome.record])
    return {**files, "record.parquet": parquet, "record.csv": csv, **write_rivals(folder, outcome)}


def write_rivals(folder: Path, outcome: "PictureResult") -> dict[str, Path]:
    """Write the rows of all attacks on a picture, if there were several.

    Returns:
        Name -> path: `attacks.parquet` and `attacks.csv`, or nothing.

    Raises:
        UserError: If a file cannot be written.
    """
    if not outcome.rivals:
        return {}
    parquet, csv = write_records(folder / "attacks", list(outcome.rivals))
    return {"attacks.parquet": parquet, "attacks.csv": csv}


def as_picture(image: "Tensor") -> Image.Image:
    """Convert an image (C, H, W) in [0, 1], grey or RGB, to an 8-bit picture."""
    values = (image * 255).round().clamp(0, 255).byte().cpu().numpy()
    return Image.fromarray(np.ascontiguousarray(values.squeeze(0) if len(values) == 1 else values.transpose(1, 2, 0)))


def as_perturbation(delta: "Tensor") -> Image.Image:
    """Picture of a perturbation (C, H, W), scaled so that its largest value is black or white; grey means no change."""
    largest = float(delta.abs().max()) or 1.0
    return as_picture((delta / largest + 1) * (128 / 255))


def as_png(picture: Image.Image) -> bytes:
    """Encode a picture losslessly as a PNG file."""
    file = io.BytesIO()
    picture.save(file, format="PNG")
    return file.getvalue()
