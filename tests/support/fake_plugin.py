"""A plugin for tests: the small models and the attacks that cheat or crash, and a data set of smooth pictures."""

import os
import signal
import time
from pathlib import Path

import fakes
import torch
from torch import Tensor, nn

import attacks
from advbench.catalog.cards import AttackCard, DatasetCard, ModelCard
from advbench.config.data.source import DataSource
from advbench.datasets.dataset import Dataset
from advbench.errors import UserError
from advbench.models.classifier import Classifier

COUNT = 10
"""Images of the data set."""


def load_tiny(card: ModelCard, weights: Path | None = None) -> Classifier:
    """The small model, with other weights where a file is given."""
    model = fakes.load(card)
    if weights is not None:
        model.module.weight2.data *= float(weights.read_text())
    return model


def pictures(card: DatasetCard, source: DataSource) -> Dataset:
    """Smooth pictures with the classes that the small model finds in them, but for the first, which has another.

    A path holds the numbers of those that cannot be read.
    """
    generator = torch.Generator().manual_seed(0)
    spots = torch.rand(COUNT, 3, 4, 4, generator=generator)
    x = (nn.functional.interpolate(spots, (fakes.SIZE, fakes.SIZE), mode="bilinear") * 255).round() / 255
    labels = fakes.classifier()(x).argmax(1)
    labels[0] = (labels[0] + 1) % len(fakes.CLASSES)
    broken = {int(number) for number in source.path.read_text().split()} if source.path else set()
    count = 0 if card.name == "nothing" else COUNT

    def read(number: int) -> Tensor:
        if number in broken:
            raise UserError("the file is cut short")
        return x[number]

    names = tuple(f"picture {number}" for number in range(count))
    known = tuple(labels[:count].tolist())
    return Dataset(name=card.name, images=names, labels=known, read=read, classes=tuple(fakes.CLASSES))


class Hang(fakes.Fake):
    """Never comes back."""

    def cheat(self, x: Tensor, eps: float) -> Tensor:
        while True:
            time.sleep(0.01)


class Suicide(fakes.Fake):
    """Kills its process, unless a file says that it has done so before."""

    def cheat(self, x: Tensor, eps: float) -> Tensor:
        mark = Path(os.environ["ADVBENCH_TEST_MARK"])
        if not mark.exists():
            mark.write_text("killed once")
            os.kill(os.getpid(), signal.SIGKILL)
        return x.clone()


class AlwaysSuicide(fakes.Fake):
    """Kills its process, every time."""

    def cheat(self, x: Tensor, eps: float) -> Tensor:
        os.kill(os.getpid(), signal.SIGKILL)
        return x


class Hungry(attacks.PGD):
    """Finds no memory for more than a number of images."""

    most = 100

    def __call__(self, model, x, goal, **given):
        """Attack, or say what torch says."""
        if len(x) > self.most:
            raise RuntimeError(
                "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: 9 bytes"
            )
        return super().__call__(model, x, goal, **given)


def _model(name: str) -> ModelCard:
    return ModelCard(
        name=name, loader="fake_plugin:load_tiny", data="smooth pictures", classes=len(fakes.CLASSES),
        input_size=fakes.SIZE, source="tests", licence="Apache-2.0", weights_file="none", weights_sha256="",
    )  # fmt: skip


def _data(name: str, takes_path: bool = False) -> DatasetCard:
    return DatasetCard(
        name=name, loader="fake_plugin:pictures", data="smooth pictures", classes=len(fakes.CLASSES), images=COUNT,
        summary="smooth pictures", takes_path=takes_path,
    )  # fmt: skip


def _attack(name: str, target: str) -> AttackCard:
    return AttackCard(name=name, target=target, kind="minimum norm", norms=fakes.Fake.norms, summary="a fake")


MODELS = {name: _model(name) for name in ("tiny", "sleepy", "not_finite", "partly_finite", "randomised")}
DATASETS = {"smooth": _data("smooth"), "nothing": _data("nothing"), "broken": _data("broken", takes_path=True)}
ATTACKS = {name: _attack(name, f"fakes:{attr}") for name, attr in (fakes.CHEATS | fakes.CRASHES).items()}
ATTACKS |= {"fails": _attack("fails", "fakes:FailsOnSome")}
ATTACKS |= {
    name: _attack(name, f"fake_plugin:{attr}")
    for name, attr in {"hang": "Hang", "suicide": "Suicide", "always_suicide": "AlwaysSuicide"}.items()
}
ATTACKS |= {
    "hungry": AttackCard(name="hungry", target="fake_plugin:Hungry", kind="budget", norms=("linf",), summary="a fake")
}
