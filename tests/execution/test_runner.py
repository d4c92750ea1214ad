"""A run does what its suite says, once, and says so in its rows; whatever fails is unknown, never robust."""

import json
import shutil
import subprocess
import sys
from unittest.mock import patch

import fakes
import numpy as np
import pandas as pd
import pytest
import torch
from accidents import ONLY_LINF, SUITE
from tables import tables_restored

import advbench
from advbench.api import run
from advbench.catalog import plugins
from advbench.config.data.source import DataSource
from advbench.errors import UserError
from advbench.execution.runner import StoppedError
from advbench.planning.cost import batches, footprint, passes
from advbench.records.record import OK, UNKNOWN, Reason
from advbench.records.stored_run import StoredRun

pytestmark = pytest.mark.usefixtures("plugged")
FAKE = SUITE | {"noise": False, "eps": {"linf": 0.1}}


def results(done: StoredRun) -> pd.DataFrame:
    """The frame without what a clock says."""
    return done.frame.drop(columns="seconds")


def same(a: StoredRun, b: StoredRun) -> None:
    pd.testing.assert_frame_equal(results(a), results(b), check_exact=True, check_categorical=False)


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    """A run without any accident; never written to."""
    with tables_restored(), patch("advbench.planning.cost.batches.LARGEST_BATCH", 4):
        plugins.load_plugins(["fake_plugin"])
        return run(SUITE, out=tmp_path_factory.mktemp("golden") / "run")


def test_every_image_of_every_cell_has_one_row(golden):
    assert golden.complete
    assert golden.unknown == 0
    cells = golden.frame.groupby(["attack", "norm", "eps"], dropna=False)
    assert {(name, norm): len(rows) for (name, norm, eps), rows in cells} == {
        ("pgd", "linf"): 10, ("fmn", "l2"): 10, ("noise", "linf"): 10, ("noise", "l2"): 10,
    }  # fmt: skip
    assert set(golden.frame.loc[golden.frame["attack"] == "pgd", "eps"]) == {0.01, 0.1}
    assert golden.frame.loc[golden.frame["attack"] == "fmn", "eps"].isna().all()
    assert (cells["sample_id"].nunique() == 10).all()
    assert (golden.frame["status"] == OK).all()


def test_rows_say_what_a_judge_finds(golden):
    from fake_plugin import DATASETS, pictures

    data = pictures(DATASETS["smooth"], DataSource())
    frame = golden.frame[golden.frame["attack"] == "pgd"]
    assert frame["label"].tolist() == [*data.labels, *data.labels]
    assert (frame["clean_class"] == frame["label"]).tolist() == [False, *[True] * 9] * 2
    first = frame[frame["sample_name"] == "picture 0"]  # misclassified before any attack: fooled at size 0
    assert first["met"].all()
    assert (first["linf"] == 0).all()
    assert frame.loc[frame["met"], "linf"].max() <= 0.1 * (1 + 1e-5) + 1e-6
    assert frame["linf"].isna().tolist() == (~frame["met"]).tolist()


def test_the_folder_holds_what_it_should(golden):
    manifest = golden.manifest
    assert manifest["status"] == "complete"
    assert torch.__version__.startswith(manifest["identity"]["libraries"]["torch"])
    assert manifest["classes"]["smooth"] == list(fakes.CLASSES)
    assert {unit.task for unit in golden.plan} == {"clean", "checks", "attack"}
    assert max(len(unit.samples) for unit in golden.plan if unit.task == "attack") == 4
    assert golden.flags == [], "the model has nothing wrong"
    names = {path.name for path in golden.folder.iterdir()}
    assert {"manifest.json", "plan.jsonl", "shards", "clean", "checks", "adv", "events.jsonl", "flags.json"} <= names


def test_saved_images_are_those_of_the_rows(golden):
    from safetensors.numpy import load

    model, found = fakes.classifier(), 0
    for unit in golden.plan:
        path = golden.folder / "adv" / f"{unit.unit_id}.safetensors"
        if unit.task != "attack" or not path.exists():
            continue
        tensors, rows = load(path.read_bytes()), golden.frame[golden.frame["unit_id"] == unit.unit_id]
        assert len(tensors["rows"]) <= 3
        for place, row in enumerate(tensors["rows"]):
            record = rows.iloc[row]
            x_adv = torch.from_numpy(tensors["x_adv"][place : place + 1])
            assert model(x_adv).argmax() == record["adv_class"]
            if record["met"]:
                size = np.abs(tensors["x_adv"][place] - tensors["x"][place]).max()
                assert size == pytest.approx(record["linf"], abs=1e-7)
                found += 1
    assert found > 3


