"""Trust flags of an attack that is tried in other ways: each has an attack or a model that must raise it."""

import pytest
import torch
from torch import nn
from tricks import DETERMINISTIC, network

from advbench.evaluation.checks import active
from advbench.evaluation.checks.attack import LOOKED_AT, Trial, check_attack, most_passes
from advbench.evaluation.checks.blind import hit_by_chance, points
from advbench.evaluation.checks.recorder import Recorder
from attacks import FGSM, L0, L1, L2, PGD, Linf, Square, Standard, Untargeted

X = nn.functional.interpolate(
    torch.rand(12, 3, 4, 4, generator=torch.Generator().manual_seed(1)), (16, 16), mode="bilinear"
)
NET = network()
GOAL = Untargeted(NET(X).argmax(1))
EPS = 0.045
"""At which about half of the images are fooled."""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """As many random points and planted perturbations as show what they show."""
    monkeypatch.setattr("advbench.evaluation.checks.attack.DRAWS", 100)
    monkeypatch.setattr(active, "COUNT", 6)


def found(attack, longer=None, model=NET, goal=GOAL, eps=EPS):
    trial = Trial(model, attack, longer, X, goal, eps, seed=0)
    return {finding.id: finding for finding in check_attack(trial)}


class Forgetful:
    """PGD that returns the image that it began with."""

    kind, norm = "budget", Linf()

    def __call__(self, model, x, goal, *, eps, seed=0):
        PGD()(model, x, goal, eps=eps, seed=seed)
        return x


@pytest.mark.parametrize("attack", [PGD(), Standard(rounds=2, queries=20, targets=3), PGD(norm=L2())], ids=repr)
def test_an_honest_attack_raises_none(attack):
    eps = EPS if attack.norm == Linf() else 0.9
    goal = GOAL
    longer = PGD(steps=80, norm=attack.norm) if isinstance(attack, PGD) else None
    assert 0 < int((goal.margin(NET(attack(NET, X, goal, eps=eps))) >= 0).sum()) < 12
    assert {name for name, finding in found(attack, longer, eps=eps).items() if finding.severity != "I"} == set()


def test_a4_the_best_candidate_is_not_returned():
    finding = found(Forgetful())["A4"]
    assert finding.severity == "F"
    assert finding.message.startswith("passes over a candidate that fools the model on ")
    assert "A4" not in found(PGD())


def test_a5_more_steps_find_more():
    short = PGD(steps=2, relative_step=0.05, random_start=False)
    assert found(short, PGD())["A5"].severity == "F"
    assert "with twice as many steps it fools" in found(short, PGD())["A5"].message


def test_a5_the_loss_still_falls():
    creeping = PGD(steps=14, relative_step=0.01, random_start=False)
    finding = found(creeping)["A5"]
    assert finding.message.startswith("the loss falls by more than 5% in the last 10 of its gradients on ")
    assert "A5" not in found(PGD())


def lucky(x):
    """Fooled by chance alone: by what the last digits of the first value are."""
    first = (1e4 * x[:, 0, 0, 0]).remainder(1) > 0.8
    steady = torch.zeros(len(x), 10) + 1e-3 * x.flatten(1)[:, :10]
    steady[:, 0] = steady[:, 0] + 1
    return torch.where(first[:, None], steady.roll(1, 1), steady)


def test_a6_and_a9_another_start_or_a_random_point_finds_more():
    goal = Untargeted(torch.zeros(len(X), dtype=torch.int64))
    flags = found(PGD(steps=1), model=lucky, goal=goal)
    assert "from another start it fools" in flags["A6"].message
    assert flags["A9"].message.startswith("100 random points fool ")
    assert flags["A9"].severity == "F"


def test_a11_without_a_bound_an_attack_fails_where_gradients_are_masked():
    model = DETERMINISTIC["reversed"](NET)
    flags = found(PGD(random_start=False), model=model)
    assert flags["A11"].message.startswith("12 of 12 images survive without a bound, more than chance (10.0%)")
    assert "A11" not in found(PGD())


