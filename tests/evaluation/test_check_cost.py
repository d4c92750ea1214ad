"""What the checks cost is forecast: never less than they take, and what they take at most."""

import pytest
import torch
from torch import nn

from advbench.evaluation.checks import data, model
from advbench.models.classifier import Classifier


class Counted(nn.Module):
    """A network that counts its passes over single images; one with a gradient counts as three."""

    def __init__(self, answer):
        super().__init__()
        self.answer, self.passes = answer, 0

    def forward(self, x):
        self.passes += len(x) * (3 if torch.is_grad_enabled() else 1)
        return self.answer(x)


def counted(answer):
    return Classifier(Counted(answer), num_classes=4, name="net")


@pytest.mark.parametrize("count", [1, 5, 32])
def test_the_checks_of_a_model(count):
    net = counted(nn.Sequential(nn.Flatten(), nn.Linear(3 * 16, 4)))
    x = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    model.check_model(net, x, dataset="toy")
    assert net.module.passes <= model.most_passes(count) < 1.3 * net.module.passes


@pytest.mark.parametrize("count", [20, 64])
def test_the_checks_of_data_take_most_where_all_answers_are_wrong(count):
    net = counted(lambda x: torch.eye(4)[torch.zeros(len(x), dtype=torch.long)] + 0 * x.flatten(1).sum(1, keepdim=True))
    x = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    data.check_data(net, x, torch.ones(count, dtype=torch.long), dataset="toy")
    assert 0.7 * data.most_passes(count) < net.module.passes <= data.most_passes(count)


def test_the_checks_of_data_take_two_passes_where_all_answers_are_right():
    net = counted(nn.Sequential(nn.Flatten(), nn.Linear(3 * 16, 4)))
    x = torch.rand(40, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = net(x).argmax(1)
    net.module.passes = 0
    with torch.no_grad():
        data.check_data(net, x, labels, dataset="toy")
    assert net.module.passes == 2 * 40
