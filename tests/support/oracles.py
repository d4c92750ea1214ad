"""Models whose smallest perturbation is known exactly, and images to go with them.

:class:`Linear` finds it for every goal in every norm by mathematical programming, :class:`Ball` by closed forms;
:class:`Constant` has none. All of it is written without the library's own norms and margins.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from goal_kinds import KINDS, orders, unmet
from norm_rows import SOLVERS
from torch import Tensor, nn

from attacks import Attack, Goal


def images(count: int, shape: Sequence[int], *, seed: int = 0, low: float = 0.3, high: float = 0.7) -> Tensor:
    """Random images (count, *shape), float64 in [low, high]."""
    generator = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(count, *shape, generator=generator, dtype=torch.float64)


def on_grid(x: Tensor) -> bool:
    """Whether images have values of 8 bits alone."""
    return torch.equal(x, (x * 255).round() / 255)


def goals(logits: Tensor, k: int = 2) -> dict[str, Goal]:
    """One goal of each kind that ``logits`` (N, C) do not meet, where there are classes enough for it."""
    order = logits.detach().argsort(dim=1, descending=True)
    return {kind: unmet(kind, order, k) for kind in (KINDS if logits.shape[1] >= 2 * k else KINDS[:2])}


class Linear(nn.Module):
    """Logits ``weight @ x + bias``: the smallest perturbation is the solution of a small program.

    Args:
        weight: (C, D).
        bias: (C,).
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, ...) -> logits (N, C)."""
        return nn.functional.linear(x.flatten(1), self.weight, self.bias)

    def smallest(self, x: Tensor, goal: Goal, norm: str) -> Tensor:
        """Size (N,) of the smallest perturbation within [0, 1] that brings each image to the goal's boundary.

        Infinite where there is none. For "l0" the number of values that must change.
        """
        logits, weight = self(x.double()), self.weight.double().numpy()
        sizes = []
        for row, image in enumerate(x.double().flatten(1).numpy()):
            best = math.inf
            for pairs in orders(goal, row, len(weight)):
                above, below = ([pair[i] for pair in pairs] for i in (0, 1))
                missing = (logits[row, below] - logits[row, above]).numpy()
                best = min(best, SOLVERS[norm](weight[above] - weight[below], missing, image))
            sizes.append(best)
        return torch.tensor(sizes, dtype=x.dtype)


def linear(num_classes: int = 5, values: int = 12, *, seed: int = 0) -> Linear:
    """A random linear model, float64, so balanced at a grey image that the box binds no image in [0.3, 0.7].

    (For L0 it always binds: nothing else limits by how much a value changes.)
    """
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(num_classes, values, generator=generator, dtype=torch.float64)
    offset = 0.1 * torch.randn(num_classes, generator=generator, dtype=torch.float64)
    return Linear(weight, offset - 0.5 * weight.sum(1))


def led(values: int, *, num_classes: int = 5, lead: float = 4.0, seed: int = 0) -> Linear:
    """A random linear model, float64, whose class 0 leads by so much at a grey image that a few values must change."""
    generator = torch.Generator().manual_seed(1000 + seed)  # other numbers than those of `images`
    weight = 2 * torch.rand(num_classes, values, generator=generator, dtype=torch.float64) - 1
    bias = -0.5 * weight.sum(1)
    bias[0] += lead
    return Linear(weight, bias)


def separable(num_classes: int = 6, values_each: int = 4) -> Linear:
    """A linear model in which every class has values of its own, each with weight 1: closed forms exist for all goals.

    In Linf, to put k classes above m others, all of the first rise and all of the second fall by the same amount.
    """
    weight = torch.eye(num_classes, dtype=torch.float64).repeat_interleave(values_each, dim=1)
    return Linear(weight, torch.zeros(num_classes, dtype=torch.float64))


class Ball(nn.Module):
    """Class 0 inside of a ball, class 1 outside: a boundary that is curved everywhere.

    Args:
        centre: Of the ball (D,).
        radius: Its L2 radius, image units.
    """

    centre: Tensor

    def __init__(self, centre: Tensor, radius: float) -> None:
        super().__init__()
        self.register_buffer("centre", centre)
        self.radius = radius

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, ...) -> logits (N, 2)."""
        depth = self.radius**2 - (x.flatten(1) - self.centre).square().sum(1)
        return torch.stack([depth, -depth], 1)

    def smallest(self, x: Tensor, norm: str) -> Tensor:
        """Size (N,) of the smallest perturbation that takes images inside out of the ball; [0, 1] must not bind.

        For "linf", "l2" and "l1".
        """
        away = (x.flatten(1) - self.centre).abs()
        square, count = away.square().sum(1), away.shape[1]
        match norm:
            case "l2":
                return self.radius - square.sqrt()
            case "linf":  # all values move: sum (away + e)^2 = radius^2
                mean = away.mean(1)
                return (mean.square() + (self.radius**2 - square) / count).sqrt() - mean
            case "l1":  # the farthest value moves: it gains most
                far = away.amax(1)
                return (self.radius**2 - square + far.square()).sqrt() - far
        raise ValueError(f"expected linf, l2 or l1, got {norm}")


