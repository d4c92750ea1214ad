"""capped: a limit on passes for any attack, and the best that it had seen."""

import norm_rows
import pytest
import torch
from attack_table import build, each_entry
from counting import Counting
from oracles import RowByRow, goals, images, linear, mlp

from attacks import DDN, FMN, PGD, AttackError, HopSkipJump, Linf, Square, Standard, Untargeted, capped, foolbox
from attacks.norms import L2
from attacks.queries.gradients import asked_ids, forward

EPS = 0.03


def spent(attack, model, x, goal, eps):
    """What the attack hands over, also of images that it says nothing about, and what each cost."""
    metered = Counting(model, goal.ids)
    try:
        x_adv = attack(metered, x, goal, eps=eps)
    except AttackError as error:
        x_adv = error.x_adv
    return x_adv, metered.forwards + metered.backwards


def problem(count=6):
    model, x = mlp(48, seed=1), images(count, (3, 4, 4), seed=1)
    return model, x, Untargeted(model(x).argmax(1))


@pytest.mark.parametrize("passes", [1, 2, 7, 30])
@pytest.mark.parametrize(
    "attack", [PGD(), Square(), Standard(), DDN(), FMN(norm=L2()), HopSkipJump(), foolbox.get("linf-pgd")], ids=repr
)
def test_no_image_costs_more_than_its_cap(attack, passes):
    model, x, goal = problem()
    x_adv, cost = spent(capped(attack, passes), model, x, goal, EPS)
    assert (cost <= passes).all()
    assert (attack.norm.measure(x_adv - x) <= EPS * (1 + 1e-5) + 1e-6).all()
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1


class Witness:
    """A model that remembers, for each image, the best answer of all that were asked for within the budget."""

    def __init__(self, model, attack, x, goal, eps):
        self.model, self.attack, self.x, self.goal, self.eps = model, attack, x, goal, eps
        self.best = torch.full((len(x),), torch.inf, dtype=x.dtype)

    def __call__(self, x):
        logits, rows = self.model(x), asked_ids()
        if rows is None:  # a look at an image that is none of those attacked
            return logits
        goal, size = self.goal.select(rows), self.attack.norm.measure(x.detach() - self.x[rows])
        value = goal.margin(logits.detach())
        if self.attack.kind != "budget":
            value = size.where(value < -1e-5 * logits.detach().abs().amax(1), torch.inf)
        value = value.where(size <= self.eps * (1 + 1e-5) + 1e-6, torch.inf)
        self.best = self.best.scatter_reduce(0, rows, value, "amin")
        return logits


@pytest.mark.parametrize("passes", [9, 60])
@each_entry
def test_every_attack_keeps_to_its_cap_image_by_image_and_hands_over_its_best(name, norm, passes):
    eps = norm_rows.EPS[norm]
    net, x = mlp(48, num_classes=6, seed=1), images(5, (3, 4, 4), seed=1)
    goal, attack = goals(net(x))["topk-exclusion"], build(name, norm, most=20)
    model, limited = RowByRow(net), capped(build(name, norm, most=20), passes)
    witness = Witness(model, attack, x, goal, eps)
    x_adv, cost = spent(limited, witness, x, goal, eps)
    looks = 60 if name == "adaptive" else 0  # at drawn images, for which no image pays
    assert (cost <= passes + looks).all()
    cut = spent(attack, model, x, goal, eps)[1] > passes + looks
    value = goal.margin(model(x_adv))
    if attack.kind != "budget":
        value = attack.norm.measure(x_adv - x).where(value < 0, torch.inf)
    torch.testing.assert_close(value[cut], witness.best[cut])
    for i in range(len(x)):
        row = torch.tensor([i])
        assert torch.equal(spent(limited, model, x[row], goal.select(row), eps)[0], x_adv[row])


def test_a_cap_that_is_not_reached_changes_nothing():
    model, x, goal = problem()
    for attack in (PGD(), DDN()):
        assert torch.equal(capped(attack, 100_000)(model, x, goal, eps=EPS), attack(model, x, goal, eps=EPS))


def test_the_best_candidate_seen_is_handed_over():
    model, x, goal = problem()
    eps, last = 1e-3, goal.margin(model(x))
    for passes in (5, 21, 81):
        found = goal.margin(model(capped(PGD(random_start=False), passes)(model, x, goal, eps=eps)))
        assert (found <= last).all()
        last = found


