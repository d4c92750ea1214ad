"""The options of `advbench attack`: defaults, what is passed on, and what stands in the record."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from command import QUICK, attack, rows_of, run

import advbench.pictures.attack
from advbench.config.attack import AttackConfig
from advbench.config.goals import GoalSpec

pytestmark = pytest.mark.usefixtures("fakes_registered", "without_panel")


@pytest.fixture
def asked(monkeypatch):
    """What is asked for, in place of doing it."""
    configs = []
    monkeypatch.setattr(
        advbench.pictures.attack, "attack_pictures", lambda config, progress: configs.append(config) or []
    )

    def ask(*arguments):
        assert run("attack", *arguments).exit_code == 0
        return configs[-1]

    return ask


def test_defaults(asked):
    assert asked("tiger.jpg") == AttackConfig(
        paths=("tiger.jpg",),
        model="efficientnet_lite0",
        weights=None,
        attack="topk",
        goal=GoalSpec("topk-exclusion", k=7),
        goal_named=False,
        norm="linf",
        eps=2 / 255,
        seed=0,
        device="auto",
        batch_size=16,
        out=None,
    )


@pytest.mark.parametrize(
    ("option", "field", "value"),
    [
        (("--model", "vgg16"), "model", "vgg16"),
        (("--weights", "w.pt"), "weights", Path("w.pt")),
        (("--attack", "pgd"), "attack", "pgd"),
        (("--goal", "targeted:brain coral"), "goal", GoalSpec("targeted", classes=("brain coral",))),
        (("--norm", "l2"), "norm", "l2"),
        (("--norm", "l2"), "eps", None),
        (("--eps", "8/255"), "eps", 8 / 255),
        (("--eps", "0.5"), "eps", 0.5),
        (("--seed", "12"), "seed", 12),
        (("--device", "cpu"), "device", "cpu"),
        (("--batch-size", "1"), "batch_size", 1),
        (("--out", "x y"), "out", Path("x y")),
        (("--param", "steps=9", "-p", "dual_step=0.5"), "params", {"steps": 9, "dual_step": 0.5}),
    ],
)
def test_options_are_passed_on(asked, option, field, value):
    assert getattr(asked("tiger.jpg", *option), field) == value
    assert getattr(asked(*option, "tiger.jpg"), field) == value


def test_a_seed_makes_a_run_repeatable(folder):
    noise = ("tiger.png", "--attack", "noise", "--goal", "targeted:3", "--json")
    once, again, other = (rows_of(attack(*noise, "--seed", seed))[0] for seed in "001")
    images = [Path(row["files"]["adversarial.safetensors"]) for row in (once, again, other)]
    assert {**once, "seconds": 0} == {**again, "seconds": 0}
    assert once["run_id"] != other["run_id"]
    assert images[0] == images[2]


def test_the_parameters_stand_in_the_record(folder):
    arguments = (
        "attack",
        "--attack",
        "pgd",
        "--goal",
        "untargeted",
        "--model",
        "tiny",
        "--device",
        "cpu",
        "--out",
        "out",
    )
    result = run(*arguments, "--json", "-p", "steps=3", "-p", "random_start=false", "--eps", "1e-6", "tiger.png")
    (row,) = json.loads(result.stdout)
    assert row["params"] == pq.read_table("out/record.parquet").to_pylist()[0]["params"]
    assert json.loads(row["params"]) == {"steps": 3, "relative_step": 0.0625, "random_start": False, "loss": "margin"}
    assert (row["status"], row["forwards"] + row["backwards"]) == ("ok", 7)
    capped = run(*arguments, "--json", "-p", "steps=3", "--max-passes", "5", "tiger.png")
    (row,) = json.loads(capped.stdout)
    assert "steps=3" in row["params"]


def test_the_parameters_of_foolbox_stand_in_the_record(folder):
    arguments = ("attack", "--attack", "foolbox/ddn", "--goal", "untargeted", "--model", "tiny", "--device", "cpu")
    (row,) = json.loads(run(*arguments, "--json", "-p", "steps=5", "-p", "time_limit=60", "tiger.png").stdout)
    made = json.loads(row["params"])
    assert (row["status"], made["parameters"]["steps"], made["time_limit"]) == ("ok", 5, 60)


def test_a_budget_cuts_the_attack_off_with_what_it_has(folder):
    arguments = ("attack", "--attack", "pgd", "--goal", "untargeted", "--model", "tiny", "--device", "cpu", "--json")
    result = run(*arguments, "--quiet", "--eps", "1e-6", "--max-passes", "9", "tiger.png")
    (row,) = json.loads(result.stdout)
    assert (row["status"], row["met"], row["forwards"] + row["backwards"]) == ("ok", False, 9)
    assert json.loads(row["params"])["max_passes"] == 9


def test_a_budget_that_is_too_small_to_know_anything_leaves_it_unknown(folder):
    result = run("attack", *QUICK, "--json", "--max-passes", "1", "tiger.png")
    (row,) = json.loads(result.stdout)
    assert (result.exit_code, row["status"], row["met"]) == (3, "unknown", None)
    assert "limit of 1 passes was reached" in row["error"]
