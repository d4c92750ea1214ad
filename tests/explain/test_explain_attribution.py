"""Which pixels speak for a class: known answers, and networks of every kind."""

import importlib.util

import fakes
import pytest
import torch
from torch import nn

from advbench import Classifier
from advbench.errors import UserError
from advbench.explain import find_layer, grad_cam, integrated_gradients, occlusion, saliency, smooth_saliency

METHODS = [saliency, smooth_saliency, grad_cam, integrated_gradients, occlusion]
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("captum") is None, reason='needs pip install "advbench[explain]"'
)


def linear():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4))
    return Classifier(net, num_classes=4, mean=[0.5] * 3, std=[0.25] * 3, input_size=8)


class FindsRed(nn.Module):
    """Class 1 is the mean of red, by a convolution and a ReLU in place; class 0 that of blue."""

    def __init__(self):
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, 2, 1), nn.ReLU(inplace=True)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([[-1.0, -1, 2], [2, -1, -1]]).view(2, 3, 1, 1))
            self.conv.bias.zero_()

    def forward(self, x):
        return self.relu(self.conv(x)).mean((2, 3)) * 20


def red_square(size=32):
    """A grey picture with a red square, and where it is."""
    x, place = torch.full((1, 3, size, size), 0.5), torch.zeros(size, size, dtype=torch.bool)
    place[6:14, 18:26] = True
    x[0, :, place] = torch.tensor([1.0, 0.1, 0.1]).unsqueeze(1)
    return x, place


def finds_red(size=32):
    return Classifier(FindsRed(), num_classes=2, mean=[0.0] * 3, input_size=size)


@pytest.mark.parametrize("method", [saliency, smooth_saliency])
def test_a_linear_models_saliency_is_its_weights(method):
    model, y = linear(), torch.tensor([2, 0])
    weights = model.module[1].weight[y].view(2, 3, 8, 8) / 0.25
    torch.testing.assert_close(method(model, torch.rand(2, 3, 8, 8), y), weights)


def test_a_linear_models_integrated_gradients_are_weight_times_pixel():
    model, x, y = linear(), torch.rand(2, 3, 8, 8), torch.tensor([2, 0])
    maps = integrated_gradients(model, x, y)
    torch.testing.assert_close(maps, x * model.module[1].weight[y].view(2, 3, 8, 8) / 0.25)
    rise = (model(x) - model(torch.zeros_like(x))).gather(1, y.unsqueeze(1)).flatten()
    torch.testing.assert_close(maps.sum((1, 2, 3)), rise)


@pytest.mark.parametrize("method", METHODS)
def test_a_planted_object_is_found(method):
    x, place = red_square()
    maps = method(finds_red(), x, torch.tensor([1])).abs().amax(1)[0]
    brightest = torch.zeros_like(place).flatten()
    brightest[maps.flatten().topk(int(place.sum())).indices] = True
    overlap = (brightest.view_as(place) & place).sum() / (brightest.view_as(place) | place).sum()
    assert overlap > (0.4 if method is occlusion else 0.9)  # a square of two pixels' step cannot be exact


def test_grad_cam_of_a_named_layer_sees_it_before_the_relu_in_place():
    x, place = red_square()
    model = finds_red()
    maps = grad_cam(model, x, torch.tensor([1]), find_layer(model, "conv"))
    assert maps.shape == (1, 1, 32, 32)
    assert (maps[0, 0][place] > maps[0, 0][~place].max()).all()


@pytest.mark.parametrize("method", METHODS)
def test_an_image_is_explained_alike_whatever_stands_beside_it(method):
    model, x = finds_red(), torch.rand(3, 3, 32, 32)
    y = torch.tensor([1, 0, 1])
    torch.testing.assert_close(method(model, x, y)[1:2], method(model, x[1:2], y[1:2]), rtol=1e-4, atol=1e-5)


