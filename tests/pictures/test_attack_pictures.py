"""Pictures from disk to files on disk: every number and every file is checked against the model anew."""

import csv
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import fakes
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from attacked_pictures import FILES, configured, files_below, white_among_others
from PIL import Image
from safetensors.torch import load_file

from advbench.config.attack import AttackConfig
from advbench.config.goals import GoalSpec, parse_goal
from advbench.datasets.images.files import read_picture
from advbench.datasets.samples import samples
from advbench.evaluation.goals import goal_maker
from advbench.models import load_model
from advbench.models.preprocess import ResizeAndCrop
from advbench.pictures.attack import attack_pictures
from advbench.records.record import LEFT_OUT, OK, as_row
from attacks import NORMS

MODEL = fakes.classifier()
SIZES = ("l0", "l1", "l2", "linf")
pytestmark = pytest.mark.usefixtures("fakes_registered")


def pixels(path):
    """A picture as the model takes it."""
    return torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1).unsqueeze(0) / 255


def clean(path, model=MODEL):
    return model.preprocess(read_picture(path)).unsqueeze(0)


def without_seconds(outcome):
    return replace(outcome.record, seconds=None)


@pytest.fixture(scope="module")
def run(tmp_path_factory, fakes_registered):
    """The default attack on two pictures, with everything it writes."""
    folder = tmp_path_factory.mktemp("run")
    paths = [fakes.picture(folder / "pictures" / f"{name}.png", seed, (50, 40)) for seed, name in enumerate("ab")]
    config = configured(folder / "pictures", attack="topk", goal=GoalSpec("topk-exclusion", k=7), out=folder / "out")
    return paths, attack_pictures(config), folder / "out"


def test_each_picture_gets_a_folder_with_every_file(run):
    paths, done, out = run
    assert [outcome.path for outcome in done] == paths
    assert files_below(out) == sorted([*(f"{n}/{f}" for n in "ab" for f in FILES), "record.csv", "record.parquet"])
    for outcome in done:
        assert set(outcome.files) == FILES
        assert all(path == out / outcome.path.stem / name for name, path in outcome.files.items())
        assert all(path.stat().st_size for path in outcome.files.values())


def test_the_png_does_the_job_by_itself(run):
    for outcome in run[1]:
        x, x_8bit = clean(outcome.path), pixels(outcome.files["adversarial.png"])
        with Image.open(outcome.files["adversarial.png"]) as png:
            assert (png.format, png.mode, png.size) == ("PNG", "RGB", (fakes.SIZE, fakes.SIZE))
        levels = (x_8bit * 255).round() - (x * 255).round()
        assert 0 < levels.abs().max() <= 2
        new = set(MODEL(x_8bit).topk(7).indices[0].tolist())
        assert not new & set(MODEL(x).topk(7).indices[0].tolist())
        assert outcome.met_8bit
        assert outcome.size_8bit * 255 == pytest.approx(float(levels.abs().max()), rel=1e-5)


def test_the_floats_are_those_that_were_measured(run):
    for outcome in run[1]:
        (x_adv,) = load_file(outcome.files["adversarial.safetensors"]).values()
        x, record = clean(outcome.path), outcome.record
        assert (x_adv.dtype, x_adv.shape) == (torch.float32, x.shape[1:])
        delta = (x_adv - x[0]).unsqueeze(0)
        assert float(delta.abs().max()) == record.linf <= 2 / 255
        assert int((delta != 0).sum()) == record.l0
        assert float(NORMS["l2"]().measure(delta)) == pytest.approx(record.l2, rel=1e-6)
        assert float(NORMS["l1"]().measure(delta)) == pytest.approx(record.l1, rel=1e-6)
        logits = MODEL(x_adv.unsqueeze(0))[0]
        assert tuple(logits.topk(7).indices.tolist()) == record.adv_topk
        assert float(logits.softmax(0).max()) == pytest.approx(record.adv_confidence, rel=1e-5)
        assert tuple(MODEL(x)[0].topk(7).indices.tolist()) == record.clean_topk


