"""Zero-shot classifiers of open_clip: a tiny one, made here, answers through advbench as it does there."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from encoded_images import noise
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import attacks
from advbench import load_model
from advbench.catalog.user_models import is_own, model_card, moved
from advbench.cli.main import main
from advbench.config.model_description import Description
from advbench.errors import UserError

open_clip = pytest.importorskip("open_clip", reason="the package open_clip_torch is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")
SIDE = 32
NAMES = ("cat", "dog", "traffic light")
TEMPLATES = ("a photo of a {}.", "{}, drawn")
CONFIG: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": SIDE, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
PREPROCESS = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3], "interpolation": "bicubic", "resize_mode": "shortest"}
SAID = Description(classes=NAMES, templates=TEMPLATES)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as open_clip writes it, with weights of a tiny network."""
    made = tmp_path / "tiny-clip"
    made.mkdir()
    (made / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG, "preprocess_cfg": PREPROCESS}))
    torch.manual_seed(0)
    network = open_clip.CLIP(**CONFIG)
    save_file(
        {key: value.contiguous() for key, value in network.state_dict().items()}, made / "open_clip_model.safetensors"
    )
    return made


def theirs(folder: Path) -> tuple[Any, Tensor, Any]:
    network, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    text = open_clip.build_zero_shot_classifier(network.eval(), tokenizer, NAMES, TEMPLATES)
    return network, text, transform


def test_answers_and_gradients_are_those_of_open_clip(folder: Path) -> None:
    ours = load_model(f"clip/local-dir:{folder}", about=SAID)
    network, text, _ = theirs(folder)
    mean, std = (torch.tensor(PREPROCESS[key]).view(3, 1, 1) for key in ("mean", "std"))
    x = torch.rand(3, 3, SIDE, SIDE, requires_grad=True)
    expected = network.logit_scale.exp() * network.encode_image((x - mean) / std, normalize=True) @ text
    answers = ours(x)
    assert (answers - expected).abs().max() < 1e-4
    slopes = [torch.autograd.grad(each[:, 0].sum() - each[:, 1].sum(), x)[0].flatten(1) for each in (answers, expected)]
    assert nn.functional.cosine_similarity(*slopes).min() > 0.9999
    assert (ours.classes, ours.input_size, len(ours.weights_sha256 or "")) == (NAMES, SIDE, 64)


def test_a_picture_gives_the_logits_that_its_transform_leads_to(folder: Path) -> None:
    ours = load_model(f"clip/local-dir:{folder}", about=SAID)
    network, text, transform = theirs(folder)
    shown = noise(90, 61)
    with torch.no_grad():
        features = network.encode_image(transform(shown).unsqueeze(0), normalize=True)
    assert (ours(ours.preprocess(shown).unsqueeze(0)) - network.logit_scale.exp() * features @ text).abs().max() < 1e-4


def test_an_architecture_with_a_file_of_weights(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny-arch.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(tmp_path / "tiny-arch.json")
    weights = folder / "open_clip_model.safetensors"
    named = load_model(f"clip/tiny-arch:{weights}", about=SAID)
    given = load_model("clip/tiny-arch", weights=weights, about=SAID)
    x = torch.rand(2, 3, SIDE, SIDE)
    assert torch.equal(named(x), given(x))
    assert named.mean == pytest.approx(open_clip.OPENAI_DATASET_MEAN)
    with pytest.raises(UserError, match="open_clip has to be told which weights to use for tiny-arch"):
        load_model("clip/tiny-arch", about=SAID)


def test_without_names_its_classes_are_those_of_imagenet(folder: Path) -> None:
    model = load_model(f"clip/local-dir:{folder}")
    assert (model.num_classes, model.classes[0]) == (1000, "tench")
    assert model(torch.rand(1, 3, SIDE, SIDE)).shape == (1, 1000)


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"classes": ["cat", "cat"]}, "each named once, got 'cat' twice"),
        ({"classes": ["cat"]}, "expected two classes or more for clip/local-dir:.*, got 1"),
        ({"classes": NAMES, "templates": ["a photo"]}, "template 'a photo' has no place for the name of a class"),
        ({"classes": NAMES, "mean": [0.5]}, "takes no mean"),
    ],
)
def test_descriptions_that_are_refused(folder: Path, about: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_model(f"clip/local-dir:{folder}", about=Description(**about))


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("clip/ViT-B-23:openai", "open_clip has no architecture 'ViT-B-23'", "did you mean ViT-B-32"),
        ("clip/ViT-B-32:opanai", "open_clip has no weights 'opanai' for ViT-B-32", "there are: openai, "),
        ("clip/ViT-B-32", "open_clip has to be told which weights to use for ViT-B-32", "there are: openai, "),
        (
            "clip/ViT-B-32:openai",
            "trained with a different activation than that of ViT-B-32",
            "clip/ViT-B-32-quickgelu:openai",
        ),
        ("clip/local-dir:gone", "gone.open_clip_config.json cannot be read", ""),
        ("clip/hf-hub:someone/net", "open_clip has no architecture 'hf-hub'", ""),
    ],
)
def test_names_that_lead_nowhere(name: str, message: str, hint: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        load_model(name, about=SAID)
    assert hint in error.value.hint


def test_weights_that_are_not_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    noise(8, 8).save(tmp_path / "picture.png")
    name = "clip/ViT-B-32:laion2b_s34b_b79k"
    result = CliRunner().invoke(main, ["attack", "--model", name, str(tmp_path / "picture.png")])
    assert result.exit_code == 2
    assert f"{name} lacks its weights: they are not in the cache, and cannot be downloaded: " in result.stderr
    assert "hf download laion/CLIP-ViT-B-32-laion2B-s34B-b79K" in result.stderr
    assert "meanwhile: efficientnet_lite0" in result.stderr


def test_a_folder_that_asks_for_code_or_lacks_its_weights(folder: Path) -> None:
    config = CONFIG | {"text_cfg": CONFIG["text_cfg"] | {"tokenizer_kwargs": {"trust_remote_code": True}}}
    told = (folder / "open_clip_config.json").read_text()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    with pytest.raises(UserError, match="it asks for code from the hub"):
        load_model(f"clip/local-dir:{folder}", about=SAID)
    (folder / "open_clip_config.json").write_text(told)
    torch.save(load_file(folder / "open_clip_model.safetensors"), folder / "open_clip_pytorch_model.bin")
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(UserError, match=r"lacks its weights: there is no open_clip_model.safetensors"):
        load_model(f"clip/local-dir:{folder}", about=SAID)


def test_names_are_told_apart() -> None:
    assert is_own("clip/ViT-B-32:openai")
    assert model_card("clip/ViT-B-32:openai").source == "open_clip"
    up = Path("up")
    assert moved("clip/local-dir:tiny", lambda path: up / path) == "clip/local-dir:up/tiny"
    assert moved("clip/ViT-B-32:net.safetensors", lambda path: up / path) == "clip/ViT-B-32:up/net.safetensors"
    assert moved("clip/ViT-B-32:openai", lambda path: up / path) == "clip/ViT-B-32:openai"


def test_it_can_be_attacked(folder: Path) -> None:
    model, x = load_model(f"clip/local-dir:{folder}", about=SAID), torch.rand(2, 3, SIDE, SIDE)
    goal = attacks.Untargeted(model(x).argmax(1))
    found = attacks.PGD(steps=20)(model, x, goal, eps=0.2)
    assert bool((model(found).argmax(1) != model(x).argmax(1)).any())
