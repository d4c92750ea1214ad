"""`advbench explain --run`: the images of a run that the smallest perturbations fooled."""

import json

import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from tables import tables_restored
from torch import nn

from advbench import Classifier, load_run
from advbench.api import run
from advbench.catalog import plugins
from advbench.cli.main import main
from advbench.explain.gallery import explain_run, most_easily_fooled
from advbench.planning.resources import Resources

SUITE = {
    "name": "small",
    "models": "tiny",
    "datasets": "smooth",
    "attacks": [{"name": "pgd", "params": {"steps": 3}}, {"name": "fmn", "params": {"steps": 8}, "norms": ["l2"]}],
    "eps": {"linf": [0.1], "l2": 2},
    "save": "all",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run that kept all of its adversarial images; the tables hold what it names."""
    with tables_restored():
        plugins.load_plugins(["fake_plugin"])
        path = tmp_path_factory.mktemp("runs") / "run"
        run(SUITE, out=path)
        yield path


def explain(*arguments):
    return CliRunner().invoke(main, ["explain", *map(str, arguments)])


def test_the_smallest_perturbations_come_first_and_no_image_twice(folder):
    found = most_easily_fooled(load_run(folder))
    assert len(found) > 3
    assert not found.duplicated("sample_id").any()
    assert found["flipped"].all()
    assert "noise" not in set(found["attack"])
    for norm, rows in found.groupby("norm", observed=True):
        assert rows[norm].is_monotonic_increasing


def test_each_image_has_a_strip_and_all_stand_on_a_page(folder, tmp_path):
    result = explain("--run", folder, "--worst", 3, "--out", tmp_path, "--json")
    assert result.exit_code == 0, result.output
    (told,) = json.loads(result.stdout)
    strips = [name for name in told["files"] if name.endswith(".png")]
    assert strips == ["tiny-01.png", "tiny-02.png", "tiny-03.png"]
    for name in strips:
        with Image.open(tmp_path / name) as strip:
            assert strip.size == (1000, 265)
    page = (tmp_path / "explain.html").read_text(encoding="utf-8")
    assert page.count("<img") == 3
    assert "What was fooled most easily in run" in page


def test_of_a_network_with_layers_the_last_hidden_one_is_shown(folder, monkeypatch):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(256, 20))
    model = Classifier(net, num_classes=20, mean=[0.5] * 3, std=[0.2] * 3, input_size=32, name="eyes")
    monkeypatch.setattr(Resources, "model", lambda self, label: model)
    sections = explain_run(folder, worst=4)
    assert [section.name for section in sections] == ["worst-tiny", "embedding-tiny"]
    assert len(sections[0].figures) == 4
    assert [section.name for section in explain_run(folder, worst=2)] == ["worst-tiny"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--run", "no such run"), "no such run is not the folder of a run"),
        (("--run", "x", "tiger.png"), "it takes no picture, attack, --what or description"),
        (("--run", "x", "--attack", "pgd"), "it takes no picture, attack, --what or description"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(tmp_path, arguments, message):
    result = explain(*arguments, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_run_that_kept_nothing_says_so(folder, tmp_path):
    alone = {"attacks": SUITE["attacks"][:1], "eps": {"linf": [0.1]}}
    run(SUITE | {"save": "none", **alone}, out=tmp_path / "run")
    result = explain("--run", tmp_path / "run", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "kept no image that was fooled" in result.stderr
    assert 'save = "gallery" or "all"' in result.stderr
