"""Transfer attacks: momentum, diverse inputs, translation invariance; and that they do fool other models."""

import math

import pytest
import torch
from oracles import RowByRow, convnet, goals, images, linear
from torch import nn
from torch.nn import functional

from attacks import DIFGSM, L2, MIFGSM, NORMS, PGD, TIFGSM, Linf, Untargeted
from attacks.geometry.warp import Resizing, warp
from attacks.searches.draws import uniform
from attacks.tifgsm import smooth

CLASSES = [MIFGSM, DIFGSM, TIFGSM]
each = pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)


def fooled(model, goal, x_adv):
    return goal.margin(model(x_adv)) < 0


# --- momentum ---


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_mifgsm_is_the_papers_recursion(norm):
    weight = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).double()

    def model(x):
        return (3 * x.sin()) @ weight.T

    x, label, eps = torch.full((1, 4), 0.5, dtype=torch.float64), torch.tensor([0]), 0.2
    label = model(x).argmax(1)
    delta, g = torch.zeros_like(x), torch.zeros_like(x)
    for _ in range(5):
        z = (x + delta).requires_grad_()
        (gradient,) = torch.autograd.grad(functional.cross_entropy(model(z), label), z)
        g = 0.7 * g + gradient / gradient.abs().sum()
        step = g.sign() if norm == "linf" else g / g.norm()
        delta = delta + 0.3 * eps * step
        delta = delta.clamp(-eps, eps) if norm == "linf" else delta * min(1, eps / delta.norm().item())
        delta = (x + delta).clamp(0, 1) - x
    x_adv = MIFGSM(norm=NORMS[norm](), steps=5, decay=0.7, relative_step=0.3)(model, x, Untargeted(label), eps=eps)
    torch.testing.assert_close(x_adv, x + delta)


@each
def test_all_steps_are_made_unless_told_otherwise(kind):
    model, x = convnet(), images(4, (3, 8, 8)).float()
    goal = goals(model(x))["untargeted"]
    stop, go = kind(early_stop=True)(model, x, goal, eps=0.3), kind()(model, x, goal, eps=0.3)
    assert fooled(model, goal, stop).all()
    assert fooled(model, goal, go).all()
    assert (goal.margin(model(go)) < goal.margin(model(stop))).all()
    assert Linf().measure(stop - x).max() < Linf().measure(go - x).min()


@each
def test_an_early_stop_believes_the_image_itself_alone(kind):
    model, x = convnet(seed=1), images(6, (3, 8, 8), seed=1).float()
    goal = goals(model(x))["untargeted"]
    far = {"smallest": 0.5, "probability": 1.0} if kind is DIFGSM else {}
    for eps in (0.02, 0.05, 0.1):
        x_adv = kind(early_stop=True, **far)(model, x, goal, eps=eps)
        short = Linf().measure(x_adv - x) < 0.95 * eps
        assert fooled(model, goal, x_adv)[short].all()


@each
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_every_goal_is_met_with_budget_enough(kind, norm):
    model, x = convnet(), images(5, (3, 8, 8), seed=2).float()
    small = {"kernel_size": 3} if kind is TIFGSM else {}
    attack, most = kind(norm=NORMS[norm](), steps=30, **small), {"linf": 0.4, "l2": 4.0}[norm]
    for name, goal in goals(model(x)).items():
        logits = model(attack(model, x, goal, eps=most))
        assert (goal.cross_entropy(logits) < goal.cross_entropy(model(x))).all(), name
        # Five classes cannot be put in any order one likes.
        if name != "ordered-topk":
            assert (goal.margin(logits) < 0).sum() >= 4, name


@pytest.mark.parametrize("kind", [DIFGSM, TIFGSM])
@pytest.mark.parametrize("shape", [(12,), (3, 4), (1, 3, 2, 2)], ids=str)
def test_images_without_planes_are_refused(kind, shape):
    x = images(2, shape)
    with pytest.raises(ValueError, match=rf"expected images \(N, C, H, W\) for {kind.__name__}, got shape"):
        kind()(linear(values=12), x, Untargeted(torch.tensor([0, 0])), eps=0.1)


