"""Images that are of the class already that a goal wants: attacked by nobody, counted by no number, and always told."""

import json
from dataclasses import replace
from pathlib import Path

import fakes
import pytest
import torch
from click.testing import CliRunner
from frames import cells, frame, left_out, row, unknown
from runs import a_run, write_run
from safetensors.torch import load_file

import advbench
from advbench.analysis.baseline import Baseline
from advbench.analysis.compare import compare, outcomes
from advbench.analysis.gates import evaluate
from advbench.analysis.metrics import WORST_CASE, as_dict
from advbench.analysis.run_analysis import RunAnalysis
from advbench.analysis.threats import gather
from advbench.cli.main import main
from advbench.config.gates import Gates
from advbench.datasets.dataset import Dataset
from advbench.errors import UserError
from advbench.execution.tasks import do
from advbench.execution.unit_results import Done
from advbench.pictures.choice import read_input
from advbench.records.record import LEFT_OUT, OK, UNKNOWN
from advbench.report.columns import describe_left_out, tables
from advbench.report.junit import as_junit
from advbench.testing import Bench
from attacks import Linf, Perturbation, Targeted, fooled

WANTED = 3
GOAL = f"targeted:{WANTED}"
GOALS = {"goal": GOAL}
MODEL = fakes.classifier()


def smooth(count=40):
    generator = torch.Generator().manual_seed(5)
    spots = torch.rand(count, 3, 4, 4, generator=generator)
    x = torch.nn.functional.interpolate(spots, (fakes.SIZE, fakes.SIZE), mode="bilinear")
    return (x * 255).round() / 255


X = smooth()
CLASSES = MODEL(X).argmax(1)
COMMON = int(CLASSES.mode().values)


def rows(**columns):
    """Ten images: two of the target class, one misclassified as it, one misclassified otherwise; nothing is broken."""
    plain = [row(f"s{i}", **GOALS, **columns) for i in range(6)]
    other = row("s6", clean_class=5, adv_class=5, **GOALS, **columns)
    met = row("s7", clean_class=WANTED, adv_class=WANTED, met=True, linf=0.0, **GOALS, **columns)
    aside = [left_out(f"s{i}", label=WANTED, clean_class=WANTED, **GOALS, **columns) for i in (8, 9)]
    return [*plain, other, met, *aside]


# --- numbers ---


def test_with_an_attack_that_does_nothing_robust_is_clean_and_nothing_succeeds():
    for cell in cells(frame(rows())):
        assert (cell.clean.k, cell.clean.n) == (cell.robust.k, cell.robust.n) == (6, 8)
        assert (cell.success.k, cell.success.n) == (0, 6)
        assert cell.left_out == as_dict(cell)["left_out"] == 2


def test_an_image_that_is_broken_counts_among_those_that_are_not_left_out():
    found = rows()
    found[0] = row("s0", size=0.02, adv_class=WANTED, **GOALS)
    cell = cells(frame(found))[0]
    assert (cell.robust.k, cell.robust.n, cell.success.k, cell.success.n) == (5, 8, 1, 6)


def test_an_attack_that_failed_on_an_image_left_out_makes_nothing_unknown():
    found = [*rows(), *(each | {"attack": "fmn"} for each in rows()[:8]), *(
        unknown(f"s{i}", label=WANTED, attack="fmn", **GOALS) for i in (8, 9)
    )]  # fmt: skip
    for cell in cells(frame(found)):
        assert (cell.robust.k, cell.robust.n, cell.robust.unknown, cell.left_out) == (6, 8, 0, 2)


def test_other_goals_of_the_same_images_are_about_all_of_them():
    plain = [each | {"goal": "untargeted", "met": False, "status": "ok", "error": None} for each in rows()]
    found = {each.threat.goal: each for each in gather(frame([*rows(), *plain]))}
    assert (len(found[GOAL].samples), found[GOAL].left_out) == (8, 2)
    assert (len(found["untargeted"].samples), found["untargeted"].left_out) == (10, 0)


