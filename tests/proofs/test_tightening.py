"""Bounds of the values in between: which of them are worth the work, and that all of them hold."""

from itertools import product
from unittest.mock import patch

import pytest
import torch
from small_nets import NETS, points_in_ball, small_net
from torch import Tensor, nn
from torch.nn import functional

from advbench.proofs.bounding import crown
from advbench.proofs.bounding.balls import BallInBox
from advbench.proofs.bounding.crown import tightened
from advbench.proofs.bounding.intervals import Interval, intervals
from advbench.proofs.network.graph import Network
from advbench.proofs.network.operations import FEW_CHANNELS, Conv
from advbench.proofs.reading.reader import read_network
from advbench.proofs.search.slopes import by_ascent
from attacks import Linf

X = torch.rand(1, 2, 5, 5, generator=torch.Generator().manual_seed(5))
EPS = 0.1
BALL = BallInBox.around(X.double(), Linf(), EPS)


def outside(network: Network, bounds: dict[int, Interval]) -> int:
    """Values at points of the ball that lie outside their bounds."""
    values = network.values(points_in_ball(X, Linf(), EPS, 300, 2).double())
    return sum(int(((v < bounds[i].lower) | (v > bounds[i].upper)).sum()) for i, v in enumerate(values))


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("most", [0, 400, 10**9])
def test_bounds_hold_however_few_are_tightened(name: str, most: int) -> None:
    network = read_network(small_net(name, 4), X)
    known = intervals(network, BALL)
    found = tightened(network, BALL, known, most=most)
    assert outside(network, found) == 0
    assert outside(network, tightened(network, BALL, found, by_ascent(2), most)) == 0
    assert all((found[i].lower >= known[i].lower).all() and (found[i].upper <= known[i].upper).all() for i in found)


def asked(network: Network, most: int = 10**9) -> dict[int, list[int]]:
    """Which values are bounded by going backward, of each node that is asked about."""
    calls: dict[int, list[int]] = {}

    def noted(network: Network, node: int, chosen: Tensor, signs: Tensor) -> object:
        calls.setdefault(node, []).extend(chosen.tolist())
        return plain(network, node, chosen, signs)

    plain = crown.signed_values
    with patch.object(crown, "signed_values", noted):
        tightened(network, BALL, intervals(network, BALL), most=most)
    return calls


def hidden_net(bias: float) -> nn.Module:
    """Three layers, the last ReLU of which gives zero for half of its inputs where the bias is low."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Flatten(),
        nn.Linear(50, 8),
        nn.ReLU(),
        nn.Linear(8, 8),
        nn.ReLU(),
        nn.Linear(8, 4),
        nn.ReLU(),
        nn.Linear(4, 3),
    )
    with torch.no_grad():
        net[5].weight.copy_(torch.eye(8)[:4] + torch.eye(8)[4:])
        net[5].bias.copy_(torch.tensor([bias, bias, 0.0, 0.0]))
    return net.eval().requires_grad_(False)


def test_what_a_dead_relu_hides_is_not_bounded_by_going_backward() -> None:
    alive, hidden = (asked(read_network(hidden_net(bias), X)) for bias in (0.0, -100.0))
    node = 4  # the second linear layer, whose values 0, 1, 4 and 5 go to the first two of the third
    assert set(alive[node]) & {0, 1, 4, 5}
    assert set(hidden[node]) == set(alive[node]) - {0, 1, 4, 5}


def test_a_value_of_known_sign_is_bounded_on_one_side_alone() -> None:
    network = read_network(hidden_net(0.0), X)
    known = tightened(network, BALL, intervals(network, BALL))
    for node, places in asked(network).items():
        still = known[node].crosses_zero.flatten()
        assert all(places.count(i) == (2 if still[i] else 1) for i in places)


def test_the_widest_are_bounded_where_there_are_too_many() -> None:
    network = read_network(small_net("relu", 4), X)
    everything, few = asked(network), asked(network, most=300)
    assert 0 < sum(map(len, few.values())) < sum(map(len, everything.values()))


@pytest.mark.parametrize(
    ("channels", "stride", "padding", "dilation", "groups"),
    [*product((2, FEW_CHANNELS + 2), (1, 2), (0, 1), (1, 2), (1, 2)), (3, 3, 2, 1, 1)],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_coefficients_go_through_a_convolution_as_gradients_do(
    channels: int, stride: int, padding: int, dilation: int, groups: int, dtype: torch.dtype
) -> None:
    weight = torch.randn(4, channels // groups, 3, 2, generator=torch.Generator().manual_seed(0), dtype=dtype)
    pairs = ((stride, stride), (padding, padding), (dilation, dilation))
    layer = Conv(weight, torch.zeros(4, dtype=dtype), (9, 8), *pairs, groups)
    for count in (0, 1, 5):
        x = torch.zeros(count, channels, 9, 8, dtype=dtype, requires_grad=True)
        value = functional.conv2d(x, weight, None, *pairs, groups)
        coefficients = torch.randn(value.shape, generator=torch.Generator().manual_seed(1), dtype=dtype)
        (expected,) = torch.autograd.grad(value, x, coefficients)
        torch.testing.assert_close(layer.transpose(coefficients)[0], expected)
        with_gradient = layer.transpose(coefficients.requires_grad_(True))[0]
        torch.testing.assert_close(with_gradient, expected)
        assert with_gradient.requires_grad
