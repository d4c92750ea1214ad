"""From tensors to records: what is kept, what is null, and what is said of a picture that failed."""

import json
import math
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import fakes
import pytest
import torch

from advbench.catalog import ATTACKS
from advbench.catalog.registry import resolve
from advbench.config.attack import AttackConfig
from advbench.config.goals import GoalSpec
from advbench.datasets.images.ids import sample_id, sample_ids
from advbench.evaluation.batch import BatchAttack, attack_batch
from advbench.evaluation.goals import goal_maker
from advbench.evaluation.recording import Sample, failure
from advbench.pictures.attack import attack_pictures
from advbench.pictures.outcome import SHOWN, Guess, failed, picture_result, provenance
from advbench.records.record import COLUMNS, OK, UNKNOWN, Reason, as_json
from attacks import L2, TopK

SIZES = ("l0", "l1", "l2", "linf")
MODEL = fakes.classifier()
CONFIG = AttackConfig(paths=("a.png", "b.png"), model="tiny", eps=2 / 255)
ATTACK = TopK(steps=40)
SOURCE = provenance(CONFIG, MODEL, ATTACK, "1.0")


def attacked(attack=ATTACK, *, config=CONFIG, model=MODEL, x=None, k=7):
    x = fakes.images(2) if x is None else x
    setup = BatchAttack(
        model=model,
        attack=attack,
        make_goal=goal_maker(config.goal, model),
        source=provenance(config, model, attack, "1.0"),
        keep=k,
    )
    samples = [Sample(name, f"{i}.png", None) for i, name in enumerate(sample_ids(x))]
    results = attack_batch(setup, x, samples)
    done = [picture_result(Path(f"{i}.png"), result, model) for i, result in enumerate(results)]
    return x, [result.candidate for result in results], done


def assert_finite(row):
    json.dumps(row, allow_nan=False)
    assert not [name for name, value in row.items() if isinstance(value, float) and not math.isfinite(value)]


def test_a_record_holds_what_the_judge_found():
    x, found, done = attacked()
    for i, (outcome, candidate) in enumerate(zip(done, found, strict=True)):
        record = outcome.record
        assert (record.status, record.error) == (OK, None)
        assert outcome.path == Path(f"{i}.png")
        assert record.sample_id == sample_id(x[i])
        clean, adv = (
            logits[i].softmax(0).topk(7) for logits in (MODEL(x), MODEL(torch.stack([each.x_adv for each in found])))
        )
        assert record.clean_topk == tuple(clean.indices.tolist())
        assert record.adv_topk == tuple(adv.indices.tolist())
        assert not set(record.clean_topk) & set(record.adv_topk)
        assert (record.clean_class, record.adv_class) == (record.clean_topk[0], record.adv_topk[0])
        assert record.clean_confidence == pytest.approx(float(clean.values[0]), rel=1e-5)
        assert record.adv_confidence == pytest.approx(float(adv.values[0]), rel=1e-5)
        assert (record.met, record.flipped, record.survives_8bit) == (True, True, True)
        assert {name: getattr(record, name) for name in SIZES} == {
            name: candidate.measured.sizes[name] for name in SIZES
        }
        assert (record.forwards, record.backwards, record.seconds) == (42, 40, candidate.measured.seconds)
        assert outcome.met_8bit == candidate.measured.met_8bit
        assert outcome.size_8bit == candidate.measured.size_8bit
        assert record.label is None
        assert_finite(outcome.as_row())


def test_no_distance_where_nothing_was_found():
    _, _, done = attacked(fakes.Fake())
    for outcome in done:
        record = outcome.record
        assert (record.status, record.met, record.flipped, record.survives_8bit) == (OK, False, False, False)
        assert [getattr(record, name) for name in SIZES] == [None] * 4
        assert record.adv_topk == record.clean_topk
        assert record.forwards == 1


