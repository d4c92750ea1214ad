"""SqueezeNet with real ImageNet weights, by way of a weights file: read, prepared, right, and fooled."""

import csv
import importlib.util

import pytest
import torch

import attacks
from advbench.datasets.images.files import read_picture
from advbench.models import load_model

COUNT = 40


@pytest.fixture(scope="module")
def model(shared, tmp_path_factory):
    """The published network, which wants Caffe's normalisation, turned into one for torchvision's."""
    spec = importlib.util.spec_from_file_location("archs", shared / "models" / "archs.py")
    archs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(archs)
    module, mean, std = archs.build("imagenet-squeezenet1_0-deepcompression")
    state = module.state_dict()
    theirs, ours = (torch.tensor(v).view(1, 3, 1, 1) for v in (mean, (0.485, 0.456, 0.406)))
    scale = torch.tensor((0.229, 0.224, 0.225)).view(1, 3, 1, 1) / torch.tensor(std).view(1, 3, 1, 1)
    # the first convolution is not padded, so that it can take the change of variables exactly
    weight = state["features.0.weight"]
    offset = ((ours - theirs) / torch.tensor(std).view(1, 3, 1, 1) * weight).sum((1, 2, 3))
    state |= {"features.0.bias": state["features.0.bias"] + offset, "features.0.weight": weight * scale}
    file = tmp_path_factory.mktemp("weights") / "squeezenet.pth"
    torch.save(state, file)
    return load_model("squeezenet1_0", weights=file)


@pytest.fixture(scope="module")
def photographs(shared, model):
    """Every twelfth of the photographs (N, C, H, W), and their classes."""
    folder = shared / "data" / "imagenet-sample" / "even"
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[::12][:COUNT]
    x = torch.stack([model.preprocess(read_picture(folder / row["file"])) for row in rows])
    return x, torch.tensor([int(row["index"]) for row in rows])


def test_it_knows_most_photographs(model, photographs):
    x, labels = photographs
    with torch.inference_mode():
        right = (model(x).argmax(1) == labels).float().mean()
    assert right > 0.5  # 63.5 % of 1,000 with its own crop and padding


def test_it_is_fooled_as_every_undefended_network_is(model, photographs):
    x = photographs[0][:4]
    with torch.inference_mode():
        first = model(x).argmax(1)
    x_adv = attacks.PGD(steps=10)(model, x, attacks.Untargeted(first), eps=2 / 255)
    with torch.inference_mode():
        assert (model(x_adv).argmax(1) != first).all()
