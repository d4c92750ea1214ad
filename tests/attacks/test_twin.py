"""A model without gradients, attacked with those of a twin: answers and verdicts stay its own."""

import pytest
import torch
from oracles import Recorder, convnet, goals, images

from attacks import APGD, FMN, PGD, Square, Untargeted, fast, with_gradients_of
from attacks.queries.modes import parts
from attacks.standins.twin import lend

KINDS = ["untargeted", "targeted", "topk-exclusion", "label-out-of-topk", "ordered-topk"]


def coarse(net):
    """The network with answers in steps of 1/1024, and without a gradient."""

    def answer(x):
        with torch.no_grad():
            return (1024 * net(x)).round() / 1024

    return answer


@pytest.fixture
def net():
    return convnet(seed=2)


@pytest.fixture
def x():
    return images(12, (3, 8, 8), seed=1, low=0.1, high=0.9).float()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("attack", [PGD(steps=20), APGD(steps=20)], ids=["pgd", "apgd"])
def test_what_is_found_fools_the_model_itself(net, x, attack, kind):
    model = coarse(net)
    goal = goals(model(x))[kind]
    with pytest.raises(ValueError, match="differentiable"):
        attack(model, x, goal, eps=0.4)
    x_adv = attack(with_gradients_of(model, net), x, goal, eps=0.4)
    by_net = attack(net, x, goal, eps=0.4)
    met, expected = ((goal.margin(model(each)) < 0).sum() for each in (x_adv, by_net))
    assert met >= expected > 0


def test_the_smallest_perturbations_are_about_those_of_the_twin(net, x):
    model, goal = coarse(net), Untargeted(net(x).argmax(1))
    found = FMN(steps=60)(with_gradients_of(model, net), x, goal)
    theirs = FMN(steps=60)(net, x, goal)
    assert (goal.margin(model(found)) < 0).all()
    size, other = ((each - x).flatten(1).norm(dim=1).median() for each in (found, theirs))
    assert size < 1.3 * other + 0.05


def test_answers_are_its_own_and_the_twin_is_asked_for_gradients_alone(net, x):
    model, twin = coarse(net), Recorder(net)
    paired = with_gradients_of(model, twin)
    assert torch.equal(paired(x), model(x))
    Square(steps=5)(paired, x, Untargeted(model(x).argmax(1)), eps=0.1)
    assert twin.seen == []
    inputs = x.clone().requires_grad_()
    answer = paired(inputs)
    assert torch.equal(answer.detach(), model(x))
    (gradient,) = torch.autograd.grad(answer[:, 0].sum(), inputs)
    (expected,) = torch.autograd.grad(net(inputs)[:, 0].sum(), inputs)
    assert torch.equal(gradient, expected)
    assert [*map(len, twin.seen)] == [len(x)]


def test_gradients_of_the_model_itself_are_not_used(net, x):
    inputs = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(lend(lambda: -net(inputs), lambda: net(inputs), inputs).sum(), inputs)
    (expected,) = torch.autograd.grad(net(inputs).sum(), inputs)
    assert torch.equal(gradient, expected)


def test_a_twin_of_other_classes_is_refused(net, x):
    paired = with_gradients_of(net, lambda x: net(x)[:, :3])
    with pytest.raises(ValueError, match=r"expected a twin with logits \(12, 5\), got \(12, 3\)"):
        paired(x.clone().requires_grad_())


def test_both_networks_are_seen_and_a_faster_form_changes_no_answer(net, x):
    twin = convnet(seed=3)
    paired = with_gradients_of(net, twin)
    assert {part for _, part in parts(paired)} >= {*net.modules(), *twin.modules()}
    assert torch.equal(fast(paired, x)(x), net(x))