@pytest.mark.parametrize("cheat", [fakes.OutOfBox, fakes.OverBudget, fakes.NotANumber])
def test_of_a_cheat_nothing_is_known(cheat):
    _, _, done = attacked(cheat())
    for outcome in done:
        record = outcome.record
        assert (record.status, record.reason) == (UNKNOWN, Reason.INVALID)
        assert record.error.startswith("attack 'topk' failed on '0.png': ") or "'1.png'" in record.error
        assert "not finite, leaves [0, 1] or is further away than eps; try" in record.error
        unknown = ("met", "flipped", "adv_class", "adv_confidence", "adv_topk", "survives_8bit", *SIZES)
        assert [getattr(record, name) for name in unknown] == [None] * len(unknown)
        assert record.clean_topk is not None
        assert record.forwards == 1
        assert (outcome.after, outcome.met_8bit, outcome.size_8bit) == ((), None, None)
        assert_finite(outcome.as_row())


def test_of_a_model_without_an_answer_nothing_is_known():
    model = fakes.classifier("not_finite_off_grid")
    config = replace(CONFIG, eps=0.3 / 255)
    _, _, done = attacked(fakes.Shift(), model=model, config=config)
    assert {outcome.record.status for outcome in done} == {UNKNOWN}
    assert {outcome.record.reason for outcome in done} == {Reason.NO_ANSWER}
    assert {outcome.record.met for outcome in done} == {None}
    assert all("the model's answers are not all finite" in outcome.record.error for outcome in done)


def test_k_says_how_many_classes_are_kept_and_seven_are_shown():
    for k, shown in ((3, SHOWN), (7, 7), (9, 9)):
        _, _, done = attacked(config=replace(CONFIG, goal=GoalSpec("topk-exclusion", k=k)), k=k)
        row = done[0].as_row()
        assert len(done[0].before) == len(done[0].after) == shown
        names = (
            "clean_topk",
            "adv_topk",
            *(f"{side}_topk_{what}" for side in ("clean", "adv") for what in ("names", "confidences")),
        )
        assert {len(row[name]) for name in names} == {k}


def test_a_model_of_few_classes_shows_them_all():
    model = fakes.few_classes(3)
    _, _, done = attacked(model=model, config=replace(CONFIG, goal=GoalSpec("untargeted")))
    assert [len(done[0].before), len(done[0].after), len(done[0].record.clean_topk)] == [3, 3, 3]


def test_json_adds_names_confidences_and_files():
    _, _, (outcome, _) = attacked()
    row = outcome._replace(files={"panel.png": Path("x/panel.png")}).as_row()
    assert list(row) == [
        *COLUMNS,
        *("image", "clean_topk_names", "adv_topk_names", "clean_topk_confidences", "adv_topk_confidences"),
        *("met_8bit", "size_8bit", "proved_eps", "notes", "attacks", "read_back", "files"),
    ]
    assert row["image"] == "0.png"
    assert row["files"] == {"panel.png": str(Path("x/panel.png"))}
    for side in ("clean", "adv"):
        assert row[f"{side}_topk_names"] == [fakes.CLASSES[index] for index in row[f"{side}_topk"]]
        assert row[f"{side}_topk_confidences"] == sorted(row[f"{side}_topk_confidences"], reverse=True)
        assert row[f"{side}_topk_confidences"][0] == row[f"{side}_confidence"]
    assert json.loads(as_json([row]))[0]["adv_topk"] == list(row["adv_topk"])


def test_a_picture_that_could_not_be_read_has_nothing_but_its_error():
    outcome = failed(Path("nix.jpg"), "cannot read 'nix.jpg': gone", SOURCE)
    row = outcome.as_row()
    assert (row["status"], row["error"], row["sample_id"], row["image"]) == (
        UNKNOWN,
        "cannot read 'nix.jpg': gone",
        "",
        "nix.jpg",
    )
    assert row["model"] == "tiny"
    assert row["reason"] == Reason.UNREADABLE
    assert [row[name] for name in ("met", "flipped", "clean_topk", "adv_topk", "forwards", "seconds", *SIZES)] == [
        None
    ] * 10
    assert row["clean_topk_names"] == row["adv_topk_confidences"] == []
    assert row["files"] == {}


