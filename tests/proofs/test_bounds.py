"""Bounds hold: no point of the ball lies below one, whatever the layers, the norm and the goal."""

from collections.abc import Iterator
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_nets import NETS, points_in_ball, small_net
from torch import Tensor, nn

import attacks
from advbench import proofs
from advbench.proofs.bounding.balls import BallInBox
from advbench.proofs.cascade import METHODS
from advbench.proofs.network import relaxations
from advbench.proofs.network.relaxations import Lines
from attacks import LabelOutOfTopK, OrderedTopK, Targeted, TopKExclusion, Untargeted

EPS = {"linf": 0.05, "l2": 0.3, "l1": 0.4, "l0": 2.0}
GOALS = {
    "untargeted": lambda logits: Untargeted(logits.argmax(1)),
    "targeted": lambda logits: Targeted(logits.argmin(1)),
    "exclusion": lambda logits: TopKExclusion.from_logits(logits, 1),
    "out of top": lambda logits: LabelOutOfTopK(logits.argmax(1), k=min(2, logits.shape[1] - 1)),
    "ordered": lambda logits: OrderedTopK(logits.argsort(dim=1)[:, : min(2, logits.shape[1] - 1)]),
}


def image(seed: int) -> Tensor:
    return torch.rand(1, 2, 5, 5, generator=torch.Generator().manual_seed(seed))


def lowest_margin(net: nn.Module, x: Tensor, goal: attacks.Goal, norm: attacks.Norm, eps: float) -> float:
    """Smallest margin of many random points of the ball."""
    points = torch.cat([x, points_in_ball(x, norm, eps, 400, 1)])
    rows = goal.select(torch.zeros(len(points), dtype=torch.int64))
    return rows.margin(net(points)).min().item()


@pytest.mark.parametrize("name", NETS)
@settings(max_examples=6, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    norm=st.sampled_from(sorted(EPS)),
    goal=st.sampled_from(sorted(GOALS)),
    method=st.sampled_from(METHODS),
    size=st.sampled_from([0.0, 0.3, 1.0, 3.0]),
)
def test_no_point_lies_below_the_bound(name: str, seed: int, norm: str, goal: str, method: str, size: float) -> None:
    net, x, geometry = small_net(name, seed), image(seed), attacks.NORMS[norm]()
    eps = EPS[norm] * size if norm != "l0" else float(round(EPS[norm] * size))
    wanted = GOALS[goal](net(x))
    proof = proofs.bound(net, x, wanted, norm=geometry, eps=eps, upto=method)
    assert proof.reason == ""
    assert proof.bound.item() <= lowest_margin(net, x, wanted, geometry, eps) + 1e-5


@pytest.mark.parametrize("name", NETS)
def test_bounds_of_methods_never_fall(name: str) -> None:
    net, x = small_net(name, 3), image(3)
    goal = Untargeted(net(x).argmax(1))
    bounds = [proofs.bound(net, x, goal, norm=attacks.Linf(), eps=0.1, upto=method).bound.item() for method in METHODS]
    assert bounds == sorted(bounds)


@pytest.mark.parametrize("method", ["crown", "alpha-crown"])
def test_bounds_grow_with_the_logits(method: str) -> None:
    net, x = small_net("relu", 4), image(4)
    goal = Untargeted(net(x).argmax(1))
    usual = proofs.bound(net, x, goal, norm=attacks.Linf(), eps=0.2, upto=method).bound.item()
    for number in net[-1].parameters():
        number.data.mul_(2.0**90)
    found = proofs.bound(net, x, goal, norm=attacks.Linf(), eps=0.2, upto=method).bound.item()
    assert found == pytest.approx(2.0**90 * usual, rel=1e-4)


