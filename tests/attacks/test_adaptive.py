"""Adaptive: tricks gain nothing, honest models cost nothing more, and its report says what happened."""

import numpy as np
import pytest
import torch
from counting import Counting
from test_inside import X, network
from tricks import DETERMINISTIC, RANDOM, After, Before, labels, noisy

from attacks import Adaptive, AttackError, LabelOff, Linf, Standard, Untargeted, capped

FIRST = Standard(rounds=1, queries=10, targets=2, steps=8)
EPS = 0.05


def left(model, goal, x_adv):
    return int((goal.margin(model(x_adv)) >= 0).sum())


@pytest.fixture(scope="module")
def undefended():
    net = network()
    goal = Untargeted(net(X).argmax(1))
    openly = left(net, goal, FIRST(net, X, goal, eps=EPS))
    assert openly <= 2  # otherwise there would be nothing to lose behind a defence
    return net, goal, openly


SAME_ANSWERS = ("detached", "logits x 1e6", "labels", "reversed")


@pytest.mark.parametrize("name", SAME_ANSWERS)
def test_a_trick_that_changes_no_answer_gains_nothing(undefended, name):
    net, goal, openly = undefended
    report = Adaptive(first=FIRST).report(DETERMINISTIC[name](net), X, goal, eps=EPS)
    assert left(net, goal, report.x_adv) <= openly + (name == "shattered")
    assert (Linf().measure(report.x_adv - X) <= EPS + 1e-6).all()


@pytest.mark.parametrize("name", ["quantised", "k-winners"])
def test_a_trick_that_changes_answers_gains_next_to_nothing(undefended, name):
    net, _, openly = undefended
    model = DETERMINISTIC[name](net)
    goal = Untargeted(model(X).argmax(1))
    assert left(model, goal, Adaptive(first=FIRST)(model, X, goal, eps=EPS)) <= openly + 1


@pytest.mark.parametrize("name", RANDOM)
def test_candidates_fool_a_random_model_in_most_passes(undefended, name):
    net, goal, _ = undefended
    model, eps = RANDOM[name](net), 0.08  # members of an ensemble in one direction
    assert left(net, goal, FIRST(net, X, goal, eps=eps)) == 0
    torch.manual_seed(0)
    report = Adaptive(first=FIRST).report(model, X, goal, eps=eps)
    passes = torch.stack([goal.margin(model(report.x_adv)) < 0 for _ in range(50)]).float().mean(0)
    torch.testing.assert_close(passes, report.met_share, atol=0.35, rtol=0)
    assert (1 - passes).sum() <= 2
    assert "the answers are random" in report.findings[-1]


def test_a_random_model_without_a_gradient_is_attacked_by_its_worst_answers():
    """By squares: the model works on numbers, and there is no module inside to go to."""
    weights = np.random.default_rng(0).normal(size=(X[0].numel(), 3)).astype(np.float32)

    def model(x):
        logits = x.detach().flatten(1).numpy() @ weights
        return torch.from_numpy(logits) + 0.01 * torch.randn(len(x), 1) * torch.tensor([1.0, -1.0, 0.0])

    goal = Untargeted(model(X).argmax(1))
    report = Adaptive(first=FIRST).report(model, X, goal, eps=0.2)
    assert (report.met_share == 1).sum() >= 4
    assert (Linf().measure(report.x_adv - X) <= 0.2 + 1e-6).all()


def test_a_random_model_that_names_labels_is_seen_to_be_random(undefended):
    """Far from its boundary it says the same every time."""
    net, goal, _ = undefended
    report = Adaptive(first=FIRST).report(After(labels, Before(noisy, net)), X, goal, eps=EPS)
    assert "the answers are random" in report.findings[-1]
    assert 0 < report.met_share[0] < 1


def test_labels_of_a_random_model_do_not_compete():
    """A softmax over the logits of several labels means nothing: here the other label is always far ahead."""

    def model(x):
        return 10 * (x - 0.5) + 0.1 * torch.randn(len(x), 1)

    x = torch.tensor([[0.55, 0.99], [0.95, 0.99]])
    report = Adaptive(first=FIRST).report(model, x, LabelOff(torch.tensor([0, 0])), eps=0.1)
    assert report.met_share[0] > 0.9
    assert report.met_share[1] == 0


def test_each_image_keeps_to_its_own_budget_whatever_is_tried(undefended):
    model = DETERMINISTIC["quantised"](undefended[0])
    eps = torch.tensor([0.3] * 4 + [1e-4] * 4)  # those that are left for the second remedy are the last
    report = Adaptive(first=FIRST).report(model, X, Untargeted(model(X).argmax(1)), eps=eps)
    assert len(report.tried) == 2
    assert (Linf().measure(report.x_adv - X) <= eps + 1e-6).all()


def test_a_healthy_network_is_attacked_by_standard_alone(undefended):
    net, goal, _ = undefended
    report = Adaptive(first=FIRST).report(net, X, goal, eps=EPS)
    assert torch.equal(report.x_adv, FIRST(net, X, goal, eps=EPS))
    assert [tried.remedy for tried in report.tried] == ["the model as it is"]
    assert report.findings == report.not_tried == ()


def test_reading_a_healthy_network_costs_few_passes(undefended):
    net, goal, _ = undefended
    counted, alone = Counting(net, goal.ids), Counting(net, goal.ids)
    Adaptive(first=FIRST)(counted, X, goal, eps=EPS)
    FIRST(alone, X, goal, eps=EPS)
    assert (counted.forwards - alone.forwards).max() <= 60


def test_the_report_reads_like_one(undefended):
    net, goal, _ = undefended
    text = str(Adaptive(first=FIRST).report(DETERMINISTIC["labels"](net), X, goal, eps=EPS))
    assert "found: the answers are labels: the logits inside are taken\n" in text
    assert "tried: the network inside: " in text
    assert "not tried: a decision-based attack" in text


def whatever_was_found(attack, model, x, goal):
    try:
        return attack(model, x, goal, eps=EPS)
    except AttackError as error:
        return error.x_adv


@pytest.mark.parametrize("passes", [20, 45])
@pytest.mark.parametrize("name", ["quantised", "labels", "probabilities"])
def test_under_a_limit_an_image_does_not_depend_on_the_others(name, passes):
    """One that is cut off must not take the bridges around the defence from the others."""
    model, attack = DETERMINISTIC[name](network().double()), capped(Adaptive(first=FIRST), passes)
    x = X.double()
    goal = Untargeted(model(x).argmax(1))
    together = whatever_was_found(attack, model, x, goal)
    for i in (0, 3, 7):
        row = torch.tensor([i])
        alone = whatever_was_found(attack, model, x[row], goal.select(row))
        torch.testing.assert_close(alone, together[row], atol=1e-7, rtol=0)


@pytest.mark.parametrize("eps", [np.full(len(X), EPS), torch.full((len(X),), EPS), np.float64(EPS)], ids=type)
def test_budgets_of_any_kind_are_for_each_image(undefended, eps):
    # Of a model that is seen in levels some images are left for the second remedy.
    net, goal, _ = undefended
    model = DETERMINISTIC["quantised"](net)
    report = Adaptive(first=Standard(rounds=1, queries=1, targets=1, steps=1)).report(model, X, goal, eps=eps)
    assert len(report.tried) > 1
    assert 0 < report.tried[1].images < len(X)
    assert (Linf().measure(report.x_adv - X) <= EPS + 1e-6).all()
