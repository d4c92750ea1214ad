"""Trust checks as units of work: planned, forecast and done like all others."""

import json

import pytest

import advbench
from advbench.config.suite import Suite
from advbench.errors import UserError
from advbench.evaluation.checks.attack import LOOKED_AT
from advbench.planning.forecast import forecast
from advbench.planning.plan import make_plan
from advbench.planning.resources import Resources
from advbench.planning.units.trust import longer

SUITE = {
    "name": "trust", "models": "mlp_mnist", "datasets": "mnist", "images": 40, "eps": {"linf": [0.05, 0.1]},
    "attacks": [{"name": "pgd", "params": {"steps": 5}}, "fgsm", "fmn"],
}  # fmt: skip


def planned(**more):
    suite = Suite(**SUITE | more)
    return make_plan(suite, Resources(suite))


def test_full_trust_adds_a_unit_for_each_attack_within_an_eps():
    quick, full = planned(), planned(trust="full")
    added = [unit for unit in full.units if unit.task == "checks" and unit.attack]
    assert [(unit.attack, unit.eps) for unit in added] == [("pgd", 0.05), ("pgd", 0.1), ("fgsm", 0.05), ("fgsm", 0.1)]
    assert {len(unit.samples) for unit in added} == {14}
    assert LOOKED_AT >= 14
    others = [unit for unit in full.units if unit not in added]
    assert others == list(quick.units)
    assert len({unit.unit_id for unit in full.units}) == len(full.units)
    assert full.run_id != quick.run_id


def test_a_forecast_counts_their_passes():
    rows = {row[0]: row for row in forecast(Suite(**SUITE | {"trust": "full", "eps": {"linf": 0.1}}), 1).tables[0].rows}
    passes = int(rows["checks of pgd"][5].replace(",", ""))
    own = int(rows["pgd"][5].replace(",", "")) / 40
    assert passes > 14 * 5 * own + 14 * 1000
    assert rows["checks of pgd"][3:5] == ("1", "14")


def test_twice_as_many_steps():
    assert longer("square", "linf", json.dumps({"steps": 50})).steps == 100
    assert longer("foolbox/linf-pgd", "linf", json.dumps({"steps": 4})).parameters["steps"] == 8
    assert longer("pgd", "linf", json.dumps({"steps": 4, "max_passes": 9})).max_passes == 18
    assert longer("fgsm", "linf", "{}") is None


def test_what_they_find_is_about_the_attack(tmp_path, monkeypatch):
    monkeypatch.setattr("advbench.evaluation.checks.attack.DRAWS", 20)
    weak = {"name": "pgd", "params": {"steps": 2, "relative_step": 0.25, "random_start": False}}
    square = {"name": "square", "params": {"steps": 5}}
    suite = SUITE | {"attacks": [weak, square], "eps": {"linf": 0.1}, "trust": "full", "noise": False}
    done = advbench.run(suite, out=tmp_path / "run", workers=1)
    flag = next(flag for flag in done.analysis.flags if flag.id == "A5")
    assert (flag.severity, flag.model, flag.dataset, flag.attack) == ("F", "mlp_mnist", "mnist", "pgd")
    assert flag.message.endswith(" (Linf ≤ 0.1)")
    marked = {cell.attack: cell.flags for cell in done.analysis.cells}
    assert "A5" in marked["pgd"]
    assert "A5" not in marked["square"]


def test_there_are_two_kinds_of_trust():
    with pytest.raises(UserError, match=r"trust: .*'quick' or 'full'"):
        advbench.run(SUITE | {"trust": "blind"})
