"""Foolbox's attacks in the table of attacks, in the checks of the options, and from the command line."""

import importlib.util
import json
import re

import fakes
import pytest
from click.testing import CliRunner

from advbench.catalog import ATTACKS, EXTRAS, lacking
from advbench.catalog.registry import resolve
from advbench.cli.main import main
from advbench.config.attack import AttackConfig, attack_config
from advbench.config.budgets import NORMS
from advbench.config.goals import DEFAULT_GOAL, parse_goal
from advbench.errors import UserError
from advbench.pictures.attack import attack_pictures
from advbench.records.record import OK, UNKNOWN
from attacks import NORMS as MADE
from attacks.foolbox import ROWS, FoolboxAttack, get

CARDS = [card for card in ATTACKS.values() if card.source == "foolbox 3.3.4"]
each_card = pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)


@pytest.fixture
def with_numba(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)


def configured(attack, *, goal=None, norm=None, eps=None):
    return attack_config(model="vgg16", attack=attack, goal=goal, norm=norm, eps=eps, paths=())


@each_card
def test_the_known_faults_are_shown(card):
    output = CliRunner().invoke(main, ["attacks", card.name], catch_exceptions=False).output
    row = ROWS[card.name.removeprefix("foolbox/")]
    assert ("Known faults" in output) == bool(row.faults)
    for fault in row.faults:
        assert fault.replace(" ", "") in re.sub(r"\s", "", output)


@each_card
def test_card_is_complete(card):
    name = card.name.removeprefix("foolbox/")
    assert ATTACKS[card.name] is card
    assert set(card.norms) <= set(NORMS)
    assert (card.needs == "numba") == ("numba" in ROWS[name].needs)
    assert card.needs in ("", *EXTRAS)
    assert 0 < len(card.summary) < 60
    if lacking(card):
        with pytest.raises(ModuleNotFoundError, match=re.escape(lacking(card))):
            resolve(card.target)(*card.arguments)
        return
    for norm in card.norms:
        attack = resolve(card.target)(*card.arguments, norm=MADE[norm]())
        assert (attack.name, attack.kind, attack.norm.name, attack.norms) == (name, card.kind, norm, card.norms)


def test_the_extra_is_one_of_the_package():
    import tomllib
    from pathlib import Path

    extras = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    for package, extra in EXTRAS.items():
        assert any(requirement.startswith(package) for requirement in extras[extra])


@each_card
def test_defaults_that_work(card, with_numba):
    eps = "1" if card.kind == "budget" and card.norms[0] != "linf" else None
    if card.goals == ("targeted",):
        with pytest.raises(UserError, match=f"attack '{card.name}' needs a goal\ngive one: --goal targeted:CLASS"):
            configured(card.name, eps=eps)
        return
    goal = configured(card.name, eps=eps).goal
    assert goal == parse_goal(DEFAULT_GOAL if "topk-exclusion" in card.goals else "untargeted")


@each_card
def test_a_goal_is_taken_or_refused_with_the_attacks_that_take_it(card, with_numba):
    for goal in ("untargeted", "targeted:3", "topk-exclusion:2", "label-out-of-topk:2", "ordered-topk:1,2"):
        kind = goal.partition(":")[0]
        if kind in card.goals:
            assert configured(card.name, goal=goal, eps="1").goal.kind == kind
            continue
        able = "pgd, apgd" if card.kind == "budget" else "topk"
        message = f"attack '{card.name}' takes the goal .*, not {kind}\nfor any goal in {card.norms[0]}: .*{able}"
        with pytest.raises(UserError, match=message):
            configured(card.name, goal=goal, eps="1")


def test_a_norm_is_refused_with_own_attacks_alone():
    with pytest.raises(UserError, match=r"'foolbox/ddn' works in l2, not in linf\nfor linf: noise, fgsm") as caught:
        configured("foolbox/ddn", norm="linf")
    assert "foolbox" not in caught.value.hint


@pytest.mark.skipif(importlib.util.find_spec("numba") is not None, reason="numba is installed")
@pytest.mark.parametrize("norm", NORMS)
def test_a_package_that_is_missing_is_named_with_the_command(norm):
    with pytest.raises(UserError, match=f"'foolbox/{norm}-brendel-bethge' needs the package numba") as caught:
        configured(f"foolbox/{norm}-brendel-bethge")
    assert caught.value.hint == 'pip install "advbench[brendel-bethge]"'


