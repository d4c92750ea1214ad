"""`advbench train` on folders of pictures: new tops for pretrained networks, and recipes of the zoo."""

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from advbench import load_model
from advbench.catalog import MODELS
from advbench.catalog.registry import resolve
from advbench.cli.main import main
from advbench.datasets.embedded import read_embedded
from advbench.errors import UserError
from advbench.models.classifier import Classifier
from advbench.models.contents import Contents, packed
from advbench.models.new_top import with_new_top
from advbench.models.sources.zoo import architecture
from advbench.training import folders
from advbench.training.data import Images
from advbench.training.folders import class_folders, load_data, load_folder
from advbench.training.recipes import Adversarial, TransferRecipe
from advbench.training.run import train
from advbench.training.task import TrainConfig

DIGITS = (1, 7, 8)


def put(folder: Path, digit: int, rows: slice) -> None:
    """Pictures of a digit, each in a file."""
    folder.mkdir(parents=True)
    found = read_embedded("mnist")
    for index in np.flatnonzero(found.labels == digit)[rows]:
        Image.fromarray(found.images[index]).save(folder / f"{index}.png")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 20 pictures of each of three digits."""
    root = tmp_path_factory.mktemp("digits")
    for digit in DIGITS:
        put(root / f"digit {digit}", digit, slice(20))
    return root


def pixels(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(picture.convert("L"))).float()[None] / 255


def pixels_of(images: Images) -> torch.Tensor:
    """All of them, in memory."""
    return images.x[torch.arange(len(images.y))]


@pytest.fixture
def job(pictures: Path, tmp_path: Path) -> Callable[..., TrainConfig]:
    """A transfer from a small network, into a folder of that name."""

    def make(folder: str, **options: object) -> TrainConfig:
        recipe = TransferRecipe(**{"model": "transfer", "base": "mnist_convnet", "epochs": 4, "lr": 1e-2} | options)
        return TrainConfig(
            recipe=recipe, command="advbench train", data_root=pictures, out=tmp_path / folder, attacked=0
        )

    return make


def weights(config: TrainConfig) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = load_file(config.out / "transfer.safetensors")
    return tensors


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


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
    with pytest.raises(UserError, match=r"belongs to a network that your own code makes: .*nets\.py:small") as error:
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


# recipes of the zoo


def test_a_recipe_of_the_zoo_learns_from_a_folder(tmp_path: Path) -> None:
    for digit, name in ((1, "sad"), (8, "glad")):
        put(tmp_path / "faces" / name, digit, slice(10))
    out = tmp_path / "out"
    done = run("train", "smile_cnn", "--epochs", 2, "--data-root", tmp_path / "faces", "--out", out, "--attacked", 0)
    assert done.exit_code == 0, done.output
    card = json.loads((out / "smile_cnn.json").read_text())
    assert (card["data"], card["images"]["licence"]) == ("faces", "the user's own")
    assert list(card["at_precision"]) == ["0.9", "0.95", "0.98", "0.99"]
    model = load_model(str(out / "smile_cnn.safetensors"))
    assert (model.classes, model.input_size, model.mean) == (("glad", "sad"), 64, (0.5,))


def test_another_number_of_classes(pictures: Path, tmp_path: Path) -> None:
    done = run("train", "lenet", "--data-root", pictures, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert done.stderr == (
        f"error: {pictures} has 3 classes, and this network tells 10 apart\n"
        f"for any number of classes: advbench train transfer --data-root {pictures}\n"
    )
    assert not (tmp_path / "out").exists()


def test_a_data_set_beside_pictures_is_preferred(pictures: Path, tmp_path: Path) -> None:
    for digit in (1, 7):
        put(tmp_path / str(digit), digit, slice(2))
    for half in ("train", "test"):
        np.savez(tmp_path / f"mnist-{half}.npz", images=np.zeros((4, 28, 28), np.uint8), labels=np.arange(4))
    assert len(load_data("mnist", tmp_path, 0)[1].y) == 4


# folders


@pytest.mark.parametrize("options", [{}, {"fine_tune": 1}], ids=["top", "tuned"])
def test_pictures_that_do_not_fit_into_memory_are_read_again(
    job: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch, options: dict[str, int]
) -> None:
    roomy, tight = job("roomy", **options), job("tight", **options)
    read: list[Path] = []
    whole = folders.read_picture

    def watched(file: Path) -> Image.Image:
        read.append(file)
        return whole(file)

    monkeypatch.setattr(folders, "read_picture", watched)
    train(roomy)
    assert len(read) == len(set(read)) == 60
    monkeypatch.setattr("advbench.datasets.image_cache.KEEP_BYTES", 10 * 28 * 28)
    train(tight)
    assert len(read) > 2 * 60
    first, second = weights(roomy), weights(tight)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_one_picture_in_five_is_set_aside_by_seed(pictures: Path) -> None:
    first, again, other = (load_folder(pictures, pixels, seed) for seed in (0, 0, 1))
    assert first.classes == ("digit 1", "digit 7", "digit 8")
    assert first.test.y.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert first.train.y.bincount().tolist() == [16] * 3
    assert torch.equal(pixels_of(first.test), pixels_of(again.test))
    assert not torch.equal(pixels_of(first.test), pixels_of(other.test))
    together = torch.cat([pixels_of(first.train), pixels_of(first.test)]).flatten(1)
    assert len(together.unique(dim=0)) == 60


@pytest.mark.parametrize("name", ["test", "val"])
def test_a_folder_may_bring_its_own_test_part(tmp_path: Path, name: str) -> None:
    for part, rows in (("train", slice(0, 3)), (name, slice(3, 5))):
        for digit in (1, 7):
            put(tmp_path / part / str(digit), digit, rows)
    found = load_folder(tmp_path, pixels, seed=0)
    assert (found.train.y.tolist(), found.test.y.tolist()) == ([0, 0, 0, 1, 1, 1], [0, 0, 1, 1])
    assert found.test.source == f"{tmp_path.name}/{name}"
    (tmp_path / name / "7").rename(tmp_path / name / "seven")
    with pytest.raises(UserError, match="have different classes: 7, seven"):
        load_folder(tmp_path, pixels, seed=0)


def test_folders_that_will_not_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder of pictures with a subfolder for each class"):
        load_folder(tmp_path / "nowhere", pixels, seed=0)
    put(tmp_path / "1", 1, slice(3))
    with pytest.raises(UserError, match="no folder of pictures") as error:
        load_folder(tmp_path, pixels, seed=0)
    assert "/CLASS/*.jpg" in error.value.hint
    put(tmp_path / "2", 2, slice(1))
    with pytest.raises(UserError, match="has one picture"):
        load_folder(tmp_path, pixels, seed=0)
    (tmp_path / "2" / "cut.png").write_bytes(next((tmp_path / "1").iterdir()).read_bytes()[:60])
    with pytest.raises(UserError, match=r"cut\.png.*damaged"):
        load_folder(tmp_path, pixels, seed=0)


def test_hidden_folders_are_no_classes(tmp_path: Path) -> None:
    put(tmp_path / ".thumbnails", 1, slice(1))
    put(tmp_path / "1", 1, slice(1))
    (tmp_path / "notes").mkdir()
    assert class_folders(tmp_path) == [tmp_path / "1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("lenet", "--from", "vgg16"), "--from is for the recipe transfer, not for lenet"),
        (("gray_forest", "--fine-tune", "3"), "--fine-tune is for the recipe transfer"),
        (("transfer", "--from", "vgg61"), "unknown model 'vgg61'"),
        (("transfer", "--from", "cifar10_vgg1"), "model cifar10_vgg1 is not in the package"),
    ],
)
def test_flags_that_do_not_go_together(
    arguments: tuple[str, ...], message: str, pictures: Path, tmp_path: Path
) -> None:
    done = run("train", *arguments, "--data-root", pictures, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


# files that say what they hold


def test_weights_alone_do_not_say_what_they_belong_to(tmp_path: Path) -> None:
    file = tmp_path / "bare.safetensors"
    save_file(architecture("lenet").state_dict(), file)
    with pytest.raises(UserError, match="holds weights alone") as error:
        load_model(str(file))
    assert "--model NAME --weights FILE" in error.value.hint


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (Contents(model="lenet6", classes=tuple("0123456789")), "a network that is not known here: 'lenet6'"),
        (Contents(model="lenet", classes=("a", "b")), "names 2 classes, but lenet has 10"),
        (Contents(model="mlp_mnist", classes=tuple("0123456789")), "does not fit mlp_mnist"),
        (Contents(model="lenet", classes=("a", "b"), new_top=True), "does not fit lenet"),
    ],
)
def test_files_that_are_not_what_they_say(tmp_path: Path, contents: Contents, message: str) -> None:
    file = tmp_path / "net.safetensors"
    file.write_bytes(packed(architecture("lenet"), contents, half=True))
    with pytest.raises(UserError, match=message):
        load_model(str(file))


def test_headers_that_advbench_did_not_write(tmp_path: Path) -> None:
    file = tmp_path / "net.safetensors"
    for header in ("no json", "[]", '{"model": "lenet"}', '{"model": "lenet", "classes": []}'):
        save_file(architecture("lenet").state_dict(), file, {"advbench": header})
        with pytest.raises(UserError, match="has a header that advbench did not write"):
            load_model(str(file))
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(UserError, match="damaged, cut short"):
        load_model(str(file))


def test_a_file_holds_its_own_weights(tmp_path: Path) -> None:
    file = tmp_path / "net.safetensors"
    file.write_bytes(packed(architecture("lenet"), Contents(model="lenet", classes=tuple("0123456789")), half=True))
    assert load_model(str(file)).classes == tuple("0123456789")
    with pytest.raises(UserError, match="holds its own weights"):
        load_model(str(file), weights=file)
