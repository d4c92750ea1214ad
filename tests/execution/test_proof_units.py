"""Proofs in a run: after the attacks, of what these leave, and the same however the work is shared out."""

import json
import os
import shutil
import sys
from unittest.mock import patch

import pandas as pd
import pytest

from advbench.api import run
from advbench.config.suite import Suite
from advbench.execution import proving
from advbench.planning.forecast import forecast
from advbench.records.pace import describe_duration
from advbench.records.record import FOOLED, PROOF
from advbench.records.stored_run import read_run

pytestmark = pytest.mark.usefixtures("plugged")
SUITE = {
    "name": "proved",
    "models": "tiny",
    "datasets": "smooth",
    "attacks": [{"name": "pgd", "params": {"steps": 2}}, {"name": "fmn", "params": {"steps": 3}, "norms": ["l2"]}],
    "norms": ["linf", "l2"],
    "eps": {"linf": [0.0005, 0.1], "l2": 0.001},
    "prove": {"method": "crown"},
}
CLOCKS = ["seconds", "proof_seconds"]


def test_a_forecast_gives_proofs_the_seconds_that_they_are_allowed():
    limits = {"domains": 2000, "seconds": 7.0, "method": "crown"}
    found = forecast(Suite(**SUITE | {"norms": ["linf"], "eps": {"linf": [0.1]}, "prove": limits}), 1)
    (row,) = (row for row in found.tables[0].rows if row[0] == PROOF)
    images = int(row[4])
    assert images > 0
    assert row[5:] == ("0", describe_duration(7.0 * images)), "no pass of the network, and the seconds of every image"


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    from tables import tables_restored

    from advbench.catalog import plugins

    with tables_restored(), patch("advbench.planning.cost.batches.LARGEST_BATCH", 4):
        plugins.load_plugins(["fake_plugin"])
        return run(SUITE, out=tmp_path_factory.mktemp("proved") / "run", workers=1)


def proofs_of(stored) -> pd.DataFrame:
    return stored.frame[stored.frame["attack"] == PROOF]


def test_every_image_has_a_proof_row_at_every_eps(done):
    rows = proofs_of(done)
    assert done.complete
    assert rows.groupby(["norm", "eps"], observed=True).size().to_dict() == {
        ("l2", 0.001): 10, ("linf", 0.0005): 10, ("linf", 0.1): 10,
    }  # fmt: skip
    assert done.frame.loc[done.frame["attack"] != PROOF, "proved"].isna().all()


def test_only_survivors_are_proved(done):
    rows = done.frame
    attacked = rows[(rows["attack"] == "pgd") & (rows["eps"] == 0.1)].set_index("sample_name")
    proved = rows[(rows["attack"] == PROOF) & (rows["eps"] == 0.1)].set_index("sample_name")
    fooled = proved["proof_method"] == FOOLED
    assert fooled.any()
    assert fooled[attacked.index[attacked["met"].to_numpy(bool)]].all()
    assert proved.loc[fooled, "proof_bound"].isna().all()
    assert not proved.loc[fooled, "proved"].any()
    tried = proofs_of(done)
    tried = tried[tried["proof_method"] != FOOLED]
    assert tried["proved"].any()
    assert (tried.loc[tried["proved"], "proof_bound"] > 0).all()
    assert not (tried["proved"] & tried["met"]).any()


@pytest.mark.slow
def test_workers_change_nothing(done, tmp_path):
    two = run(SUITE, out=tmp_path / "two", workers=2)
    pd.testing.assert_frame_equal(
        done.frame.drop(columns=CLOCKS), two.frame.drop(columns=CLOCKS), check_exact=True, check_categorical=False
    )


@pytest.mark.slow
def test_a_cluster_changes_nothing(done, tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # for workers, which are started as commands
    sent = run(SUITE, out=tmp_path / "sent", cluster="local:2")
    assert sent.complete
    assert sent.manifest["workers"] == 2
    assert {unit.task for unit in sent.plan} >= {"attack", "prove"}
    pd.testing.assert_frame_equal(
        done.frame.drop(columns=CLOCKS), sent.frame.drop(columns=CLOCKS), check_exact=True, check_categorical=False
    )


def test_a_lost_attack_has_its_proofs_done_again(done, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(done.folder, folder)
    attack = next(unit for unit in done.plan if unit.task == "attack" and unit.norm == "linf" and unit.eps == 0.1)
    (folder / "shards" / f"{attack.unit_id}.parquet").unlink()
    again = run(SUITE, out=folder, workers=1)
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    own = {unit.unit_id for unit in done.plan if unit.task == "prove" and unit.norm == "linf"}
    other = {unit.unit_id for unit in done.plan if unit.task == "prove" and unit.norm == "l2"}
    start = max(i for i, event in enumerate(events) if event["event"] == "start")
    begun = {event["unit"] for event in events[start:] if event["event"] == "begin"}
    assert own <= begun
    assert not begun & other
    pd.testing.assert_frame_equal(
        done.frame.drop(columns=CLOCKS), again.frame.drop(columns=CLOCKS), check_exact=True, check_categorical=False
    )


def test_a_network_that_cannot_be_proved_is_open_and_says_why(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise ValueError("expected a model of float32 or float64, got torch.float16: call float()")

    monkeypatch.setattr(proving.proofs, "bound", refuse)
    found = run(SUITE | {"eps": {"linf": 0.0005}, "norms": "linf", "attacks": "fgsm"}, out=tmp_path / "run", workers=1)
    rows = proofs_of(found)
    tried = rows[rows["proof_method"] != FOOLED]
    assert found.complete
    assert len(tried)
    assert (tried["proof_method"] == "none").all()
    assert (
        tried["error"] == "cannot be proved: expected a model of float32 or float64, got torch.float16: call float()"
    ).all()
    assert read_run(found.folder).unknown == 0
