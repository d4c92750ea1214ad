"""torchvision's models, with seeded weights in place of those that only a network could bring."""

import csv
import hashlib
import http.server
import importlib.util
import re
import socket
import threading
from functools import partial
from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from advbench.catalog import MODELS, availability
from advbench.errors import UserError
from advbench.models import load_model
from advbench.models.sources import torchvision as loader

SHARED = Path(__file__).parents[2] / ".." / "shared"


def seeded(name: str, **arguments) -> nn.Module:
    torch.manual_seed(0)
    return torchvision.models.get_model(name, weights=None, **arguments).eval()


def as_in_2017(state) -> dict[str, torch.Tensor]:
    """The names that DenseNet's published files still have."""
    return {
        re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", key): value
        for key, value in state.items()
        if not key.endswith("num_batches_tracked")
    }


def published(name: str):
    return torchvision.models.get_model_weights(name).DEFAULT


def publish(monkeypatch, name: str, file: Path, base: str = "http://127.0.0.1:1") -> Path:
    """Make `file` what torchvision believes to be the published weights; returns the file, renamed."""
    named = file.with_name(f"{name}-{hashlib.sha256(file.read_bytes()).hexdigest()[:8]}.pth")
    file.rename(named)
    monkeypatch.setattr(published(name).value, "url", f"{base}/{named.name}")
    return named


@pytest.fixture
def cache(monkeypatch, tmp_path) -> Path:
    """torch's cache of weights, in a folder of the test; no proxy stands between us and 127.0.0.1."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "*")
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def server(tmp_path):
    """A loopback server of the folder `served`; gives its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    (tmp_path / "served").mkdir()
    handler = partial(Quiet, directory=tmp_path / "served")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("squeezenet1_1", {}),
        ("shufflenet_v2_x0_5", {}),
        ("mnasnet0_5", {}),
        ("googlenet", {"aux_logits": True, "init_weights": False}),
        pytest.param("densenet121", {}, marks=pytest.mark.slow),
        pytest.param("inception_v3", {"aux_logits": True, "init_weights": False}, marks=pytest.mark.slow),
        pytest.param("vit_b_32", {}, marks=pytest.mark.slow),
        pytest.param("vgg16", {"init_weights": False}, marks=pytest.mark.slow),
    ],
)
def test_gives_what_torchvision_gives_from_the_same_file(monkeypatch, cache, name, arguments):
    state = seeded(name, **arguments).state_dict()
    if name == "densenet121":
        state = as_in_2017(state)
    torch.save(state, cache / "weights.pth")
    file = publish(monkeypatch, name, cache / "weights.pth")
    theirs = torchvision.models.get_model(name, weights=published(name)).eval()
    model = load_model(name)

    image = Image.effect_noise((400, 300), 80).convert("RGB")
    x = model.preprocess(image).unsqueeze(0)
    with torch.inference_mode():
        expected = theirs(published(name).transforms()(image).unsqueeze(0))
        torch.testing.assert_close(model(x), expected, rtol=1e-3, atol=1e-4)
    assert not model.training
    assert model.weights_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert model.classes[292] == "tiger"
    assert (model.name, model.num_classes, model.input_size) == (name, 1000, MODELS[name].input_size)
    assert not any("aux" in key.lower() for key, _ in model.named_parameters())


def test_a_model_without_auxiliary_heads_in_its_file_loads(tmp_path):
    torch.save(seeded("googlenet", aux_logits=False, init_weights=False).state_dict(), tmp_path / "w.pth")
    logits = load_model("googlenet", weights=tmp_path / "w.pth")(torch.zeros(1, 3, 224, 224))
    assert logits.shape == (1, 1000)


@pytest.mark.parametrize("name", [name for name in MODELS if MODELS[name].source == "torchvision"])
def test_every_model_has_the_preprocessing_of_its_weights(name):
    transform = published(name).transforms()
    transform.mean, transform.std = [0.0] * 3, [1.0] * 3
    ours = loader.preprocessing(transform)
    image = Image.effect_noise((97, 61), 80).convert("RGB")
    assert torch.equal(ours(image), transform(image))
    assert ours.size == MODELS[name].input_size


