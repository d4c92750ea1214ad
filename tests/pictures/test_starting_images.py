"""Attacks by decisions alone in runs, tests and commands: what they start from, and what is said where they cannot."""

import json
from unittest.mock import patch

import fakes
import pandas as pd
import pytest
import torch

import advbench
from advbench.config.attack import AttackConfig
from advbench.config.goals import parse_goal
from advbench.config.suite_files import load_suite
from advbench.datasets.dataset import Dataset
from advbench.models.classifier import Classifier
from advbench.pictures.attack import attack_pictures
from advbench.pictures.starting import carried_starts, of_shape
from advbench.planning.plan import make_plan
from advbench.planning.resources import MOST_STARTS, Resources, spread
from advbench.records.record import OK, UNKNOWN
from advbench.testing import Bench

KEY = (torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(4)) > 0.5).float()
"""An image that nobody would draw."""
PARAMS = {"steps": 1, "directions": 5}
DIM = 0.2 + 0.2 * torch.rand(9, 3, 8, 8, generator=torch.Generator().manual_seed(5))
WITH_KEY = torch.cat([DIM, KEY.unsqueeze(0)])
EACH = pytest.mark.parametrize(
    ("attack", "params"), [("hop_skip_jump", PARAMS), ("foolbox/boundary", {"steps": 5})], ids=["own", "foolbox"]
)


def locked(x):
    """Images like the key are of class 1."""
    margin = 0.2 - (x - KEY).flatten(1).abs().mean(1)
    return 9 * torch.stack([-margin, margin], 1)


# --- in a test ---


@EACH
def test_where_nothing_can_be_started_from_nothing_is_known(attack, params):
    result = Bench("t", None)(locked, DIM, attack=attack, norm="l2", params=params)
    assert set(result.frame["status"]) == {UNKNOWN}
    assert result.frame["error"].str.contains("no start: none of").all()
    assert result.frame["error"].str.contains("so nothing was tried on it").all()
    assert (result.cell.robust.k, result.cell.robust.unknown) == (0, len(DIM))
    with pytest.raises(AssertionError, match="robust accuracy is 0"):
        result.assert_robust(min=0.5)


@EACH
def test_images_of_the_other_class_are_what_a_test_starts_from(attack, params):
    frames = []
    for size in (3, 64):
        result = Bench("t", None)(locked, WITH_KEY, attack=attack, norm="l2", params=params, batch_size=size)
        assert set(result.frame["status"]) == {OK}
        assert (result.cell.robust.k, result.cell.robust.unknown) == (0, 0)
        assert "starts" not in json.loads(result.frame["params"][0])
        frames.append(result.frame.drop(columns="seconds"))
    pd.testing.assert_frame_equal(*frames)


def test_what_a_start_costs_is_booked():
    result = Bench("t", None)(locked, WITH_KEY, attack="hop_skip_jump", norm="l2", params=PARAMS | {"start_draws": 1})
    alone = Bench("t", None)(
        locked, WITH_KEY[:1], attack="hop_skip_jump", norm="l2", params=PARAMS | {"start_draws": 1}
    )
    assert alone.frame["forwards"].isna().all()
    assert result.frame["forwards"][:9].min() >= 1 + 9 + 5


# --- in a run ---


def suite(**fields):
    attacks = [{"name": "hop_skip_jump", "params": PARAMS}, {"name": "fmn", "params": {"steps": 2}}]
    return {"name": "x", "models": "locked", "datasets": "dim", "attacks": attacks, "norms": "l2"} | fields


def parts(x):
    data = Dataset(name="dim", images=tuple(map(str, range(len(x)))), labels=None, read=lambda number: x[number])
    return {"models": {"locked": Classifier(locked, num_classes=2)}, "datasets": {"dim": data}}


def hops(done):
    return done.frame[done.frame["attack"] == "hop_skip_jump"].drop(columns=["seconds", "unit_id"])


