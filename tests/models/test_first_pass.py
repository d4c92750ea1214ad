"""What a model of the user's own does when it is first asked: every command tells a failure in one sentence."""

import warnings
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import advbench
from advbench import Classifier, load_model
from advbench.cli.main import main
from advbench.errors import UserError
from advbench.explain import class_images, filter_images, find_layer
from advbench.models.networks.new_top import with_new_top
from advbench.models.trial import try_model
from advbench.planning.identity.run import model_digest

NETS = """
import torch
from torch import nn
import advbench

def linear(inputs=784):
    torch.manual_seed(0)
    return nn.Linear(inputs, 10)

class Net(nn.Module):
    def __init__(self, after, inputs=784):
        super().__init__()
        self.linear, self.after = linear(inputs), after
    def forward(self, x):
        return self.after(self.linear(x.flatten(1)))

def wrapped(module, channels=1, **more):
    given = {"num_classes": 10, "mean": [0.0] * channels, "std": [1.0] * channels, "input_size": 28}
    return advbench.Classifier(module, **given | more)

def raises(error):
    def after(z):
        raise error
    return wrapped(Net(after))

def missing_key(): return raises(KeyError("logits"))
def gives_up(): return raises(SystemExit(1))
def without_words(): return raises(AssertionError())
def nothing(): return wrapped(Net(lambda z: None))
def labels(): return wrapped(Net(lambda z: z.argmax(1)))
def four_channels(): return wrapped(Net(lambda z: z, 4 * 784), 4)
def other_size(): return wrapped(Net(lambda z: z, 9), input_size=None)
def one_class(): return wrapped(nn.Linear(784, 1), num_classes=1)
def odd_picture(): return wrapped(Net(lambda z: z), preprocess=lambda picture: picture.pixels)
def normalised(): return wrapped(Net(lambda z: z), preprocess=lambda picture: torch.full((1, 28, 28), -2.0))
def bytes_(): return wrapped(Net(lambda z: z), preprocess=lambda picture: torch.zeros(1, 28, 28, dtype=torch.uint8))
def half(): return wrapped(Net(lambda z: z).half())
def brain(): return wrapped(Net(lambda z: z).bfloat16())
def double(): return wrapped(Net(lambda z: z).double())

class Inside(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = linear().bfloat16()
    def forward(self, x):
        return self.linear(x.flatten(1).bfloat16()).float()

def inside(): return wrapped(Inside())

def oblong():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), linear(4 * 38 * 22))
    return wrapped(network, 3, input_size=(40, 24))

def quantised():
    network = nn.Sequential(nn.Flatten(), linear()).eval()
    return wrapped(torch.ao.quantization.quantize_dynamic(network, {nn.Linear}))
"""
SUITE = """
models = "nets.py:{name}"
datasets = "mnist"
images = 2
noise = false
attacks = [{{ name = "{attack}", params = {{ steps = 2 }} }}]
eps = {{ linf = 0.3 }}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with models and two pictures."""
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(NETS)
    for number, shade in enumerate((60, 200)):
        Image.new("L", (28, 28), shade).save(f"{number}.png")
    return tmp_path


def run(command: str, name: str, attack: str = "pgd") -> Result:
    """A command on a model of the file; what a command should not let through is raised."""
    own = ["--model", f"nets.py:{name}", "--device", "cpu", "--out", "out", "--quiet"]
    Path("own.toml").write_text(SUITE.format(name=name, attack=attack))
    commands = {
        "attack": ["attack", "--attack", attack, "--goal", "untargeted", *own, "0.png", "1.png"],
        "run": ["run", "own.toml", "--allow-code", "--out", "out", "--quiet"],
        "universal": ["universal", "fit", "0.png", "1.png", "--steps", "2", *own],
        "explain": ["explain", "0.png", "--what", "predictions,occlusion,layers", *own],
    }
    done = CliRunner().invoke(main, commands[command])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


FAILURES = {
    "missing_key": "model nets.py:missing_key fails on an image of shape (1, 28, 28): KeyError: 'logits'",
    "gives_up": "model nets.py:gives_up fails on an image of shape (1, 28, 28): SystemExit: 1",
    "without_words": "model nets.py:without_words fails on an image of shape (1, 28, 28): AssertionError",
    "nothing": "model nets.py:nothing fails on an image of shape (1, 28, 28): expected ",
    "labels": "model nets.py:labels fails on an image of shape (1, 28, 28): expected ",
    "four_channels": "mean and std have 4 channels, but a picture has 3, or 1 if mean has one entry",
    "other_size": "fails on an image of shape (1, 28, 28): mat1 and mat2 shapes cannot be multiplied",
    "one_class": "nets.py:one_class failed: ValueError: expected num_classes >= 2, got 1: turn one logit z for two",
    "odd_picture": "preprocess of nets.py:odd_picture fails on a picture of 28 x 28 pixels: AttributeError: ",
    "normalised": "what preprocess of nets.py:normalised makes of a picture has values outside [0, 1]",
    "bytes_": "what preprocess of nets.py:bytes_ makes of a picture is not an image: expected float32 (C, H, W), got ",
}


@pytest.mark.parametrize("command", ["attack", "run", "universal", "explain"])
@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_told_in_a_sentence(command: str, name: str) -> None:
    done = run(command, name)
    assert done.exit_code == 2
    assert FAILURES[name] in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("command", ["attack", "run", "universal", "explain"])