@pytest.mark.parametrize(
    "name", ["googlenet", "inception_v3", "vgg11_bn", "vit_h_14", "vit_l_32", "swin_v2_t", "maxvit_t", "mnasnet1_3"]
)
def test_the_architecture_is_that_of_the_weights(name):
    with torch.device("meta"):
        module = loader.architecture(name, published(name))
    parameters = sum(each.numel() for each in module.parameters())
    auxiliary = {"inception_v3": 3_326_696}.get(name, 0)  # googlenet's are not counted by torchvision
    assert parameters == published(name).meta["num_params"] - auxiliary
    assert getattr(module, "transform_input", False) == (name in ("googlenet", "inception_v3"))


def test_downloads_into_the_cache_and_prints_nothing_to_stdout(monkeypatch, cache, server, tmp_path, capfd):
    torch.save(seeded("squeezenet1_1").state_dict(), tmp_path / "served" / "w.pth")
    file = publish(monkeypatch, "squeezenet1_1", tmp_path / "served" / "w.pth", server)
    model = load_model("squeezenet1_1")
    out, err = capfd.readouterr()
    assert out == ""
    assert f'Downloading: "{server}/{file.name}"' in err
    assert (cache / file.name).read_bytes() == file.read_bytes()
    assert torch.equal(model.module.classifier[1].weight, seeded("squeezenet1_1").classifier[1].weight)

    file.unlink()
    assert torch.equal(load_model("squeezenet1_1").module.classifier[1].weight, model.module.classifier[1].weight)


def test_a_download_with_the_wrong_hash_is_thrown_away(monkeypatch, cache, server, tmp_path):
    torch.save(seeded("squeezenet1_1").state_dict(), tmp_path / "served" / "w.pth")
    file = publish(monkeypatch, "squeezenet1_1", tmp_path / "served" / "w.pth", server)
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(UserError, match="the download has the wrong sha256"):
        load_model("squeezenet1_1")
    assert list(cache.iterdir()) == []


def test_a_file_that_the_server_does_not_have(monkeypatch, cache, server):
    monkeypatch.setattr(published("squeezenet1_1").value, "url", f"{server}/squeezenet1_1-00000000.pth")
    with pytest.raises(UserError, match=r"it cannot be fetched \(HTTP Error 404: File not found\)"):
        load_model("squeezenet1_1")
    assert list(cache.iterdir()) == []


def test_a_silent_server_is_given_up(monkeypatch, cache):
    monkeypatch.setattr(loader, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/squeezenet1_1-00000000.pth"
        monkeypatch.setattr(published("squeezenet1_1").value, "url", url)
        with pytest.raises(UserError, match=r"it cannot be fetched \(timed out\)"):
            load_model("squeezenet1_1")
    assert socket.getdefaulttimeout() is None


def test_without_a_network_the_message_says_what_to_do(monkeypatch, cache):
    url = "http://127.0.0.1:1/vgg16-397923af.pth"
    monkeypatch.setattr(published("vgg16").value, "url", url)
    with pytest.raises(UserError, match="Connection refused") as caught:
        load_model("vgg16")
    assert caught.value.message.startswith(
        "model vgg16 lacks its weights: vgg16-397923af.pth is not in torch's cache, and it cannot be fetched ("
    )
    assert caught.value.hint.splitlines() == [
        f"looked in: {cache}",
        f"on a connected machine: curl -LO {url} (then copy the file there)",
        "or give a file: --weights FILE",
        "or use a model that loads offline: --model efficientnet_lite0",
    ]
    assert availability(MODELS["vgg16"]).state == "download"


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"it cannot be fetched \(.*Not a directory"):
        load_model("squeezenet1_1")


@pytest.mark.parametrize("poison", ["other weights", "half a file", "nothing"])
def test_a_poisoned_cache_is_found_out(monkeypatch, cache, poison):
    torch.save(seeded("squeezenet1_1").state_dict(), cache / "w.pth")
    file = publish(monkeypatch, "squeezenet1_1", cache / "w.pth")
    if poison == "other weights":
        torch.save({key: value * 2 for key, value in seeded("squeezenet1_1").state_dict().items()}, file)
    else:
        file.write_bytes(file.read_bytes()[:1000] if poison == "half a file" else b"")
    with pytest.raises(UserError, match=f"weights file {file} is (not the published one: its sha256 is|empty)"):
        load_model("squeezenet1_1")


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_own_weights_win_over_the_published(cache, tmp_path, ending):
    state = seeded("shufflenet_v2_x0_5").state_dict()
    file = tmp_path / f"own{ending}"
    save_file(state, file) if ending == ".safetensors" else torch.save({"state_dict": state}, file)
    model = load_model("shufflenet_v2_x0_5", weights=str(file))
    assert torch.equal(model.module.fc.weight, state["fc.weight"])
    assert model.weights_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert list(cache.iterdir()) == []


