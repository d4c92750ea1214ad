"""Attacks made of attacks: who sees what, with which seed, and that the best of all is kept."""

from dataclasses import dataclass, field
from typing import ClassVar

import pytest
import torch
from oracles import Recorder, images, linear

from attacks import (
    APGD,
    DDN,
    FGSM,
    FMN,
    L2,
    PGD,
    AttackError,
    Linf,
    Noise,
    Targeted,
    Untargeted,
    WorstCase,
    multi_targeted,
    restarts,
    worst_case,
)
from attacks.queries.inputs import clean_logits
from attacks.searches.draws import derive

X = torch.tensor([[0.9, 0.3], [0.8, 0.6], [0.2, 0.7], [0.6, 0.5]], dtype=torch.float64)
GOAL = Untargeted(torch.tensor([0, 0, 0, 0]), ids=torch.tensor([10, 11, 12, 13]))
"""With the identity as the model: margins 0.6, 0.2, -0.5 (fooled already) and 0.1."""


def identity(x):
    return x.clone()


@dataclass(frozen=True, eq=False)
class Push:
    """Moves both values of each image by a given amount towards the other class; remembers its calls."""

    by: dict[int, float]
    """Image id -> how far."""
    kind: str = "budget"
    norm: Linf | L2 = Linf()  # noqa: RUF009 frozen
    calls: list[tuple[list[int], object, int]] = field(default_factory=list)
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")

    def __call__(self, model, x, goal, *, eps=None, seed=0):
        clean_logits(model, x, goal, self.norm, eps)
        ids = goal.ids.tolist()
        self.calls.append((ids, None if eps is None else eps.tolist(), seed))
        amount = torch.tensor([self.by.get(i, 0.0) for i in ids], dtype=x.dtype).unsqueeze(1)
        return (x + amount * torch.tensor([-1.0, 1.0])).clamp(0, 1)


def test_each_budget_attack_sees_what_those_before_it_left():
    first, second, third = Push({11: 0.2}), Push({10: 0.1, 13: 0.1}), Push({10: 0.1})
    x_adv = worst_case([first, second, third])(identity, X, GOAL, eps=0.5)
    assert [call[0] for attack in (first, second, third) for call in attack.calls] == [
        [10, 11, 12, 13],
        [10, 13],
        [10],
    ]
    assert GOAL.margin(x_adv).tolist() == pytest.approx([0.4, -0.2, -0.5, -0.1])


def test_the_first_success_stands_and_the_last_failure():
    # 10 is never fooled: the latest candidate is handed over. 11 is fooled by the first.
    x_adv = worst_case([Push({10: 0.2, 11: 0.2}), Push({10: 0.1, 11: 0.9})])(identity, X, GOAL, eps=1.0)
    torch.testing.assert_close(x_adv[0], X[0] + 0.1 * torch.tensor([-1.0, 1.0]))
    torch.testing.assert_close(x_adv[1], X[1] + 0.2 * torch.tensor([-1.0, 1.0]))
    assert torch.equal(x_adv[2:], X[2:])


def test_stops_when_nobody_is_left():
    first, second = Push({10: 0.4, 11: 0.2, 13: 0.1}), Push({})
    worst_case([first, second])(identity, X, GOAL, eps=0.5)
    assert len(first.calls) == 1
    assert not second.calls


def test_each_attack_has_a_seed_of_its_own():
    attacks = [Push({}), Push({}), Push({})]
    worst_case(attacks)(identity, X, GOAL, eps=0.5, seed=7)
    assert [attack.calls[0][2] for attack in attacks] == [7, derive(7, 1), derive(7, 2)]


@pytest.mark.parametrize("eps", [0.5, torch.tensor([0.1, 0.2, 0.3, 0.4])], ids=["number", "tensor"])
def test_budgets_follow_their_images(eps):
    first, second = Push({11: 0.2}), Push({})
    worst_case([first, second])(identity, X, GOAL, eps=eps)
    assert second.calls[0][1] == pytest.approx([0.5, 0.5] if isinstance(eps, float) else [0.1, 0.4])


def test_minimum_norm_attacks_see_every_image_and_the_nearest_stands():
    first = Push({10: 0.5, 11: 0.15, 13: 0.2}, kind="minimum norm")
    second = Push({10: 0.4, 11: 0.2, 13: 0.01}, kind="minimum norm")
    x_adv = worst_case([first, second])(identity, X, GOAL)
    assert [call[:2] for call in first.calls + second.calls] == [([10, 11, 12, 13], None)] * 2
    # 13: the second is nearer, but does not fool.
    assert Linf().measure(x_adv - X).tolist() == pytest.approx([0.4, 0.15, 0.0, 0.2])


