"""Attacks that take gradients from a faster form of the model: as strong, and not deceived by a form that lies."""

import pytest
import torch
from attack_table import build, each_entry
from fast_models import REWRITTEN, changed_in_place, images, perceptron, with_norms
from norm_rows import EPS
from pairwise import each_once
from torch import nn
from torch.nn import functional

from attacks import APGD, DDN, FMN, L0, L1, L2, PGD, Fast, Linf, Standard, Thorough, TopK, Untargeted
from attacks.queries.gradients import asked_ids


class Liar:
    """A model whose faster form says that every image is fooled; its gradients are right."""

    def __init__(self, model, labels):
        self.model, self.labels, self.claims = model, labels, []

    def __call__(self, x):
        return self.model(x)

    def quick_form(self, x):
        self.claims.append(len(x))
        return self.model(x) - 100 * functional.one_hot(self.labels[asked_ids()], 5)

    exact_form = quick_form


@each_entry
def test_a_form_that_lies_is_not_believed(name, norm):
    eps = EPS[norm]
    model, x = perceptron(), images(8)
    with torch.no_grad():
        model[1].weight.mul_(4)
    goal, attack = Untargeted(model(x).argmax(1)), build(name, norm, 4)
    honest, lied_to = (attack(each, x, goal, eps=eps) for each in (model, Liar(model, goal.labels)))
    fooled, also = goal.margin(model(honest)) < 0, goal.margin(model(lied_to)) < 0
    assert also.sum() >= fooled.sum()
    if attack.kind == "minimum norm":
        assert torch.equal(lied_to[~also], x[~also])


class Blinkered:
    """A linear model, all of whose slope lies in one value; its faster form is blind to that value."""

    def __init__(self, weights):
        self.weights = weights

    def __call__(self, x):
        return torch.stack([0.45 - (x - 0.5) @ self.weights, torch.zeros(len(x))], 1)

    def quick_form(self, x):
        return torch.stack([0.45 - (x - 0.5) @ (self.weights * (self.weights < 1)), torch.zeros(len(x))], 1)


@pytest.mark.parametrize("attack", [Standard(norm=L1()), Thorough(norm=L1(), first=Standard(rounds=1), populations=1)])
def test_in_the_end_the_model_itself_gives_the_gradients(attack):
    weights = torch.full((40,), 0.1)
    weights[0], weights[1:3] = 1.0, 0.9
    model, x, goal = Blinkered(weights), torch.full((4, 40), 0.5), Untargeted(torch.zeros(4, dtype=torch.int64))
    assert (goal.margin(model(attack(model, x, goal, eps=0.47))) < 0).all()


@pytest.mark.parametrize("attack", [PGD(steps=10), PGD(steps=10, norm=L1()), APGD(steps=10)])
def test_images_that_a_lying_form_calls_fooled_stay_in_the_attack(attack):
    model, x = perceptron(), images(4)
    liar = Liar(model, model(x).argmax(1))
    attack(liar, x, Untargeted(liar.labels), eps=1e-5)
    assert liar.claims == [4] * 10


@each_once("form, norm", ["folded", "channels_last", "bfloat16"], [Linf(), L2(), L1(), L0()])
def test_smallest_perturbations_are_as_small_with_a_form_of_float32(form, norm):
    net, x = with_norms(), images(32)
    goal = Untargeted(net(x).argmax(1))
    attacks = [FMN(norm=norm, steps=30), TopK(norm=norm, steps=100)] + [DDN(steps=30)] * isinstance(norm, L2)
    for attack in attacks:
        asked = Fast(Counted(net), form, x)
        assert asked.exact_form is not None
        ASKED.clear()
        slow, quick = attack(net, x, goal), attack(asked, x, goal)
        fooled, also = goal.margin(net(slow)) < 0, goal.margin(net(quick)) < 0
        assert fooled.all()
        assert also.all()
        before, after = norm.measure(slow - x).median(), norm.measure(quick - x).median()
        assert abs(after - before) <= 0.01 * before
        assert len(ASKED) == isinstance(attack, TopK)  # which chooses its way by gradients of the model itself


ASKED = []
"""An entry for each time that the network below was asked for a gradient itself."""


class Counted(nn.Module):
    """A network that counts in a place that is no part of it."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        if isinstance(x, torch.Tensor) and x.requires_grad:
            ASKED.append(len(x))
        return self.net(x)


@pytest.mark.parametrize("eps", [None, 0.5])
def test_an_image_that_the_model_itself_does_not_call_fooled_is_attacked_without_the_form(eps):
    model, x = perceptron(), images(4)
    goal = Untargeted(model(x).argmax(1))
    liar = Liar(model, goal.labels)
    for attack in (FMN(norm=L2(), steps=30), DDN(steps=30), TopK(norm=L2(), steps=30)):
        assert torch.equal(attack(liar, x, goal, eps=eps), attack(model, x, goal, eps=eps))


def test_the_form_of_float32_follows_the_model():
    net, x = with_norms(), images(4)
    quick = Fast(net, "bfloat16")
    assert next(quick.exact_form.parameters()).dtype == torch.float32
    assert next(quick.quick_form.parameters()).dtype == torch.bfloat16
    changed_in_place(net)
    torch.testing.assert_close(quick.exact_form(x), net(x), rtol=1e-4, atol=1e-5)
    assert (quick.quick_form(x) - net(x)).abs().max() < 0.05 * net(x).abs().max()
    assert Fast(net, "plain").exact_form is None


@each_once("form, loss", REWRITTEN, ["margin", "ce"])
def test_attacks_are_as_strong_with_a_faster_form(form, loss):
    net, x = with_norms(), images(64)
    goal = Untargeted(net(x).argmax(1))
    for attack in (PGD(loss=loss), APGD(steps=20, loss=loss)):
        slow, quick = attack(net, x, goal, eps=0.03), attack(Fast(net, form), x, goal, eps=0.03)
        fooled, also = goal.margin(net(slow)) < 0, goal.margin(net(quick)) < 0
        assert 0.2 < fooled.float().mean() < 0.9
        assert also.sum() >= fooled.sum() - 2
        assert torch.equal(quick, attack(Fast(net, form), x, goal, eps=0.03))