def test_mnasnet_loads_from_safetensors_which_hold_no_version(tmp_path):
    save_file(seeded("mnasnet0_5").state_dict(), tmp_path / "w.safetensors")
    assert load_model("mnasnet0_5", weights=tmp_path / "w.safetensors").num_classes == 1000


def test_weights_of_another_architecture_are_refused(tmp_path):
    torch.save(seeded("squeezenet1_1").state_dict(), tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"w.pth does not fit squeezenet1_0: .*'features.0.weight': \(64, 3, 3, 3\)"):
        load_model("squeezenet1_0", weights=tmp_path / "w.pth")


def test_an_unknown_device_is_refused_before_anything_is_loaded():
    for device in ("cuda:99", "quantum"):
        with pytest.raises(UserError, match=f"device '{device}' cannot be used here: "):
            load_model("vgg16", device=device)


def test_loading_leaves_random_numbers_alone(tmp_path):
    torch.save(seeded("squeezenet1_1").state_dict(), tmp_path / "w.pth")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_model("squeezenet1_1", weights=tmp_path / "w.pth", device=torch.device("cpu"))
    assert torch.equal(torch.rand(3), expected)


CAFFE = SHARED / "models" / "imagenet-squeezenet1_0-deepcompression.pt"
PHOTOGRAPHS = SHARED / "data" / "imagenet-sample" / "even"


@pytest.fixture(scope="module")
def caffe():
    """SqueezeNet 1.0 with real ImageNet weights, and its mean and std, as shared/models builds it."""
    if not CAFFE.exists() or not PHOTOGRAPHS.exists():
        pytest.skip("needs the sibling folder shared with its models and photographs")
    spec = importlib.util.spec_from_file_location("archs", CAFFE.with_name("archs.py"))
    archs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(archs)
    return archs.build("imagenet-squeezenet1_0-deepcompression")


def folded(module: nn.Module, mean, std) -> dict[str, torch.Tensor]:
    """The same network for torchvision's normalisation; exact, as its first convolution has no padding."""
    transform = published("squeezenet1_0").transforms()
    theirs = [torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (mean, std)]
    wanted = [torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (transform.mean, transform.std)]
    state = dict(module.state_dict())
    weight = state["features.0.weight"].double()
    shift = (weight * ((wanted[0] - theirs[0]) / theirs[1])).sum((1, 2, 3))
    state["features.0.weight"] = (weight * wanted[1] / theirs[1]).float()
    state["features.0.bias"] = (state["features.0.bias"].double() + shift).float()
    return state


def photographs(count: int):
    with (PHOTOGRAPHS / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))[:: 500 // count]
    for row in rows:
        with Image.open(PHOTOGRAPHS / row["file"]) as image:
            yield image.copy(), int(row["index"])


def test_real_imagenet_weights_classify_photographs(caffe, tmp_path):
    module, mean, std = caffe
    file = tmp_path / "squeezenet1_0.pth"
    torch.save(folded(module, mean, std), file)
    model = load_model("squeezenet1_0", weights=file)
    images, labels = zip(*photographs(20), strict=True)
    x = torch.stack([model.preprocess(image) for image in images])
    with torch.inference_mode():
        logits = model(x)
        original = module((x - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1))
    # The original pads its last, 1 x 1 convolution: beside the inner cells it averages a rim of biases.
    side = 13
    rim = torch.relu(model.module.classifier[1].bias) * ((side + 2) ** 2 - side**2)
    torch.testing.assert_close((logits * side**2 + rim) / (side + 2) ** 2, original, rtol=1e-3, atol=1e-3)
    assert (logits.argmax(1) == torch.tensor(labels)).float().mean() >= 0.55