def test_tables_and_reports_say_how_many_and_why():
    analysis = RunAnalysis(frame=frame(rows()))
    (table,) = tables(analysis.cells)
    assert table.clean.endswith("; 2 images left out: their label is the target")
    one = [each | {"goal": "ordered-topk:3,4"} for each in rows()[:9]]
    assert tables(cells(frame(one)))[0].clean.endswith("; 1 image left out: its label is the first target")
    assert describe_left_out(replace(analysis.cells[0], left_out=2000)).startswith("; 2,000 images left out: their")
    nameless = [each | {"label": None} for each in rows()]
    assert "2 images left out: their class is the target; without labels" in tables(cells(frame(nameless)))[0].clean
    assert "2 images left out: their label is the target" in as_junit(evaluate(a_run(rows()), Gates()))


def test_reports_of_a_run_say_it_too(tmp_path):
    folder = write_run(tmp_path / "run", rows())
    for form in ("text", "html", "markdown", "junit"):
        out = tmp_path / f"report.{form}"
        done = CliRunner().invoke(main, ["report", str(folder), "--format", form, "--out", str(out)])
        assert done.exit_code == 0, done.output
        assert "2 images left out: their label is the target" in " ".join(out.read_text().split()), form


def test_a_run_that_left_out_all_images_has_run_nothing():
    verdict = evaluate(a_run(rows()[8:]), Gates(min_robust_accuracy=0.5))
    assert verdict.exit_code == 5
    assert verdict.headline == "NOTHING RUN: the run left out all images"
    assert all(cell.robust.n == 0 for cell in verdict.analysis.cells)
    assert verdict.analysis.flags == ()


def test_the_share_of_unknown_results_is_of_those_that_could_be_known():
    found = [unknown("s0", **GOALS), *rows()[1:]]
    assert evaluate(a_run(found), Gates(max_unknown=0.12)).incomplete.startswith("1 of 8 results are unknown (12.5%)")


# --- pairs of runs ---


def test_a_baseline_keeps_who_was_left_out_and_pairs_the_others(tmp_path):
    before = Baseline.of(frame(rows()), run_id="r", version="1")
    letters = {cell.attack: cell.outcomes for cell in before.cells}
    assert letters == {"clean": "1111110011", WORST_CASE: "11111100--", "pgd": "11111100--"}
    read = Baseline.model_validate_json(before.write(tmp_path / "b.json").read_bytes())
    assert read.outcomes() == before.outcomes() == outcomes(frame(rows()))
    worse = rows()
    worse[0] = row("s0", size=0.02, adv_class=WANTED, **GOALS)
    changes = {change.after.key.attack: change for change in compare(read.outcomes(), outcomes(frame(worse))).changes}
    assert (changes["clean"].pairs, changes["pgd"].pairs) == (10, 8)
    assert (changes["pgd"].broken, changes["pgd"].mended) == (("s0",), ())


def test_a_baseline_from_before_they_were_left_out_can_be_compared_with():
    old = [*rows()[:8], *(row(f"s{i}", label=WANTED, clean_class=WANTED, size=0.0, **GOALS) for i in (8, 9))]
    before = Baseline.of(frame(old), run_id="r", version="1")
    (change,) = [c for c in compare(before.outcomes(), outcomes(frame(rows()))).changes if c.after.key.attack == "pgd"]
    assert (change.pairs, change.broken, change.mended) == (8, (), ())


# --- runs ---


def suite(**fields):
    attack = {"name": "pgd", "params": {"steps": 2}}
    given = {"name": "x", "models": "tiny", "datasets": "smooth", "attacks": attack, "goals": f"targeted:{COMMON}"}
    return given | {"norms": "linf", "eps": {"linf": 1e-6}} | fields


def data(labels, broken=()):
    def read(number):
        if number in broken:
            raise UserError("the file is cut short")
        return X[number]

    return {"smooth": Dataset(name="smooth", images=tuple(map(str, range(len(X)))), labels=labels, read=read)}