def test_a_finished_run_is_not_done_again(golden, tmp_path, monkeypatch):
    shutil.copytree(golden.folder, tmp_path / "run")
    monkeypatch.setattr("advbench.execution.runner.do", lambda *_: pytest.fail("something was done again"))
    again = run(SUITE | {"gates": {"min_robust_accuracy": 0.9}}, out=tmp_path / "run")
    same(golden, again)
    assert again.suite.gates.min_robust_accuracy == 0.9
    assert again.manifest["started"] == golden.manifest["started"]


def test_the_rows_of_many_units_are_gathered(golden, tmp_path, monkeypatch):
    assert not (golden.folder / "rows.parquet").exists()
    monkeypatch.setattr("advbench.execution.runner.MANY", 3)
    same(golden, run(SUITE, out=tmp_path))
    assert (tmp_path / "rows.parquet").exists()


def test_the_order_of_units_and_what_was_done_before_do_not_matter(golden, tmp_path, monkeypatch):
    monkeypatch.setattr("advbench.execution.runner.Serial", Backwards)
    same(golden, run(SUITE, out=tmp_path))


class Backwards:
    """Does the units of each stage from the last to the first."""

    def __init__(self, prepare, do, time_limit, begun):
        self.prepare, self.do = prepare, do

    def submit_all(self, units):
        from advbench.execution.executor import UnitResult

        torch.rand(7)
        for unit in reversed(units):
            yield UnitResult(unit, self.do(self.prepare(unit)), "", 0.0)

    def close(self):
        pass


def test_fewer_images_are_a_part_of_more(golden, tmp_path):
    few = run(SUITE | {"images": 6}, out=tmp_path)
    names = set(few.frame["sample_name"])
    assert len(names) == 6
    assert names < set(golden.frame["sample_name"])


@pytest.mark.parametrize("name", sorted({*fakes.CHEATS, *fakes.CRASHES} - {"keeps_graph", "clean_returned"}))
def test_attacks_that_cheat_or_crash_prove_nothing(tmp_path, name):
    done = run(FAKE | {"attacks": name, "datasets": "smooth"}, out=tmp_path)
    frame = done.frame
    if name in fakes.CRASHES or name == "moves_originals":
        return  # no picture is white: these behave
    assert done.complete
    wrong = frame[frame["status"] == UNKNOWN]
    assert len(wrong) >= 5
    assert wrong["met"].isna().all()
    assert wrong["error"].str.contains(f"attack '{name}' failed on 'picture").all()
    assert wrong["clean_class"].notna().all()
    assert set(wrong["reason"]) <= {Reason.INVALID, Reason.CRASHED}


def test_an_attack_that_returns_the_clean_images_fools_nobody(tmp_path):
    frame = run(FAKE | {"attacks": "clean_returned"}, out=tmp_path).frame
    assert frame["met"].tolist() == [True, *[False] * 9]  # the first was misclassified anyway
    assert not frame["flipped"].any()


def test_a_model_without_answers_is_unknown(tmp_path):
    done = run(FAKE | {"models": "not_finite", "attacks": {"name": "pgd", "params": {"steps": 2}}}, out=tmp_path)
    assert (done.frame["status"] == UNKNOWN).all()
    assert done.unknown == 10
    assert set(done.frame["reason"]) == {Reason.NO_ANSWER}


def test_images_that_cannot_be_read_are_unknown_and_the_others_go_on(golden, tmp_path):
    (tmp_path / "broken").write_text("3 7")
    suite = SUITE | {"datasets": {"name": "broken", "path": str(tmp_path / "broken"), "label": "smooth"}}
    done = run(suite, out=tmp_path / "run")
    lost = done.frame["sample_name"].isin(["picture 3", "picture 7"])
    assert (done.frame.loc[lost, "status"] == UNKNOWN).all()
    assert done.frame.loc[lost, "error"].str.contains("the file is cut short").all()
    assert set(done.frame.loc[lost, "reason"]) == {Reason.UNREADABLE}
    assert done.frame.loc[~lost, "reason"].isna().all()
    assert (done.frame.loc[~lost, "status"] == OK).all()
    names = ["sample_name", "attack", "norm", "eps"]
    both = done.frame[~lost].merge(golden.frame, on=names, suffixes=("", "_whole"))
    assert len(both) == 48 == len(done.frame) - lost.sum()
    assert (both["sample_id"].astype(str) == both["sample_id_whole"].astype(str)).all()


