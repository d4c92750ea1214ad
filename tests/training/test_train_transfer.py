"""`advbench train` on folders of pictures: new tops for pretrained networks, and recipes of the zoo."""

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from picture_folders import pixels_of, put, run, weights
from safetensors.torch import save_file
from torch import nn

from advbench import load_model
from advbench.catalog import MODELS
from advbench.catalog.registry import resolve
from advbench.errors import UserError
from advbench.models.classifier import Classifier
from advbench.models.networks.new_top import with_new_top
from advbench.training.data.folders import load_folder
from advbench.training.recipes import Adversarial, TransferRecipe
from advbench.training.run import train
from advbench.training.task import TrainConfig


# transfer
def test_a_new_top_is_learnt_and_the_rest_stays(job: Callable[..., TrainConfig]) -> None:
    config = job("top")
    card = train(config)
    assert card["clean"]["accuracy"] > 0.8
    assert (card["architecture"], card["images"]["train"], card["images"]["test"]) == ("mnist_convnet", 48, 12)
    base, found = load_model("mnist_convnet"), weights(config)
    assert card["training"]["start_sha256"] == base.weights_sha256
    for key, value in base.module.state_dict().items():
        assert key.startswith("10.") or torch.equal(found[f"features.{key}"], value)
    model = load_model(str(config.out / "transfer.safetensors"))
    assert model.classes == ("digit 1", "digit 7", "digit 8")
    assert (model.weights_sha256, model.input_size) == (card["weights_sha256"], 28)
    folder = load_folder(config.data_root, model.preprocess, seed=0)
    right = (model(pixels_of(folder.test).float() / 255).argmax(1) == folder.test.y).float().mean().item()
    assert right == pytest.approx(card["clean"]["accuracy"])


@pytest.mark.parametrize(("layers", "changed"), [(1, {"7"}), (2, {"2", "7"}), (99, {"0", "2", "7"})])
def test_fine_tuning_changes_the_last_layers_only(
    job: Callable[..., TrainConfig], layers: int, changed: set[str]
) -> None:
    config = job("tuned", epochs=1, fine_tune=layers)
    train(config)
    base, found = load_model("mnist_convnet").module.state_dict(), weights(config)
    differ = {
        key.split(".")[0]
        for key in base
        if not key.startswith("10.") and not torch.equal(found[f"features.{key}"], base[key])
    }
    assert differ == changed


def test_norms_keep_the_statistics_that_they_came_with(job: Callable[..., TrainConfig]) -> None:
    old = Classifier(
        nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(4, 5)), num_classes=5, input_size=2, mean=[0.5]
    )
    network = with_new_top(old, 3).train()
    network(torch.rand(8, 1, 2, 2))
    assert network.features[0].num_batches_tracked == 0
    assert network.top.training


def test_adversarial_transfer_goes_through_the_whole_network(job: Callable[..., TrainConfig]) -> None:
    card = train(job("robust", epochs=2, adversarial=Adversarial(eps=0.1)))
    assert [row["guard_accuracy"] is None for row in card["epochs"]] == [False, False]