def test_a_picture_that_crashed_the_attack_keeps_its_id():
    assert failed(Path("a.png"), "boom", SOURCE, "ab-2").record.sample_id == "ab-2"


@pytest.mark.parametrize("name", ["a\nb.jpg", "\x1b[31m.jpg", "x" * 250 + ".jpg", "a\u202egpj.exe", "\udcff.jpg"])
def test_a_failure_is_one_clear_line(name):
    line = failure(Path(name), "topk", "RuntimeError: first\n  second\x1b[0m " + "long " * 500)
    assert line.startswith("attack 'topk' failed on '")
    assert line.endswith("; try another attack or model")
    assert line.isprintable()
    assert len(line) < 600
    assert "RuntimeError: first second" in line


CHANGES = {
    "model": "other",
    "attack": "pgd",
    "goal": GoalSpec("untargeted"),
    "norm": "l2",
    "eps": None,
    "seed": 1,
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_run_id_changes_with_what_decides_the_results(name):
    assert provenance(replace(CONFIG, **{name: CHANGES[name]}), MODEL, ATTACK, "1.0").run_id != SOURCE.run_id


def test_also_with_parameters_weights_and_version():
    assert provenance(CONFIG, MODEL, TopK(steps=41), "1.0").run_id != SOURCE.run_id
    assert provenance(CONFIG, MODEL, ATTACK, "1.1").run_id != SOURCE.run_id
    model = fakes.classifier()
    model.weights_sha256 = "ab" * 32
    source = provenance(CONFIG, model, ATTACK, "1.0")
    assert source.run_id != SOURCE.run_id
    assert source.columns["weights_sha256"] == "ab" * 32


@pytest.mark.parametrize("change", [{"out": Path("x")}, {"batch_size": 3}, {"device": "cpu"}, {"paths": ()}])
def test_the_run_id_does_not_change_with_what_does_not(change):
    assert provenance(replace(CONFIG, **change), MODEL, ATTACK, "1.0").run_id == SOURCE.run_id


@pytest.mark.parametrize(
    "card", [card for card in ATTACKS.values() if card.source == "advbench"], ids=lambda card: card.name
)
def test_parameters_of_every_attack_are_recorded(card):
    attack = resolve(card.target)()
    params = json.loads(provenance(CONFIG, MODEL, attack, "1.0").columns["params"])
    names = [field.name for field in fields(attack) if field.name not in ("norm", "starts")]
    expected = {name: getattr(attack, name) for name in names}
    # an attack within an attack is told by its own parameters
    assert params == {name: [repr(v)] if is_dataclass(v) else v for name, v in expected.items()}


def test_unit_ids_tell_pictures_and_runs_apart():
    _, _, done = attacked()
    _, _, others = attacked(TopK(norm=L2(), steps=40), config=replace(CONFIG, norm="l2", eps=None))
    units = [outcome.record.unit_id for outcome in (*done, *others)]
    assert len(set(units)) == 4
    assert {len(unit) for unit in units} == {16}


def test_guesses_are_those_of_the_model():
    x, _, done = attacked()
    best = MODEL(x)[0].softmax(0).max(0)
    assert done[0].before[0] == Guess(
        int(best.indices), fakes.CLASSES[int(best.indices)], pytest.approx(float(best.values))
    )


def test_attack_pictures_is_what_makes_them(tmp_path):
    fakes.picture(tmp_path / "a.png")
    with fakes.registered():
        (outcome,) = attack_pictures(
            AttackConfig(paths=(tmp_path / "a.png",), model="tiny", attack="clean_returned", out=tmp_path / "out")
        )
    assert outcome.record.attack == "clean_returned"
    assert outcome.record.params == "{}"
