"""A suite with a mask: its rows, its identity, and what it is compared with."""

import shutil

import pytest
from accidents import SUITE
from tables import tables_restored

from advbench.analysis.compare import compare, outcomes
from advbench.api import run
from advbench.catalog import plugins
from advbench.errors import UserError
from advbench.execution.verify import verify

MASKED = SUITE | {
    "attacks": {"name": "pgd", "params": {"steps": 3}},
    "eps": {"linf": [0.1]},
    "noise": False,
    "save": "all",
    "mask": "box:4,4,12,12",
}
pytestmark = pytest.mark.usefixtures("plugged")


@pytest.fixture(scope="module")
def boxed(tmp_path_factory):
    with tables_restored():
        plugins.load_plugins(["fake_plugin"])
        return run(MASKED, out=tmp_path_factory.mktemp("masked") / "run")


def images_of(done):
    from safetensors.numpy import load

    for unit in done.plan:
        path = done.folder / "adv" / f"{unit.unit_id}.safetensors"
        if path.exists():
            yield load(path.read_bytes())


def test_only_the_box_changes_and_rows_say_so(boxed):
    assert boxed.unknown == 0
    assert set(boxed.frame["dataset"]) == {"smooth, only box:4,4,12,12"}
    assert set(boxed.frame["norm"]) == {"linf"}
    (tensors,) = images_of(boxed)
    changed = (tensors["x"] != tensors["x_adv"]).any(axis=(0, 1))
    assert changed[4:16, 4:16].any()
    changed[4:16, 4:16] = False
    assert not changed.any()
    assert boxed.suite == boxed.suite.model_validate(boxed.suite.model_dump(), context={"any name": True})
    assert verify(boxed.folder).problems == []


def test_verify_finds_what_changed_outside(boxed, tmp_path):
    from safetensors.torch import load, save

    from advbench.records.storage.checksum import BLANK, sealed

    shutil.copytree(boxed.folder, tmp_path / "run")
    (path,) = (tmp_path / "run" / "adv").iterdir()
    tensors = load(path.read_bytes())
    row = boxed.frame.iloc[tensors["rows"].tolist()]["met"].tolist().index(True, 1)
    tensors["x_adv"][row, :, 0, 0] = 1 - tensors["x_adv"][row, :, 0, 0].round()
    path.write_bytes(sealed(save(tensors, {"unit_id": path.stem, "seal": BLANK})))
    assert any("goal not met" in problem for problem in verify(tmp_path / "run").problems)


def test_verify_misses_images_that_a_run_which_saves_all_must_have(boxed, tmp_path):
    shutil.copytree(boxed.folder, tmp_path / "run")
    (path,) = (tmp_path / "run" / "adv").iterdir()
    path.unlink()
    rows = len(boxed.frame)
    assert verify(tmp_path / "run").problems == [
        f"{path.name}: the file is not there, and had the images of {rows} rows of the unit"
    ]


def test_another_mask_is_another_run(boxed, tmp_path):
    shutil.copytree(boxed.folder, tmp_path / "run")
    with pytest.raises(UserError, match=r"suite\.mask: box:4,4,12,12 -> border:4"):
        run(MASKED | {"mask": "border:4"}, out=tmp_path / "run")
    other = run(MASKED | {"mask": "border:4"}, out=tmp_path / "other")
    assert not {unit.unit_id for unit in other.plan} & {unit.unit_id for unit in boxed.plan}
    compared = compare(outcomes(boxed.frame), outcomes(other.frame))
    assert not compared.changes
    again = compare(outcomes(boxed.frame), outcomes(boxed.frame))
    assert again.changes


def test_a_mask_that_does_not_fit_is_said_before_anything_is_attacked(tmp_path):
    with pytest.raises(UserError, match="border:16 covers the whole of an image of 32 x 32 pixels"):
        run(MASKED | {"mask": "border:16"}, out=tmp_path)


def test_masks_and_proofs_do_not_go_together(tmp_path):
    with pytest.raises(UserError, match="smooth, only box:4,4,12,12: proofs do not support masks"):
        run(MASKED | {"prove": {}}, out=tmp_path)
