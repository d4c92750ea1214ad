"""A network with several labels for each image: each label is on where a quarter of the image is bright."""

import torch
from torch import nn

from advbench.datasets.dataset import Dataset
from advbench.models.classifier import Classifier

NAMES = ("north", "east", "south", "west")
"""Names of the labels: the rows of an image of 4 x 4 pixels."""
SETS = ((0, 1), (1,), (), (2, 3), (0, 1, 2, 3), (3,), (0, 2), (1, 2))
"""Labels of each image of :func:`bright_rows`."""
BRIGHT, DARK = 0.6, 0.4
"""Values of rows with and without a label, each 0.1 away from the threshold."""


def rows_model(side: int = 4, *, thresholds: object = 0.0, **options) -> Classifier:
    """Logit i is 10 (mean of quarter i - 0.5): an Linf change of 0.1 turns any label of `bright_rows`."""
    net, quarter = nn.Sequential(nn.Flatten(), nn.Linear(side * side, 4)), side * side // 4
    with torch.no_grad():
        net[1].weight.copy_(10 * torch.eye(4).repeat_interleave(quarter, 1) / quarter)
        net[1].bias.fill_(-5.0)
    usual = {"num_classes": 4, "classes": NAMES, "mean": [0.0], "input_size": side, "name": "rows"}
    return Classifier(net, **usual | options).with_thresholds(thresholds)


def bright_rows(sets=SETS, side: int = 4, **options) -> Dataset:
    """Images (1, side, side) whose quarters, from above, say which labels they have, a little unlike each other."""

    def read(number: int) -> torch.Tensor:
        x = torch.full((1, side, side), DARK)
        for label in sets[number]:
            x[0, label * side // 4 : (label + 1) * side // 4] = BRIGHT
        x[0, :, 0] += 0.001 * (number - 4)
        x[0, :, 1] -= 0.001 * (number - 4)
        return x

    names = tuple(f"rows_{number}" for number in range(len(sets)))
    usual = {"name": "bright", "images": names, "labels": None, "label_sets": tuple(sets), "classes": NAMES}
    return Dataset(**usual | {"read": read} | options)
