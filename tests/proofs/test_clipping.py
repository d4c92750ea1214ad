"""Bounds that hold where a function is small: no image on which it is lies outside them."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest
import torch
from scipy.optimize import linprog
from small_nets import points_in_ball, small_net
from torch import Tensor

from advbench.proofs.bounding.backward import Bound, Functions, Relaxed, lower_bound
from advbench.proofs.bounding.balls import BallInBox
from advbench.proofs.bounding.crown import lines_of, tightened
from advbench.proofs.bounding.intervals import intervals
from advbench.proofs.network.graph import Network
from advbench.proofs.reading.reader import read_network
from advbench.proofs.search import clipping, splitting
from advbench.proofs.search.clipping import Clipper
from advbench.proofs.search.space import Choice, Space
from advbench.proofs.search.splitting import Splitter
from attacks import L2, Linf

NETS = ("relu", "max pool", "leaky")


class Scene(NamedTuple):
    """A network around an image, and a function of its logits."""

    network: Network
    space: Space
    clipper: Clipper
    row: Tensor
    below: Bound
    points: Tensor
    values: Tensor
    """Values of the function at the points."""

    def most(self, share: float) -> float:
        """A value that the function is below at this share of the points."""
        return float(self.values.quantile(share))

    def outside(self, choice: Choice, most: float) -> int:
        """Inputs of activations outside their bounds, at points where the function is at most ``most``."""
        inside = self.network.values(self.points[self.values <= most])
        inputs = [inside[self.network.nodes[i].inputs[0]].flatten(1)[:, found] for i, found, _ in self.space.parts()]
        found = torch.cat(inputs, 1)
        return int(((found < choice.lower) | (found > choice.upper)).sum())


def scene(name: str, seed: int, eps: float = 0.08) -> Scene:
    x = torch.rand(1, 2, 5, 5, generator=torch.Generator().manual_seed(seed))
    network = read_network(small_net(name, seed), x)
    ball = BallInBox.around(x.double(), Linf(), eps)
    known = tightened(network, ball, intervals(network, ball))
    space = Space.of(Relaxed(network, ball, lines_of(network, known)), known)
    clipper = Clipper.of(space)
    assert clipper is not None
    row = torch.tensor([[1.0, -1.0, 0.0]], dtype=torch.float64)[:, : network.nodes[-1].shape[0]]
    below = lower_bound(space.chosen(space.plain(1)), Functions.of(space.last, row))
    points = points_in_ball(x, Linf(), eps, 1000, seed).double()
    steep = below.coefficients.sign()  # towards where the function is small
    towards = (points - 2 * eps * steep * torch.rand(len(points), 1, 1, 1, generator=torch.Generator())).clamp(
        ball.lower, ball.upper
    )
    points = torch.cat([points, towards, ball.minimiser(below.coefficients)])
    return Scene(network, space, clipper, row, below, points, (network.logits(points) * row).sum(1))


def scenes() -> Iterator[Scene]:
    for name in NETS:
        for seed in range(3):
            yield scene(name, seed)


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Domains are clipped however far they are from being closed."""
    monkeypatch.setattr(clipping, "REACH", torch.inf)


def breaches() -> int:
    """Inputs of activations outside clipped bounds, in all scenes."""
    found = 0
    for each in scenes():
        for share in (0.002, 0.05, 0.3):
            most = each.most(share)
            found += each.outside(each.clipper.clip(each.space.plain(1), each.below, most), most)
    return found


@pytest.mark.usefixtures("far")
def test_no_image_on_which_the_function_is_small_lies_outside() -> None:
    assert breaches() == 0


WRONG = {
    "a multiplier is negative": {"MULTIPLIERS": (-1.0,)},
    "a multiplier is left out of the constant": {"MULTIPLIERS": (1.0,), "_ROUNDING": -0.5},
}


@pytest.mark.usefixtures("far")
@pytest.mark.parametrize("name", WRONG)
def test_wrong_multipliers_are_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for constant, value in WRONG[name].items():
        monkeypatch.setattr(clipping, constant, value)
    assert breaches() > 0


