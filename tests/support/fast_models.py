"""Small networks for tests of faster forms."""

import numpy as np
import oracles
import pytest
import torch
from torch import nn

from attacks.speed.folding import FORMS

REWRITTEN = FORMS[1:]
each_form = pytest.mark.parametrize("form", REWRITTEN)


def images(count):
    return oracles.images(count, (3, 8, 8), low=0, high=1).float()


class Net(nn.Module):
    """A small network; subclasses do something to its images on the way."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.conv, self.norm, self.top = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Linear(512, 5)
        self.flip, self.shift, self.steps, self.settings = False, torch.zeros(1), [0.0], {"roll": 0}
        self.table = np.zeros(1)
        self.eval()

    def seen(self, x):
        return x

    def forward(self, x):
        x = self.seen(x)
        x = x.flip(3) if self.flip else x
        x = x + self.shift + self.steps[0] + float(self.table[0])
        x = x.roll(self.settings["roll"], 3)
        return self.top(torch.relu(self.norm(self.conv(x))).flatten(1))


def perceptron():
    return oracles.mlp(192, seed=1).float()


def with_norms(seed=0):
    """A small network with batch norms after convolutions and after a linear layer, each with statistics of its own."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(),
            nn.Linear(72, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 5),
        )  # fmt: skip
        spread(net)
    return net.eval()


def spread(net):
    """Give batch norms statistics that matter."""
    for part in net.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.running_mean.uniform_(-0.5, 0.5)
            part.running_var.uniform_(0.5, 2.0)
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.5, 0.5)


def changed_in_place(net):
    with torch.no_grad():
        net[0].weight.mul_(2)
