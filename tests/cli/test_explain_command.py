"""`advbench explain` as people meet it: figures of their sizes, one page, sentences for mistakes."""

import json
import os
import re
import sys
from pathlib import Path

import fakes
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from advbench import Classifier
from advbench.catalog import MODELS
from advbench.cli.main import main
from advbench.config.explain import EXPLANATIONS, WITHOUT_PICTURE, Options
from advbench.explain import Subject, explain, page

ATTACK = ("--attack", "fgsm", "--goal", "untargeted", "--eps", "8/255")
ALL = ("--model", "eyes", "--device", "cpu", "--steps", "2")


def eyes(card, weights=None):
    """Two convolutions with a ReLU in place and the hostile class names of the small models."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 12, 3, stride=2),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(12 * 49, len(fakes.CLASSES)),
    )
    return Classifier(
        net, num_classes=len(fakes.CLASSES), mean=[0.5] * 3, std=[0.05] * 3, classes=fakes.CLASSES, input_size=32,
        name=card.name,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _tables(monkeypatch):
    monkeypatch.setattr(fakes, "eyes", eyes, raising=False)
    with fakes.registered("eyes"):
        card = MODELS["eyes"]
        monkeypatch.setitem(MODELS._cards, "eyes", type(card)(**{
            **{name: getattr(card, name) for name in card.__slots__}, "loader": "fakes:eyes", "data": "CIFAR-10",
        }))  # fmt: skip
        yield


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a picture ``tiger.png`` in it."""
    monkeypatch.chdir(tmp_path)
    fakes.picture(Path("tiger.png"), 1, (40, 36))
    return tmp_path