def test_parquet_and_csv_hold_the_records(run):
    _, done, out = run
    for stem, records in [
        (out / "record", done),
        *((out / outcome.path.stem / "record", [outcome]) for outcome in done),
    ]:
        rows = json.loads(json.dumps([as_row(outcome.record) for outcome in records]))
        assert pq.read_table(stem.with_suffix(".parquet")).to_pylist() == rows
        with stem.with_suffix(".csv").open(newline="", encoding="utf-8") as file:
            for cells, row in zip(csv.DictReader(file), rows, strict=True):
                texts = {name: "" if value is None else str(value) for name, value in row.items()}
                assert cells == texts


def test_no_number_is_nan_or_infinite(run):
    for outcome in run[1]:
        numbers = [value for value in as_row(outcome.record).values() if isinstance(value, float)]
        assert len(numbers) == 11
        assert all(map(math.isfinite, numbers))


def test_the_perturbation_is_grey_where_nothing_changed(run):
    for outcome in run[1]:
        (x_adv,) = load_file(outcome.files["adversarial.safetensors"]).values()
        delta = x_adv - clean(outcome.path)[0]
        shown = pixels(outcome.files["perturbation.png"])[0] * 255
        assert {0, 255} & set(shown.unique().tolist())
        assert (shown[delta > 1e-3] > 128).all()
        assert (shown[delta < -1e-3] < 128).all()
        assert (shown[delta == 0].round() == 128).all()


def test_a_rerun_gives_the_same(run, tmp_path):
    paths, done, out = run
    config = configured(*paths, attack="topk", goal=GoalSpec("topk-exclusion", k=7), out=tmp_path)
    again = attack_pictures(config)
    assert list(map(without_seconds, again)) == list(map(without_seconds, done))
    for name in ("a/adversarial.png", "a/adversarial.safetensors", "b/perturbation.png"):
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes()


def test_a_picture_alone_gets_what_it_gets_among_others(run, tmp_path):
    paths, done, _ = run
    config = configured(paths[1], attack="topk", goal=GoalSpec("topk-exclusion", k=7), out=tmp_path)
    (alone,) = attack_pictures(config)
    assert files_below(tmp_path) == sorted(FILES)
    for name in (
        "run_id",
        "unit_id",
        "sample_id",
        "clean_topk",
        "met",
        "flipped",
        "survives_8bit",
        "forwards",
        "backwards",
    ):
        assert getattr(alone.record, name) == getattr(done[1].record, name)
    # arithmetic: sums of another batch size are rounded otherwise, and 200 steps build on each other
    assert alone.record.linf == pytest.approx(done[1].record.linf, rel=0.1)


def test_the_batch_size_changes_nothing_that_counts(without_panel, tmp_path):
    for seed in range(5):
        fakes.picture(tmp_path / "in" / f"{seed}.png", seed)
    runs = [attack_pictures(configured(tmp_path / "in", batch_size=size, out=tmp_path / "out")) for size in (1, 2, 16)]
    for done in runs[1:]:
        for one, other in zip(runs[0], done, strict=True):
            assert one.record.sample_id == other.record.sample_id
            assert (one.record.met, one.record.forwards) == (other.record.met, other.record.forwards)
            assert one.record.linf == pytest.approx(other.record.linf, rel=1e-4)
    assert len(pq.read_table(tmp_path / "out" / "record.parquet")) == 5


GOALS = ("untargeted", "targeted:tiger", "topk-exclusion:3", "label-out-of-topk:3", "ordered-topk:1,2")


@pytest.mark.parametrize(
    ("goal", "norm"),
    [*((goal, "linf") for goal in GOALS), *(("topk-exclusion:3", norm) for norm in ("l2", "l1", "l0"))],
)
def test_the_png_meets_every_goal_in_every_norm(without_panel, tmp_path, norm, goal):
    path = fakes.picture(tmp_path / "a.png", 4)
    config = configured(path, attack="topk", norm=norm, eps=None, goal=parse_goal(goal), out=tmp_path / "out")
    (outcome,) = attack_pictures(config)
    made = goal_maker(config.goal, MODEL)(MODEL(clean(path)), torch.tensor([1]))
    (x_adv,) = load_file(outcome.files["adversarial.safetensors"]).values()
    assert outcome.record.met
    assert made.margin(MODEL(x_adv.unsqueeze(0))) < 0
    assert made.margin(MODEL(pixels(outcome.files["adversarial.png"]))) < 0
    assert outcome.record.goal == goal


