"""Flags of a model on a data set: each mistake is planted once, and healthy pairs must raise none."""

import functools

import pytest
import torch
from torch import nn

from advbench.config.suite import DatasetSpec
from advbench.datasets import load_dataset
from advbench.evaluation.checks.data import check_data
from advbench.evaluation.checks.normalisation import at_least
from advbench.models import load_model
from advbench.models.classifier import Classifier
from advbench.models.trial import input_of
from advbench.planning.fitting import fitted
from advbench.planning.plan import some_of

HEALTHY = [
    *((name, "mnist") for name in ("lenet", "lenet_scrambled", "mlp_mnist", "mlp_scrambled")),
    *((name, "mnist") for name in ("mnist_convnet", "mnist_convnet_robust")),
    *((name, "mnist-samples") for name in ("lenet", "mlp_scrambled", "mnist_convnet_robust")),
    *((name, "cifar10-grey-samples") for name in ("gray_mlp", "gray_cnn", "gray_forest")),
    ("cifar10_resnet_robust", "cifar10-samples"),
]


@functools.cache
def pair(name, data):
    """A model, images of a data set and their labels."""
    opened, model = load_dataset(data), load_model(name)
    found = fitted(model, name, opened, DatasetSpec(name=data))
    numbers = some_of(len(found.dataset), 64, seed=0)
    x = torch.stack([input_of(model, found.dataset.read(number)) for number in numbers])
    return model, x, torch.tensor([found.dataset.labels[number] for number in numbers])


def flags(model, x, labels):
    return {flag.id: flag for flag in check_data(model, x, labels, dataset="toy", name="net")}


def more(name, data):
    """The model with its images, mirrored and moved to make more of them, and its own answers as their labels."""
    model, x, _ = pair(name, data)
    x = torch.cat([x, x.flip(3), x.roll(2, 3)])
    return model, x, model(x).argmax(1)


def colour():
    return more("cifar10_resnet_robust", "cifar10-samples")


def renormalised(model, mean, std, module=None):
    return Classifier(module or model.module, num_classes=model.num_classes, mean=mean, std=std)


@pytest.mark.parametrize(("name", "data"), HEALTHY)
def test_healthy_models_raise_none(name, data):
    assert flags(*pair(name, data)) == {}


def test_labels_counted_from_one():
    model, x, labels = pair("lenet", "mnist")
    found = flags(model, x, labels + 1)["D1"]
    assert found.severity == "E"
    assert "no more than by chance" in found.message
    assert found.advice == "the model's classes are the labels with 1 less: count both from 0"


def test_classes_in_another_order():
    model, x, labels = pair("lenet", "mnist")
    order = torch.tensor([3, 5, 1, 0, 9, 8, 2, 4, 7, 6])
    assert "the classes are in a different order" in flags(model, x, order[labels])["D1"].advice


def test_shuffled_labels_and_a_model_that_always_says_the_same():
    model, x, labels = pair("lenet", "mnist")
    assert flags(model, x, labels[torch.randperm(64, generator=torch.Generator().manual_seed(0))])["D1"].value < 0.3
    assert "D1" in flags(lambda x: torch.eye(10)[:1].expand(len(x), -1), x, labels)


def test_few_images_or_one_class_say_nothing_of_labels():
    model, x, labels = pair("lenet", "mnist")
    assert flags(model, x[:8], labels[:8] + 1) == {}
    zeros = labels == labels[0]
    assert flags(model, x[zeros], labels[zeros]) == {}


@pytest.mark.parametrize("loader", [colour, lambda: more("gray_cnn", "cifar10-grey-samples")])
def test_a_normalisation_that_was_forgotten(loader):
    model, x, labels = loader()
    found = flags(renormalised(model, 0.0, 1.0), x, labels)
    assert found["D2"].severity == "F"
    assert "mean and std" in found["D2"].message


def test_a_normalisation_that_was_done_twice():
    model, x, labels = colour()
    twice = renormalised(model, model.mean, model.std, module=renormalised(model, model.mean, model.std))
    assert "with no normalisation" in flags(twice, x, labels)["D2"].message
    behind_a_function = flags(lambda x: twice(x), x, labels)["D2"].message
    assert "undone once" in behind_a_function


@pytest.mark.parametrize(
    ("name", "mean", "std"), [("mlp_mnist", 0.0, 1.0), ("mlp_scrambled", 0.0, 1.0), ("lenet_scrambled", 0.449, 0.226)]
)
def test_a_network_that_is_right_all_the_same_and_less_sure(name, mean, std):
    model, x, labels = pair(name, "mnist")
    found = flags(renormalised(model, mean, std), x, labels)
    assert found.keys() == {"D2"}
    assert "with MNIST's mean and std the true class is more likely on" in found["D2"].message


@pytest.mark.parametrize("name", ["lenet", "mnist_convnet"])
def test_a_network_that_hardly_depends_on_it_raises_none(name):
    model, x, labels = pair(name, "mnist")
    assert flags(renormalised(model, 0.0, 1.0), x, labels) == {}


def test_a_larger_contrast_alone_is_no_better_normalisation():
    x = torch.rand(64, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 4, bias=False)).requires_grad_(False)
    noise = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
    labels = (network(x) + 0.2 * noise).argmax(1)  # not sure of all of them
    assert flags(lambda images: network(images), x, labels) == {}


def test_images_expected_from_0_to_255_or_from_minus_1_to_1():
    model, x, labels = colour()
    for scale, shift, what in ((1 / 255, 0.0, "from 0 to 255"), (0.5, 0.5, "[-1, 1]")):
        trained_so = renormalised(model, 0.0, 1.0, module=lambda z, scale=scale, shift=shift: model(z * scale + shift))
        assert what in flags(trained_so, x, labels)["D2"].message


def test_channels_that_are_swapped():
    model, x, labels = colour()
    found = flags(model, x.flip(1), labels)
    assert found.keys() == {"D3"}
    assert "with red and blue swapped" in found["D3"].message


def test_a_model_that_refuses_other_values_is_not_asked_for_them():
    model, x, labels = pair("gray_cnn", "cifar10-grey-samples")
    plain = renormalised(model, 0.0, 1.0)

    def strict(images):
        if images.min() < 0 or images.max() > 1:
            raise ValueError("expected images in [0, 1]")
        return plain(images)

    assert flags(strict, x, labels).keys() <= {"D1", "D2"}


def test_the_binomial_test_is_exact():
    assert at_least(0, 5, 0.3) == pytest.approx(1)
    assert at_least(5, 5, 0.5) == pytest.approx(1 / 32)
    assert at_least(1, 2, 0.5) == pytest.approx(3 / 4)


def test_random_numbers_of_the_caller_are_left_alone():
    model, x, labels = pair("lenet", "mnist")
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    check_data(nn.Sequential(nn.Dropout(0.5), model), x, labels, dataset="toy")
    assert torch.rand(1) == expected