# --- diverse inputs ---


def test_diverse_inputs_are_smaller_images_on_black():
    x = torch.ones(400, 1, 20, 20)
    random = torch.rand(400, 4, generator=torch.Generator().manual_seed(0))
    rows, change = DIFGSM(smallest=0.8)._changes(x, random)
    shown = x.index_copy(0, rows, change.apply(x[rows]))
    resized = (shown.flatten(1) < 0.5).any(1)
    assert 0.35 < resized.float().mean() < 0.5  # of half of them, some are too little smaller to lose a pixel
    sides = (shown[:, 0] > 0.5).any(1).sum(1)
    assert {16, 17, 18, 19} <= set(sides[resized].tolist()) <= {16, 17, 18, 19, 20}
    area = shown.flatten(1).sum(1)
    expected = torch.where(random[:, 0] < 0.5, (20 * (0.8 + 0.2 * random[:, 1])) ** 2, 400.0)
    torch.testing.assert_close(area, expected, rtol=0.03, atol=1)


def test_resizing_is_a_warp_without_a_turn_and_its_adjoint_the_gradient():
    x = images(5, (3, 7, 9)).requires_grad_()
    scale, shift = torch.linspace(0.6, 1.2, 5).double(), torch.linspace(-0.3, 0.2, 10).double().view(5, 2)
    change = Resizing.of(x, scale, shift)
    expected = warp(x, torch.zeros(5).double(), scale, shift)
    torch.testing.assert_close(change.apply(x), expected)
    weight = torch.randn(expected.shape, generator=torch.Generator().manual_seed(0)).double()
    (gradient,) = torch.autograd.grad((expected * weight).sum(), x)
    torch.testing.assert_close(change.adjoint(weight), gradient)


def test_difgsm_goes_along_the_gradient_at_the_resized_images():
    model, x = convnet().double(), images(3, (3, 8, 8))
    goal = goals(model(x))["untargeted"]
    attack = DIFGSM(norm=L2(), steps=2, smallest=0.5, probability=1.0, decay=1e-9)
    once = DIFGSM(norm=L2(), steps=1)(model, x, goal, eps=0.1)
    at = once.clone().requires_grad_()
    _, change = attack._changes(at, uniform(0, goal.ids, 1, (4,)).to(at))
    (gradient,) = torch.autograd.grad(goal.cross_entropy(model(change.apply(at))).sum(), at)
    expected = L2().step(once, gradient, 0.01)
    torch.testing.assert_close(attack(model, x, goal, eps=0.1) - once, expected, rtol=1e-4, atol=1e-6)


def test_diverse_inputs_at_full_size_are_mifgsm():
    model, x = convnet(), images(3, (3, 8, 8)).float()
    goal = goals(model(x))["untargeted"]
    plain = MIFGSM(relative_step=0.1)(model, x, goal, eps=0.1)
    rarely = DIFGSM(probability=1e-9)(model, x, goal, eps=0.1)
    assert torch.equal(rarely, plain)
    assert not torch.equal(DIFGSM(probability=1.0, smallest=0.6)(model, x, goal, eps=0.1), plain)


def test_each_image_draws_its_own_resizing():
    model, x = RowByRow(convnet()), images(1, (3, 8, 8)).float().repeat(3, 1, 1, 1)
    goal = Untargeted(model(x).argmax(1), ids=torch.tensor([4, 9, 4]))
    x_adv = DIFGSM(smallest=0.5)(model, x, goal, eps=0.1)
    assert torch.equal(x_adv[0], x_adv[2])
    assert not torch.equal(x_adv[0], x_adv[1])


