"""The attack `patch` in a suite: a patch of its own for each image, and no more of it changed than a patch covers."""

import json
from pathlib import Path

import pytest
from accidents import TOML
from command import advb
from tables import tables_restored

import advbench

ATTACK = 'attacks = [{{ name = "patch", norms = "l0", params = {{ share = {share}, steps = 10 }} }}]'


@pytest.fixture(autouse=True)
def _here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with tables_restored():
        yield


def run(share, code=0):
    lines = [line for line in TOML.format(model="tiny").replace(", l2 = 0.5", "").splitlines() if "attacks" not in line]
    Path("p.toml").write_text("\n".join((ATTACK.format(share=share), *lines)))
    return advb("run", "p.toml", "--plugin", "fake_plugin", "--out", "out", code=code)


def test_a_run_includes_patches_of_single_images():
    run(0.1)
    rows = advbench.load_run("out").frame
    rows = rows[rows.attack == "patch"]
    assert len(rows) > 0
    assert rows.met.any()
    assert (rows.l0 <= 3 * 0.1 * 32 * 32).all()
    assert json.loads(rows.params.iloc[0])["share"] == 0.1


def test_a_share_that_is_none_ends_with_one_clear_message():
    assert "expected share of a patch above 0 and at most 1, got 1.5" in run(1.5, code=2).output