def attacked(out, labels=None, broken=(), **fields):
    return advbench.run(suite(**fields), out=out, models={"tiny": MODEL}, datasets=data(labels, broken))


LABELS = tuple(CLASSES.tolist())


@pytest.mark.parametrize("labels", [LABELS, None], ids=["labels", "no labels"])
@pytest.mark.parametrize("goal", [f"targeted:{COMMON}", f"ordered-topk:{COMMON},{(COMMON + 1) % 20}"])
def test_a_run_leaves_out_what_is_of_the_target_class(tmp_path, labels, goal):
    done = attacked(tmp_path / "run", labels, goals=goal, save="all")
    aside = done.frame["status"] == LEFT_OUT
    assert (done.frame.loc[aside, "clean_class"] == COMMON).all()
    assert not (done.frame.loc[~aside, "clean_class"] == COMMON).any()
    assert done.frame.loc[aside, ["met", "forwards", "adv_class", "linf"]].isna().all().all()
    why = "its class is the target already" if labels is None else "its label is the target"
    assert set(done.frame.loc[aside, "error"].astype(str)) == {why}
    count = int((CLASSES == COMMON).sum())
    for cell in cells(done.frame):
        assert (cell.clean.k, cell.clean.n, cell.left_out) == (len(X) - count, len(X) - count, count)
        assert (cell.robust.k, cell.success.k) == (cell.clean.k, 0)
    for path in (tmp_path / "run" / "adv").iterdir():
        assert not (load_file(path)["clean_logits"].argmax(1) == COMMON).any()


def test_one_misclassified_as_the_target_is_a_clean_error_and_one_of_it_is_left_out_whatever_it_was_taken_for(tmp_path):
    first = int((CLASSES == COMMON).nonzero()[0])
    other = int((CLASSES != COMMON).nonzero()[0])
    labels = list(LABELS)
    labels[first], labels[other] = (COMMON + 1) % 20, COMMON
    done = attacked(tmp_path, tuple(labels), noise=False).frame.set_index("sample_name")
    assert (done.loc[str(first), "met"], done.loc[str(first), "linf"]) == (True, 0)
    assert done.loc[str(other), "status"] == LEFT_OUT
    cell = cells(done.reset_index())[0]
    assert cell.clean.k == cell.clean.n - 1 == cell.robust.k
    assert cell.success.k == 0


def test_unreadable_images_and_units_that_fail_leave_out_the_same_images(tmp_path, monkeypatch):
    wanted = (CLASSES == COMMON).nonzero().flatten().tolist()
    done = attacked(tmp_path / "a", LABELS, broken=wanted[:2], noise=False)
    aside = done.frame.loc[done.frame["status"] == LEFT_OUT, "sample_name"].astype(int).tolist()
    assert aside == wanted

    def failing(job, context) -> Done:
        if job.unit.task == "attack":
            raise MemoryError("too large")
        return do(job, context)

    monkeypatch.setattr("advbench.execution.runner.do", failing)
    lost = attacked(tmp_path / "b", LABELS, noise=False)
    assert set(lost.frame["status"].astype(str)) == {UNKNOWN, LEFT_OUT}
    assert lost.frame.loc[lost.frame["status"] == LEFT_OUT, "sample_name"].astype(int).tolist() == wanted


# --- one call, one picture, one perturbation ---


@pytest.mark.parametrize("labels", [CLASSES, None], ids=["labels", "no labels"])
def test_in_a_test_robust_is_clean_too(labels):
    given = X if labels is None else (X, labels)
    for size in (7, 64):
        result = Bench("t", None)(MODEL, given, attack="fgsm", eps="1e-6", goal=f"targeted:{COMMON}", batch_size=size)
        assert result.cell.left_out == int((CLASSES == COMMON).sum())
        assert result.cell.robust == result.cell.clean
        assert result.cell.success.k == 0
        assert "left out: their" in str(result)
        assert len(result.frame) == 2 * len(X)


