"""Writes the files of a photograph attacked at its original size."""

from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from advbench.config.pictures.photograph import SUFFIXES
from advbench.pictures.files import as_perturbation, as_picture, as_png, write_rivals
from advbench.pictures.original.model import turned_upright
from advbench.pictures.original.photograph import Photograph
from advbench.pictures.panel import draw_panel
from advbench.records.storage.atomic import write_atomic
from advbench.records.storage.tables import write_records

if TYPE_CHECKING:
    from advbench.pictures.outcome import PictureResult

_SIDE = 640
"""Longest side of a picture in the panel, pixels."""


def write_photograph(folder: Path, photograph: Photograph, x_adv: Tensor) -> Path:
    """Write an attacked photograph (C, H, W) as `adversarial` with the suffix of its format.

    Returns:
        The file.

    Raises:
        UserError: It cannot be written.
    """
    name = f"adversarial{SUFFIXES[photograph.saved.format]}"
    return write_atomic(folder / name, photograph.file(x_adv))


def write_beside(
    folder: Path, outcome: "PictureResult", photograph: Photograph, x: Tensor, x_adv: Tensor
) -> dict[str, Path]:
    """Write the files that accompany an attacked photograph: its perturbation, its panel and its record.

    Args:
        folder: Folder of the photograph's files.
        outcome: Outcome of the photograph.
        photograph: Photograph as stored in its file.
        x: Pixels of the photograph (C, H, W) in [0, 1].
        x_adv: Pixels of the attacked photograph.

    Returns:
        Name -> path: `perturbation.png`, at the photograph's size, `panel.png`, `record.parquet`, `record.csv`.

    Raises:
        UserError: A file cannot be written.
    """
    before, after = (_upright(each, photograph) for each in (x, x_adv))
    perturbation = as_perturbation(after - before)
    small = as_perturbation(_reduced(after - before))
    shown = [_thumbnail(as_picture(each)) for each in (before, after)]
    contents = {
        "perturbation.png": as_png(perturbation),
        "panel.png": draw_panel(shown[0], small, shown[1], outcome),
    }
    files = {name: write_atomic(folder / name, content) for name, content in contents.items()}
    parquet, csv = write_records(folder / "record", [outcome.record])
    return {**files, "record.parquet": parquet, "record.csv": csv, **write_rivals(folder, outcome)}


def _upright(pixels: Tensor, photograph: Photograph) -> Tensor:
    return turned_upright(pixels.unsqueeze(0), photograph.stored.orientation)[0].cpu()


def _thumbnail(picture: Image.Image) -> Image.Image:
    small = picture.copy()
    small.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    return small


def _reduced(delta: Tensor) -> Tensor:
    """A perturbation (C, H, W) reduced to the size of the panel, before its values are scaled for display."""
    height, width = delta.shape[1:]
    share = _SIDE / max(height, width)
    if share >= 1:
        return delta
    sides = (max(1, round(height * share)), max(1, round(width * share)))
    return interpolate(delta.unsqueeze(0), sides, mode="bilinear", align_corners=False, antialias=True)[0]
