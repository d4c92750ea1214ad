"""Trust flags about gradients that mislead: every planted trick is flagged, healthy networks are not."""

import pytest
import torch
from torch import nn
from tricks import DETERMINISTIC, RANDOM, Falsified, network

from advbench.evaluation.checks.gradients import asks_for_gradients, carries_over, jumps, misled
from advbench.evaluation.checks.model import check_model
from attacks import inside

SEVERE = {"E", "F"}
HARMLESS = {"median"}
"""A filter whose gradient is right."""


IMAGES = torch.nn.functional.interpolate(
    torch.rand(16, 3, 4, 4, generator=torch.Generator().manual_seed(1)), (16, 16), mode="bilinear"
)


@pytest.mark.parametrize("name", sorted({*DETERMINISTIC, *RANDOM} - HARMLESS))
def test_every_trick_is_flagged(name):
    model = (DETERMINISTIC | RANDOM)[name](network())
    flags = check_model(model, IMAGES, dataset="toy")
    assert SEVERE & {flag.severity for flag in flags}, flags


def test_a_healthy_network_is_not():
    assert check_model(network(), IMAGES, dataset="toy") == []


def test_gradients_that_point_the_wrong_way_are_told_by_differences():
    net, reversed_ = network(), DETERMINISTIC["reversed"](network())
    labels = net(IMAGES).argmax(1)
    assert misled(net, IMAGES, labels) < 0.1
    assert misled(reversed_, IMAGES, labels) > 0.9


def purified(x):
    """A step down a norm, then some weights."""
    weights = torch.ones(3 * 16 * 16, 10).cumsum(0) / 1e4
    with torch.enable_grad():
        z = x.detach().clone().requires_grad_()
        (z.flatten(1) @ weights).square().sum().backward()
    return (x - 0.01 * z.grad).flatten(1) @ weights


def test_differences_are_taken_among_images():
    images, labels = IMAGES.round(), torch.zeros(len(IMAGES), dtype=torch.long)
    net = nn.Sequential(nn.Flatten(), nn.Linear(images[0].numel(), 3)).eval()

    def strict(x):
        assert x.amin() >= 0, "these are no images"
        assert x.amax() <= 1, "these are no images"
        return net(x)

    assert misled(strict, images, labels) == 0
    assert [flag.id for flag in check_model(strict, images, labels, dataset="toy", name="net")] == []


def test_a_model_that_asks_for_gradients_is_flagged():
    assert "M9" in {flag.id for flag in check_model(purified, IMAGES, dataset="toy")}
    assert not asks_for_gradients(network(), IMAGES)


def test_a_gradient_that_is_falsified_between_two_layers_is_flagged():
    net = network()
    model = nn.Sequential(net[:2], Falsified(), net[2:]).eval()
    assert {flag.id for flag in check_model(model, IMAGES, dataset="toy")} == {"M7", "M8"}


def test_a13_margins_that_jump_however_little_images_are_moved():
    net = network()
    labels = net(IMAGES).argmax(1)
    assert jumps(net, IMAGES, labels) is None
    assert jumps(lambda x: 0.001 * net(x), IMAGES, labels) is None
    jagged = lambda x: net(x + 0.3 * torch.sin(1e5 * x))  # noqa: E731
    assert jumps(jagged, IMAGES, labels) > 0.1
    assert "A13" in {flag.id for flag in check_model(jagged, IMAGES, dataset="toy")}


def test_a14_gradients_of_a_twin_that_do_not_carry_over():
    net, other = network(), nn.Sequential(nn.Flatten(), nn.Linear(768, 10))
    labels = net(IMAGES).argmax(1)
    assert not [*carries_over(net, lambda x: 2 * net(x), IMAGES, labels)]

    def stranger(x):
        """Says the same of the images themselves, for reasons of its own."""
        return 100 * nn.functional.one_hot(labels, 10)[: len(x)] + 3e4 * (other(x) - other(IMAGES))

    (doubt,) = carries_over(lambda x: net(x).round(decimals=1), stranger, IMAGES, labels)
    assert doubt.id == "A14"
    assert "whose step along the twin's gradient fools the twin" in doubt.message


def test_a_model_with_a_twin_is_checked_by_what_carries_over():
    net = network()
    model = lambda x: net(x.detach())  # noqa: E731
    model.twin = lambda x: -net(x)
    found = {flag.id for flag in check_model(model, IMAGES, dataset="toy")}
    assert found == {"M6"}


SEEN = []
LOGS = {
    "detached": lambda h: h.detach().mean().item(),
    "kept": lambda h: h.detach(),
    "an array": lambda h: h.detach().cpu().numpy().mean(),
    "counted": lambda h: (h > 0).sum(),
    "counted after": lambda h: (h.detach() > 0).float().mean(),
    "rounded": lambda h: h.round().amax(),
    "without a graph": torch.no_grad()(lambda h: h.sign().mean()),
}
"""What a hook may note of the values of a layer, which changes nothing."""


def noted(log):
    net = network()
    for part in net:
        part.register_forward_hook(lambda _part, _given, h: SEEN.append(LOGS[log](h)))
    return net


@pytest.mark.parametrize("log", LOGS)
def test_a_hook_that_only_notes_values_hides_no_gradient(log):
    assert check_model(noted(log), IMAGES, dataset="toy") == []
    SEEN.clear()


def _array(h):
    return torch.from_numpy(h.detach().numpy().copy())


def _in_place(h):
    h.detach().mul_(4).round_().div_(4)
    return h


def _data(h):
    h.data.mul_(4).round_().div_(4)
    return h


def _doubled(h):
    return 2 * h if (h > 2).any() else h


@torch.no_grad()
def _graphless(h):
    return (4 * h).round() / 4


HIDE = {
    "in part": lambda h: h + h.detach(),
    "an array comes back": lambda h: h + _array(h),
    "a number comes back": lambda h: h * (1 + h.detach().amax().item()),
    "in place": _in_place,
    "by its data": _data,
    "a choice": lambda h: torch.where(h > 0.1, h, torch.zeros_like(h)),
    "a branch": _doubled,
    "a part without a graph": lambda h: h + _graphless(h),
    "beside": lambda h: h + (h > 0.2).float(),
}
"""What a hook may put in place of the values of a layer, which does change the outputs."""


@pytest.mark.parametrize("way", HIDE)
@pytest.mark.parametrize("logs", [False, True])
def test_a_hook_whose_values_go_on_is_still_flagged(way, logs):
    net = noted("detached") if logs else network()
    net[1].register_forward_hook(lambda _part, _given, h: HIDE[way](h))
    flags = check_model(net, IMAGES, dataset="toy")
    SEEN.clear()
    assert "M8" in {flag.id for flag in flags}
    assert inside(net, IMAGES).leaks
