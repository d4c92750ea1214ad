"""The last hidden layer, the line from the clean image to the adversarial one, and the plane around both."""

import pytest
import torch
from torch import nn

from advbench import Classifier
from advbench.errors import UserError
from advbench.explain import hidden, plane, principal_axes, straight_line


def linear():
    """Two pixels; the class is the brighter one."""
    return Classifier(nn.Flatten(), num_classes=2, mean=[0.0], input_size=2)


X, X_ADV = torch.tensor([0.8, 0.2]).view(1, 1, 1, 2), torch.tensor([0.2, 0.8]).view(1, 1, 1, 2)


def test_the_line_passes_both_images_and_the_border_between_them():
    model, places = linear(), torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0])
    line = straight_line(model, X, X_ADV, places)
    torch.testing.assert_close(line[1:2], model(X).softmax(1))
    torch.testing.assert_close(line[3:4], model(X_ADV).softmax(1))
    torch.testing.assert_close(line[2], torch.tensor([0.5, 0.5]))
    # beyond the images values are kept in [0, 1]
    torch.testing.assert_close(line[0], torch.tensor([1.0, 0.0]).softmax(0))
    torch.testing.assert_close(line.sum(1), torch.ones(5))


def test_the_plane_has_both_images_in_it_and_a_direction_at_right_angles():
    seen = []

    def note(_, inputs):
        seen.append(inputs[0])

    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16, 5))
    model = Classifier(net, num_classes=5, mean=[0.0] * 3, input_size=4)
    x = 0.5 + 0.01 * torch.randn(1, 3, 4, 4)
    delta = 0.01 * torch.randn(1, 3, 4, 4)
    model.register_forward_pre_hook(note)
    around = plane(model, x, x + delta, points=7, seed=3)
    images = torch.cat(seen).view(7, 7, 3, 4, 4)
    assert around.log_probabilities.shape == (7, 7, 5)
    assert around.towards.tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0]
    torch.testing.assert_close(images[3, 2], x[0])
    torch.testing.assert_close(images[3, 4], (x + delta)[0])
    aside = (images[5, 2] - images[3, 2]) / float(around.aside[5] - around.aside[3])
    torch.testing.assert_close(aside.norm(), delta.norm(), rtol=1e-3, atol=1e-6)
    assert abs((aside * delta[0]).sum()) < 1e-3 * delta.norm() ** 2
    torch.testing.assert_close(around.log_probabilities[3, 4], model(x + delta)[0].log_softmax(0))


def test_the_plane_depends_on_its_seed_alone():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 5))
    model, x = Classifier(net, num_classes=5, mean=[0.0] * 3), torch.rand(1, 3, 4, 4)
    first, again, other = (plane(model, x, 1 - x, points=3, seed=seed).log_probabilities for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_hidden_units_are_what_the_last_layer_is_given():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(5, 2))
    model, x = Classifier(net, num_classes=2, mean=[0.0] * 3, input_size=2), torch.rand(20, 3, 2, 2)
    torch.testing.assert_close(hidden(model, x), net[1](x.flatten(1)).relu())


def test_of_a_convolution_the_means_over_its_places_count():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model, x = Classifier(net, num_classes=4, mean=[0.0] * 3, input_size=8), torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(hidden(model, x), net[0](x).mean((2, 3)))


def test_without_such_a_layer_it_says_so():
    with pytest.raises(UserError, match="classifier has no layer with an output for each class"):
        hidden(Classifier(nn.Flatten(), num_classes=4, mean=[0.0], input_size=2), torch.rand(1, 1, 2, 2))


def test_principal_axes_are_those_of_the_covariance():
    torch.manual_seed(0)
    units = torch.randn(200, 4) @ torch.diag(torch.tensor([5.0, 1.0, 3.0, 0.1]))
    axes = principal_axes(units)
    torch.testing.assert_close(axes.T @ axes, torch.eye(2), rtol=1e-4, atol=1e-5)
    assert axes.abs().argmax(0).tolist() == [0, 2]
    spread = (units - units.mean(0)) @ axes
    values = torch.linalg.eigvalsh(torch.cov(units.T)).flip(0)
    torch.testing.assert_close(spread.var(0), values[:2], rtol=1e-4, atol=1e-4)
    assert (axes.gather(0, axes.abs().argmax(0, keepdim=True)) > 0).all()


def test_two_images_have_one_axis():
    axes = principal_axes(torch.tensor([[0.0, 1.0, 0.0], [0.0, 3.0, 0.0]]))
    assert axes.tolist() == [[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]]


def test_places_may_be_a_list_and_a_plane_needs_two_images():
    assert straight_line(linear(), X, X_ADV, [0.0, 1.0]).equal(
        straight_line(linear(), X, X_ADV, torch.tensor([0.0, 1.0]))
    )
    with pytest.raises(ValueError, match="expected an adversarial image that differs from the clean one"):
        plane(linear(), X, X)