def test_nothing_to_do(tmp_path):
    done = run(SUITE | {"datasets": "nothing"}, out=tmp_path)
    assert len(done.frame) == 0
    assert done.plan == ()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, r"suite\.seed: 0 -> 1"),
        ({"eps": {"linf": [0.01, 0.2], "l2": 0.5}}, r"suite\.eps\.linf\[1\]: 0\.1 -> 0\.2"),
        ({"images": 3}, r"suite\.images: nothing -> 3"),
        ({"noise": False}, r"suite\.noise: True -> False"),
        (
            {"attacks": [{"name": "pgd", "params": {"steps": 4}}], "eps": {"linf": [0.01, 0.1]}},
            r"suite\.attacks",
        ),
        ({"goals": "topk-exclusion:2"}, r"suite\.goals\[0\]: untargeted -> topk-exclusion:2"),
    ],
)
def test_another_run_in_the_folder_is_refused_by_name(golden, tmp_path, change, named):
    shutil.copytree(golden.folder, tmp_path / "run")
    with pytest.raises(UserError, match=f"holds another run\n(?s:.*){named}"):
        run(SUITE | change, out=tmp_path / "run")
    same(golden, advbench.load_run(tmp_path / "run"))


def test_other_weights_code_and_libraries_are_refused_by_name(golden, tmp_path, monkeypatch):
    shutil.copytree(golden.folder, tmp_path / "run")
    (tmp_path / "weights").write_text("1.25")
    with pytest.raises(UserError, match=r"models\.tiny: \w+ -> \w+"):
        run(SUITE | {"models": {"name": "tiny", "weights": str(tmp_path / "weights")}}, out=tmp_path / "run")
    monkeypatch.setattr("advbench.planning.identity.run.library_versions", lambda: {"torch": "1.0"})
    monkeypatch.setattr("advbench.planning.identity.run.code_digest", lambda: "another")
    with pytest.raises(UserError, match=r"code: \w+ -> another\n(?s:.*)libraries\.torch: .* -> 1\.0"):
        run(SUITE, out=tmp_path / "run")


def test_models_and_data_sets_of_ones_own(golden, tmp_path):
    from fake_plugin import DATASETS, pictures

    suite = SUITE | {"models": "mine", "datasets": "ours"}
    given = {"models": {"mine": fakes.classifier()}, "datasets": {"ours": pictures(DATASETS["smooth"], DataSource())}}
    mine = run(suite, out=tmp_path / "run", **given)
    numbers = ["label", "clean_class", "adv_class", "met", "linf", "l2", "sample_id"]
    pd.testing.assert_frame_equal(mine.frame[numbers], golden.frame[numbers], check_categorical=False)
    assert mine.suite.models[0].name == "mine"
    with pytest.raises(UserError, match="cannot be sent to other processes"):
        run(suite, out=tmp_path / "run", workers=2, **given)
    same(mine, run(suite, out=tmp_path / "run", **given))