def test_order_does_not_matter_to_the_nearest():
    model, x = linear(seed=3), images(5, (12,))
    goal = Untargeted(model(x).argmax(1))
    one, other = FMN(norm=L2(), steps=20), DDN(steps=20)
    together = worst_case([one, other])(model, x, goal)
    assert torch.equal(together, worst_case([other, one])(model, x, goal))
    size = L2().measure(together - x)
    for attack in (one, other):
        assert (size <= L2().measure(attack(model, x, goal) - x)).all()


def test_as_strong_as_the_strongest_on_each_image():
    model, x = linear(seed=3), images(30, (12,), seed=3)
    goal = Untargeted(model(x).argmax(1))
    attacks = [Noise(draws=20), FGSM(), PGD(steps=10)]
    eps = 0.9 * model.smallest(x, goal, "linf").median().item()
    fooled = [goal.margin(model(attack(model, x, goal, eps=eps))) < 0 for attack in attacks]
    together = goal.margin(model(worst_case(attacks)(model, x, goal, eps=eps))) < 0
    assert 0 < int(together.sum()) < 30
    assert (together >= torch.stack(fooled).any(0)).all()


def test_restarts_are_the_attack_again_with_other_seeds():
    model, x = linear(seed=4), images(20, (12,), seed=4)
    goal = Untargeted(model(x).argmax(1))
    attack = Noise(draws=3)
    eps = 5 * model.smallest(x, goal, "linf")
    once = attack(model, x, goal, eps=eps, seed=5)
    assert torch.equal(restarts(attack, 1)(model, x, goal, eps=eps, seed=5), once)
    thrice = restarts(attack, 3)
    assert thrice.attacks == (attack,) * 3
    often = thrice(model, x, goal, eps=eps, seed=5)
    fooled = goal.margin(model(once)) < 0
    assert torch.equal(often[fooled], once[fooled])
    assert (goal.margin(model(often)) < 0).sum() > fooled.sum()


def test_composes_with_itself():
    attack = worst_case([restarts(PGD(steps=40), 2), FGSM()])
    assert attack.kind == "budget"
    assert attack.norm == Linf()
    assert isinstance(attack.attacks[0], WorstCase)
    model, x = linear(seed=4), images(4, (12,), seed=4)
    goal = Untargeted(model(x).argmax(1))
    eps = 1.1 * model.smallest(x, goal, "linf")
    assert (goal.margin(model(attack(model, x, goal, eps=eps))) < 0).all()


def test_keeps_no_graph():
    x = X.clone().requires_grad_()
    assert not worst_case([Push({10: 0.4}), Push({11: 0.2})])(identity, x, GOAL, eps=0.5).requires_grad


def test_arguments_are_not_written_to():
    before = X.clone()
    worst_case([Push({10: 0.4}), Push({11: 0.2})])(identity, X, GOAL, eps=0.5)
    assert torch.equal(X, before)


