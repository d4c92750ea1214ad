"""Bounds against the true minimum, which a mixed-integer programme finds for small networks."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp
from torch import Tensor, nn

from advbench import proofs
from advbench.proofs.bounding.balls import BallInBox
from attacks import Linf, Untargeted

SIZES = (4, 6, 5, 3)


def random_net(seed: int) -> nn.Sequential:
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for wide, narrow in pairwise(SIZES):
        layer = nn.Linear(wide, narrow)
        layer.weight.data = torch.randn(narrow, wide, generator=generator)
        layer.bias.data = torch.randn(narrow, generator=generator) * 0.3
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval().requires_grad_(False)


def true_minimum(net: nn.Sequential, ball: BallInBox, above: int, below: int) -> float:
    """Smallest difference of two logits on a box, by the exact encoding of each ReLU with a binary variable.

    Variables: the pixels, then for each hidden neuron its input, its output and its sign.
    """
    linear = [layer for layer in net if isinstance(layer, nn.Linear)]
    lower, upper = ball.lower[0].numpy(), ball.upper[0].numpy()
    low, high, whole, rows, row_low, row_high = list(lower), list(upper), [0] * len(lower), [], [], []
    before = list(range(len(lower)))
    total = len(lower) + 3 * sum(layer.out_features for layer in linear[:-1])

    def constrain(entries: dict[int, float], least: float, most: float) -> None:
        row = np.zeros(total)
        for position, value in entries.items():
            row[position] = value
        rows.append(row)
        row_low.append(least)
        row_high.append(most)

    for layer in linear[:-1]:
        weight, bias = layer.weight.double().numpy(), layer.bias.double().numpy()
        ends = [weight @ (lower + upper) / 2 + bias, np.abs(weight) @ (upper - lower) / 2]
        down, up = ends[0] - ends[1], ends[0] + ends[1]
        outputs = []
        for j in range(len(bias)):
            z = len(low)
            y, side = z + 1, z + 2
            big, small = max(up[j], 0.0), min(down[j], 0.0)
            low += [down[j], 0.0, 0.0]
            high += [up[j], big, 1.0]
            whole += [0, 0, 1]
            constrain({**dict(zip(before, weight[j], strict=True)), z: -1}, -bias[j], -bias[j])
            constrain({y: 1, z: -1}, 0, np.inf)
            constrain({y: 1, side: -big}, -np.inf, 0)
            constrain({y: 1, z: -1, side: -small}, -np.inf, -small)
            outputs.append(y)
        before, lower, upper = outputs, np.maximum(down, 0), np.maximum(up, 0)
    weight, bias = linear[-1].weight.double().numpy(), linear[-1].bias.double().numpy()
    cost = np.zeros(total)
    cost[before] = weight[above] - weight[below]
    found = milp(
        cost,
        integrality=np.array(whole),
        bounds=Bounds(low, high),
        constraints=LinearConstraint(np.array(rows), row_low, row_high),
    )
    assert found.success
    return float(found.fun + bias[above] - bias[below])


def agree(seed: int) -> tuple[bool, bool]:
    """Whether the image is proved, and whether it is truly safe; fails where a bound is above the truth."""
    net = random_net(seed)
    generator = torch.Generator().manual_seed(seed + 1)
    x: Tensor = torch.rand(1, SIZES[0], generator=generator)
    eps = float(torch.rand((), generator=generator)) * 0.3
    label = int(net(x).argmax())
    proof = proofs.prove(net, x, Untargeted(torch.tensor([label])), norm=Linf(), eps=eps, domains=400)
    ball = BallInBox.around(x.double(), Linf(), eps)
    truth = min(true_minimum(net, ball, label, other) for other in range(SIZES[-1]) if other != label)
    assert proof.bound.item() <= truth + 1e-6
    return bool(proof.proved), truth > 2e-4


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_no_bound_is_above_the_truth(seed: int) -> None:
    proved, safe = agree(seed)
    assert safe or not proved


@pytest.mark.slow
def test_splitting_never_contradicts_the_referee_on_500_networks() -> None:
    found = [agree(seed) for seed in range(500)]
    assert not [seed for seed, (proved, safe) in enumerate(found) if proved and not safe]
    assert any(proved for proved, _ in found)
