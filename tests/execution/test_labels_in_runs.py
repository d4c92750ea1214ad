"""Runs of a network with several labels for each image: rows, numbers, rates of each label, and what is refused."""

import pytest
import torch
from several import NAMES, SETS, bright_rows, rows_model

from advbench.analysis.compare import compare, outcomes
from advbench.analysis.gates import evaluate
from advbench.api import run
from advbench.config.gates import Gates
from advbench.errors import UserError
from advbench.execution.verify import verify
from advbench.report.formats import FORMATS, render

SUITE = {
    "name": "labels",
    "models": "rows",
    "datasets": "bright",
    "attacks": {"name": "pgd", "params": {"steps": 8, "relative_step": 0.25, "loss": "ce"}},  # every row moves
    "goals": ["any-label-flips", "label-off:east", "label-on:3", "labels-equal:north"],
    "eps": {"linf": [0.05, 0.15]},
    "save": "all",
}


def made(out, model=None, data=None, **suite):
    models, datasets = {"rows": model or rows_model()}, {"bright": data or bright_rows()}
    return run(SUITE | suite, out=out, models=models, datasets=datasets)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return made(tmp_path_factory.mktemp("labels") / "run")


def cell(done, goal, eps):
    return next(c for c in done.analysis.cells if c.threat.goal == goal and c.eps == eps and c.attack == "pgd")


def test_rows_hold_sets_of_labels_and_no_classes(done):
    rows = done.frame[(done.frame["goal"] == "any-label-flips") & (done.frame["eps"] == 0.15)]
    assert rows[["label", "clean_class", "adv_class", "clean_topk"]].isna().all(axis=None)
    assert tuple(map(tuple, rows[rows["attack"] == "pgd"]["labels"])) == SETS
    assert tuple(map(tuple, rows[rows["attack"] == "pgd"]["clean_labels"])) == SETS
    assert (rows[rows["attack"] == "pgd"]["adv_labels"].map(tuple) != rows["clean_labels"].map(tuple)[:8]).all()
    named = done.frame.groupby("goal", observed=True)["goal_labels"].first()
    assert {goal: tuple(labels) for goal, labels in named.items()} == {
        "any-label-flips": (),
        "label-off:east": (1,),
        "label-on:3": (3,),
        "labels-equal:north": (0,),
    }


def test_within_a_small_eps_all_hold_and_within_a_large_one_none(done):
    for goal, images in (("any-label-flips", 8), ("label-off:east", 4), ("label-on:3", 5), ("labels-equal:north", 8)):
        near, far = cell(done, goal, 0.05), cell(done, goal, 0.15)
        assert (near.clean.k, near.clean.n, near.robust.k, far.robust.k) == (images, images, images, 0)
        assert near.left_out == 8 - images
        assert near.robust.unknown == 0


def test_each_label_has_its_rates(done):
    small, large = done.analysis.label_tables
    assert [each.name for each in large.rates] == list(NAMES)
    assert [each.images for each in large.rates] == [sum(label in labels for labels in SETS) for label in range(4)]
    assert (small.clean.k, small.robust.k, large.robust.k) == (8, 8, 0)
    east, west = large.rates[1], large.rates[3]
    assert (east.clean.k, east.off.k, east.off.n) == (8, 4, 4)  # label-off:east turns it off wherever it was on
    assert (west.on.k, west.on.n) == (5, 5)
    assert all(each.robust.k == 8 for each in small.rates)


def test_no_flag_doubts_a_healthy_network(done):
    assert [flag for flag in done.analysis.flags if flag.severity in "EF"] == []


def test_gates_hold_for_one_label(done):
    floor = {"goal": "label-off:east", "norm": "linf", "eps": 0.05, "min_robust_accuracy": 1.0}
    assert evaluate(done, Gates(floors=[floor])).passed
    assert not evaluate(done, Gates(floors=[floor | {"eps": 0.15}])).passed