@pytest.mark.parametrize("options", [{}, {"fine_tune": 1}], ids=["top", "tuned"])
def test_transfer_resumed_after_a_kill_to_the_same_weights(
    job: Callable[..., TrainConfig], options: dict[str, int]
) -> None:
    whole, broken = job("whole", **options), job("broken", **options)
    train(whole)

    def killed(what: str, done: int, total: int) -> None:
        if "epoch 3" in what:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(broken, killed)
    assert len(train(broken)["epochs"]) == 4
    first, second = weights(whole), weights(broken)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_the_command_trains_and_what_it_made_is_attacked(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run(
        *("train", "transfer", "--from", "mnist_convnet", "--fine-tune", 1, "--epochs", 2),
        *("--data-root", pictures, "--out", out, "--attacked", 3),
    )
    assert done.exit_code == 0, done.output
    assert "digit 8" in done.stdout
    assert "under attack within linf 4/255" in done.stdout
    card = json.loads((out / "transfer.json").read_text())
    assert (
        f"advbench train transfer --epochs 2 --from mnist_convnet --fine-tune 1 --data-root {pictures}"
        == card["command"]
    )
    picture = next((pictures / "digit 7").iterdir())
    shown = run(
        *("attack", "--model", out / "transfer.safetensors", "--goal", "targeted:digit 1", "--attack", "pgd"),
        *("--eps", "0.3", "--json", "--quiet", "--out", tmp_path / "attacked", picture),
    )
    assert shown.exit_code == 0, shown.output
    (row,) = json.loads(shown.stdout)
    assert (row["adv_class"], row["met"]) == (0, True)


def test_transfer_from_the_embedded_network(pictures: Path, tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    few = tmp_path / "few"
    for digit in (1, 8):
        put(few / str(digit), digit, slice(4))
    recipe = TransferRecipe(model="transfer", epochs=30, lr=1e-2)
    card = train(TrainConfig(recipe=recipe, command="", data_root=few, out=tmp_path / "out", attacked=0))
    assert card["epochs"][-1]["train_accuracy"] == 1
    assert load_model(str(tmp_path / "out" / "transfer.safetensors")).input_size == 224


SOURCE = """
import torch
from torch import nn
import advbench

def small():
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(1, 8, 5, stride=3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 6))
    return advbench.Classifier(network, num_classes=6, mean=[0.5], std=[0.5], input_size=16)
"""


def test_transfer_from_a_function_of_ones_own(job: Callable[..., TrainConfig], tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(SOURCE)
    name = f"{tmp_path / 'nets.py'}:small"
    config = job("own", base=name, fine_tune=1)
    card = train(config)
    assert card["licence"] == f"that of {name}, and that of the pictures"
    file = config.out / "transfer.safetensors"
    # The file alone must not decide that code is run.
    with pytest.raises(UserError, match=r"network that is built by your own code: .*nets\.py:small") as error:
        load_model(str(file))
    assert f"--model {name} --weights {file}" in error.value.hint
    model = load_model(name, weights=file)
    assert (model.classes, model.name) == (("digit 1", "digit 7", "digit 8"), name)
    assert model.weights_sha256 == card["weights_sha256"]
    folder = load_folder(config.data_root, model.preprocess, seed=0)
    right = (model(pixels_of(folder.test).float() / 255).argmax(1) == folder.test.y).float().mean().item()
    assert right == pytest.approx(card["clean"]["accuracy"])


def test_the_command_says_that_it_runs_code(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(SOURCE)
    flags = ("--from", f"{tmp_path / 'nets.py'}:small", "--epochs", 1, "--attacked", 0)
    done = run("train", "transfer", *flags, "--data-root", pictures, "--out", tmp_path / "out", "--quiet")
    assert done.exit_code == 0, done.output
    assert done.stderr.endswith("nets.py is run as code\n")


def test_transfer_from_a_model_of_timm(job: Callable[..., TrainConfig], tmp_path: Path) -> None:
    import timm

    save_file(timm.create_model("test_vit.r160_in1k", pretrained=False).state_dict(), tmp_path / "vit.safetensors")
    config = replace(job("vit", base="timm/test_vit.r160_in1k", epochs=1), weights=tmp_path / "vit.safetensors")
    train(config)
    model = load_model(str(config.out / "transfer.safetensors"))
    assert (len(model.classes), model.input_size) == (3, 160)


def test_transfer_from_what_transfer_made(job: Callable[..., TrainConfig]) -> None:
    first = job("first")
    train(first)
    second = job("second", base=str(first.out / "transfer.safetensors"), lr=1e-3)
    card = train(second)
    assert card["architecture"] == "mnist_convnet"
    assert card["training"]["start_sha256"] == load_model(str(first.out / "transfer.safetensors")).weights_sha256
    old, new = weights(first), weights(second)
    assert old.keys() == new.keys()
    assert all(torch.equal(old[key], new[key]) == (not key.startswith("top.")) for key in old)


def test_compiled_networks_keep_their_tops(pictures: Path, tmp_path: Path) -> None:
    file = tmp_path / "net.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(64, 10))).save(file)
    file.with_suffix(".toml").write_text("input_size = 8\nmean = [0.5]\nstd = [0.5]\n")
    done = run("train", "transfer", "--from", file, "--data-root", pictures, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert f"error: {file} cannot be given a new top" in done.stderr
    assert "name what makes the network: file.py:function" in done.stderr


FAMILIES = (
    *("alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "inception_v3", "maxvit_t"),
    *("mnasnet0_5", "mobilenet_v3_small", "regnet_y_400mf", "resnet18", "shufflenet_v2_x0_5", "squeezenet1_1"),
    *("swin_t", "vgg11", "vit_b_16", "efficientnet_lite0", "gray_cnn", "cifar10_resnet_robust"),
)


@pytest.mark.parametrize("name", FAMILIES)
def test_networks_of_every_family_can_be_given_a_new_top(name: str) -> None:
    card = MODELS[name]
    with torch.device("cpu" if "regnet" in name else "meta"):  # a RegNet computes its widths
        base = resolve(card.builder)(card)
        network = with_new_top(base, 3)
        logits = network(torch.zeros(2, len(base.mean), base.input_size, base.input_size))
    assert logits.shape == (2, 3)
    old = [key for key, value in network.named_parameters() if len(value) == base.num_classes]
    assert not old or name == "squeezenet1_1"


def test_a_network_without_a_last_layer_for_its_classes() -> None:
    with pytest.raises(UserError, match="smile_cnn cannot be given a new top"):
        with_new_top(resolve(MODELS["smile_cnn"].builder)(MODELS["smile_cnn"]), 3)
