"""Commands on a network with several labels for each image: pictures, folders, and mistakes in one line."""

import json
from pathlib import Path

import pytest
from command import advb
from PIL import Image

NETS = """
import torch
from torch import nn

def tags():
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
    net[1].weight.data = 10 * torch.eye(4).repeat_interleave(4, 1) / 4
    net[1].bias.data.fill_(-5.0)
    return net
"""
MODEL = ("--model", "nets.py:tags", "--mean", "0", "--input-size", "4", "--classes", "names.txt")
SEVERAL = (*MODEL, "--thresholds", "0")
ROWS = {"a.png": (0, 1), "b.png": (1,), "c.png": (2, 3), "d.png": ()}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(NETS)
    Path("names.txt").write_text("north\neast\nsouth\nwest\n")
    Path("val").mkdir()
    for number, (name, labels) in enumerate(ROWS.items()):
        picture = Image.new("L", (4, 4), 100)
        for label in labels:
            picture.paste(155 + number, (0, label, 4, label + 1))
        picture.save(Path("val", name))
    Path("val/labels.csv").write_text("file,labels\na.png,north|east\nb.png,east\nc.png,south|west\nd.png,\n")


def attacked(*options: object) -> dict[str, object]:
    done = advb("attack", "val/a.png", *SEVERAL, "--attack", "fmn", "--json", "--quiet", "--out", "out", *options)
    return dict(json.loads(done.stdout)[0])


@pytest.mark.parametrize(
    ("goal", "after"),
    [("label-off:east", [0]), ("label-on:south", [0, 1, 2]), ("labels-equal:west", [3]), ("labels-equal:none", [])],
)
def test_a_picture_and_a_goal(goal: str, after: list[int]) -> None:
    row = attacked("--goal", goal, "--eps", "0.3")
    assert (row["met"], row["clean_labels"], row["clean_class"]) == (True, [0, 1], None)
    assert row["adv_labels"] == after


def test_the_default_goal_is_that_any_label_flips() -> None:
    row = attacked("--eps", "0.3")
    assert (row["goal"], row["goal_labels"], row["met"]) == ("any-label-flips", [], True)
    assert row["adv_labels"] != row["clean_labels"]


def test_the_terminal_shows_labels_before_and_after() -> None:
    goal = ("--goal", "label-off:east", "--eps", "0.3", "--attack", "fmn", "--out", "out")
    told = advb("attack", "val/a.png", *SEVERAL, *goal).output
    assert "goal label-off:east: met" in told
    (east,) = (line for line in told.splitlines() if line.lstrip().startswith("east"))
    assert east.split()[2::2] == ["on", "off"]
    assert Path("out/panel.png").stat().st_size > 0
    told = advb("attack", "val/b.png", *SEVERAL, "--goal", "label-on:east", "--out", "out2").output
    assert "already meets the goal 'label-on:east'" in " ".join(told.split())


def test_a_look_at_a_folder() -> None:
    told = advb("datasets", "folder:val/", *SEVERAL).output
    assert "labels, several each" in told
    assert "every label right when clean" in told
    assert "100.0 % (4/4)" in told
    found = json.loads(advb("datasets", "folder:val/", *SEVERAL, "--json").stdout)[0]
    assert {each["name"]: each["images"] for each in found["classes"]} == {"north": 1, "east": 2, "south": 1, "west": 1}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--goal", "label-off:east", *MODEL), "is for several labels, and nets.py:tags has one class"),
        (("--goal", "untargeted", *SEVERAL), "is for one class of each image, and nets.py:tags has several labels"),
        (("--goal", "label-off:up", *SEVERAL), "has no class 'up'"),
        ((*MODEL, "--thresholds", "0,1"), "expected 4 thresholds, one for each class, got 2"),
        ((*MODEL, "--thresholds", "half"), "--thresholds 'half' is not a list of numbers such as 0, or 0,-1.5,2"),
        ((*SEVERAL, "--prove"), "has several labels, which proofs do not support"),
        (("--model", "lenet", "--thresholds", "0"), "model lenet takes no thresholds"),
    ],
)
def test_mistakes_end_in_one_line(arguments: tuple[str, ...], problem: str) -> None:
    done = advb("attack", "val/a.png", *arguments, "--out", "out", code=2)
    assert problem in " ".join(done.output.split())
    assert "Traceback" not in done.output


@pytest.mark.parametrize("command", [("explain", "val/a.png"), ("universal", "fit", "val", "--out", "u")])
def test_commands_for_one_class_say_so(command: tuple[str, ...]) -> None:
    done = advb(*command, *SEVERAL, code=2)
    assert "has several labels for each image" in " ".join(done.output.split())


def test_the_fixture_takes_rows_of_labels() -> None:
    import torch
    from several import bright_rows, rows_model

    from advbench.datasets.labels import truth_tensor
    from advbench.testing import Bench

    data = bright_rows()
    x = torch.stack([data.read(number) for number in range(len(data))])
    bench = Bench("test_tags", None)
    near = bench(rows_model(), (x, truth_tensor(data.label_sets, 4)), eps=0.05, params={"loss": "ce"})
    assert (near.cell.threat.goal, near.cell.robust.k, near.cell.robust.n) == ("any-label-flips", 8, 8)
    near.assert_robust(min=1.0)
    assert bench(rows_model(), data, eps=0.3, params={"loss": "ce"}).cell.robust.k == 0
    with pytest.raises(ValueError, match="rows of 4 values that are not one-hot"):
        bench(lambda x: x.flatten(1)[:, :4], (x, truth_tensor(data.label_sets, 4)), eps=0.05)