def test_a_picture_of_the_target_class_is_left_out_and_the_others_are_attacked(without_panel, tmp_path):
    paths = [fakes.picture(tmp_path / f"{i}.png", i) for i in range(3)]
    classes = [int(MODEL(clean(path)).argmax()) for path in paths]
    assert len(set(classes)) > 1
    for kind in ("targeted", "ordered-topk"):
        goal = parse_goal(f"{kind}:{classes[1]}")
        done = attack_pictures(configured(*paths, attack="topk", goal=goal, eps=None, out=tmp_path / kind))
        for own, outcome in zip(classes, done, strict=True):
            record = outcome.record
            if own != classes[1]:
                assert (record.status, record.met, record.adv_class) == (OK, True, classes[1])
                continue
            assert (record.status, record.met, record.l2, record.forwards) == (LEFT_OUT, None, None, None)
            assert (record.clean_class, len(record.clean_topk)) == (own, 7)
            assert f"{outcome.path.name}' already has the class" in record.error
            assert ", which the goal wants" in record.error
            assert not outcome.files


def test_a_lone_picture_that_is_left_out_leaves_no_folder_behind(tmp_path):
    path = fakes.picture(tmp_path / "in" / "a.png")
    goal = parse_goal(f"targeted:{int(MODEL(clean(path)).argmax())}")
    (outcome,) = attack_pictures(configured(path, goal=goal, out=tmp_path / "out" / "deeper"))
    assert outcome.record.status == LEFT_OUT
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_where_nothing_was_found_distances_are_null(without_panel, tmp_path):
    path = fakes.picture(tmp_path / "a.png")
    (outcome,) = attack_pictures(configured(path, model="constant", out=tmp_path / "out"))
    (row,) = pq.read_table(tmp_path / "out" / "record.parquet").to_pylist()
    assert (row["status"], row["met"], row["survives_8bit"]) == (OK, False, False)
    assert [row[name] for name in SIZES] == [None] * 4
    assert set(outcome.files) == FILES


