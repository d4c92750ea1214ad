"""Trust checks of models with several labels for each image."""

import pytest
import torch
from several import SETS, bright_rows, rows_model
from torch import nn

from advbench.datasets.labels import truth_tensor
from advbench.evaluation.checks.data import check_data
from advbench.evaluation.checks.model import check_model
from advbench.models.classifier import Classifier
from advbench.models.readings import understood

DATA = bright_rows(SETS * 2)
X = torch.stack([DATA.read(number) for number in range(16)])
Y = truth_tensor(DATA.label_sets, 4)


def ids(flags):
    return [(flag.id, flag.severity) for flag in flags]


def test_a_healthy_network_raises_none():
    assert ids(check_model(rows_model(), X, Y, dataset="bright")) == []
    assert ids(check_model(rows_model(), X, dataset="bright")) == []
    assert ids(check_data(rows_model(), X, Y, dataset="bright")) == []


def test_labels_that_fit_no_better_than_those_of_other_images_are_seen():
    (flag,) = check_data(rows_model(), X, ~Y, dataset="bright")
    assert (flag.id, flag.severity) == ("D1", "E")
    assert flag.message.startswith("0.0% of the labels of 16 images agree with the model")


def sigmoid_left_on(**options):
    net = nn.Sequential(*rows_model().module, nn.Sigmoid())
    return Classifier(net, num_classes=4, mean=[0.0], input_size=4, **options).with_thresholds(0.0)


def test_a_sigmoid_is_undone_and_flagged():
    model = understood(sigmoid_left_on())
    assert torch.allclose(model(X), rows_model()(X), atol=1e-4)
    assert "a probability p for each label" in model.notes[-1]
    assert ("M4", "F") in ids(check_model(model, X, Y, dataset="bright"))
    assert understood(rows_model()).notes == ()


def test_random_answers_and_dead_gradients_are_seen():
    class Noisy(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :4] * 10 - 5 + torch.rand(len(x), 4)

    flags = check_model(Classifier(Noisy(), num_classes=4, mean=[0.0]).with_thresholds(0.0), X, Y, dataset="bright")
    assert ("M2", "F") in ids(flags)
    dead = Classifier(lambda x: (x.flatten(1)[:, :4] > 0.5).float() - 0.5, num_classes=4, mean=[0.0])
    dead.with_thresholds(0.0)
    assert "M6" in dict(ids(check_model(dead, X, Y, dataset="bright")))


@pytest.mark.parametrize("thresholds", [[0.0, 1.0], [float("nan")] * 4])
def test_thresholds_that_make_no_sense_are_refused(thresholds):
    with pytest.raises(ValueError, match=r"expected (4 thresholds, one for each class, got 2|finite thresholds)"):
        rows_model(thresholds=thresholds)