def test_a15_planted_perturbations_are_not_found_where_gradients_are_masked():
    flags = found(PGD(random_start=False), model=DETERMINISTIC["reversed"](NET))
    assert flags["A15"].message.startswith("finds 0 of 6 planted perturbations (random points find ")
    assert flags["A15"].value == 0


@pytest.mark.parametrize("norm", [Linf(), L2(), L1()], ids=repr)
def test_planted_perturbations_are_there_and_hard_to_find_by_chance(norm):
    eps = {"linf": 0.02, "l2": 0.3, "l1": 3.0}[norm.name]
    guessed = 0
    for i in range(6):
        goal = Untargeted(torch.tensor([0]), ids=torch.tensor([i]))
        planted = active.plant(NET, X[i : i + 1], goal, norm, eps=eps, seed=0)
        edge = active.edge_of(X[i : i + 1], goal, norm, eps=eps, seed=0)
        assert planted(X[i : i + 1]).argmax(1) == 0
        assert planted(edge).argmax(1) == 1
        guessed += hit_by_chance(planted, X[i : i + 1], goal, norm, eps=eps, seed=5, draws=active.CHANCE)
    assert guessed <= 1


def test_nothing_is_planted_in_a_model_that_cannot_be_seen():
    blind = lambda x: torch.from_numpy(x.detach().numpy().reshape(len(x), -1)[:, :10].copy())  # noqa: E731
    assert active.plant(blind, X[:1], Untargeted(torch.tensor([0])), Linf(), eps=0.1, seed=0) is None
    assert list(active.check(blind, PGD(), X, GOAL, eps=0.1, seed=0)) == []


def test_a_model_without_a_gradient_is_left_to_others():
    assert found(PGD(), model=lambda x: NET(x.detach())) == {}
    assert "A4" not in found(Square(steps=20), model=lambda x: NET(x.detach()))


def test_the_record_keeps_the_best_within_the_budget():
    recorder = Recorder(NET, X, GOAL, Linf(), EPS)
    x_adv = PGD()(recorder, X, GOAL, eps=EPS)
    assert (recorder.margin <= GOAL.margin(NET(x_adv)) + 0.01).all(), "what the last step did is not asked"
    assert (Linf().measure(recorder.best - X) <= EPS + 1e-6).all()
    torch.testing.assert_close(GOAL.margin(NET(recorder.best)), recorder.margin)


@pytest.mark.parametrize("attack", [PGD(steps=3), FGSM()], ids=repr)
def test_what_it_costs_is_forecast(attack):
    asked = []

    class Counted(nn.Module):
        def forward(self, x):
            asked.append(len(x) * (3 if torch.is_grad_enabled() and x.requires_grad else 1))
            return NET(x)

    found(attack, PGD(steps=6), model=Counted())
    steps = 4 + 2 * 3 if isinstance(attack, PGD) else 1 + 2
    assert sum(asked) <= most_passes(steps, LOOKED_AT)


def test_points_keep_to_the_budget_and_corners_use_it():
    middle = torch.full((40, 3, 4, 4), 0.5)
    ids = torch.arange(4).repeat_interleave(10)
    for norm, eps in ((Linf(), 0.1), (L2(), 1.0), (L1(), 0.4), (L0(), 7.0)):
        inner, edge = (points(norm, middle, ids, eps=eps, seed=0, corners=each) - middle for each in (False, True))
        assert (norm.measure(inner) <= eps * (1 + 1e-5)).all()
        assert len(inner.flatten(1).unique(dim=0)) == len(edge.flatten(1).unique(dim=0)) == len(middle)
        torch.testing.assert_close(norm.measure(edge), torch.full((40,), eps), rtol=1e-4, atol=0)
    assert points(Linf(), X, torch.arange(12), eps=2.0, seed=0).aminmax() == (0, 1)
