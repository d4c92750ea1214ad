"""A run in bounded memory: images are read a few at a time, and what does not fit is halved."""

import pandas as pd
import pytest
import torch

from advbench.api import run
from advbench.evaluation.memory import by_halves
from advbench.planning.resources import Resources

SUITE = {"name": "small", "models": "tiny", "datasets": "smooth", "attacks": "hungry", "eps": {"linf": [0.02, 0.1]}}
pytestmark = pytest.mark.usefixtures("plugged")


@pytest.fixture
def golden(tmp_path):
    return run(SUITE, out=tmp_path / "golden")


def same(one, other, **tolerance):
    frames = [each.frame.drop(columns=["seconds"]) for each in (one, other)]
    pd.testing.assert_frame_equal(*frames, check_categorical=False, **(tolerance or {"check_exact": True}))


@pytest.mark.parametrize("most", [1, 3])
def test_a_batch_that_does_not_fit_is_halved_and_gives_the_same_rows(golden, tmp_path, monkeypatch, most):
    monkeypatch.setattr("fake_plugin.Hungry.most", most)
    done = run(SUITE, out=tmp_path / "run")
    same(golden, done, rtol=1e-4)  # the network's arithmetic depends on the size of a batch, in the last bits
    assert (done.frame["status"] != "unknown").all()
    sizes = done.manifest["halved"]
    assert sizes
    assert set(sizes) <= {unit.unit_id for unit in done.plan if unit.attack == "hungry"}
    assert set(sizes.values()) <= set(range(1, most + 1))
    assert golden.manifest["halved"] == {}


def test_what_was_halved_stays_on_record_when_a_run_is_resumed(golden, tmp_path, monkeypatch):
    monkeypatch.setattr("fake_plugin.Hungry.most", 2)
    halved = run(SUITE, out=tmp_path / "run").manifest["halved"]
    assert halved
    assert run(SUITE, out=tmp_path / "run").manifest["halved"] == halved


def test_an_attack_that_finds_no_memory_for_one_image_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr("fake_plugin.Hungry.most", 0)
    done = run(SUITE | {"noise": False}, out=tmp_path / "run")
    assert (done.frame["status"] == "unknown").all()
    assert done.frame["error"].str.contains("can't allocate memory").all()


def test_a_model_that_finds_no_memory_for_all_clean_images_gets_fewer(golden, tmp_path, monkeypatch):
    from advbench.models.classifier import Classifier

    asked = Classifier.forward

    def forward(self, x):
        if 3 < len(x) < 10:  # the data set asks about all ten
            raise torch.OutOfMemoryError("CUDA out of memory")
        return asked(self, x)

    monkeypatch.setattr(Classifier, "forward", forward)
    monkeypatch.setattr("advbench.execution.tasks.CLEAN_BATCH", 8)
    monkeypatch.setattr("advbench.planning.units.cutting.CHECKED", 6)
    monkeypatch.setattr("fake_plugin.Hungry.most", 2)
    done = run(SUITE | {"noise": False}, out=tmp_path / "run")
    whole = golden.frame[golden.frame["attack"] == "hungry"]
    assert list(done.frame["met"]) == list(whole["met"])
    assert {unit.task for unit in done.plan if unit.unit_id in done.manifest["halved"]} == {"clean", "checks", "attack"}


def test_clean_images_are_predicted_in_several_units_and_read_a_few_at_a_time(golden, tmp_path, monkeypatch):
    monkeypatch.setattr("advbench.planning.plan.CLEAN_BATCH", 4)
    monkeypatch.setattr("advbench.execution.tasks.CLEAN_BATCH", 2)
    held = []
    images = Resources.images

    def counted(self, unit):
        held.append((unit.task, len(unit.samples)))
        return images(self, unit)

    monkeypatch.setattr(Resources, "images", counted)
    done = run(SUITE, out=tmp_path / "run")
    assert [len(unit.samples) for unit in done.plan if unit.task == "clean"] == [3, 4, 3]
    assert [size for task, size in held if task == "clean"] == [2, 1, 2, 2, 2, 1]
    same(golden, done, rtol=1e-4)  # as above


def test_other_mistakes_are_not_halved():
    asked = []

    def fail(part):
        asked.append(part)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        by_halves(fail, 8, on_cut=asked.append)
    assert asked == [slice(0, 8)]