def test_the_noise_has_a_seed_and_global_draws_stay_as_they_were():
    torch.manual_seed(1)
    model, x, y = Classifier(fakes.Net(), num_classes=20, mean=[0.0] * 3), torch.rand(1, 3, 32, 32), torch.tensor([1])
    before = torch.get_rng_state()
    first, again, other = (smooth_saliency(model, x, y, samples=3, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("method", METHODS)
def test_the_network_is_left_as_it_was(method):
    model, x = finds_red(), torch.rand(1, 3, 32, 32)
    method(model, x, torch.tensor([0]))
    assert not x.requires_grad
    assert not model.training
    for each in model.modules():
        assert not each._forward_hooks
        assert not each._forward_pre_hooks
        assert not each._backward_hooks
    assert all(not parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


class Rounded(FindsRed):
    """A network without a gradient."""

    def forward(self, x):
        with torch.no_grad():
            return super().forward(x)


@pytest.mark.parametrize("method", METHODS)
def test_without_a_gradient_only_occlusion_works(method):
    x, _ = red_square()
    model = Classifier(Rounded(), num_classes=2, mean=[0.0] * 3, name="black box")
    if method is occlusion:
        assert method(model, x, torch.tensor([1])).abs().sum() > 0
        return
    with pytest.raises(UserError, match=r"black box gives no gradient, and this needs one\nocclusion, path"):
        method(model, x, torch.tensor([1]))


@pytest.mark.parametrize("method", METHODS)
def test_without_captum_it_says_what_to_install(method, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'needs the package captum.*\npip install "advbench\[explain\]"'):
        method(finds_red(), red_square()[0], torch.tensor([1]))


def test_a_network_of_functions_has_no_grad_cam():
    model = Classifier(fakes.Net(), num_classes=20, mean=[0.0] * 3, input_size=32, name="tiny")
    with pytest.raises(UserError, match="tiny has no convolution"):
        grad_cam(model, torch.rand(1, 3, 32, 32), torch.tensor([0]))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("x", "classes", "message"),
    [
        (torch.zeros(0, 3, 8, 8), torch.zeros(0, dtype=torch.int64), "expected at least one of the images"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.tensor([0, 1]), r"expected float images \(N, ...\)"),
        (torch.full((2, 3, 8, 8), 255.0), torch.tensor([0, 1]), r"expected images in \[0, 1\], got values from 255"),
        (torch.zeros(3, 8, 8), torch.tensor([0, 1, 1]), r"expected images of shape \(N, C, H, W\), got \(3, 8, 8\)"),
        (torch.zeros(2, 3, 8, 8).numpy(), torch.tensor([0, 1]), "as a tensor, got ndarray"),
        (torch.zeros(2, 3, 8, 8), [0, 1], r"expected classes as a tensor of shape \(2,\), got list"),
        (torch.zeros(2, 3, 8, 8), torch.tensor([0]), r"expected classes as whole numbers of shape \(2,\), got"),
        (torch.zeros(2, 3, 8, 8), torch.tensor([0.0, 1.0]), r"expected classes as whole numbers of shape \(2,\), got"),
        (torch.zeros(2, 3, 8, 8), torch.tensor([-1, 1]), "expected classes from 0 to 3, got -1 to 1"),
        (torch.zeros(2, 3, 8, 8), torch.tensor([0, 4]), "expected classes from 0 to 3, got 0 to 4"),
    ],
)
def test_images_and_classes_that_cannot_be_meant_are_refused(method, x, classes, message):
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(72, 4)).eval()
    with pytest.raises(ValueError, match=message):
        method(Classifier(net, num_classes=4, mean=[0.5] * 3, std=[0.25] * 3, input_size=8), x, classes)


def test_classes_may_be_whole_numbers_of_any_type():
    model, x = linear(), torch.rand(2, 3, 8, 8)
    expected = saliency(model, x, torch.tensor([0, 3]))
    for kind in (torch.uint8, torch.int32):
        assert saliency(model, x.clone().requires_grad_(), torch.tensor([0, 3], dtype=kind)).equal(expected)