def test_results_stand_where_the_name_says(without_panel, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (outcome,) = attack_pictures(configured(fakes.picture(tmp_path / "Ein Tiger!.png")))
    assert outcome.files["panel.png"] == Path("reports/Ein-Tiger-tiny-fgsm/panel.png")
    assert outcome.files["panel.png"].read_bytes() == b"panel"


def test_pictures_of_one_name_get_folders_of_their_own(without_panel, tmp_path):
    names = ["x/tiger.png", "y/tiger.png", "x/tiger.bmp", "y/Tiger.png", "x/record.csv.png", "x/record.parquet.png"]
    paths = [fakes.picture(tmp_path / name, seed) for seed, name in enumerate(names)]
    done = attack_pictures(configured(*paths, out=tmp_path / "out"))
    folders = [outcome.files["record.csv"].parent for outcome in done]
    assert len({str(folder).lower() for folder in folders}) == len(names)
    assert {folder.parent for folder in folders} == {tmp_path / "out"}
    for outcome in done:
        (row,) = pq.read_table(outcome.files["record.parquet"]).to_pylist()
        assert row["sample_id"] == outcome.record.sample_id
    assert len(pq.read_table(tmp_path / "out" / "record.parquet")) == len(names)


def test_without_out_pictures_of_one_name_are_told_apart_too(without_panel, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    attack_pictures(configured(*(fakes.picture(tmp_path / name / "tiger.png", i) for i, name in enumerate("xy"))))
    assert sorted(path.name for path in (tmp_path / "reports").iterdir()) == ["tiger-2-tiny-fgsm", "tiger-tiny-fgsm"]


def test_a_picture_named_twice_is_attacked_once(without_panel, tmp_path):
    (tmp_path / "pictures").mkdir()
    path = fakes.picture(tmp_path / "pictures" / "a.png")
    assert len(attack_pictures(configured(path, str(path), path.parent, out=tmp_path / "out"))) == 1


@pytest.mark.parametrize("batch_size", [1, 16])
def test_equal_pictures_are_told_apart(without_panel, tmp_path, batch_size):
    paths = [fakes.picture(tmp_path / f"{name}.png") for name in "abc"]
    options = {"attack": "pgd", "params": {"steps": 1}, "batch_size": batch_size}
    done = attack_pictures(configured(*paths, out=tmp_path / "out", **options))
    ids = [outcome.record.sample_id for outcome in done]
    assert ids == [ids[0], f"{ids[0]}-2", f"{ids[0]}-3"]
    assert len({outcome.record.unit_id for outcome in done}) == 3
    assert len({outcome.files["panel.png"] for outcome in done}) == 3
    drawn = {outcome.files["adversarial.safetensors"].read_bytes() for outcome in done}
    assert len(drawn) == 3, "each has draws of its own, whatever batch it is in"


def test_progress_is_told_of_every_pass(without_panel, tmp_path):
    paths, told = white_among_others(tmp_path)[:3], []
    config = configured(*paths, batch_size=2, attack="pgd", out=tmp_path / "out", eps=1e-6)
    attack_pictures(config, lambda what, done, total: told.append((what, done, total)))
    assert told[0] == ("loading tiny", 0, 3)
    assert told[1:3] == [("2 pictures: pass 1", 0, 3), ("2 pictures: pass 2", 0, 3)]
    assert ("2.png: pass 1", 2, 3) in told
    assert {total for _, _, total in told} == {3}


def test_other_resolutions_come_down_to_the_models(without_panel, tmp_path):
    path = fakes.picture(tmp_path / "a.jpg", size=(400, 279))
    (outcome,) = attack_pictures(configured(path, out=tmp_path / "out"))
    expected = ResizeAndCrop(size=fakes.SIZE)(Image.open(path))
    (x_adv,) = load_file(outcome.files["adversarial.safetensors"]).values()
    assert (x_adv - expected).abs().max() <= 2 / 255 + 1e-6


def test_a_real_model_end_to_end(without_panel, tmp_path):
    photograph = shutil.copy(samples("imagenet")[3].path, tmp_path / "tiger.jpg")
    config = configured(photograph, model="efficientnet_lite0", attack="pgd", eps=1 / 255, out=tmp_path / "out")
    (outcome,) = attack_pictures(config)
    model = load_model("efficientnet_lite0")
    x, x_8bit = clean(photograph, model), pixels(outcome.files["adversarial.png"])
    assert outcome.record.met
    assert outcome.met_8bit
    assert outcome.record.flipped
    assert int(((x_8bit - x) * 255).round().abs().max()) == 1
    assert int(model(x_8bit).argmax()) != int(model(x).argmax()) == outcome.record.clean_class
    assert outcome.record.weights_sha256 == model.weights_sha256
    (x_adv,) = load_file(outcome.files["adversarial.safetensors"]).values()
    assert float((x_adv - x[0]).abs().max()) == outcome.record.linf


@pytest.mark.slow
def test_the_default_attack_on_a_real_model(tmp_path):
    photograph = samples("imagenet")[1].path
    config = AttackConfig(paths=(photograph,), eps=2 / 255, out=tmp_path / "out")
    (outcome,) = attack_pictures(config)
    model = load_model("efficientnet_lite0")
    x, x_8bit = clean(photograph, model), pixels(outcome.files["adversarial.png"])
    before, after = (set(model(images).topk(7).indices[0].tolist()) for images in (x, x_8bit))
    assert not before & after
    assert int(((x_8bit - x) * 255).round().abs().max()) <= 2
    assert outcome.record.met
    assert outcome.record.linf <= outcome.size_8bit <= 2 / 255 + 1e-6
    with Image.open(outcome.files["panel.png"]) as panel:
        assert min(panel.size) > 900