@pytest.mark.parametrize("field", ["probability", "smallest"])
def test_difgsm_checks_its_fractions(field):
    with pytest.raises(ValueError, match=f"expected {field} of DIFGSM <= 1, got 1.5"):
        DIFGSM(**{field: 1.5})


# --- translation invariance ---


def test_smoothing_is_convolution_with_a_gaussian():
    gradient = torch.randn(2, 3, 9, 11, generator=torch.Generator().manual_seed(0)).double()
    side = torch.exp(-(torch.linspace(-3, 3, 5).double() ** 2) / 2)
    kernel = side[:, None] * side / side.sum() ** 2
    expected = functional.conv2d(gradient, kernel.expand(3, 1, 5, 5), padding=2, groups=3)
    torch.testing.assert_close(smooth(gradient, 5), expected)


def test_a_kernel_of_one_pixel_is_mifgsm():
    model, x = convnet(), images(3, (3, 8, 8)).float()
    goal = goals(model(x))["untargeted"]
    plain, same = MIFGSM(relative_step=0.1)(model, x, goal, eps=0.1), TIFGSM(kernel_size=1)(model, x, goal, eps=0.1)
    assert torch.equal(same, plain)
    assert not torch.equal(TIFGSM(kernel_size=5)(model, x, goal, eps=0.1), plain)


def test_tifgsm_wants_a_kernel_with_a_middle():
    with pytest.raises(ValueError, match="expected kernel_size of TIFGSM to be odd, got 4"):
        TIFGSM(kernel_size=4)


# --- they do transfer ---


class Blurred(nn.Module):
    """A victim that looks at the image blurred and shifted: what a source's fine structure does is lost on it."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        x = functional.avg_pool2d(functional.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        return self.model(x)


def shapes(count, seed):
    """Images (count, 1, 16, 16) of four kinds: stripes lying, standing, wide, narrow; with noise; and their labels."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(0, 4, (count,), generator=generator)
    place = torch.arange(16) / 16 * 2 * math.pi
    rows, columns = place.view(16, 1).expand(16, 16), place.view(1, 16).expand(16, 16)
    phase = torch.rand(count, 1, 1, generator=generator) * 2 * math.pi
    waves = torch.stack([(f * axis) for f in (2, 3) for axis in (rows, columns)])
    x = 0.5 + 0.15 * torch.sin(waves[label] + phase)
    return (x + 0.2 * torch.randn(count, 16, 16, generator=generator)).clamp(0, 1).unsqueeze(1), label


def trained(seed, channels):
    """A small convolutional network that tells the four kinds apart."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Conv2d(1, channels, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(channels * 64, 4),
        )
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        for step in range(120):
            x, label = shapes(64, 1000 * seed + step)
            loss = functional.cross_entropy(model(x), label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def source_and_victims():
    return trained(1, 8), [Blurred(trained(2, 12)), Blurred(trained(3, 6))]


@pytest.mark.slow
@each
def test_transfer_attacks_fool_other_models_more_often_than_pgd(kind, source_and_victims):
    source, victims = source_and_victims
    x, label = shapes(200, 77)
    right = torch.stack([model(x).argmax(1) == label for model in (source, *victims)]).all(0)
    x, goal = x[right], Untargeted(label[right])
    attack = kind(kernel_size=5) if kind is TIFGSM else kind()
    rates = {}
    for name, x_adv in {"pgd": PGD()(source, x, goal, eps=0.1), "transfer": attack(source, x, goal, eps=0.1)}.items():
        rates[name] = sum(fooled(victim, goal, x_adv).float().mean().item() for victim in victims) / len(victims)
    assert rates["transfer"] > rates["pgd"] + 0.05


def test_l2_candidates_fill_the_ball():
    model, x = convnet(), images(3, (3, 8, 8)).float()
    goal = goals(model(x))["untargeted"]
    size = L2().measure(MIFGSM(norm=L2())(model, x, goal, eps=0.5) - x)
    assert (size > 0.45).all()