def run(*arguments):
    result = CliRunner().invoke(main, ["explain", *map(os.fspath, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert "Traceback" not in result.output
    return result


def size(path):
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return picture.size


SIZES = {
    "predictions": (1000, 720),
    "grad-cam": (1000, 671),
    "saliency": (1000, 671),
    "smooth-saliency": (1000, 671),
    "integrated-gradients": (1000, 671),
    "occlusion": (1000, 671),
    "path": (1000, 520),
    "filters": (1000, 432),
    "class-image": (1000, 400),
}


def test_everything_about_a_pair_is_drawn_and_stands_on_one_page(folder):
    result = run("tiger.png", *ALL, *ATTACK, "--out", "out", "--json")
    assert result.exit_code == 0
    (told,) = json.loads(result.stdout)
    assert list(told["sections"]) == list(EXPLANATIONS)
    assert sorted(path.name for path in Path("out").iterdir()) == sorted(told["files"])
    found = {name: size(f"out/{name}.png") for name in SIZES}
    assert found == SIZES
    assert size("out/embedding.png")[0] == 1000
    assert [name for name in told["files"] if name.startswith("features")] == ["features-0.png", "features-2.png"]
    text = Path("out/explain.html").read_text(encoding="utf-8")
    assert text.count('<img src="data:image/webp;base64,') == len(told["files"]) - 1
    assert "Not possible" not in text
    assert "<script" not in text.lower()
    assert "The picture as it is, and an adversarial one (fgsm · Linf ≤ 8/255)." in text, "whatever eps makes of it"
    assert not re.search(r'(?:src|href)="(?!data:|#)', text)


def test_of_a_clean_picture_alone_what_needs_another_is_said_to_be_impossible(folder):
    result = run("tiger.png", *ALL, "--out", "out")
    assert result.exit_code == 0
    assert "path: Not possible: a path leads to an adversarial picture, but there is none" in " ".join(
        result.stdout.split()
    )
    assert size("out/predictions.png") == (1000, 380)
    assert not Path("out/path.png").exists()
    assert "Not possible: a path leads" in Path("out/explain.html").read_text(encoding="utf-8")


def test_prints_predictions_and_layers(folder):
    result = run("tiger.png", *ALL, *ATTACK, "--what", "layers,predictions")
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "0 Conv2d 8 x 15 x 15 224" in lines
    assert "5 Linear 20 11,780" in lines
    assert "clean adversarial" in lines
    assert sum(bool(re.match(r"[1-5] .* \d+\.\d%", line)) for line in lines) == 5
    assert max(map(len, result.stdout.splitlines())) <= 100
    assert lines[-1].startswith("files in reports/tiger-eyes-explained: predictions.png, explain.html")


@pytest.mark.parametrize("what", WITHOUT_PICTURE)
def test_a_network_alone_can_be_looked_at(folder, what):
    result = run(*ALL, "--what", what, "--class", "tiger", "--out", "out")
    assert result.exit_code == 0
    assert Path("out/explain.html").exists()


def test_a_chosen_filter_is_shown_alone(folder):
    result = run("tiger.png", *ALL, *ATTACK, "--what", "features", "--layer", "2", "--filter", "7", "--out", "out")
    assert result.exit_code == 0
    assert size("out/features-2-7.png") == (1000, 620)


def test_all_maps_and_single_pictures_have_their_sizes(folder):
    run("tiger.png", *ALL, "--what", "features", "--layer", "2", "--every", "--filter", "3", "--out", "a")
    run("tiger.png", *ALL, "--what", "features,saliency", "--layer", "0", "--every", "--out", "b")
    assert size("a/features-2-3.png") == (1000, 500)
    assert size("b/features-0.png") == (1000, 225)
    assert size("b/saliency.png")[0] == 1000


def test_the_adversarial_picture_may_come_from_a_file(folder):
    clean = MODELS["eyes"]
    x = eyes(clean).preprocess(Image.open("tiger.png"))
    other = (x + 4 / 255).clamp(0, 1)
    pixels = (other * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save("small.png")  # of the model's size
    save_file({"adversarial": other}, "exact.safetensors")
    Image.open("tiger.png").point(lambda value: value + 4).save("large.png")  # of the picture's size
    tables = []
    for name in ("small.png", "exact.safetensors", "large.png"):
        (told,) = json.loads(run("tiger.png", *ALL, "--adversarial", name, "--what", "predictions", "--json").stdout)
        tables.append(told["sections"]["predictions"]["table"])
    assert tables[0] == tables[1] == tables[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tiger.png", "--layer", "9"), r"error: eyes has no layer '9'\n.*`advbench explain --what layers` lists"),
        (("tiger.png", "--what", "features", "--layer", "2", "--filter", "12"), r"layer '2' has no filter 12\nit has"),
        (("tiger.png", "--what", "grad-cam", "--layer", "5"), r"layer '5' of eyes has no feature maps: its output"),
        (("tiger.png", "--class", "tigre"), r"eyes has no class 'tigre'\ndid you mean tiger"),
        (("tiger.png", "--what", "salience"), r"unknown explanation 'salience'\ndid you mean saliency"),
        (("tiger.png", "--what", "path"), r"there is none: give --adversarial or --attack"),
        (("tiger.png", "--adversarial", "wide.png"), r"'wide.png' has 50 x 20 pixels, 'tiger.png' 40 x 36: .*\n.*32"),
        (("tiger.png", "--adversarial", "tiger.png"), r"are the same picture to the model"),
        (("tiger.png", "--adversarial", "x.safetensors"), r"'x.safetensors' has no tensor 'adversarial' of 3 x 32"),
        (("tiger.png", "--adversarial", "no.png"), r"cannot read 'no.png': no such file"),
        (("tiger.png", "--adversarial", "no.safetensors"), r"cannot read 'no.safetensors': No such file"),
        (("tiger.png", "--adversarial", "wide.png", *ATTACK), r"--adversarial and the options of an attack exclude"),
        (("tiger.png", "--attack", "pgdd"), r"unknown attack 'pgdd'"),
        (("tiger.png", "--attack", "clean_returned"), r"'clean_returned' failed on 'tiger.png': it found nothing"),
        (("tiger.png", "--attack", "over_budget"), r"failed on 'tiger.png': what it returned is not within"),
        (("no.png",), r"cannot read 'no.png'"),
        ((), r"explain needs a picture\nonly filters, class-image, layers, chosen with --what, work without"),
        (("--what", "class-image"), r"this needs a picture, but none was given"),
        (("--what", "filters", "--attack", "fgsm"), r"an adversarial picture needs the clean one"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_in_a_sentence(folder, arguments, message):
    fakes.picture(Path("wide.png"), 1, (50, 20))
    save_file({"adversarial": torch.zeros(3, 8, 8)}, "x.safetensors")
    result = run(*arguments, *ALL, "--quiet")
    assert result.exit_code == 2
    assert re.search(message, result.stderr), result.stderr
    assert result.stdout == ""
    assert not Path("reports").exists()


def test_the_same_is_drawn_again(folder):
    for out in ("a", "b"):
        assert run("tiger.png", *ALL, *ATTACK, "--what", "smooth-saliency,path,filters", "--out", out).exit_code == 0
    for name in ("smooth-saliency.png", "path.png", "filters.png", "explain.html"):
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes()


class Rounded(nn.Module):
    """A grey network of functions without a gradient."""

    def forward(self, x):
        return torch.stack([x.mean((1, 2, 3)), -x.mean((1, 2, 3))], 1).detach()


class Bright(Rounded):
    """Whether a grey picture is bright."""

    def forward(self, x):
        return super().forward(x - 0.5)


@pytest.mark.parametrize("fooled", [True, False])
def test_no_boundary_is_said_to_be_crossed_where_the_class_stays(tmp_path, fooled):
    model = Classifier(Bright(), num_classes=2, mean=[0.0], input_size=16, name="bright")
    x = torch.full((1, 1, 16, 16), 0.4)
    done = explain(model, Subject("grey", x, x + (0.2 if fooled else 0.05)), tmp_path)
    (path,) = (section for section in done.sections if section.name == "path")
    assert ("crosses a boundary" in path.text) == fooled


def test_without_captum_it_is_said_once_with_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum", None)
    result = run("tiger.png", *ALL, "--out", "out")
    assert result.exit_code == 0
    told = " ".join(result.stdout.split())
    needed = 'this needs the package captum, which is not installed; pip install "advbench[explain]"'
    assert f"grad-cam, saliency, smooth-saliency, integrated-gradients, occlusion: Not possible: {needed}." in told
    assert told.count("captum") == 1
    assert Path("out/explain.html").read_text(encoding="utf-8").count("captum") == 1


def test_of_a_black_box_what_is_impossible_says_why(tmp_path):
    model = Classifier(Rounded(), num_classes=2, mean=[0.0], input_size=16, name="black box")
    x = torch.rand(1, 1, 16, 16)
    done = explain(model, Subject("<b>grey</b>", x, 1 - x), tmp_path)
    said = {section.name: section.text for section in done.sections if not section.figures and not section.table}
    assert sorted(done.files) == ["explain.html", "occlusion.png", "path.png", "predictions.png"]
    assert said["saliency"] == "Not possible: black box has no gradient, but this needs one."
    assert said["grad-cam"] == "Not possible: black box has no convolution, so it has no feature maps to show."
    assert said["features"] == "Not possible: black box has no convolutions to show."
    assert "&lt;b&gt;grey&lt;/b&gt;" in done.files["explain.html"].read_text(encoding="utf-8")


def test_tables_agree():
    assert list(page.DRAWN) == list(EXPLANATIONS)
    assert set(WITHOUT_PICTURE) < set(EXPLANATIONS)
    assert Options().classes == ()