@pytest.mark.parametrize("norm", EPS)
def test_linear_functions_are_bounded_as_tightly_as_can_be(norm: str) -> None:
    geometry, x, eps = attacks.NORMS[norm](), torch.full((1, 2, 5, 5), 0.5), EPS[norm]
    rows = torch.randn(4, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    change = geometry.dual(rows) * eps if norm != "l0" else 0.5 * rows.flatten(1).abs().topk(2).values.sum(1)
    bound = BallInBox.around(x.double(), geometry, eps).minimum(rows.double())
    torch.testing.assert_close(bound.float(), 0.5 * rows.flatten(1).sum(1) - change, atol=1e-4, rtol=0)


@pytest.mark.parametrize("norm", EPS)
def test_the_ball_holds_what_the_judge_allows(norm: str) -> None:
    x, geometry = image(0), attacks.NORMS[norm]()
    rows = torch.randn(4, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    bound = BallInBox.around(x.double(), geometry, EPS[norm]).minimum(rows.double())
    step = geometry.steepest(-rows, EPS[norm]) * (1 + 1e-5)
    reached = ((x + step).clamp(0, 1).double() * rows.double()).flatten(1).sum(1)
    assert (bound <= reached).all()


ATTACKS = {
    "pgd": attacks.PGD(),
    "apgd": attacks.APGD(),
    "standard": attacks.Standard(),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_attack_fools_what_is_proved(attack: str) -> None:
    proved = 0
    for seed in range(6):
        net, x = small_net("max pool" if seed % 2 else "relu", seed), image(seed)
        goal = Untargeted(net(x).argmax(1))
        for eps in (0.01, 0.03, 0.1):
            proof = proofs.prove(net, x, goal, norm=attacks.Linf(), eps=eps, domains=60)
            x_adv = ATTACKS[attack](net, x, goal, eps=eps)
            assert not (proof.proved & (goal.margin(net(x_adv)) < 0)).any()
            proved += int(proof.proved)
    assert proved >= 6


def wrong_slope(lines: Lines, which: str, hinge: Tensor) -> Lines:
    """Lines of which one is turned towards the other about its point at ``hinge``, where they are two."""
    turn = 0.5 if which == "lower" else -0.5
    turn = torch.where((lines.upper_offset != lines.lower_offset), turn, 0.0).to(hinge.dtype)
    slope, offset = getattr(lines, f"{which}_slope"), getattr(lines, f"{which}_offset")
    return lines._replace(**{f"{which}_slope": slope + turn, f"{which}_offset": offset - turn * hinge})


def violations(activation: str) -> Iterator[tuple[int, int, float]]:
    """Cases among random networks in which a random point lies below the bound."""
    for seed, rank, eps in product(range(20), (0, 2), (0.02, 0.05)):
        net, x = small_net(activation, seed), image(seed)
        goal = Targeted(net(x).argsort(dim=1)[:, rank])
        bound = proofs.bound(net, x, goal, norm=attacks.Linf(), eps=eps, upto="crown").bound.item()
        if bound > lowest_margin(net, x, goal, attacks.Linf(), eps) + 1e-5:
            yield seed, rank, eps


@pytest.mark.parametrize("activation", sorted(relaxations.RELAXATIONS))
def test_sound_lines_raise_no_alarm(activation: str) -> None:
    assert list(violations(activation)) == []


@pytest.mark.parametrize("at_end", [True, False])
@pytest.mark.parametrize("which", ["lower", "upper"])
@pytest.mark.parametrize("activation", sorted(relaxations.RELAXATIONS))
def test_a_wrong_slope_is_noticed(activation: str, which: str, at_end: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    right = relaxations.RELAXATIONS[activation]

    def wrong(lower: Tensor, upper: Tensor, leak: float) -> Lines:
        hinge = lower if at_end else torch.zeros_like(lower)
        return wrong_slope(right(lower, upper, leak), which, hinge)

    monkeypatch.setitem(relaxations.RELAXATIONS, activation, wrong)
    assert breaches(activation, torch.tensor([-1.0, -3.0, -1.0]), torch.tensor([1.0, 1.0, 4.0])) > 0
    if at_end:  # the whole line is wrong, so that bounds of networks must be too high
        assert next(violations(activation), None) is not None


def breaches(activation: str, lower: Tensor, upper: Tensor) -> int:
    """Points between bounds where an activation leaves its lines."""
    lines = relaxations.RELAXATIONS[activation](lower, upper, 0.0)
    x = lower + (upper - lower) * torch.linspace(0, 1, 101)[:, None]
    y = relaxations.Activation(activation).apply(x)
    below = y < lines.lower_slope * x + lines.lower_offset - 1e-6
    above = y > lines.upper_slope * x + lines.upper_offset + 1e-6
    return int((below | above).sum())


@settings(max_examples=200, deadline=None)
@given(
    activation=st.sampled_from(sorted(relaxations.RELAXATIONS)),
    lower=st.floats(-8, 8),
    width=st.one_of(st.floats(0, 8), st.floats(0, 1e-8)),
)
def test_activations_stay_between_their_lines(activation: str, lower: float, width: float) -> None:
    ends = torch.tensor([lower], dtype=torch.float64), torch.tensor([lower + width], dtype=torch.float64)
    assert breaches(activation, *ends) == 0
