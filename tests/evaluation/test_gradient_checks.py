"""Trust flags about gradients that mislead: every planted trick is flagged, healthy networks are not."""

import pytest
import torch
from torch import nn
from tricks import DETERMINISTIC, RANDOM, Falsified, network

from advbench.evaluation.checks.gradients import asks_for_gradients, carries_over, jumps, misled
from advbench.evaluation.checks.model import check_model

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
