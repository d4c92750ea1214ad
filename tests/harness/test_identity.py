"""Every field of a suite decides a unit's key and the run's identity, or is declared harmless; none is forgotten."""

import pytest
from accidents import SUITE

from advbench import identity
from advbench.own_models import origin
from advbench.plan import make_plan
from advbench.suite import HARMLESS, AttackSpec, DatasetSpec, ModelSpec, Suite
from advbench.workbench import Workbench

pytestmark = pytest.mark.usefixtures("plugged")
BASE = SUITE | {"images": 6}
ONE, DATA, PGD = {"name": "tiny"}, {"name": "smooth"}, {"name": "pgd", "params": {"steps": 3}}
DECIDING = {
    (Suite, "models"): {"models": "sleepy"},
    (Suite, "datasets"): {"datasets": ["smooth", "other"]},
    (Suite, "attacks"): {"attacks": "fgsm"},
    (Suite, "goals"): {"goals": "topk-exclusion:2"},
    (Suite, "norms"): {"norms": "l2", "attacks": "pgd"},
    (Suite, "eps"): {"eps": {"linf": [0.01, 0.2], "l2": 0.5}},
    (Suite, "images"): {"images": 5},
    (Suite, "seed"): {"seed": 1},
    (Suite, "noise"): {"noise": False},
    (Suite, "precise"): {"precise": True},
    (Suite, "device"): {"device": "auto"},
    (ModelSpec, "name"): {"models": {"name": "randomised", "label": "tiny"}},
    (ModelSpec, "weights"): {"models": ONE | {"weights": "weights.txt"}},
    (ModelSpec, "attacks"): {"models": ONE | {"attacks": "pgd"}},
    (ModelSpec, "label"): {"models": ONE | {"label": "mine"}},
    (DatasetSpec, "name"): {"datasets": {"name": "other", "label": "smooth"}},
    (DatasetSpec, "path"): {"datasets": {"name": "broken", "label": "smooth", "path": "broken.txt"}},
    (DatasetSpec, "images"): {"datasets": DATA | {"images": 5}},
    (DatasetSpec, "eps"): {"datasets": DATA | {"eps": {"linf": 0.2, "l2": 0.5}}},
    (DatasetSpec, "label"): {"datasets": DATA | {"label": "ours"}},
    (AttackSpec, "name"): {"attacks": {"name": "apgd", "params": {"steps": 3}}},
    (AttackSpec, "params"): {"attacks": {"name": "pgd", "params": {"steps": 4}}},
    (AttackSpec, "budget"): {"attacks": PGD | {"budget": 5}},
    (AttackSpec, "goals"): {"attacks": PGD | {"goals": "topk-exclusion:2"}},
    (AttackSpec, "norms"): {"attacks": PGD | {"norms": "l2"}},
    (AttackSpec, "eps"): {"attacks": PGD | {"eps": {"linf": 0.2, "l2": 0.5}}},
}
"""Field that decides -> the suite with another value of it."""
INNOCENT = {
    (Suite, "name"): {"name": "other"},
    (Suite, "description"): {"description": "another"},
    (Suite, "save"): {"save": "all"},
    (Suite, "time_limit"): {"time_limit": 7},
    (Suite, "gates"): {"gates": {"min_robust_accuracy": 0.9}},
}
"""Field that does not -> the same."""
FREE = {(Suite, "device"), (Suite, "precise"), (DatasetSpec, "name")}
"""What decides by what comes of it: where it computes, in which form of a network, which images there are."""


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    """Files that suites here name, and a data set with the same images under another name."""
    import fake_plugin

    from advbench.catalog import DATASETS

    DATASETS.add({"other": fake_plugin._data("other")})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.txt").write_text("1.25")
    (tmp_path / "broken.txt").write_text("3 7")
    (tmp_path / "whole.txt").write_text("")


def planned(change):
    suite = Suite.model_validate(BASE | change)
    plan = make_plan(suite, Workbench(suite))
    return {unit.unit_id for unit in plan.units}, plan.identity


def test_every_field_is_tried():
    fields = {(table, name) for table in HARMLESS for name in table.model_fields}
    assert fields == DECIDING.keys() | INNOCENT.keys()
    assert {(table, name) for table, names in HARMLESS.items() for name in names} == INNOCENT.keys()


@pytest.mark.parametrize("field", DECIDING, ids=lambda field: f"{field[0].__name__}.{field[1]}")
def test_what_decides_is_in_the_keys_and_in_the_identity(field):
    base, change = {}, DECIDING[field]
    if field[0] is AttackSpec:
        base = {"attacks": PGD, "norms": ["linf", "l2"]}
    if field == (DatasetSpec, "path"):
        base = {"datasets": {"name": "broken", "label": "smooth", "path": "whole.txt"}}
    units, before = planned(base)
    others, after = planned(base | change)
    assert before != after
    assert (units != others) is (field not in FREE)


@pytest.mark.parametrize("field", INNOCENT, ids=lambda field: field[1])
def test_what_is_harmless_is_in_neither(field):
    assert planned({}) == planned(INNOCENT[field])


def test_code_libraries_and_device_are_in_the_keys(monkeypatch):
    units, _ = planned({})
    for name, other in (("code_digest", "another"), ("library_versions", {"torch": "1.0"})):
        with monkeypatch.context() as patch:
            patch.setattr(identity, name, lambda other=other: other)
            assert not units & planned({})[0]
    with monkeypatch.context() as patch:
        patch.setattr("advbench.plan.surroundings", lambda device: {"device": f"another than {device}"})
        assert not units & planned({})[0]


def test_models_with_the_same_weights_are_told_apart_by_what_they_were_made_from(tmp_path):
    assert origin("tiny") != origin("sleepy")
    file = tmp_path / "nets.py"
    file.write_text("one")
    before = origin(f"{file}:make")
    assert before == origin(f"{file}:make") != origin(f"{file}:other")
    file.write_text("two")
    assert origin(f"{file}:make") != before
    assert not {str(tmp_path), "nets.py"} & set(before.values()), "it may lie elsewhere on another machine"