def test_a_minimum_norm_attack_hands_over_the_nearest_that_met_the_goal():
    model, x = linear(seed=1), images(6, (3, 2, 2), seed=1)
    goal = goals(model(x))["untargeted"]
    sizes = []
    for passes in (60, 200, 800):
        x_adv = capped(DDN(), passes)(model, x, goal)
        assert (goal.margin(model(x_adv)) < 0).all()
        sizes.append(L2().measure(x_adv - x))
    assert (sizes[1] < sizes[0]).all()
    assert (sizes[2] <= sizes[1]).all()
    assert (sizes[2] <= 1.05 * model.smallest(x, goal, "l2")).all()


def test_a_minimum_norm_attack_that_found_nothing_hands_over_the_original():
    model, x = linear(seed=1), images(6, (3, 2, 2), seed=1)
    assert torch.equal(capped(DDN(), 3)(model, x, goals(model(x))["untargeted"], eps=1e-3), x)


def test_neighbours_do_not_pay_for_each_other():
    inner, x, goal = problem()
    model, attack = RowByRow(inner), capped(Standard(steps=5, targets=2, queries=20, rounds=5), 150)
    together = attack(model, x, goal, eps=EPS)
    for i in range(len(x)):
        row = torch.tensor([i])
        assert torch.equal(attack(model, x[row], goal.select(row), eps=EPS), together[row])


@pytest.mark.parametrize("name", ["ddn", "hop-skip-jump", "pointwise"])
def test_an_attack_that_takes_one_image_after_the_other_comes_to_all_of_them(name):
    # Foolbox runs these image by image: what the first has spent is nothing to the others.
    inner, x, goal = problem(4)
    model, attack = RowByRow(inner), capped(foolbox.get(name), 50)
    together, cost = spent(attack, model, x, goal, None)
    assert (cost > 40).all()
    for i in range(len(x)):
        row = torch.tensor([i])
        assert torch.equal(spent(attack, model, x[row], goal.select(row), None)[0], together[row])


class InTurn:
    """Asks about the first image until it is refused, only then about the second, many steps at once."""

    kind, norms, norm = "budget", ("linf",), Linf()

    def __call__(self, model, x, goal, *, eps, seed=0):
        first, second = torch.tensor([0]), torch.tensor([1, 1, 1])
        for _ in range(10):
            forward(model, x[first], goal.select(first))
        along = torch.tensor([-1.0, 1.0]).view(1, 1, 2, 1)
        steps = x[second] + eps * torch.tensor([0.5, 1.0, 0.2]).view(3, 1, 1, 1) * along
        for _ in range(5):
            forward(model, steps, goal.select(second))
        return x.clone()


def test_several_questions_about_an_image_at_once_are_told_apart():
    x = torch.tensor([[[[0.7], [0.5]]], [[[0.8], [0.5]]]])
    goal = Untargeted(torch.tensor([0, 0]))

    def model(x):
        return x.flatten(1)

    x_adv, cost = spent(capped(InTurn(), 7), model, x, goal, 0.1)
    assert cost.tolist() == [7, 6]
    assert goal.margin(model(x_adv)).tolist() == pytest.approx([0.2, 0.1])


class Stranger:
    """An attack that does not say which images it asks about, a different number of them each time."""

    kind, norms, norm = "budget", ("linf",), Linf()

    def __call__(self, model, x, goal, *, eps, seed=0):
        for _ in range(100):
            model(x[:1].repeat(2, 1, 1, 1))
        return x


def test_an_image_of_which_nothing_is_known_is_not_called_robust():
    model, x, goal = problem(4)
    with pytest.raises(AttackError, match="limit of 5 passes") as error:
        capped(Stranger(), 5)(model, x, goal, eps=EPS)
    assert set(error.value.errors) == {0, 1, 2, 3}
    assert torch.equal(error.value.x_adv, x)


def test_bad_limits_are_refused():
    model, x, goal = problem()
    with pytest.raises(ValueError, match="expected max_passes >= 1, got 0"):
        capped(PGD(), 0)
    with pytest.raises(ValueError, match="expected eps for a budget attack, got None"):
        capped(PGD(), 5)(model, x, goal)