def test_an_unknown_name_gets_near_misses():
    with pytest.raises(UserError, match="unknown attack 'foolbox/dnn'\ndid you mean foolbox/ddn"):
        configured("foolbox/dnn")


def test_the_list_is_grouped():
    output = CliRunner().invoke(main, ["attacks"], catch_exceptions=False).output
    own, budget, minimum = re.split(r"\n *\nAttacks of Foolbox 3\.3\.4 \(.*\) *\n", output)
    assert "foolbox/" not in own
    assert budget.count("foolbox/") == 32
    assert minimum.count("foolbox/") == 26
    for card in CARDS:
        assert re.search(rf"^{card.name} +{' '.join(card.norms)} +{card.summary} *$", output, re.MULTILINE)


def test_the_list_as_json():
    rows = json.loads(CliRunner().invoke(main, ["attacks", "--json"], catch_exceptions=False).output)
    (row,) = (row for row in rows if row["name"] == "foolbox/l2-brendel-bethge")
    assert row == {
        "name": "foolbox/l2-brendel-bethge",
        "source": "foolbox 3.3.4",
        "kind": "minimum norm",
        "norms": ["l2"],
        "goals": ["untargeted", "targeted"],
        "summary": "untargeted, targeted; needs numba",
        "lacking": lacking(ATTACKS["foolbox/l2-brendel-bethge"]),
    }


class TestPictures:
    @pytest.fixture(autouse=True)
    def _small(self, monkeypatch):
        monkeypatch.setattr("advbench.pictures.files.draw_panel", lambda *_: b"panel")
        with fakes.registered():
            yield

    def attacked(self, tmp_path, attack, goal, paths=(), **options):
        paths = paths or [fakes.picture(tmp_path / f"{i}.png", i) for i in range(2)]
        config = {"eps": None, "norm": ATTACKS[attack].norms[0], "device": "cpu", "out": tmp_path / "out"} | options
        return attack_pictures(AttackConfig(paths=paths, model="tiny", attack=attack, goal=parse_goal(goal), **config))

    @pytest.mark.parametrize(
        ("attack", "goal", "options"),
        [
            ("foolbox/ddn", "untargeted", {}),
            ("foolbox/linf-pgd", "targeted:3", {"eps": 0.05}),
            ("foolbox/linf-deepfool", "label-out-of-topk:2", {}),
            ("foolbox/dataset", "topk-exclusion:2", {}),
        ],
    )
    def test_from_picture_to_record(self, tmp_path, attack, goal, options):
        done = self.attacked(tmp_path, attack, goal, **options)
        for outcome in done:
            record = outcome.record
            assert (record.status, record.met, record.attack, record.goal) == (OK, True, attack, goal)
            assert json.loads(record.params)["name"] == ATTACKS[attack].arguments[0]
            assert record.forwards > 2
            assert options.get("eps") is None or record.linf <= options["eps"] + 1e-6

    def test_one_that_cannot_start_is_unknown_and_the_others_finish(self, tmp_path, monkeypatch):
        original = FoolboxAttack._starting_points

        def starting_points(attack, door, x, seed):
            if x.amin() == 1:
                raise RuntimeError("no starting point")
            return original(attack, door, x, seed)

        def short(name, **options):
            return get(name, **options | ({"steps": 5, "init_attack": "inversion"} if name == "boundary" else {}))

        monkeypatch.setattr(FoolboxAttack, "_starting_points", starting_points)
        monkeypatch.setattr("attacks.foolbox.get", short)
        fakes.picture(tmp_path / "1.png", contrast=0)
        paths = [fakes.picture(tmp_path / "0.png", 1), tmp_path / "1.png", fakes.picture(tmp_path / "2.png", 2)]
        done = self.attacked(tmp_path, "foolbox/boundary", "untargeted", paths=paths)
        assert [outcome.record.status for outcome in done] == [OK, UNKNOWN, OK]
        assert [outcome.record.met for outcome in done] == [True, None, True]
        assert "'foolbox/boundary' failed on" in done[1].record.error
        assert "RuntimeError: no starting point" in done[1].record.error
