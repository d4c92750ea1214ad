"""Pictures that excite filters and classes: what they show, how strongly, and that they are always the same."""

import pytest
import torch
from torch import nn

from advbench import Classifier
from advbench.errors import UserError
from advbench.explain import class_images, filter_images, find_layer
from advbench.explain.canvas import brighten, jiggle, paint, start

BAR = torch.tensor([[-1.0, 2.0, -1.0]] * 5)


class Bars(nn.Module):
    """Filter 0 looks for upright bars, filter 1 for lying ones; class 0 and 1 are their means."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 5, padding=2, bias=False)
        upright = nn.functional.pad(BAR, (1, 1))
        with torch.no_grad():
            self.conv.weight.copy_(torch.stack([upright, upright.T]).unsqueeze(1))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        return self.relu(self.conv(x)).mean((2, 3))


def bars(**options):
    return Classifier(Bars(), num_classes=2, mean=[0.0], input_size=32, **options)


@pytest.fixture(scope="module")
def colours():
    """Two convolutions of random weights over three channels."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 5), nn.ReLU(), nn.Conv2d(8, 6, 5), nn.Flatten(), nn.Linear(6 * 256, 4))
    return Classifier(net, num_classes=4, mean=[0.5] * 3, std=[0.25] * 3, input_size=24)


def variation(image):
    """How much a picture changes along its rows and along its columns."""
    return image.diff(dim=-1).abs().mean(), image.diff(dim=-2).abs().mean()


def test_a_filter_that_looks_for_a_bar_gets_a_bar():
    model = bars()
    images, _ = filter_images(model, find_layer(model, "conv"), [0, 1], steps=96)
    across, down = variation(images[0])
    assert across > 2 * down
    across, down = variation(images[1])
    assert down > 2 * across


def test_it_excites_more_than_a_thousand_random_pictures(colours):
    layer = find_layer(colours, "2")
    painted = filter_images(colours, layer, range(6), steps=64)
    generator = torch.Generator().manual_seed(0)
    chance = torch.rand(1000, 3, 24, 24, generator=generator)
    smooth = nn.functional.interpolate(torch.rand(1000, 3, 4, 4, generator=generator), 24, mode="bilinear")
    for pictures in (chance, smooth):
        maps = nn.functional.leaky_relu(colours.module[:3]((pictures - 0.5) / 0.25)[:, :, 1:-1, 1:-1], 0.1)
        assert (painted.excitement > maps.mean((2, 3)).amax(0)).all()


def test_a_class_is_made_first(colours):
    painted = class_images(colours, [[0], [3], [1, 2]], steps=48)
    logits = colours(painted.images)
    assert logits[:2].argmax(1).tolist() == [0, 3]
    assert sorted(logits[2].topk(2).indices.tolist()) == [1, 2]
    torch.testing.assert_close(painted.excitement, torch.stack([logits[0, 0], logits[1, 3], logits[2, 1:3].min()]))


def test_the_same_seed_paints_the_same_and_no_other_does(colours):
    layer = find_layer(colours, "2")
    first, again, other = (filter_images(colours, layer, [2], steps=3, seed=seed).images for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert (first - other).abs().max() > 0.01


def test_what_is_painted_for_a_filter_does_not_depend_on_the_others(colours):
    layer = find_layer(colours, "2")
    together = filter_images(colours, layer, range(6), steps=3).images
    torch.testing.assert_close(together[4:5], filter_images(colours, layer, [4], steps=3).images)


def test_pictures_are_of_the_side_that_is_asked_for(colours):
    assert filter_images(colours, find_layer(colours, "0"), [1], side=40, steps=1).images.shape == (1, 3, 40, 40)
    grey = bars()
    assert filter_images(grey, find_layer(grey, "conv"), [1], steps=1).images.shape == (1, 1, 32, 32)


def test_a_network_of_one_size_gets_that_size():
    net = nn.Sequential(
        nn.Flatten(), nn.Unflatten(1, (3, 128, 128)), nn.Conv2d(3, 2, 3), nn.Flatten(), nn.LazyLinear(2)
    )
    net(torch.zeros(1, 3, 128, 128))
    model = Classifier(net, num_classes=2, mean=[0.5] * 3, std=[0.25] * 3, input_size=128)
    assert filter_images(model, find_layer(model, "2"), [0], steps=1).images.shape == (1, 3, 128, 128)


def test_the_network_is_left_as_it_was(colours):
    weights = [parameter.clone() for parameter in colours.parameters()]
    filter_images(colours, find_layer(colours, "0"), [0], steps=2)
    class_images(colours, [[0]], steps=2)
    assert all(map(torch.equal, weights, colours.parameters()))
    assert all(parameter.grad is None for parameter in colours.parameters())


@pytest.mark.parametrize("number", [8, -1])
def test_a_filter_out_of_range_is_refused(colours, number):
    with pytest.raises(UserError, match=rf"layer '0' has no filter {number}\nit has 8: 0 to 7"):
        filter_images(colours, find_layer(colours, "0"), [0, number], steps=1)


def test_without_a_gradient_it_says_so(monkeypatch):
    model = bars(name="black box")
    model.module.conv.register_forward_hook(lambda *given: given[2].detach())
    with pytest.raises(UserError, match="black box gives no gradient, so no picture can be painted"):
        filter_images(model, find_layer(model, "relu"), [0], steps=1)


def test_a_canvas_is_decorrelated_and_falls_with_frequency():
    spectrum = start(torch.arange(64), 3, 32, seed=0)
    images = paint(spectrum / 0.01, 32).logit()
    power = torch.fft.rfft2(images).abs().mean((0, 1))
    assert power[0, 1] > 3 * power[0, 4] > 9 * power[0, 15]
    # photographs are grey before all: red, green and blue rise and fall together
    assert torch.corrcoef(images.transpose(0, 1).flatten(1)).min() > 0.5


def test_jiggled_pictures_stay_in_range_and_differ_from_each_other():
    images = torch.rand(2, 3, 16, 16).expand(2, -1, -1, -1)
    moved = jiggle(images, torch.tensor([5, 6]), 1, 0, shift=0.1, turn=10, zoom=0.1)
    assert 0 <= moved.min() <= moved.max() <= 1
    assert not torch.allclose(moved[0], moved[1])
    still = jiggle(images, torch.tensor([5, 6]), 1, 0, shift=0, turn=0, zoom=0)
    torch.testing.assert_close(still, images)


def test_brightened_pictures_reach_from_black_to_white_and_grey_stays_grey():
    images = 0.5 + 0.01 * torch.randn(2, 3, 16, 16)
    shown = brighten(images)
    assert shown.shape == images.shape
    assert shown.min() == 0
    assert shown.max() == 1
    grey = torch.rand(1, 1, 8, 8).expand(1, 3, 8, 8)
    assert brighten(grey).std(1).max() < 1e-5


@pytest.mark.parametrize("targets", [[], [0], [[]], [[0, 2]], [[-1]]])
def test_classes_that_the_model_does_not_have_are_refused(targets):
    with pytest.raises(ValueError, match="expected for each picture a list of classes from 0 to 1"):
        class_images(bars(), targets, steps=1)


def test_no_filter_is_refused():
    model = bars()
    with pytest.raises(ValueError, match="expected at least one filter, got none"):
        filter_images(model, find_layer(model, "conv"), [], steps=1)
