"""Runs and pictures use the form that was chosen, say so, and are not deceived by it."""

import json
import os
import shutil
import sys

import fakes
import pytest
import torch
from accidents import SUITE
from click.testing import CliRunner
from pandas.testing import assert_frame_equal
from torch import nn

from advbench.api import run
from advbench.cli.main import main
from advbench.config.attack import AttackConfig
from advbench.config.goals import GoalSpec
from advbench.errors import UserError
from advbench.pictures.attack import attack_pictures
from advbench.planning.forms.fast_forms import Choice


def never(*_):
    pytest.fail("a form was chosen")


PAIR = "tiny on smooth"


@pytest.fixture
def chosen(monkeypatch):
    """As if this form were the fastest here."""
    monkeypatch.setattr("advbench.planning.plan.choose_form", lambda *_: Choice("channels_last", 2))


def rows(done):
    return done.frame.drop(columns="seconds")


@pytest.mark.usefixtures("plugged", "chosen")
def test_the_form_is_kept_and_told(tmp_path, monkeypatch):
    done = run(SUITE, out=tmp_path / "serial")
    assert done.manifest["identity"]["forms"] == {PAIR: {"form": "channels_last", "batch": 2}}
    told = done.frame.groupby("attack")["form"].unique()
    assert {name: list(form) for name, form in told.items()} == {
        "pgd": ["channels_last"], "fmn": ["channels_last"], "noise": ["plain"],
    }  # fmt: skip
    monkeypatch.setattr("advbench.planning.plan.choose_form", never)
    shutil.copytree(tmp_path / "serial", tmp_path / "resumed")
    for shard in list((tmp_path / "resumed" / "shards").iterdir())[::2]:
        shard.unlink()
    resumed = run(SUITE, out=tmp_path / "resumed")
    assert_frame_equal(rows(resumed), rows(done), check_exact=True, check_categorical=False)
    assert resumed.manifest["run_id"] == done.manifest["run_id"]


