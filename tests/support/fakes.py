"""Attacks that cheat or crash, models that misbehave, and small quick ones, under names of their own.

Within ``registered()`` the tables of models and attacks hold them too, so that the command line finds them.
"""

import builtins
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from advbench import load_dataset, load_model
from advbench.catalog import ATTACKS, MODELS
from advbench.catalog.cards import AttackCard, ModelCard
from advbench.models.classifier import Classifier
from attacks import ATTACKS as REAL
from attacks import NORMS, Attack, AttackError, Goal, Linf, Model, Norm

SIZE = 32
"""Height and width of the small models' input."""

HOSTILE = ("<script>alert(1)</script>", "=HYPERLINK()", "[red]x[/red]", "$x^2$", "\x1b[31mred\nnew", "虎", "x" * 300)
"""Names of classes that a page, a spreadsheet, a terminal or a figure might take for commands."""
CLASSES = ("tiger", "tiger cat", "tiger shark", "brain coral", *HOSTILE, *(f"class {i}" for i in range(11, 20)))
"""Names of the 20 classes of the small models."""


class Net(nn.Module):
    """Two convolutions and a linear layer with seeded weights; every answer takes microseconds."""

    def __init__(self, num_classes: int = len(CLASSES), channels: int = 3) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        shapes = ((8, channels, 3, 3), (16, 8, 3, 3), (num_classes, 16 * (SIZE // 4) ** 2))
        for i, shape in enumerate(shapes):
            weight = torch.randn(shape, generator=generator) * (2 / np.prod(shape[1:])) ** 0.5
            # each output looks at differences alone, else the brightness of a picture would decide
            self.register_parameter(f"weight{i}", nn.Parameter(weight - weight.mean(tuple(range(1, len(shape))), True)))

    def forward(self, x: Tensor) -> Tensor:
        for weight in (self.weight0, self.weight1):
            x = nn.functional.relu(nn.functional.conv2d(x, weight, stride=2, padding=1))
        return x.flatten(1) @ self.weight2.T * 30


class Probabilities(Net):
    """A model whose author left the softmax on."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).softmax(1)


class NotFinite(Net):
    """A model that has diverged."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * torch.nan


class NotFiniteOffGrid(Net):
    """A model that answers clean pictures only: NaN where a normalised value is no multiple of 1/255."""

    def forward(self, x: Tensor) -> Tensor:
        off = ((x * 255 - (x * 255).round()).abs() > 1e-3).flatten(1).any(1)
        return super().forward(x).masked_fill(off.unsqueeze(1), torch.nan)


class PartlyFinite(Net):
    """A model that has no answer about images that are bright in their first corner."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).masked_fill(x[:, 0, :1, 0] > 0, torch.nan)


class Randomised(Net):
    """A model that never answers twice the same."""

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        return logits + torch.randn(logits.shape)


class Sleepy(Net):
    """A model that takes its time, so that somebody can watch."""

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(0.02)
        return super().forward(x)


class Constant(Net):
    """A model that no attack can move: the same logits for every image, and no gradient but zero."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 0 + torch.arange(float(len(CLASSES)))


class Counting:
    """A model that counts rows by itself, on both ways, as a check on the meter."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.calls = self.forward_rows = self.backward_rows = 0

    def __call__(self, x: Tensor, /) -> Tensor:
        self.calls += 1
        self.forward_rows += len(x)
        logits = self.model(x)
        if logits.requires_grad:
            logits.register_hook(self._count_backward)
        return logits

    def _count_backward(self, gradient: Tensor) -> None:
        self.backward_rows += len(gradient)


_NETS = {
    "tiny": Net,
    "probabilities": Probabilities,
    "not_finite": NotFinite,
    "not_finite_off_grid": NotFiniteOffGrid,
    "partly_finite": PartlyFinite,
    "randomised": Randomised,
    "constant": Constant,
    "sleepy": Sleepy,
}


def classifier(name: str = "tiny") -> Classifier:
    """One of the small models, by name."""
    return Classifier(
        _NETS[name](),
        num_classes=len(CLASSES),
        mean=[0.5] * 3,
        std=[0.25] * 3,
        classes=CLASSES,
        input_size=SIZE,
        name=name,
    )


def few_classes(count: int) -> Classifier:
    """A small model with so many classes, named by their indices."""
    return Classifier(Net(count), num_classes=count, mean=[0.5] * 3, std=[0.25] * 3, input_size=SIZE, name="few")


def load(card: ModelCard, weights: Path | None = None) -> Classifier:
    """What the tables name as the loader of the small models; those take no weights."""
    model = classifier(card.name if card.name in _NETS else "tiny")
    model.name = card.name
    return model


@dataclass(frozen=True, kw_only=True)
class Fake:
    """What all fake attacks have; on its own it returns the clean images."""

    kind: ClassVar[str] = "minimum norm"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0")
    norm: Norm = Linf()  # noqa: RUF009 - frozen

    def __call__(self, model: Model, x: Tensor, goal: Goal, *, eps: float | None = None, seed: int = 0) -> Tensor:
        model(x)
        return self.cheat(x, 0.1 if eps is None else eps)

    def cheat(self, x: Tensor, eps: float) -> Tensor:
        return x.clone()


class Shift(Fake):
    """Makes all values larger by half the budget, as honest as it is weak."""

    def cheat(self, x: Tensor, eps: float) -> Tensor:
        return (x + eps / 2).clamp(0, 1)


class OutOfBox(Fake):
    """Leaves [0, 1] upwards, by less than the budget."""

    def cheat(self, x: Tensor, eps: float) -> Tensor:
        return x - x.flatten(1).amin(1).view(-1, 1, 1, 1) - eps / 2


class OverBudget(Fake):
    """Goes ten times as far as it may, within [0, 1]."""

    def cheat(self, x: Tensor, eps: float) -> Tensor:
        return torch.where(x > 0.5, x - 10 * eps, x + 10 * eps)


class NotANumber(Fake):
    """Puts NaN into one value of each image."""

    def cheat(self, x: Tensor, eps: float) -> Tensor:
        x_adv = x.clone()
        x_adv[:, 0, 0, 0] = torch.nan
        return x_adv


class WrongShape(Fake):
    """Loses a row of pixels."""

    def cheat(self, x: Tensor, eps: float) -> Tensor:
        return x[:, :, 1:]


class WrongDtype(Fake):
    """Returns doubles."""

    def cheat(self, x: Tensor, eps: float) -> Tensor:
        return x.double()


class NoTensor(Fake):
    """Returns several things at once, as some libraries do."""

    def cheat(self, x: Tensor, eps: float) -> Tensor:
        return x, x  # type: ignore[return-value]


class KeepsGraph(Fake):
    """Returns images that still hang on a graph."""

    def cheat(self, x: Tensor, eps: float) -> Tensor:
        return x.clone().requires_grad_() * 1


class MovesOriginals(Fake):
    """Writes into the clean images, so that it seems to have changed nothing at all."""

    def cheat(self, x: Tensor, eps: float) -> Tensor:
        return x.copy_(torch.where(x > 0.5, x - 10 * eps, x + 10 * eps))


@dataclass(frozen=True, kw_only=True)
class Crash(Fake):
    """Raises an error of Python's own if it meets a white image."""

    error: str = "RuntimeError"

    def cheat(self, x: Tensor, eps: float) -> Tensor:
        if bool((x.flatten(1).amin(1) == 1).any()):
            raise getattr(builtins, self.error)("the white one\nis too much")
        return x.clone()


@dataclass(frozen=True, kw_only=True)
class CrashOfMemory(Crash):
    error: str = "MemoryError"


@dataclass(frozen=True, kw_only=True)
class CrashOfType(Crash):
    error: str = "TypeError"


@dataclass(frozen=True, kw_only=True)
class Interrupt(Crash):
    error: str = "KeyboardInterrupt"


class FailsOnSome(Fake):
    """Says by itself that it failed on the white images, and returns the others."""

    def cheat(self, x: Tensor, eps: float) -> Tensor:
        white = (x.flatten(1).amin(1) == 1).nonzero().flatten().tolist()
        if white:
            raise AttackError(x.clone(), dict.fromkeys(white, "TimeoutError: the white one took too long"))
        return x.clone()


CHEATS = {
    "clean_returned": "Fake",
    "out_of_box": "OutOfBox",
    "over_budget": "OverBudget",
    "not_a_number": "NotANumber",
    "wrong_shape": "WrongShape",
    "wrong_dtype": "WrongDtype",
    "no_tensor": "NoTensor",
    "keeps_graph": "KeepsGraph",
    "moves_originals": "MovesOriginals",
}
CRASHES = {"crash": "Crash", "crash_of_memory": "CrashOfMemory", "crash_of_type": "CrashOfType"}


def quick(name: str, norm: str) -> Attack:
    """One of the real attacks with few steps."""
    attack = REAL[name](norm=NORMS[norm]())
    few = {"steps": 7, "draws": 7, "rotations": 3, "translations": 1, "start_draws": 10, "directions": 10}
    return replace(attack, **{field: count for field, count in few.items() if hasattr(attack, field)})


def _attack_card(name: str, attribute: str) -> AttackCard:
    return AttackCard(name=name, target=f"fakes:{attribute}", kind="minimum norm", norms=Fake.norms, summary="a fake")


def _model_card(name: str, classes: int = len(CLASSES)) -> ModelCard:
    return ModelCard(
        name=name,
        loader="fakes:load",
        data="nothing",
        classes=classes,
        input_size=SIZE,
        source="tests",
        licence="Apache-2.0",
        weights_file="none",
        weights_sha256="",
    )


@contextmanager
def registered(*names: str) -> Iterator[None]:
    """For a while, the tables hold the fakes; models called ``names`` are replaced by the small model too."""
    models = {name: _model_card(name) for name in (*_NETS, *names)}
    attacks = {name: _attack_card(name, attribute) for name, attribute in (CHEATS | CRASHES).items()}
    attacks |= {name: _attack_card(name, attr) for name, attr in (("interrupt", "Interrupt"), ("fails", "FailsOnSome"))}
    with patch.dict(MODELS._cards, models), patch.dict(ATTACKS._cards, attacks):
        yield


def images(count: int) -> Tensor:
    """Smooth images of 8 bits (count, C, H, W)."""
    spots = torch.rand(count, 3, 3, 3, generator=torch.Generator().manual_seed(3))
    x = 0.5 + 0.3 * (nn.functional.interpolate(spots, SIZE, mode="bilinear") - 0.5)
    return (x * 255).round() / 255


def digits(count: int) -> tuple[Tensor, Tensor]:
    """The first digits of MNIST, as lenet takes them, and their labels."""
    data, model = load_dataset("mnist"), load_model("lenet")
    x = torch.stack([model.preprocess(data.read(number)) for number in range(count)])
    return x, torch.tensor(data.labels[:count])


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (SIZE, SIZE), *, contrast: float = 0.3) -> Path:
    """Write a smooth picture, each seed another one; white for a contrast of 0."""
    generator = torch.Generator().manual_seed(seed)
    spots = torch.rand(1, 3, 3, 3, generator=generator)
    values = nn.functional.interpolate(spots, (size[1], size[0]), mode="bilinear", align_corners=True)[0]
    pixels = 0.5 + contrast * (values - 0.5) if contrast else torch.ones_like(values)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((pixels * 255).round().byte().permute(1, 2, 0).numpy()).save(path)
    return path