def test_a_model_without_a_data_set_is_named(tmp_path):
    with pytest.raises(UserError, match="suite small has no data set for the model 'vgg16', which is for ImageNet-1k"):
        run(SUITE | {"models": ["tiny", "vgg16"]}, out=tmp_path)
    with pytest.raises(
        UserError, match="suite small has no model for the data set 'mnist-samples', which is for MNIST"
    ):
        run(SUITE | {"datasets": ["smooth", "mnist-samples"]}, out=tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attacks": {"name": "pgd", "params": {"stepz": 1}}}, "attack pgd cannot be made with .*stepz"),
        ({"attacks": {"name": "pgd", "params": {"steps": 0}}}, "expected steps of PGD > 0, got 0"),
        (
            {"attacks": ["fgsm", {"name": "pgd", "params": {"steps": "ten"}}]},
            r"suite small, attacks\[1\]: .*expected steps of PGD to be a whole number, got 'ten'",
        ),
        ({"attacks": ["pgd", "ddn"]}, r"attacks\[1\]: ddn supports none of the suite's norms: linf"),
        ({"attacks": "pgd", "norms": "l1", "eps": {}}, r"attacks\[0\]: pgd needs budgets in l1\nadd l1 to eps"),
        ({"goals": "topk-exclusion:11"}, "k is at most 10 for the 20 classes of tiny"),
        ({"goals": "targeted:lion"}, "tiny has no class 'lion'"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is_written(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        run(ONLY_LINF | change, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_unit_is_as_large_as_time_and_memory_allow():
    from advbench.planning.cost.batches import batch_size

    assert batch_size(footprint.Footprint(1e12, 10, 0), passes.Passes(1000, 1000)) == 1
    assert batch_size(footprint.Footprint(1.0, 10, 0), passes.Passes(1, 0)) == 4  # the largest batch, in these tests
    assert batch_size(footprint.Footprint(1.0, 2**29, 0), passes.Passes(1, 0)) == 2
    seconds = batches.TARGET_SECONDS / 3
    assert batch_size(footprint.Footprint(footprint.SPEED * seconds, 10, 0), passes.Passes(1, 0)) == 2


@pytest.mark.parametrize("name", ["lenet", "mlp_mnist"])
def test_operations_are_counted_as_torch_counts_them(name):
    from torch.utils.flop_counter import FlopCounterMode

    model, image = advbench.load_model(name), torch.rand(1, 28, 28)
    with FlopCounterMode(display=False) as counter:
        model(image.unsqueeze(0))
    assert footprint.footprint(model, image).flops == counter.get_total_flops() > 0


@pytest.mark.parametrize("name", ["hop_skip_jump", "foolbox/boundary"])
def test_attacks_by_labels_alone_are_counted_from_their_first_image_on(name):
    first, most = passes.count_passes(name, "l2", '{"steps": 1}', "untargeted"), '{"steps": 2000, "max_passes": 400}'
    assert first.backwards == 0
    assert first.forwards < passes.count_passes(name, "l2", '{"steps": 2000}', "untargeted").forwards
    assert passes.count_passes(name, "l2", most, "untargeted").forwards <= 400


def test_planning_imports_no_compiler():
    code = (
        "import sys, torch\nfrom advbench import load_model\nfrom advbench.planning.cost.footprint import footprint\n"
        "footprint(load_model('lenet'), torch.rand(1, 28, 28))\nprint('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_results_that_cannot_be_written_stop_the_run(tmp_path, monkeypatch):
    real = advbench.execution.runner.write_atomic

    def fail(path, content):
        if path.suffix == ".parquet":
            raise UserError(f"cannot write {path}: No space left on device", hint="choose another folder")
        return real(path, content)

    monkeypatch.setattr("advbench.execution.runner.write_atomic", fail)
    with pytest.raises(StoppedError, match="No space left on device\nfix that, then: advbench resume") as caught:
        run(SUITE, out=tmp_path)
    assert caught.value.exit_code == 3
    assert json.loads((tmp_path / "manifest.json").read_text())["status"] == "stopped"


def test_progress_counts_units(tmp_path):
    told = []
    done = run(SUITE, out=tmp_path, progress=lambda *said: told.append(said))
    total = len(done.plan)
    assert [said[1:] for said in told] == [(0, 0), *((i, total) for i in [0, 0, *range(1, total + 1)][1:])]
    assert "tiny" in told[-1][0]


def test_max_passes_cuts_an_attack_off(tmp_path):
    frugal = {"name": "pgd", "params": {"steps": 50}, "max_passes": 9}
    attacks = [frugal, {"name": "pgd", "params": {"steps": 50}}]
    done = run(ONLY_LINF | {"attacks": attacks, "noise": False}, out=tmp_path)
    capped = done.frame["params"].map(lambda text: json.loads(text).get("max_passes") == 9).astype(bool)
    passes = done.frame["forwards"] + done.frame["backwards"]
    assert passes[capped].max() <= 9 < passes[~capped].max()
    assert (done.frame["status"] == OK).all()
    with pytest.raises(UserError, match=r"attacks\[0\]\.max_passes: Input should be greater than 0"):
        run(SUITE | {"attacks": {"name": "pgd", "max_passes": 0}}, out=tmp_path / "none")
