"""Folders of pictures of digits, a folder for each class."""

from pathlib import Path

import numpy as np
import torch
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.torch import load_file

from advbench.cli.main import main
from advbench.datasets.embedded import read_embedded
from advbench.training.data.sets import Images
from advbench.training.task import TrainConfig

DIGITS = (1, 7, 8)


def put(folder: Path, digit: int, rows: slice) -> None:
    """Pictures of a digit, each in a file."""
    folder.mkdir(parents=True)
    found = read_embedded("mnist")
    for index in np.flatnonzero(found.labels == digit)[rows]:
        Image.fromarray(found.images[index]).save(folder / f"{index}.png")


def pixels_of(images: Images) -> torch.Tensor:
    """All of them, in memory."""
    return images.x[torch.arange(len(images.y))]


def weights(config: TrainConfig) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = load_file(config.out / "transfer.safetensors")
    return tensors


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])
