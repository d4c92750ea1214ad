"""Layers by name, what comes out of them, and networks that work in place."""

import pytest
import torch
import torchvision
from torch import nn

from advbench import Classifier
from advbench.errors import UserError
from advbench.explain import activations, find_layer, last_maps, list_layers
from advbench.explain.layers import convolutions, tapped
from advbench.models.sources.torchvision import architecture


def wrap(net, classes=10, size=16, **options):
    return Classifier(net.eval(), num_classes=classes, input_size=size, mean=[0.5] * 3, std=[0.25] * 3, **options)


def in_place():
    """A convolution whose ReLU works in place, as torchvision's do."""
    torch.manual_seed(0)
    return wrap(
        nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(4, 6, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Linear(6 * 64, 10),
        )
    )


class Twice(nn.Module):
    """One activation that serves two convolutions, as in EfficientNet and ResNet."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 3, padding=1)
        self.relu, self.head = nn.ReLU(inplace=True), nn.Linear(5, 10)

    def forward(self, x):
        return self.head(self.relu(self.second(self.relu(self.first(x)))).mean((2, 3)))


def twice():
    torch.manual_seed(0)
    return wrap(Twice())


@pytest.fixture(scope="module")
def vgg16():
    torch.manual_seed(0)
    net = torchvision.models.vgg16(weights=None, init_weights=False)
    return wrap(net, classes=1000, size=32, name="vgg16")


def test_lists_what_runs_in_order_with_shapes_and_parameters():
    found = [(layer.name, layer.kind, layer.shape, layer.parameters) for layer in list_layers(in_place())]
    assert found == [
        ("0", "Conv2d", (4, 16, 16), 112),
        ("1", "ReLU", (4, 16, 16), 0),
        ("2", "Conv2d", (6, 8, 8), 222),
        ("3", "ReLU", (6, 8, 8), 0),
        ("4", "Flatten", (384,), 0),
        ("5", "Linear", (10,), 3850),
    ]


def test_a_module_that_runs_twice_is_two_layers():
    model = twice()
    assert [layer.name for layer in list_layers(model)] == ["first", "relu:1", "second", "relu:2", "head"]
    x = torch.rand(2, 3, 16, 16)
    net, inside = model.module, (x - 0.5) / 0.25
    first = net.first(inside).relu()
    torch.testing.assert_close(activations(model, x, find_layer(model, "relu:1")), first)
    torch.testing.assert_close(activations(model, x, find_layer(model, "relu:2")), net.second(first).relu())
    with pytest.raises(UserError, match=r"layer 'relu' of classifier runs 2 times\nname one: relu:1, relu:2"):
        find_layer(model, "relu")


def test_what_comes_out_is_not_what_the_next_module_makes_of_it():
    model, x = in_place(), torch.rand(2, 3, 16, 16)
    maps = activations(model, x, find_layer(model, "0"))
    torch.testing.assert_close(maps, model.module[0]((x - 0.5) / 0.25))
    assert (maps < 0).any()
    with tapped(model, find_layer(model, "0")) as tap:
        seen = []
        tap.register_forward_hook(lambda *given: seen.append(given[2]))
        logits = model(x)
    assert (seen[0] < 0).any()
    torch.testing.assert_close(logits, model(x))


def test_the_network_is_run_no_further_than_needed():
    model = in_place()
    layer = find_layer(model, "1")
    model.module[2].register_forward_hook(lambda *_: pytest.fail("ran too far"))
    assert activations(model, torch.rand(1, 3, 16, 16), layer).shape == (1, 4, 16, 16)


def test_gradients_reach_the_image():
    x = torch.rand(1, 3, 16, 16, requires_grad=True)
    model = in_place()
    activations(model, x, find_layer(model, "2")).sum().backward()
    assert x.grad.abs().sum() > 0


def test_nothing_is_left_in_the_network():
    model = in_place()
    for name in ("0", "3"):
        activations(model, torch.rand(1, 3, 16, 16), find_layer(model, name))
    assert all(not each._forward_hooks and not each._forward_pre_hooks for each in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_names_of_keras_work_for_vgg(vgg16):
    names = {layer.alias: layer.name for layer in list_layers(vgg16) if layer.alias}
    assert len(names) == 13 + 5 + 3
    assert names["block1_conv2"] == "features.2"
    assert names["block3_pool"] == "features.16"
    assert names["block5_conv3"] == "features.28"
    assert (names["fc1"], names["predictions"]) == ("classifier.0", "classifier.6")
    assert find_layer(vgg16, "block1_conv2") == find_layer(vgg16, "features.2")
    with pytest.raises(UserError, match=r"vgg16 has no layer 'block1_conv3'\ndid you mean block5_conv3.*--what layers"):
        find_layer(vgg16, "block1_conv3")


@pytest.mark.parametrize(
    ("name", "last", "shape"),
    [
        ("vgg11", "features.19", (512, 4, 4)),
        ("resnet18", "layer4", (512, 2, 2)),
        ("googlenet", "inception5b", (1024, 2, 2)),
        ("squeezenet1_1", "classifier.2", (1000, 3, 3)),
        ("mobilenet_v3_small", "features", (576, 2, 2)),
    ],
)
def test_the_last_maps_are_those_after_norm_sum_and_activation(name, last, shape):
    net = architecture(name, torchvision.models.get_model_weights(name).DEFAULT)
    layer = last_maps(wrap(net, classes=1000, size=64))
    assert (layer.name, layer.shape) == (last, shape)


def test_networks_without_layers_or_maps_say_so():
    alone, dense = wrap(nn.Flatten(), classes=768), wrap(nn.Sequential(nn.Flatten(), nn.Linear(768, 10)))
    assert list_layers(alone) == ()
    with pytest.raises(UserError, match="classifier has no layers to show"):
        find_layer(alone, "0")
    with pytest.raises(UserError, match="classifier has no convolution"):
        last_maps(dense)
    assert convolutions(dense) == ()
    with pytest.raises(UserError, match="layer '1' of classifier has no feature maps: its output is 10"):
        find_layer(dense, "1", maps=True)


def test_a_network_of_unknown_size_says_so():
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 10))
    with pytest.raises(UserError, match=r"fails on an image of shape \(3, 64, 64\).*\n.*state it: Classifier"):
        list_layers(wrap(net, size=None))


def test_a_layer_of_another_network_is_refused():
    with pytest.raises(ValueError, match="expected a layer of classifier, got 0, which did not run"):
        activations(in_place(), torch.rand(1, 3, 16, 16), find_layer(in_place(), "0"))