def test_every_report_shows_the_rates(done):
    verdict = evaluate(done, Gates())
    for name in ("text", "markdown", "html", "json", "labels-csv"):
        assert "east" in render(name, verdict, done), name
    assert "every label is right" in render("text", verdict, done)
    for name in FORMATS:
        assert render(name, verdict, done)


def test_saved_images_do_what_the_rows_say(done):
    found = verify_with(done)
    assert found == []


def verify_with(done):
    """`verify` loads models by name, so the objects are put in their place."""
    from unittest.mock import patch

    from advbench.execution import verify as module
    from advbench.planning.resources import Resources

    objects = {"rows": rows_model()}, {"bright": bright_rows()}
    with patch.object(module, "Resources", lambda suite: Resources(suite, *objects)):
        return verify(done.folder, allow_code=True).problems


def test_runs_compare_label_set_by_label_set(done, tmp_path):
    shifted = made(tmp_path / "run", rows_model(thresholds=[0.0, 0.0, 0.0, -0.8]))
    found = {
        (change.after.key.goal, change.after.key.eps): change
        for change in compare(outcomes(done.frame), outcomes(shifted.frame)).changes
        if change.after.key.attack == "pgd"
    }
    assert len(found["any-label-flips", 0.05].broken) == 5  # west is nearly on where it is off
    assert not found["label-off:east", 0.05].broken


@pytest.mark.parametrize(
    ("suite", "problem"),
    [
        ({"goals": "untargeted"}, r"'untargeted' is for one class of each image, and rows has several labels"),
        ({"goals": "label-off:up"}, r"rows has no class 'up'"),
        ({"goals": "labels-equal:east,1"}, r"names the same label twice"),
        ({"prove": {}}, r"proofs do not support goals for several labels"),
        ({"surrogates": "lenet"}, r"has several labels"),
    ],
)
def test_what_makes_no_sense_of_labels_is_refused(tmp_path, suite, problem):
    with pytest.raises(UserError, match=problem):
        made(tmp_path / "run", **suite)


def test_a_label_that_no_image_has_cannot_vanish(tmp_path):
    with pytest.raises(UserError, match=r"'label-off:west' has no meaning here: none of the 2 images has that label"):
        made(tmp_path / "run", data=bright_rows(((0,), (1, 2))), goals="label-off:west")


def test_a_model_of_one_class_takes_no_labels(tmp_path):
    single = rows_model(thresholds=None)
    with pytest.raises(UserError, match=r"data set bright has several labels .* the model has one class for each"):
        made(tmp_path / "run", single)
    one = bright_rows(label_sets=None, labels=(0, 1, 2, 3, 0, 1, 2, 3))
    with pytest.raises(UserError, match=r"'any-label-flips' is for several labels, and rows has one class"):
        made(tmp_path / "run", single, one)


def test_images_without_labels_are_measured_against_the_clean_answer(tmp_path):
    unlabelled = bright_rows(label_sets=None)
    found = made(tmp_path / "run", data=unlabelled, goals=["any-label-flips", "label-off:east"])
    near = cell(found, "label-off:east", 0.05)
    assert near.relative
    assert (near.robust.k, near.robust.n) == (4, 4)
    assert found.analysis.label_tables[0].relative


def test_corruptions_count_images_with_any_label_wrong(tmp_path):
    suite = {
        "goals": "any-label-flips",
        "corruptions": ["brightness"],
        "severities": [5],
        "attacks": [],
        "noise": False,
    }
    found = made(tmp_path / "run", rows_model(28), bright_rows(side=28), **suite)
    (results,) = found.analysis.corruptions
    assert results.clean.k == 0
    error = results.errors["brightness"][5]
    assert (error.k, error.n) == (7, 8)  # so bright that every quarter is: one image has all labels


def test_thresholds_belong_to_the_identity_of_a_model(tmp_path):
    from advbench.planning.identity.run import model_digest

    assert model_digest(rows_model()) != model_digest(rows_model(thresholds=0.5))
    assert rows_model().labels_on(torch.tensor([[0.0, 1e-6, -1.0, 2.0]])).tolist() == [[False, True, False, True]]