@pytest.mark.usefixtures("far")
@pytest.mark.parametrize("part", ["rows", "middle"])
def test_wrong_functions_are_noticed(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = Clipper._values

    def wrong(self: Clipper, cuts: Tensor, at_centre: Tensor) -> Tensor:
        values = {"rows": self.rows, "middle": self.middle}
        changed = values[part] * 0.7 if part == "rows" else values[part] + 0.1 * self.rows.abs().sum(1)
        return right(Clipper(**(vars(self) | {part: changed})), cuts, at_centre)

    monkeypatch.setattr(Clipper, "_values", wrong)
    assert breaches() > 0


def test_bounds_are_those_of_a_linear_programme_at_most() -> None:
    made = scene("relu", 3)
    rows, middle = made.clipper.rows, made.clipper.middle
    radius = ((made.clipper.ball.upper - made.clipper.ball.lower) / 2).flatten()
    cut = made.below.coefficients.flatten() * radius
    near = cut.abs().sum().mul(-0.9).neg()  # a tenth of what it can change is left
    found = made.clipper._values(cut[None], near[None])[0]
    gained = 0
    for row, at, value in zip(rows, middle, found, strict=True):
        truth = linprog(row.numpy(), A_ub=cut[None].numpy(), b_ub=[-float(near)], bounds=(-1, 1))
        assert truth.success
        assert value <= truth.fun + at + 1e-7
        assert value >= at - row.abs().sum() - 1e-6
        gained += bool(value > at - 0.6 * row.abs().sum())
    assert gained > len(rows) // 3


def test_far_domains_are_left_alone() -> None:
    made = scene("relu", 3)
    start = made.space.plain(1)
    width = 2 * (made.below.coefficients.abs() * (made.clipper.ball.upper - made.clipper.ball.lower) / 2).sum()
    most = float(made.below.value + 2 * clipping.REACH * width)
    assert made.clipper.clip(start, made.below, most) is start


def test_only_boxes_are_cut() -> None:
    x = torch.full((1, 2, 5, 5), 0.5)
    network = read_network(small_net("relu", 0), x)
    ball = BallInBox.around(x.double(), L2(), 0.1)
    known = intervals(network, ball)
    assert Clipper.of(Space.of(Relaxed(network, ball, lines_of(network, known)), known)) is None


def proved_too_much() -> int:
    """Scenes in which splitting shows more of the function than is true, without looking for counterexamples."""
    found = 0
    for each in scenes():
        splitter = Splitter(
            exact=each.space,
            enough=each.most(0.001),
            domains=300,
            in_time=lambda: True,
            probe=lambda points: None,
            clipper=each.clipper,
        )
        shown = splitter.split(each.row, float(each.below.value), each.space.plain(1)).value
        found += shown > float(each.values.min()) + 1e-9
    return found


def test_splitting_with_clipped_bounds_shows_nothing_that_is_not_true() -> None:
    assert proved_too_much() == 0


def test_a_domain_whose_bound_is_no_number_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splitting, "exactly", lambda space, functions, choice: functions.constant.double() * torch.nan)
    for each in scenes():
        known = float(each.below.value)
        splitter = Splitter(
            exact=each.space, enough=each.most(0.001), domains=10, in_time=lambda: True, probe=lambda points: None
        )
        assert splitter.split(each.row, known, each.space.plain(1)).value == known


def test_bounds_that_are_cut_too_far_are_noticed_in_splitting(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Clipper.clip

    def wrong(self: Clipper, choice: Choice, below: Bound, most: float) -> Choice:
        clipped = right(self, choice, below, most)
        room = 0.3 * (clipped.upper - clipped.lower)
        return clipped._replace(lower=clipped.lower + room, upper=clipped.upper - room)

    monkeypatch.setattr(Clipper, "clip", wrong)
    assert proved_too_much() > 0