def test_the_images_of_a_run_are_what_its_units_start_from_however_they_are_cut(tmp_path):
    whole = hops(advbench.run(suite(), out=tmp_path / "a", **parts(WITH_KEY)))
    with patch("advbench.planning.cost.batches.LARGEST_BATCH", 2):
        cut = hops(advbench.run(suite(), out=tmp_path / "b", **parts(WITH_KEY)))
    assert (whole["status"] == OK).all()
    assert whole["met"].all()
    pd.testing.assert_frame_equal(whole, cut)


def test_a_run_in_which_nothing_can_be_started_from_is_incomplete(tmp_path):
    from advbench.analysis.gates import evaluate

    done = advbench.run(suite(attacks=suite()["attacks"][:1]), out=tmp_path, **parts(DIM))
    assert set(done.frame["status"].astype(str)) == {UNKNOWN}
    assert "no start: none of 9 given and 100 drawn images meets the goal" in done.frame["error"].astype(str)[0]
    assert evaluate(done, done.suite.gates).exit_code == 3


def test_what_a_unit_may_start_from_is_part_of_its_name():
    def names(x):
        chosen = load_suite(suite(), names={"locked", "dim"})
        with patch("advbench.planning.cost.batches.LARGEST_BATCH", 1):
            units = make_plan(chosen, Resources(chosen, **parts(x))).units
        return {unit.attack: unit.unit_id for unit in units if unit.samples == (0,) and unit.task == "attack"}

    one, other = names(WITH_KEY), names(torch.cat([WITH_KEY[:9], 1 - WITH_KEY[9:]]))
    assert one["fmn"] == other["fmn"]
    assert one["hop_skip_jump"] != other["hop_skip_jump"]


def test_a_forecast_counts_the_questions_about_what_may_be_started_from():
    def passes(x, **attack):
        own = {"name": "hop_skip_jump", "params": PARAMS} | attack
        chosen = load_suite(suite(attacks=own), names={"locked", "dim"})
        units = make_plan(chosen, Resources(chosen, **parts(x))).units
        return next(unit.passes for unit in units if unit.attack == "hop_skip_jump")

    assert passes(WITH_KEY) == passes(WITH_KEY[:3]) + 7
    assert passes(WITH_KEY, max_passes=20) <= 20


def test_starts_are_spread_over_a_data_set_that_may_be_sorted():
    for count in (1, 2, MOST_STARTS, MOST_STARTS + 1, 10 * MOST_STARTS - 1):
        some = spread(range(count))
        assert min(count, MOST_STARTS // 2) <= len(some) <= MOST_STARTS
        assert some[0] == 0
        assert some[-1] >= count - 1 - count // MOST_STARTS


# --- on single pictures ---


def test_pictures_may_start_from_samples_of_what_the_model_was_trained_on():
    mnist = carried_starts(advbench.load_model("lenet"), "lenet")
    assert len(mnist) == 250
    assert mnist[0].shape == (1, 28, 28)
    tiny = carried_starts(fakes.classifier(), "tiny")
    assert (len(tiny), tiny[0].shape) == (20, (3, fakes.SIZE, fakes.SIZE))
    assert of_shape(tiny, torch.zeros(1, 3, 9, 9)) is None


def test_a_picture_has_the_same_result_alone_and_beside_others(tmp_path):
    paths = [fakes.picture(tmp_path / f"{i}.png", i) for i in range(3)]

    def attacked(name, *some):
        config = AttackConfig(
            paths=some, model="tiny", attack="hop_skip_jump", params=PARAMS, goal=parse_goal("targeted:11"), norm="l2",
            device="cpu", out=tmp_path / name,
        )  # fmt: skip
        return attack_pictures(config)

    with fakes.registered(), patch("advbench.pictures.files.draw_panel", lambda *_: b"panel"):
        together, alone = attacked("all", *paths), attacked("one", paths[1])
    assert alone[0].record.l2 == together[1].record.l2
    assert "starts" not in json.loads(alone[0].record.params)
    assert [outcome.record.status for outcome in together].count(OK) == 3
