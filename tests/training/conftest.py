"""Pictures of digits to train on."""

from collections.abc import Callable
from pathlib import Path

import pytest
from picture_folders import DIGITS, put

from advbench.training.recipes import TransferRecipe
from advbench.training.task import TrainConfig


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 20 pictures of each of three digits."""
    root = tmp_path_factory.mktemp("digits")
    for digit in DIGITS:
        put(root / f"digit {digit}", digit, slice(20))
    return root


@pytest.fixture
def job(pictures: Path, tmp_path: Path) -> Callable[..., TrainConfig]:
    """A transfer from a small network, into a folder of that name."""

    def make(folder: str, **options: object) -> TrainConfig:
        recipe = TransferRecipe(**{"model": "transfer", "base": "mnist_convnet", "epochs": 4, "lr": 1e-2} | options)
        return TrainConfig(
            recipe=recipe, command="advbench train", data_root=pictures, out=tmp_path / folder, attacked=0
        )

    return make