@pytest.mark.parametrize("name", ["half", "brain", "double", "inside"])
def test_weights_of_other_types_simply_work(command: str, name: str) -> None:
    done = run(command, name)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("command", ["attack", "run", "universal", "explain"])
def test_inputs_that_are_no_squares_simply_work(command: str) -> None:
    done = run(command, "oblong")
    assert done.exit_code == 0, done.output


def test_pictures_are_painted_in_the_size_of_the_model() -> None:
    model = load_model("nets.py:oblong")
    assert class_images(model, [[3]], steps=1).images.shape == (1, 3, 40, 24)
    assert filter_images(model, find_layer(model, "0"), [1], steps=1).images.shape == (1, 3, 40, 24)


def test_a_network_that_turns_the_images_by_itself_is_left_so() -> None:
    model, other = load_model("nets.py:inside"), load_model("nets.py:brain")
    assert type(model.module).__name__ == "Inside"
    x = torch.rand(3, 1, 28, 28)
    torch.testing.assert_close(model(x), other(x))
    assert other(x).dtype == torch.float32


def test_quantised_networks_work_without_gradients() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao.quantization is deprecated
        for command in ("attack", "run"):
            done = run(command, "quantised", "square")
            assert done.exit_code == 0, done.output
        refused = run("attack", "quantised")
    assert refused.exit_code == 3
    assert "use an attack that needs none, such as Square" in refused.stderr


def test_digests_tell_quantised_weights_apart() -> None:
    def digest(seed: int, scale: float = 1.0) -> str:
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval()
        network[1].weight.data *= scale
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            quantised = torch.ao.quantization.quantize_dynamic(network, {nn.Linear})
        return model_digest(Classifier(quantised, num_classes=3))

    assert digest(0) == digest(0)
    assert len({digest(0), digest(1), digest(0, scale=2.0)}) == 3


def test_mistakes_of_ours_are_not_told_as_the_models(monkeypatch: pytest.MonkeyPatch) -> None:
    def slip(*_: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("advbench.models.preprocess._centre", slip)
    with pytest.raises(ZeroDivisionError, match="ours"):
        run("attack", "half")


def test_a_model_is_tried_once_for_each_shape() -> None:
    asked = []

    def network(x: torch.Tensor) -> torch.Tensor:
        asked.append(tuple(x.shape))
        return x.flatten(1)[:, :2]

    model = Classifier(network, num_classes=2)
    for side in (2, 3, 2):
        try_model(model, torch.zeros(1, side, side))
    assert asked == [(1, 1, 2, 2), (1, 1, 3, 3)]


def test_a_picture_of_a_size_that_the_model_does_not_take_is_lost_alone() -> None:
    text = NETS.replace("Net(lambda z: z, 9), input_size=None", "Net(lambda z: z), input_size=None")
    Path("nets.py").write_text(text)
    Image.new("L", (20, 20), 100).save("1.png")
    done = run("attack", "other_size")
    assert done.exit_code == 3
    assert "cannot read '1.png': model nets.py:other_size fails on an image of shape (1, 20, 20)" in done.stderr


def test_no_top_for_a_network_that_gives_no_features() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.top = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            z = self.top(x.flatten(1))
            return z, z

    with pytest.raises(UserError, match="cannot be given a new top: without its last layer it returns a tuple"):
        with_new_top(Classifier(Two(), num_classes=3, mean=[0.5], input_size=2), 2)


def test_a_run_folder_is_not_explained_by_running_its_code() -> None:
    assert run("run", "half").exit_code == 0
    refused = CliRunner().invoke(main, ["explain", "--run", "out"])
    assert refused.exit_code == 2
    assert "names models that run code: nets.py" in refused.stderr
    done = CliRunner().invoke(main, ["explain", "--run", "out", "--allow-code", "--quiet", "--device", "cpu"])
    assert done.exit_code in (0, 2), done.output
    assert "run code" not in done.stderr


# timm


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("resnet18.wrong_tag", "timm has no weights 'resnet18.wrong_tag'", "resnet18.a1_in1k"),
        ("resnet18.", "timm has no weights 'resnet18.'", "resnet18.a1_in1k"),
        ("vit_base_patch14_dinov2.lvd142m", "is not a classifier: it returns features", "file.py:function"),
        ("vit_base_patch32_clip_224.laion2b", "is not a classifier", "vit_base_patch32_clip_224.openai_ft_in1k"),
    ],
)
def test_timm_names_of_no_classifier(name: str, message: str, hint: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        load_model(f"timm/{name}")
    assert hint in error.value.hint


def test_no_timm_name_ends_in_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    def offline(*_: object, **__: object) -> str:
        raise OSError("no route to host")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", offline)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", offline)
    for name in timm.list_pretrained():
        with pytest.raises(UserError, match=r"lacks its weights|no weights on the hub|is not a classifier") as error:
            load_model(f"timm/{name}")
        count = timm.get_pretrained_cfg(name).num_classes
        # ImageNet has 1,000 classes and its supersets over 10,000; what lies between are features.
        assert ("is not a classifier" in error.value.message) == (count != 1000 and count < 10_000)


def test_a_timm_network_with_weights_of_ones_own() -> None:
    import timm

    save_file(timm.create_model("test_resnet.r160_in1k", pretrained=False).state_dict(), "weights.safetensors")
    model = advbench.load_model("timm/test_resnet.r160_in1k", weights="weights.safetensors")
    assert model(model.preprocess(Image.new("RGB", (30, 50))).unsqueeze(0)).shape == (1, 1000)
