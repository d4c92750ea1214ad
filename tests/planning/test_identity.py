"""Every field of a suite decides a unit's key and the run's identity, or is declared harmless; none is forgotten."""

from pathlib import Path

import pytest
from accidents import SUITE
from fakes import CLASSES, SIZE
from layers import imports_of

from advbench.catalog import ATTACKS, DATASETS, MODELS
from advbench.catalog.user_models import origin
from advbench.config.data.source import DataSource
from advbench.config.fields import Prove
from advbench.config.model_description import Description
from advbench.config.models.model import ModelSpec
from advbench.config.models.surrogate import SurrogateSpec
from advbench.config.suite import HARMLESS as FIELDS
from advbench.config.suite import AttackSpec, DatasetSpec, Suite
from advbench.planning.identity import run as identity
from advbench.planning.identity.code import HARMLESS, ROOTS, code_digest, deciding_modules
from advbench.planning.plan import make_plan
from advbench.planning.resources import Resources

pytestmark = pytest.mark.usefixtures("plugged")
BASE = SUITE | {"images": 6}
ONE, DATA, PGD = {"name": "tiny"}, {"name": "smooth"}, {"name": "pgd", "params": {"steps": 3}}
OWN = {"name": "nets.py:net", "label": "tiny"}
"""A model that its table describes."""
NETS = """
from torch import nn

class Net(nn.Module):
    def forward(self, x):
        logits = 20 * nn.functional.adaptive_avg_pool2d(x, (2, 4)).flatten(1)[:, :{classes}]
        return logits, 2 * logits

net, twin = Net, Net
"""
DECIDING = {
    (Suite, "models"): {"models": "sleepy"},
    (Suite, "surrogates"): {"surrogates": "sleepy"},
    (Suite, "datasets"): {"datasets": ["smooth", "other"]},
    (Suite, "attacks"): {"attacks": "fgsm"},
    (Suite, "corruptions"): {"corruptions": "fog"},
    (Suite, "severities"): {"severities": [1, 2]},
    (Suite, "goals"): {"goals": "topk-exclusion:2"},
    (Suite, "norms"): {"norms": "l2", "attacks": "pgd"},
    (Suite, "eps"): {"eps": {"linf": [0.01, 0.2], "l2": 0.5}},
    (Suite, "budgets"): {"budgets": "small"},
    (Suite, "images"): {"images": 5},
    (Suite, "trust"): {"trust": "full"},
    (Suite, "mask"): {"mask": "border:2"},
    (Suite, "seed"): {"seed": 1},
    (Suite, "noise"): {"noise": False},
    (Suite, "precise"): {"precise": True},
    (Suite, "device"): {"device": "auto"},
    (Suite, "stop"): {"stop": "decided"},
    (Suite, "prove"): {"prove": {"method": "interval"}},
    (Prove, "domains"): {"prove": {"domains": 10}},
    (Prove, "seconds"): {"prove": {"seconds": 5}},
    (Prove, "method"): {"prove": {"method": "crown"}},
    (ModelSpec, "name"): {"models": {"name": "randomised", "label": "tiny"}},
    (ModelSpec, "weights"): {"models": ONE | {"weights": "weights.txt"}},
    (ModelSpec, "attacks"): {"models": ONE | {"attacks": "pgd"}},
    (ModelSpec, "label"): {"models": ONE | {"label": "mine"}},
    (ModelSpec, "num_classes"): {"models": OWN | {"num_classes": len(CLASSES)}},
    (ModelSpec, "input_size"): {"models": OWN | {"input_size": SIZE}},
    (ModelSpec, "mean"): {"models": OWN | {"mean": [0.5, 0.5, 0.5]}},
    (ModelSpec, "std"): {"models": OWN | {"std": [0.5, 0.5, 0.5]}},
    (ModelSpec, "classes"): {"models": OWN | {"classes": CLASSES}},
    (ModelSpec, "output"): {"models": OWN | {"output": 1}},
    (ModelSpec, "thresholds"): {"models": OWN | {"thresholds": 0.5}},
    (ModelSpec, "gradients_from"): {"models": OWN | {"gradients_from": "nets.py:twin"}},
    (SurrogateSpec, "models"): {"surrogates": {"models": ["sleepy", "tiny"], "label": "both"}},
    (SurrogateSpec, "average"): {
        "surrogates": {"models": ["randomised", "tiny"], "label": "both", "average": "losses"}
    },
    (SurrogateSpec, "label"): {"surrogates": {"models": ["randomised", "tiny"], "label": "other"}},
    (DatasetSpec, "name"): {"datasets": {"name": "other", "label": "smooth"}},
    (DatasetSpec, "path"): {"datasets": {"name": "broken", "label": "smooth", "path": "broken.txt"}},
    (DatasetSpec, "root"): {"datasets": DATA | {"root": "elsewhere"}},
    (DatasetSpec, "split"): {"datasets": DATA | {"split": "train"}},
    (DatasetSpec, "config"): {"datasets": DATA | {"config": "plain"}},
    (DatasetSpec, "revision"): {"datasets": DATA | {"revision": "v2"}},
    (DatasetSpec, "image_column"): {"datasets": DATA | {"image_column": "img"}},
    (DatasetSpec, "label_column"): {"datasets": DATA | {"label_column": "fine"}},
    (DatasetSpec, "classes"): {"datasets": DATA | {"classes": "map.json"}},
    (DatasetSpec, "images"): {"datasets": DATA | {"images": 5}},
    (DatasetSpec, "eps"): {"datasets": DATA | {"eps": {"linf": 0.2, "l2": 0.5}}},
    (DatasetSpec, "mask"): {"datasets": DATA | {"mask": "border:2"}},
    (DatasetSpec, "label"): {"datasets": DATA | {"label": "ours"}},
    (AttackSpec, "name"): {"attacks": {"name": "apgd", "params": {"steps": 3}}},
    (AttackSpec, "params"): {"attacks": {"name": "pgd", "params": {"steps": 4}}},
    (AttackSpec, "max_passes"): {"attacks": PGD | {"max_passes": 5}},
    (AttackSpec, "goals"): {"attacks": PGD | {"goals": "topk-exclusion:2"}},
    (AttackSpec, "norms"): {"attacks": PGD | {"norms": "l2"}},
    (AttackSpec, "eps"): {"attacks": PGD | {"eps": {"linf": 0.2, "l2": 0.5}}},
    (AttackSpec, "budgets"): {"attacks": PGD | {"budgets": "large"}},
    (AttackSpec, "mask"): {"attacks": PGD | {"mask": "border:2"}},
    (AttackSpec, "transfer"): {"attacks": [PGD | {"transfer": True}, "fgsm"]},
    (AttackSpec, "surrogates"): {"surrogates": "sleepy", "attacks": PGD | {"surrogates": []}},
}
"""Field that decides -> the suite with another value of it."""
INNOCENT = {
    (Suite, "name"): {"name": "other"},
    (Suite, "description"): {"description": "another"},
    (Suite, "save"): {"save": "all"},
    (Suite, "time_limit"): {"time_limit": 7},
    (Suite, "width_pp"): {"width_pp": 2},
    (Suite, "profile"): {"profile": True},
    (Suite, "gates"): {"gates": {"min_robust_accuracy": 0.9}},
}
"""Field that does not -> the same."""
SOURCE = {(DatasetSpec, name) for name in (*DataSource.model_fields, "classes") if name != "path"}
FREE = {(Suite, "device"), (Suite, "precise"), (DatasetSpec, "name"), *SOURCE}
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
    (tmp_path / "map.json").write_text("{}")
    (tmp_path / "nets.py").write_text(NETS.format(classes=len(CLASSES)))


