"""Small random networks of every layer that bounds can follow, and random points of a ball."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from attacks.norms import Norm


class Residual(nn.Module):
    """Two branches that are added, one of them a subsampled and padded copy."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 1, 1)
        self.norm, self.last = nn.BatchNorm2d(4), nn.Linear(36, 3)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.norm(self.second(functional.relu(self.first(x))))
        copy = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 1))
        return self.last(functional.relu(branch + copy).view(x.shape[0], -1))


class Joined(nn.Module):
    """Two activations side by side, scaled by constants."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(50, 6), nn.Linear(50, 5), nn.Linear(11, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = (x.flatten(1) - 0.5) / 0.25
        joined = torch.cat([torch.relu(self.first(x)), 1 - 2 * self.second(x).tanh()], 1)
        return self.last(joined)


class OneOutput(nn.Module):
    """One output z as the two logits 0 and z."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(50, 8), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        z = self.last(functional.leaky_relu(self.first(torch.flatten(x, 1)), 0.1))
        return torch.cat([torch.zeros_like(z), z], dim=1)


def _convolutions(act: Callable[[], nn.Module], pool: nn.Module) -> nn.Sequential:
    head = nn.Sequential(nn.Conv2d(2, 4, 2, padding=1), act(), pool, nn.Conv2d(4, 4, 2, groups=2, dilation=1), act())
    with torch.no_grad():
        size = head(torch.zeros(1, 2, 5, 5)).numel()
    return nn.Sequential(head, nn.Flatten(), nn.Dropout(), nn.Linear(size, 3))


NETS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(50, 3)),
    "relu": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(50, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)
    ),
    "leaky": lambda: nn.Sequential(nn.Flatten(), nn.Linear(50, 8), nn.LeakyReLU(0.2), nn.Linear(8, 3)),
    "sigmoid": lambda: nn.Sequential(nn.Flatten(), nn.Linear(50, 8), nn.Sigmoid(), nn.Linear(8, 3)),
    "tanh": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(50, 8), nn.Tanh(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3)
    ),
    "average pool": lambda: _convolutions(nn.ReLU, nn.AvgPool2d(2)),
    "adaptive pool": lambda: _convolutions(nn.LeakyReLU, nn.AdaptiveAvgPool2d(3)),
    "max pool": lambda: _convolutions(nn.ReLU, nn.MaxPool2d(2)),
    "overlapping max pool": lambda: _convolutions(nn.ReLU, nn.MaxPool2d(3, 1)),
    "stride and dilation": lambda: nn.Sequential(
        *(nn.Conv2d(2, 4, 2, stride=3, padding=1, dilation=2), nn.BatchNorm2d(4), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(16, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3)),
    ),
    "residual": Residual,
    "joined": Joined,
    "one output": OneOutput,
}
"""Name -> network of images (2, 5, 5), its weights from torch's generator."""


def small_net(name: str, seed: int) -> nn.Module:
    """A network with weights of a seed, in eval mode, whose batch norms have seen something."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = NETS[name]()
        for part in net.modules():
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
                part.running_mean.normal_(0, 0.3)
                part.running_var.uniform_(0.3, 2)
                nn.init.uniform_(part.weight, -1.5, 1.5)
                nn.init.normal_(part.bias)
        for number in net.parameters():
            number.data.mul_(2)
    return net.eval().requires_grad_(False)


def points_in_ball(x: Tensor, norm: Norm, eps: float, count: int, seed: int) -> Tensor:
    """Random images of the ball around one image (1, ...): inside it, and at its corners."""
    noise = torch.rand(count, *x.shape[1:], generator=torch.Generator().manual_seed(seed)) * 2 - 1
    inside = norm.project(noise, eps)
    corners = norm.steepest(noise, eps)
    return (x + torch.cat([inside, corners])).clamp(0, 1)
