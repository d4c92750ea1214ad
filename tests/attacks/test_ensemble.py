"""Several models as one: what is averaged, which gradients there are, and what wraps and checks see of it."""

import math

import pytest
import torch
from oracles import convnet, goals, images
from torch import nn

from attacks import APGD, FMN, MIFGSM, PGD, Ensemble, Untargeted, ensemble, expectation, fast
from attacks.losses import LOSSES, cross_entropy
from attacks.queries.gradients import quick_form, slope, slopes
from attacks.queries.modes import check_mode, parts

AVERAGES = ("logits", "probabilities", "losses")
each_average = pytest.mark.parametrize("average", AVERAGES)


def case(count=4):
    x = images(count, (3, 8, 8)).float()
    models = [convnet(seed=seed).float() for seed in (0, 1, 2)]
    return models, x, goals(models[0](x))["untargeted"]


def gradient(loss, x):
    at = x.clone().requires_grad_()
    return torch.autograd.grad(loss(at).sum(), at)[0]


@each_average
def test_one_model_is_the_model_itself(average):
    models, x, goal = case()
    alone = ensemble(models[:1], average)
    for loss in LOSSES.values():
        found, expected = slope(alone, x, goal, loss), slope(models[0], x, goal, loss)
        torch.testing.assert_close(found.gradient, expected.gradient, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(found.loss, expected.loss, rtol=1e-4, atol=1e-5)
    plain = MIFGSM(loss="margin")(models[0], x, goal, eps=0.05)
    assert torch.equal(MIFGSM(loss="margin")(ensemble(models[:1]), x, goal, eps=0.05), plain)


def test_what_is_averaged():
    models, x, _ = case()
    logits = torch.stack([model(x) for model in models])
    torch.testing.assert_close(ensemble(models)(x), logits.mean(0))
    torch.testing.assert_close(ensemble(models, "probabilities")(x).exp(), logits.softmax(2).mean(0))
    torch.testing.assert_close(ensemble(models, "losses")(x), logits.log_softmax(2).mean(0))


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_have_the_mean_of_the_members_gradients(loss):
    models, x, goal = case()
    found = slope(ensemble(models, "losses"), x, goal, LOSSES[loss]).gradient
    expected = sum(slope(model, x, goal, LOSSES[loss]).gradient for model in models) / 3
    torch.testing.assert_close(found, expected)


def test_the_averages_differ():
    models, x, goal = case()
    found = [slope(ensemble(models, average), x, goal, cross_entropy).gradient for average in AVERAGES]
    for i in range(3):
        assert not torch.allclose(found[i], found[i - 1], rtol=1e-3)


def test_several_gradients_of_one_pass_are_those_of_the_mean():
    models, x, goal = case()

    def two(logits, goal):
        return logits[:, :2]

    found = slopes(ensemble(models, "losses"), x, goal, two, count=2).gradient
    expected = gradient(lambda at: torch.stack([model(at).log_softmax(1) for model in models]).mean(0)[:, 1], x)
    torch.testing.assert_close(found[:, 1], expected)


@each_average
def test_any_attack_takes_an_ensemble(average):
    models, x, goal = case()
    both = ensemble(models[:2], average)
    for attack in (PGD(steps=5), APGD(steps=5), MIFGSM(steps=5)):
        x_adv = attack(both, x, goal, eps=0.2)
        assert (goal.margin(both(x_adv)) < goal.margin(both(x))).all()
    nearest = FMN(steps=30)(both, x, goal)
    assert (goal.margin(both(nearest)) < 0).all()


def test_what_fools_an_ensemble_fools_its_members():
    models, x, _ = case(8)
    label = ensemble(models)(x).argmax(1)
    goal = Untargeted(label)
    x_adv = MIFGSM()(ensemble(models), x, goal, eps=0.3)
    alone = MIFGSM()(models[0], x, goal, eps=0.3)

    def fooled(candidates):
        return sum((goal.margin(model(candidates)) < 0).sum().item() for model in models)

    assert fooled(x_adv) >= fooled(alone)
    assert fooled(x_adv) >= 22


def test_faster_forms_of_members_serve_the_gradients():
    models, x, goal = case()
    quick = [fast(model, x, form="folded") for model in models[:2]]
    both = ensemble(quick)
    assert quick_form(both) is not None
    assert quick_form(ensemble(models)) is None
    at, expected = (slope(each, x, goal, cross_entropy, precision="bfloat16") for each in (both, ensemble(models[:2])))
    torch.testing.assert_close(at.gradient, expected.gradient, rtol=1e-3, atol=1e-5)


def test_checks_see_the_networks_inside():
    models = [convnet(seed=seed) for seed in (0, 1)]
    assert {id(part) for _, part in parts(ensemble(models))} >= set(map(id, models))
    training = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(192), nn.Linear(192, 5)).train()
    with pytest.raises(ValueError, match="expected batch norms in eval mode"):
        check_mode(ensemble([models[0], expectation(training, 2)]))


def test_members_of_other_classes_are_refused():
    x = images(2, (3, 8, 8)).float()
    small, large = nn.Sequential(nn.Flatten(), nn.Linear(192, 5)), nn.Sequential(nn.Flatten(), nn.Linear(192, 7))
    with pytest.raises(ValueError, match="expected models of the same classes, got 5 and 7 classes"):
        ensemble([small, large])(x)


@pytest.mark.parametrize(
    ("models", "average", "why"),
    [
        ([], "logits", "expected at least one model, got none"),
        (["vgg16"], "logits", "expected a model, images -> logits, got str"),
        ([lambda x: x], "mean", "expected average to be one of logits, probabilities, losses, got 'mean'"),
    ],
)
def test_bad_ensembles(models, average, why):
    with pytest.raises(ValueError, match=why):
        ensemble(models, average)


def test_members_that_are_sure_of_different_classes():
    sure = [lambda x: torch.cat([1e4 * x, -1e4 * x], 1), lambda x: torch.cat([-1e4 * x, 1e4 * x], 1)]
    logits = ensemble(sure, "probabilities")(torch.ones(1, 1))
    torch.testing.assert_close(logits, torch.full((1, 2), math.log(0.5)))
    assert isinstance(ensemble(sure), Ensemble)