def planned(change):
    suite = Suite.model_validate(BASE | change)
    plan = make_plan(suite, Resources(suite))
    return {unit.unit_id for unit in plan.units}, plan.identity


def test_every_field_is_tried():
    fields = {(table, name) for table in FIELDS for name in table.model_fields}
    # Only models of open_clip take prompts; their weights are part of what the digest is made of.
    assert fields == DECIDING.keys() | INNOCENT.keys() | {(ModelSpec, "templates")}
    assert {(table, name) for table, names in FIELDS.items() for name in names} == INNOCENT.keys()


@pytest.mark.parametrize("field", DECIDING, ids=lambda field: f"{field[0].__name__}.{field[1]}")
def test_what_decides_is_in_the_keys_and_in_the_identity(field):
    base, change = {}, DECIDING[field]
    if field[0] is AttackSpec:
        base = {"attacks": PGD, "norms": ["linf", "l2"]}
    if field == (AttackSpec, "surrogates"):
        base |= {"surrogates": "sleepy"}
    if field == (Suite, "severities"):
        base = {"corruptions": "fog"}
    if field[0] is Prove:
        base = {"prove": {}}
    if field == (DatasetSpec, "path"):
        base = {"datasets": {"name": "broken", "label": "smooth", "path": "whole.txt"}}
    if field[0] is SurrogateSpec:
        base = {"surrogates": {"models": ["randomised", "tiny"], "label": "both"}}
    if field[1] in Description.model_fields:
        base = {"models": OWN}
    if field == (ModelSpec, "thresholds"):
        base = {"models": OWN | {"thresholds": 0.0}, "goals": "any-label-flips"}
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
        patch.setattr("advbench.planning.plan.surroundings", lambda device: {"device": f"another than {device}"})
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


