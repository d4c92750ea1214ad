"""Models that behave oddly when they are asked: each changes, remembers, or is built in a way of its own."""

import torch
from torch import Tensor, nn


class ChangesItself(nn.Module):
    """Makes its weights smaller at every pass."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            for weights in self.net.parameters():
                weights.mul_(0.999)
        return self.net(x)


class CountsPasses(nn.Module):
    """Counts its passes, and answers the same every time."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return self.net(x)


class Alternates(nn.Module):
    """Answers about the image in odd passes, about its negative in even ones."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.passes = net, 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return self.net(x if self.passes % 2 else 1 - x)


class Remembers(nn.Module):
    """Subtracts a mean of all the images it was ever shown."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.mean = net, torch.zeros(())

    def forward(self, x: Tensor) -> Tensor:
        self.mean = 0.8 * self.mean + 0.2 * x.detach().mean()
        return self.net(x - self.mean)


class WithoutGradient(nn.Module):
    """Computes its first half without a graph."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = (x * 15).round() / 15
        return self.net(x)


class Shares(nn.Module):
    """Has one network under two names, and asks it twice."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = self.again = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) + self.again((x * 31).round() / 31)


ODD = {kind.__name__: kind for kind in (ChangesItself, CountsPasses, Alternates, Remembers, WithoutGradient, Shares)}
"""Name -> what wraps a network so."""
