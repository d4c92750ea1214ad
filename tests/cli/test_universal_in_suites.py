"""A universal perturbation as an attack of a suite: its file decides the results, wherever the suite is run from."""

import json
from pathlib import Path

import pytest
import torch
from accidents import TOML
from command import advb
from tables import tables_restored

import advbench
from attacks import Linf, Perturbation

ATTACK = 'attacks = [{{ name = "universal", norms = "linf", params = {{ perturbation = "{file}" }} }}]'


@pytest.fixture(autouse=True)
def suite(monkeypatch, tmp_path):
    """A folder with a suite and a perturbation in it, beside the current one; gives the perturbation's file."""
    with tables_restored():
        for name in ("here", "there"):
            (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / "here")
        lines = [
            line for line in TOML.format(model="tiny").replace(", l2 = 0.5", "").splitlines() if "attacks" not in line
        ]
        (tmp_path / "there" / "u.toml").write_text("\n".join((ATTACK.format(file="u.safetensors"), *lines)))
        yield tmp_path / "there" / "u.safetensors"


def save(file, seed):
    shape = (3, 32, 32)
    delta = Linf().steepest(torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed)), 0.1)[0]
    Perturbation(delta=delta, norm=Linf(), eps=0.1).save(file)


def run(*options, code=0):
    return advb("run", "../there/u.toml", "--plugin", "fake_plugin", *options, code=code)


def test_it_is_added_to_every_image_and_its_digest_is_recorded(suite):
    save(suite, 0)
    run("--out", "first")
    rows = advbench.load_run("first").frame
    rows = rows[rows.attack == "universal"]
    assert len(rows) > 0
    assert rows.linf.max() == pytest.approx(0.1, abs=1e-6)
    params = json.loads(rows.params.iloc[0])
    assert params["digest"] == Perturbation.load(suite).digest
    assert Path(params["perturbation"]).resolve() == suite.resolve()


def test_another_content_of_the_file_is_another_run(suite):
    save(suite, 0)
    run("--out", "first")
    save(suite, 1)
    assert "digest" in run("--out", "first", code=2).output