ROOT = Path(__file__).parents[2]
SOURCES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path.read_text(encoding="utf-8")
    for top in ("advbench", "attacks")
    for path in sorted((ROOT / top).rglob("*.py"))
}


def test_the_code_that_decides_is_closed_under_imports():
    found = deciding_modules(ROOT)
    for name in found:
        for item in imports_of(name, SOURCES):
            target = next((n for n in (item.name, item.name.rpartition(".")[0]) if n in SOURCES), None)
            assert target is None or target in found or target in HARMLESS, f"{name} imports {item.name}"


def test_what_tables_name_as_text_is_in_the_code_that_decides():
    targets = [card.loader for card in (*MODELS.values(), *DATASETS.values())]
    targets += [card.target for card in ATTACKS.values()]
    named = {target.partition(":")[0] for target in targets} - {"fake_plugin", "fakes"}
    assert named <= deciding_modules(ROOT).keys()


@pytest.mark.parametrize(
    "name",
    [
        *("records.record", "records.flag", "records.unit", "catalog", "catalog.user_models", "catalog.parameters"),
        *("catalog.attack_facts", "models.sources.zoo", "datasets.images.ids", "execution.tasks"),
        *(
            "evaluation.judge",
            "evaluation.checks.model",
            "evaluation.checks.squashed",
            "evaluation.recording",
            "evaluation.meter",
        ),
        *("evaluation.evaluate", "planning.plan", "planning.cost.footprint", "planning.forms.fast_forms"),
    ],
)
def test_what_decides_is_in_the_digest(name):
    assert f"advbench.{name}" in deciding_modules(ROOT)


@pytest.mark.parametrize(
    "name",
    ["report.html.page", "cli.run", "explain.page", "training.fit", "analysis.checks.attacks", "analysis.metrics"],
)
def test_what_only_reads_results_is_not(name):
    assert f"advbench.{name}" in SOURCES
    assert f"advbench.{name}" not in deciding_modules(ROOT)


def small(folder, **sources):
    """Packages with the roots, and these modules of advbench."""
    names = set(ROOTS) | {*HARMLESS} | {f"advbench.{name}" for name in sources}
    for name in names:
        path = folder.joinpath(*name.split("."))
        path = path / "__init__.py" if (ROOT / path.relative_to(folder)).is_dir() else path.with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(sources.get(name.removeprefix("advbench."), ""))
    return folder


def test_imports_are_followed_wherever_they_stand(tmp_path):
    root = small(
        tmp_path,
        **{
            "execution.tasks": "import advbench.one as other\n",
            "one": "def f():\n    from advbench.two import (  # why\n        x,\n        y,\n    )\n",
            "two": "if True:\n    from advbench import three, x\n",
            "three": "text = 'from advbench.four import x'\n",
            "four": "",
        },
    )
    found = {name.removeprefix("advbench.") for name in deciding_modules(root)}
    assert {"one", "two", "three"} <= found
    assert "four" not in found


@pytest.mark.parametrize("gone", ["execution.tasks", "evaluation"])
def test_a_name_that_is_gone_is_an_error(tmp_path, gone):
    root = small(tmp_path)
    path = root.joinpath("advbench", *gone.split("."))
    (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).unlink()
    with pytest.raises(ValueError, match=rf"expected advbench\.{gone} to be a module or package"):
        deciding_modules(root)


def test_the_digest_changes_with_the_code_that_decides(monkeypatch):
    read, before = Path.read_bytes, code_digest()
    for name, same in (("records/record.py", False), ("attack_facts.json", False), ("analysis/metrics.py", True)):
        changed = lambda path, name=name: read(path) + (b" " if path.as_posix().endswith(name) else b"")  # noqa: E731
        monkeypatch.setattr(Path, "read_bytes", changed)
        assert (code_digest.__wrapped__() == before) is same