@pytest.mark.usefixtures("plugged", "chosen")
def test_workers_use_the_form_of_the_plan(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    serial = run(SUITE, out=tmp_path / "serial", plugins=["fake_plugin"])
    parallel = run(SUITE, out=tmp_path / "parallel", plugins=["fake_plugin"], workers=2)
    assert_frame_equal(rows(parallel), rows(serial), check_exact=True, check_categorical=False)


@pytest.mark.usefixtures("plugged", "chosen")
def test_another_form_is_another_unit(tmp_path, monkeypatch):
    one = run(SUITE, out=tmp_path / "one")
    monkeypatch.setattr("advbench.planning.plan.choose_form", lambda *_: Choice("folded", 2))
    two = run(SUITE, out=tmp_path / "two")
    for ours, theirs in zip(one.plan, two.plan, strict=True):
        assert (ours.unit_id == theirs.unit_id) == (ours.attack not in ("pgd", "fmn"))
    assert one.manifest["run_id"] != two.manifest["run_id"]


@pytest.mark.usefixtures("plugged")
def test_a_precise_suite_chooses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("advbench.planning.plan.choose_form", never)
    done = run(SUITE | {"precise": True}, out=tmp_path)
    assert done.manifest["identity"]["forms"] == {}
    assert set(done.frame["form"]) == {"plain"}
    monkeypatch.setattr("advbench.planning.plan.choose_form", lambda *_: Choice("folded", 2))
    with pytest.raises(UserError, match="holds another run") as refused:
        run(SUITE, out=tmp_path)
    assert "suite.precise: True -> False" in refused.value.hint


class AllFooled(nn.Module):
    """A form that says that every image is of the last class."""

    def forward(self, x):
        return x.flatten(1)[:, :20] * 1e-3 + torch.eye(20)[19] * 100


class AllMovedFooled(nn.Module):
    """A form that says so of all images but those of 8 bits, which clean ones are: nobody finds it out in advance."""

    def __init__(self, network):
        super().__init__()
        self.network, self.lies = network, AllFooled()

    def forward(self, x):
        clean = ((x * 255 - (x * 255).round()).abs() < 1e-3).flatten(1).all(1, keepdim=True)
        return torch.where(clean, self.network(x), self.lies(x))


TINY = {"linf": 1e-5, "l2": 1e-3}


@pytest.mark.usefixtures("plugged", "chosen")
def test_a_form_that_lies_fools_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr("attacks.speed.forms.rewritten", lambda network, form: AllMovedFooled(network))
    lied_to = run(SUITE | {"eps": TINY}, out=tmp_path / "lied to").frame
    pgd = lied_to[lied_to["attack"] == "pgd"]
    assert set(pgd["form"]) == {"channels_last"}
    assert pgd["met"].tolist() == [True, *[False] * 9]  # the first is misclassified when clean
    assert not pgd["flipped"].any()
    fmn = lied_to[lied_to["attack"] == "fmn"]
    assert set(fmn["form"]) == {"channels_last"}
    honest = run(SUITE | {"precise": True, "eps": TINY}, out=tmp_path / "honest").frame
    assert fmn["met"].tolist() == honest[honest["attack"] == "fmn"]["met"].tolist()


FOUND = ["met", "flipped", "linf", "l2", "adv_class", "forwards", "backwards"]


@pytest.mark.parametrize("form", [AllFooled(), None], ids=["says something else", "cannot be had"])
@pytest.mark.usefixtures("plugged", "chosen")
def test_a_planned_form_that_cannot_be_used_here_is_done_without(tmp_path, monkeypatch, form):
    monkeypatch.setattr("attacks.speed.forms.rewritten", lambda *_: form)
    without = run(SUITE, out=tmp_path / "without").frame
    assert set(without["status"]) == {"ok"}
    precise = run(SUITE | {"precise": True}, out=tmp_path / "precise").frame
    assert_frame_equal(without[FOUND], precise[FOUND], check_exact=True, check_categorical=False)


@pytest.mark.parametrize("most", [3, 8, 40])
@pytest.mark.usefixtures("plugged", "chosen")
def test_a_capped_attack_takes_gradients_from_the_form_too(tmp_path, most):
    pgd = {"name": "pgd", "params": {"steps": 5}, "max_passes": most}
    frame = run(SUITE | {"attacks": pgd, "noise": False, "eps": {"linf": 0.1}}, out=tmp_path).frame
    assert set(frame["form"]) == {"channels_last"}
    assert (frame["forwards"] + frame["backwards"] <= most).all()
    assert frame["met"].sum() >= (1 if most == 3 else 5)


# --- pictures ---


@pytest.fixture
def picture(tmp_path, monkeypatch):
    monkeypatch.setattr("advbench.pictures.files.draw_panel", lambda *_: b"panel")
    monkeypatch.setattr("advbench.planning.forms.fast_forms.choose_form", lambda *_: Choice("bfloat16", 2))
    taken = {"plain": 4.0, "channels_last": 2.0}
    monkeypatch.setattr("advbench.planning.forms.fast_forms.seconds", lambda model, _: taken[model.form])
    with fakes.registered():
        yield fakes.picture(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("attack", "precise", "form"),
    [("pgd", False, "bfloat16"), ("pgd", True, "plain"), ("fmn", False, "channels_last"), ("fab", False, "plain")],
)
def test_the_record_of_a_picture_says_the_form(picture, tmp_path, attack, precise, form):
    goal = GoalSpec("untargeted")
    config = AttackConfig(
        paths=(picture,), model="tiny", attack=attack, goal=goal, eps=0.1, precise=precise, out=tmp_path / "out"
    )
    (outcome,) = attack_pictures(config)
    assert outcome.record.form == form
    assert outcome.record.met


def test_precise_on_the_command_line(picture, tmp_path):
    words = ["attack", str(picture), "--model", "tiny", "--attack", "pgd", "--goal", "untargeted", "--json"]
    for more, form in ([], "bfloat16"), (["--precise"], "plain"):
        told = CliRunner().invoke(main, [*words, *more, "--out", str(tmp_path / form)])
        assert json.loads(told.output)[0]["form"] == form