@pytest.mark.parametrize(
    ("construct", "message"),
    [
        (lambda: worst_case([]), "expected at least one attack, got none"),
        (lambda: WorstCase(()), "expected at least one attack, got none"),
        (lambda: worst_case([PGD(), FMN()]), "expected attacks of one kind, got budget, minimum norm"),
        (lambda: worst_case([PGD(), FGSM(norm=L2())]), "expected attacks in one norm, got linf, l2"),
        (lambda: restarts(PGD(), 0), "expected restarts >= 1, got 0"),
        (lambda: restarts(PGD(), 2.0), "expected restarts to be a whole number, got 2.0"),
        (lambda: restarts(PGD(), -1), "expected restarts >= 1, got -1"),
    ],
)
def test_refuses_what_does_not_go_together(construct, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        construct()


def test_budget_attacks_need_an_eps():
    with pytest.raises(ValueError, match="expected eps for a budget attack, got None"):
        worst_case([PGD(), FGSM()])(identity, X, GOAL)


# --- an attack that fails on some of the images ---


@dataclass(frozen=True, eq=False)
class Breaks(Push):
    """The same, but it cannot be carried out on some of the images."""

    on: tuple[int, ...] = ()
    """Their ids."""

    def __call__(self, model, x, goal, *, eps=None, seed=0):
        x_adv, rows = super().__call__(model, x, goal, eps=eps, seed=seed), goal.ids.tolist()
        broken = [row for row, image in enumerate(rows) if image in self.on]
        x_adv[broken] = x[broken]
        if broken:
            raise AttackError(x_adv, dict.fromkeys(broken, "it broke"))
        return x_adv


def test_where_one_attack_fails_the_others_go_on():
    first, second = Breaks({11: 0.2}, on=(10, 13)), Push({13: 0.1, 10: 0.4})
    x_adv = worst_case([first, second])(identity, X, GOAL, eps=0.5)
    assert (GOAL.margin(x_adv) < 0).all()
    assert [call[0] for call in second.calls] == [[10, 13]]


@pytest.mark.parametrize("kind", ["budget", "minimum norm"])
def test_an_image_that_an_attack_failed_on_and_none_fools_is_reported_at_its_place(kind):
    first, second = Push({11: 0.2}, kind=kind), Breaks({13: 0.1}, kind=kind, on=(10,))
    with pytest.raises(AttackError, match="failed on 1 of 4 images: it broke") as failure:
        worst_case([first, second])(identity, X, GOAL, eps=0.5)
    assert failure.value.errors == {0: "it broke"}
    assert (GOAL.margin(failure.value.x_adv) < 0).tolist() == [False, True, True, True]


# --- several rivals ---


@pytest.mark.parametrize("attack", [APGD(steps=30, loss="margin"), FMN(norm=Linf())], ids=lambda a: type(a).__name__)
def test_multi_targeted_finds_the_rival_that_the_attack_alone_misses(attack):
    # Class 1 comes second and stays ahead of class 2 on the way uphill, but never passes class 0.
    def model(x):
        near, far = x[:, 0] - 0.5, x[:, 1] - 0.5
        return torch.stack([torch.zeros_like(near), -0.1 / (1 + 50 * near.abs()), far - 0.15], 1)

    x, goal = torch.full((1, 2), 0.5), Untargeted(torch.tensor([0]))
    alone, each = attack(model, x, goal, eps=0.2), multi_targeted(attack, 2)(model, x, goal, eps=0.2)
    assert goal.margin(model(each)).item() < 0
    assert goal.margin(model(alone)).item() > 0 or attack.kind == "minimum norm"
    assert Linf().measure(each - x).item() <= 0.2 + 1e-6


@pytest.mark.parametrize("attack", [PGD(random_start=False), APGD(loss="dlr")], ids=lambda a: type(a).__name__)
def test_multi_targeted_takes_another_rival_that_it_meets_on_its_way(attack):
    # On the way to class 1, the nearest to begin with and never reached, class 2 is ahead for a stretch.
    def model(x):
        way = x[:, 0] - 0.5
        between = 0.1 - 4 * (way - 0.06).abs()
        return torch.stack([torch.zeros_like(way), -0.1 + way / 2, between, way - 9], 1)

    x, goal = torch.full((1, 1), 0.5), Untargeted(torch.tensor([0]))
    x_adv = multi_targeted(attack, 1)(model, x, goal, eps=0.1)
    assert goal.margin(model(x_adv)).item() < 0


def test_multi_targeted_runs_once_where_there_is_one_way():
    model, x = linear(num_classes=5, seed=1), images(3, (12,), seed=1)
    goal, attack = Targeted(model(x).argmin(1)), PGD(steps=5)
    for seed in (0, 3):
        once = attack(model, x, goal, eps=0.05, seed=seed)
        assert torch.equal(multi_targeted(attack, 9)(model, x, goal, eps=0.05, seed=seed), once)


def test_multi_targeted_asks_no_more_about_images_that_are_fooled():
    model, x = linear(num_classes=5, seed=1), images(6, (12,), seed=1)
    goal = Untargeted(model(x).argmax(1))
    radius, reachable = model.smallest(x, goal, "linf"), torch.arange(6) < 3
    recorder = Recorder(model)
    x_adv = multi_targeted(PGD(steps=20), 4)(recorder, x, goal, eps=torch.where(reachable, 3 * radius, 0.5 * radius))
    assert torch.equal(goal.margin(model(x_adv)) < 0, reachable)
    assert len(recorder.seen[-1]) == 3


def test_multi_targeted_needs_a_target():
    with pytest.raises(ValueError, match="expected targets >= 1, got 0"):
        multi_targeted(PGD(), 0)
