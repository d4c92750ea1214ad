"""What an image gets does not depend on where in a batch it stands, to the last bit: some functions of torch do."""

import pytest
import torch
from attack_table import build
from norm_rows import EPS, each_norm, ids
from oracles import RowByRow, goals, images, mlp

from attacks import L2, ensemble
from attacks.geometry.proximal import firm
from attacks.geometry.rows import logistic
from attacks.searches.draws import scaled

SHAPE = (3, 5, 5)
"""No multiple of the number of values that a processor computes at once: those at the end are computed apart."""
COUNT = 13


def alone(function, *rows):
    """What a function makes of each row by itself."""
    return torch.cat([function(*(row[i : i + 1].clone() for row in rows)) for i in range(len(rows[0]))])


@pytest.mark.parametrize(("name", "norm"), [("cw", "l2"), ("mef", "l2"), ("pdpgd", "l1"), ("spgd", "l0")])
def test_attacks_that_were_rounded_by_the_place_in_the_batch(name, norm):
    model, x = RowByRow(mlp(75, seed=1).float()), images(COUNT, SHAPE, low=0, high=1).float()
    goal, attack = goals(model(x))["untargeted"], build(name, norm, 6)

    def run(rows):
        return attack(model, x[rows], goal.select(rows), eps=EPS[norm])

    assert torch.equal(alone(run, torch.arange(COUNT)), run(torch.arange(COUNT)))


@each_norm
def test_random_points(norm):
    def draw(some):
        return norm.random(SHAPE, 0.7, 0, some, 0)

    assert torch.equal(alone(draw, ids(40)), draw(ids(40)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_functions_in_place_of_those_of_torch(dtype):
    number = torch.rand(COUNT, 75, generator=torch.Generator().manual_seed(0)).to(dtype)
    cost = number[:, :1] / 9

    def drawn(number):
        return scaled(number[:, 0], 0.001, 0.05)

    for function, rows in ((logistic, [number]), (drawn, [number]), (firm, [number, cost])):
        assert torch.equal(alone(function, *rows), function(*rows))
    torch.testing.assert_close(logistic(number), number.sigmoid())
    torch.testing.assert_close(drawn(number), 0.001 * 50 ** number[:, 0])


@pytest.mark.parametrize("average", ["logits", "probabilities", "losses"])
def test_ensembles(average):
    members = [RowByRow(mlp(75, seed=seed).float()) for seed in range(7)]
    x, model = images(COUNT, SHAPE, low=0, high=1).float(), ensemble(members, average)
    assert torch.equal(alone(model, x), model(x))


def test_the_length_of_a_random_point_is_still_that_of_a_uniform_one():
    size = L2().measure(L2().random((3,), 1.0, 0, ids(4000), 0))
    shares = torch.stack([(size < edge).float().mean() for edge in (0.5, 0.8)])
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.8]) ** 3, atol=0.02, rtol=0)


def test_lengths_of_many_equal_values():
    for value in (1e-3, 0.3, 0.7):
        photograph = torch.full((2, 3, 224, 223), value)
        photograph[1, 0, 0] = 0.5
        exact = photograph.double().flatten(1).square().sum(1).sqrt()
        torch.testing.assert_close(L2().measure(photograph).double(), exact, rtol=3e-6, atol=0)
