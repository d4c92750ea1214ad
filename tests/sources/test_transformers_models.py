"""Image classifiers of transformers: tiny ones, made here, answer through advbench as they do there."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from encoded_images import noise
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import attacks
from advbench import load_model
from advbench.catalog.user_models import is_own, model_card, moved, origin
from advbench.cli.main import main
from advbench.config.model_description import Description
from advbench.errors import UserError
from advbench.models.sources.processors import CONFIG, ProcessorTransform

transformers = pytest.importorskip("transformers", reason="the package transformers is not installed")
AutoImageProcessor, AutoModelForImageClassification = (
    transformers.AutoImageProcessor,
    transformers.AutoModelForImageClassification,
)
SIDE, CLASSES = 32, 12
TINY: dict[str, dict[str, Any]] = {
    "ViT": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24},
    "DeiT": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24},
    "ResNet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]},
    "ConvNext": {"hidden_sizes": [8, 16, 16, 16], "depths": [1, 1, 1, 1]},
    "Swin": {"embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4, "patch_size": 4},
}
PROCESSORS = {"ViT": "ViT", "DeiT": "DeiT", "ResNet": "ConvNext", "ConvNext": "ConvNext", "Swin": "ViT"}


def saved(kind: str, folder: Path, classes: int = CLASSES) -> nn.Module:
    """A tiny network of a kind, with its image processor, in a folder."""
    torch.manual_seed(0)
    sized = {} if kind in ("ResNet", "ConvNext") else {"image_size": SIDE, "patch_size": 8}
    config = getattr(transformers, f"{kind}Config")(**sized | TINY[kind], num_labels=classes)
    # out of order, as the JSON of the hub often is
    config.id2label = {number: f"class {number}" for number in reversed(range(classes))}
    network: nn.Module = getattr(transformers, f"{kind}ForImageClassification")(config).eval()
    for name, buffer in network.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    network.save_pretrained(folder)
    processor = getattr(transformers, f"{PROCESSORS[kind]}ImageProcessor")
    size: dict[str, Any] = {"size": {"height": SIDE, "width": SIDE}}
    if PROCESSORS[kind] == "ConvNext":
        size = {"size": {"shortest_edge": SIDE}}
    if kind == "DeiT":
        size = {"size": {"height": 40, "width": 40}, "crop_size": {"height": SIDE, "width": SIDE}}
    processor(**size, image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.25, 0.3]).save_pretrained(folder)
    return network


def changed(file: Path, **entries: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))


def slope(model: Any, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    logits = model(x)
    (gradient,) = torch.autograd.grad(logits[:, 0].sum() - logits[:, 1].sum(), x)
    return gradient


@pytest.fixture
def vit(tmp_path: Path) -> Path:
    saved("ViT", tmp_path / "vit")
    return tmp_path / "vit"


@pytest.mark.parametrize("kind", TINY)
def test_answers_and_gradients_are_those_of_transformers(kind: str, tmp_path: Path) -> None:
    saved(kind, tmp_path)
    theirs = AutoModelForImageClassification.from_pretrained(tmp_path, local_files_only=True).eval()
    ours = load_model(f"{tmp_path}/")
    mean, std = torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1), torch.tensor([0.2, 0.25, 0.3]).view(3, 1, 1)

    def answer(x: Tensor) -> Tensor:
        logits: Tensor = theirs(pixel_values=(x - mean) / std).logits
        return logits

    x = torch.rand(3, 3, SIDE, SIDE)
    assert (ours(x) - answer(x)).abs().max() < 1e-4
    cosine = nn.functional.cosine_similarity(slope(ours, x).flatten(1), slope(answer, x).flatten(1))
    assert cosine.min() > 0.9999
    assert ours.classes == tuple(f"class {number}" for number in range(CLASSES))
    assert (ours.input_size, ours.num_classes, len(ours.weights_sha256 or "")) == (SIDE, CLASSES, 64)


@pytest.mark.parametrize("kind", TINY)
def test_a_picture_gives_the_logits_that_the_processor_leads_to(kind: str, tmp_path: Path) -> None:
    saved(kind, tmp_path)
    theirs = AutoModelForImageClassification.from_pretrained(tmp_path, local_files_only=True).eval()
    processor, ours = AutoImageProcessor.from_pretrained(tmp_path, backend="pil"), load_model(f"{tmp_path}/")
    shown = noise(90, 61)
    expected = theirs(**processor(shown, return_tensors="pt")).logits
    assert (ours(ours.preprocess(shown).unsqueeze(0)) - expected).abs().max() < 1e-4


@pytest.mark.parametrize("kind", ["ViT", "DeiT", "ConvNext", "ConvNext 384", "CLIP", "Bit", "MobileNetV2", "Siglip"])
def test_pixels_are_those_of_transformers(kind: str, tmp_path: Path) -> None:
    name, _, edge = kind.partition(" ")
    made = getattr(transformers, f"{name}ImageProcessor")(**{"size": {"shortest_edge": 384}} if edge else {})
    made.save_pretrained(tmp_path)
    theirs = AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    ours = ProcessorTransform(theirs)
    mean, std = (np.array(values).reshape(3, 1, 1) for values in (ours.mean, ours.std))
    for size in ((97, 61), (375, 500), (224, 224)):
        shown = noise(*size)
        expected = theirs(shown, return_tensors="np")["pixel_values"][0]
        assert np.abs((ours(shown).numpy() - mean) / std - expected).max() < 1e-5
        assert expected.shape[1:] == ((ours.size,) * 2 if isinstance(ours.size, int) else ours.size)


@pytest.mark.parametrize(
    "old",
    [
        {"feature_extractor_type": "ViTFeatureExtractor", "size": 24},
        {"feature_extractor_type": "DeiTFeatureExtractor", "size": 40, "do_center_crop": True, "crop_size": 32},
        {"feature_extractor_type": "ConvNextFeatureExtractor", "size": 24, "crop_pct": 0.875},
    ],
    ids=lambda old: old["feature_extractor_type"],
)
def test_old_descriptions_are_read(old: dict[str, Any], vit: Path) -> None:
    said = old | {"do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.25] * 3, "resample": 3}
    (vit / CONFIG).write_text(json.dumps(said | {"do_resize": True}))
    changed(vit / "config.json", image_size=SIDE)
    if old["size"] == 40:
        assert load_model(str(vit)).input_size == SIDE
    else:
        with pytest.raises(UserError, match=r"fails on an image of 24 x 24 pixels"):
            load_model(str(vit))


# what is refused


def test_a_head_that_is_missing_is_not_made_up(vit: Path) -> None:
    weights = load_file(vit / "model.safetensors")
    save_file({key: value for key, value in weights.items() if "classifier" not in key}, vit / "model.safetensors")
    with pytest.raises(UserError, match=r"2 missing \(classifier.bias, classifier.weight\)") as error:
        load_model(str(vit))
    assert "random numbers" in error.value.hint


def test_a_head_of_another_size(vit: Path) -> None:
    changed(vit / "config.json", id2label={"0": "a", "1": "b"}, label2id={"a": 0, "b": 1})
    with pytest.raises(UserError, match=r"the weights of .*vit cannot be loaded"):
        load_model(str(vit))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"auto_map": {"AutoModelForImageClassification": "code.Net"}}, "it has custom code"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "it has quantised weights"),
        ({"_attn_implementation": "someone/kernels"}, "it asks for code from the hub"),
        ({"attn_implementation": {"vision": {"x_implementation": "a/b"}}}, "it asks for code from the hub"),
        ({"model_type": "vitt"}, "is not an image classifier known to transformers: model_type 'vitt'"),
        ({"model_type": "bert"}, "is not an image classifier known to transformers"),
    ],
)
def test_what_a_description_may_not_ask_for(vit: Path, entries: dict[str, Any], message: str) -> None:
    changed(vit / "config.json", **entries)
    with pytest.raises(UserError, match=message):
        load_model(str(vit))


def test_a_pickle_is_not_read(vit: Path) -> None:
    torch.save(load_file(vit / "model.safetensors"), vit / "pytorch_model.bin")
    (vit / "model.safetensors").unlink()
    with pytest.raises(UserError, match="has no weights in safetensors"):
        load_model(str(vit))


def test_an_adapter_is_no_model(vit: Path) -> None:
    (vit / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match="is an adapter to another model"):
        load_model(str(vit))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"image_processor_type": "NoSuchImageProcessor"}, "Unrecognized image processor"),
        ({"image_processor_type": "EfficientNetImageProcessor"}, "it does more to a picture"),
        ({"size": {"height": 10**9, "width": 10**9}}, "expected size of 1 to 4096 pixels, got height 1000000000"),
        ({"image_std": [0.0, 1.0, 1.0]}, "expected image_mean and image_std > 0"),
        ({"resample": 77}, "cannot be used"),
    ],
)
def test_processors_that_are_not_understood(vit: Path, entries: dict[str, Any], message: str) -> None:
    changed(vit / CONFIG, **entries)
    with pytest.raises(UserError, match=message):
        load_model(str(vit))


def test_a_network_without_its_processor(vit: Path) -> None:
    (vit / CONFIG).unlink()
    with pytest.raises(UserError, match=r"there is no preprocessor_config.json in .*vit"):
        load_model(str(vit))


def test_a_model_that_is_not_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    noise(8, 8).save(tmp_path / "picture.png")
    result = CliRunner().invoke(main, ["attack", "--model", "hf/nobody/no-such-model", str(tmp_path / "picture.png")])
    assert result.exit_code == 2
    assert "hf/nobody/no-such-model is not in the hub's cache, and cannot be downloaded: " in result.stderr
    assert "hf download nobody/no-such-model" in result.stderr
    assert "meanwhile: efficientnet_lite0" in result.stderr


# how it is named, and used


def test_a_model_in_the_cache_loads_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "models--someone--tiny"
    saved("ViT", kept / "snapshots" / "abc")
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path))
    model = load_model("hf/someone/tiny")
    assert model(torch.rand(1, 3, SIDE, SIDE)).shape == (1, CLASSES)


def test_names_are_told_apart(vit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(vit.parent)
    for name in ("hf/someone/net", "vit", "vit/", "gone/"):
        assert is_own(name)
        assert model_card(name).source == "transformers"
    assert moved("vit/", lambda path: Path("up") / path) == "up/vit/"
    assert moved("hf/someone/net", lambda path: Path("up") / path) == "hf/someone/net"
    assert moved("hf/./vit", lambda path: Path("up") / path) == "hf/./up/vit"
    assert moved("hf/./vit", lambda path: Path("/up") / path) == "hf//up/vit"
    assert load_model("hf/./vit").num_classes == CLASSES
    assert origin("hf/./vit") == origin("vit")
    assert set(origin("vit")) == {"config.json", "preprocessor_config.json", "transformers"}
    with pytest.raises(UserError, match=r"folder gone holds no config.json"):
        load_model("gone/")


def test_other_weights_and_other_names_of_classes(vit: Path, tmp_path: Path) -> None:
    weights = {key: value + 0.01 for key, value in load_file(vit / "model.safetensors").items()}
    save_file(weights, tmp_path / "other.safetensors")
    names = tuple("abcdefghijkl")
    model = load_model(str(vit), weights=tmp_path / "other.safetensors", about=Description(classes=names))
    assert model.classes == names
    save_file(weights, vit / "model.safetensors", metadata={"format": "pt"})
    x = torch.rand(2, 3, SIDE, SIDE)
    torch.testing.assert_close(load_model(str(vit))(x), model(x))
    with pytest.raises(UserError, match="takes no mean"):
        load_model(str(vit), about=Description(mean=[0.5]))


def test_it_can_be_attacked_on_the_command_line(vit: Path, tmp_path: Path) -> None:
    noise(50, 40).save(tmp_path / "picture.png")
    arguments = ["attack", "--model", str(vit), "--eps", "0.5", "--out", str(tmp_path / "out"), "--quiet"]
    result = CliRunner().invoke(main, [*arguments, str(tmp_path / "picture.png")])
    assert result.exit_code == 0, result.output
    model, x = load_model(str(vit)), torch.rand(2, 3, SIDE, SIDE)
    goal = attacks.Untargeted(model(x).argmax(1))
    assert attacks.PGD(steps=3)(model, x, goal, eps=0.1).shape == x.shape