def test_a_test_of_images_of_the_target_class_alone_attacks_nothing():
    mine = CLASSES == COMMON
    result = Bench("t", None)(MODEL, (X[mine], CLASSES[mine]), attack="fgsm", goal=f"targeted:{COMMON}")
    assert set(result.frame["status"]) == {LEFT_OUT}
    with pytest.raises(AssertionError, match="robust accuracy"):
        result.assert_robust(min=0.0)


def test_the_command_says_of_a_picture_that_it_is_of_the_class_already(tmp_path):
    paths = [fakes.picture(tmp_path / f"{i}.png", i) for i in range(3)]
    with fakes.registered():
        common = ("--model", "tiny", "--attack", "fgsm", "--device", "cpu", "--eps", "0.5", "--out")
        told = CliRunner().invoke(
            main, ["attack", *map(str, paths), "--goal", "untargeted", "--json", *common, str(tmp_path / "a")]
        )
        own = json.loads(told.stdout)[1]["clean_class"]
        told = CliRunner().invoke(
            main, ["attack", *map(str, paths), "--goal", f"targeted:{own}", *common, str(tmp_path / "b")]
        )
    assert told.exit_code == 0
    assert "left out: " in told.stdout
    assert ", which the goal wants" in " ".join(told.stdout.split())
    assert "; 1 left out" in told.stdout
    assert not told.stderr


def test_a_universal_perturbation_is_measured_on_the_others_and_applied_to_all(tmp_path):
    black = torch.zeros(3, fakes.SIZE, fakes.SIZE)
    still = Perturbation(delta=black, norm=Linf(), eps=0.1, card={"model": "tiny", "goal": f"targeted:{COMMON}"})

    def goal(logits, ids):
        return Targeted(torch.full_like(ids, COMMON), ids=ids)

    counts = fooled(MODEL, [X], still.apply, goal)
    assert (counts.met, counts.pointless, counts.images) == (0, int((CLASSES == COMMON).sum()), len(X))
    file = tmp_path / "p.safetensors"
    still.save(file)
    paths = [fakes.picture(tmp_path / f"{i}.png", i) for i in range(2)]
    with fakes.registered():
        own = int(MODEL(read_input(paths[0], MODEL).unsqueeze(0)).argmax())
        options = ("--goal", f"targeted:{own}", "--device", "cpu", "--json", "--out", str(tmp_path / "out"))
        done = CliRunner().invoke(main, ["universal", "apply", str(file), *map(str, paths), *options])
    assert done.exit_code == 0, done.output
    applied = json.loads(done.stdout)
    assert applied[0]["status"] == LEFT_OUT
    assert applied[0]["met"] is None
    assert {each["status"] for each in applied} <= {OK, LEFT_OUT}
    assert all(Path(each["files"]["adversarial.png"]).exists() for each in applied)


def test_a_report_of_images_that_are_all_left_out_can_be_made(tmp_path):
    folder = write_run(tmp_path / "run", rows()[8:])
    for form in ("text", "html", "markdown", "junit", "csv", "json"):
        out = tmp_path / f"report.{form}"
        done = CliRunner().invoke(main, ["report", str(folder), "--format", form, "--out", str(out)])
        assert done.exit_code == 0, done.output
        assert "NaN" not in out.read_text()


def test_a_picture_to_explain_that_is_of_the_class_already_is_refused(tmp_path):
    path = fakes.picture(tmp_path / "a.png")
    own = int(MODEL(read_input(path, MODEL).unsqueeze(0)).argmax())
    options = ("--model", "tiny", "--attack", "fgsm", "--goal", f"targeted:{own}", "--device", "cpu")
    with fakes.registered():
        done = CliRunner().invoke(main, ["explain", str(path), *options, "--out", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert "already has the class that the goal" in done.stderr