class Constant(nn.Module):
    """The same logits for every image, with a gradient that is zero everywhere: never fooled.

    Args:
        logits: (C,).
    """

    logits: Tensor

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.register_buffer("logits", logits)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, ...) -> logits (N, C)."""
        return self.logits.to(x.dtype) + 0 * x.flatten(1).sum(1, keepdim=True)


class Quantised(nn.Module):
    """A model that sees its images in few grey levels: piecewise constant, so that gradients say nothing.

    Args:
        model: What looks at the rounded images.
        levels: Number of grey levels above black.
    """

    def __init__(self, model: nn.Module, levels: int = 4) -> None:
        super().__init__()
        self.model, self.levels = model, levels

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, ...) -> logits (N, C)."""
        return self.model((x * self.levels).round() / self.levels)


class RowByRow(nn.Module):
    """A model asked about one image at a time, so that no rounding depends on the batch an image stands in."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, ...) -> logits (N, C)."""
        return torch.cat([self.model(row) for row in x.split(1)])


class Recorder(nn.Module):
    """A model that keeps the images it is asked about."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.seen = model, list[Tensor]()

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, ...) -> logits (N, C)."""
        self.seen.append(x.detach().clone())
        return self.model(x)


def _seeded(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A module whose weights depend on ``seed`` alone; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def mlp(values: int, num_classes: int = 5, *, hidden: int = 16, seed: int = 0) -> nn.Module:
    """A small smooth network for images of any shape with so many values, float64, in evaluation mode."""

    def build() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(values, hidden), nn.Tanh(), nn.Linear(hidden, num_classes))

    return _seeded(build, seed).double().eval()


def convnet(num_classes: int = 5, *, channels: int = 3, side: int = 8, seed: int = 0) -> nn.Module:
    """A small convolutional network for (channels, side, side) images, float32, in evaluation mode."""

    def build() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(channels, 8, 3, stride=2, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(8 * (side // 2) ** 2, num_classes),
        )

    return _seeded(build, seed).eval()


class Decisions:
    """A model that gives away its first class, with a confidence that may mislead, and counts what it is asked."""

    def __init__(
        self,
        model: Callable[[Tensor], Tensor],
        confidence: Callable[[Tensor], Tensor] = lambda logits: 2 + 0 * logits,
    ) -> None:
        self.model, self.confidence, self.queries = model, confidence, 0

    def __call__(self, x: Tensor) -> Tensor:
        self.queries += len(x)
        logits = self.model(x)
        first = torch.nn.functional.one_hot(logits.argmax(1), logits.shape[1])
        return first * self.confidence(logits.amax(1, keepdim=True))


def assert_unmixed(attack: Attack) -> None:
    """Check that an attack finds the same for images together as for each alone."""
    model, x = RowByRow(convnet()), images(5, (3, 8, 8), seed=3).float()
    goal = replace(goals(model(x))["untargeted"], ids=torch.arange(5) + 7)
    together = attack(model, x, goal, seed=2)
    for i in range(5):
        row = torch.tensor([i])
        assert torch.equal(attack(model, x[row], goal.select(row), seed=2), together[row])
