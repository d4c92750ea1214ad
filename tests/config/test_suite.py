"""Suites: what is written is understood, and every mistake is named with file, key and what was probably meant."""

import subprocess
import sys
import tomllib
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch

from advbench.catalog import ATTACKS, DATASETS, MODELS
from advbench.config.fields import Prove
from advbench.config.gates import Gates
from advbench.config.models.model import ModelSpec
from advbench.config.models.surrogate import SurrogateSpec
from advbench.config.suite import HARMLESS, AttackSpec, DatasetSpec, Suite
from advbench.config.suite_files import load_suite, on_surrogates, suite_names
from advbench.errors import UserError
from advbench.evaluation.attack_factory import make_attack
from advbench.planning.plan import fitting_pairs, make_plan
from advbench.planning.resources import Resources
from attacks import PGD

GOOD = {"name": "x", "models": "efficientnet_lite0", "datasets": "imagenet-samples", "attacks": "pgd"}


@pytest.mark.parametrize("name", suite_names())
def test_built_in_suites_are_in_order(name):
    suite = load_suite(name)
    assert suite.name == name
    assert suite.description
    assert {model.label for model, _ in fitting_pairs(suite, Resources(suite)).pairs} == {m.label for m in suite.models}


def test_short_forms_and_long_ones():
    suite = load_suite(
        GOOD
        | {
            "models": ["vgg16", {"name": "vgg16", "weights": "mine.pt", "label": "mine"}],
            "attacks": ["fmn", {"name": "pgd", "params": {"steps": 5}, "norms": ["linf"], "goals": "targeted:3"}],
            "norms": "l2",
            "eps": {"linf": ["8/255", "2/255"], "l2": 0.5},
        }
    )
    assert [spec.label for spec in suite.models] == ["vgg16", "mine"]
    assert [spec.name for spec in suite.attacks] == ["fmn", "pgd"]
    assert suite.attacks[1].goals == ("targeted:3",)
    assert suite.eps == {"linf": (2 / 255, 8 / 255), "l2": (0.5,)}
    assert suite.norms == ("l2",)


def test_budgets_are_numbers_of_any_kind():
    eps = {
        "linf": [Fraction(8, 255), Decimal("0.5"), torch.tensor(0.25)],
        "l2": np.array([1.0, 0.5]),
        "l1": np.int64(9),
    }
    floor = {"min_robust_accuracy": 0.5, "norm": "linf", "eps": Fraction(8, 255)}
    suite = load_suite(GOOD | {"norms": ["linf", "l2", "l1"], "eps": eps, "gates": {"floors": [floor]}})
    assert suite.eps == {"linf": (8 / 255, 0.25, 0.5), "l2": (0.5, 1.0), "l1": (9.0,)}
    assert suite.gates.floors[0].eps == 8 / 255
    assert suite.model_dump(mode="json")["eps"]["linf"][0] == 8 / 255


def test_parameters_of_an_attack_are_numbers_of_any_kind():
    """In Python, that is; one that is no Python number would be dropped without a word."""
    attack = make_attack("pgd", "linf", {"steps": np.int64(3), "relative_step": Fraction(1, 4)})
    assert attack == PGD(steps=3, relative_step=0.25)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "vgg16"}, r"model: unknown key; did you mean models\?"),
        ({"zzz": 1}, r"zzz: unknown key; there are name, description, models,"),
        (
            {"models": {"name": "vgg16", "attacks": ["pgd", "fgsm"]}},
            "suite: model vgg16 has the attack 'fgsm', which the suite does not have",
        ),
        ({"models": 3, "gates": 3}, r"models\[0\]: expected a name or a table, got 3\ngates: expected a table, got 3"),
        ({"models": []}, "expected at least one model, got none"),
        ({"models": ["vgg16", "vgg16"]}, "two models are called 'vgg16'; give one of them a label"),
        ({"models": "vgg61"}, r"models\[0\]\.name: unknown model 'vgg61'; did you mean vgg16"),
        ({"datasets": "mnsit"}, r"datasets\[0\]\.name: unknown dataset 'mnsit'; did you mean mnist"),
        ({"attacks": "pdg"}, r"attacks\[0\]\.name: unknown attack 'pdg'; did you mean pgd"),
        ({"attacks": {"name": "pgd", "step": 3}}, r"attacks\[0\]\.step: unknown key"),
        ({"attacks": {"name": "pgd", "norms": "l0"}}, r"attacks\[0\]: attack pgd works in linf, l2, l1, not in l0"),
        (
            {"attacks": {"name": "foolbox/newtonfool", "goals": "targeted:1"}},
            r"attacks\[0\]: attack foolbox/newtonfool takes the goal untargeted, not targeted:1",
        ),
        ({"goals": "topk"}, r"goals\[0\]: unknown goal 'topk'; did you mean"),
        ({"norms": "l7"}, r"norms\[0\]: Input should be 'linf', 'l2', 'l1'"),
        ({"eps": {"linf": 8}}, r"eps: eps 8 is more than the whole range .* did you mean eps 8/255"),
        ({"eps": {"linf": "eight"}}, "eps: eps 'eight' is not a number"),
        ({"eps": {"l7": 1}}, r"eps\.l7"),
        ({"images": 0}, "images: Input should be greater than 0"),
        ({"seed": -1}, "seed: Input should be greater than or equal to 0"),
        ({"name": "../x"}, "name: String should match"),
        ({"gates": {"min_robust": 0.4}}, r"gates\.min_robust: unknown key; did you mean min_robust_accuracy"),
        (
            {"gates": {"min_robust_accuracy": 40}},
            r"gates\.min_robust_accuracy: Input should be less than",
        ),
        ({"gates": {"floors": [{"min_robust_accuracy": 0.1, "eps": 1}]}}, r"gates\.floors\[0\]: eps needs a norm"),
    ],
)
def test_mistakes_are_named(change, message):
    with pytest.raises(UserError, match=message):
        load_suite(GOOD | change)


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        ('datasets = "imagenet-samples"\nattacks = "pgd"\neps = { linf = 0.1, l2 = 1 }', "eps"),
        (
            'datasets = { name = "imagenet-samples", eps = { l2 = 1 } }\nattacks = "pgd"',
            "eps of the data set imagenet-samples",
        ),
        (
            'datasets = "imagenet-samples"\nattacks = ["fgsm", { name = "pgd", eps = { linf = 0.1, l2 = 1 } }]',
            r"eps of attacks\[1\]",
        ),
    ],
)
def test_budgets_in_a_norm_that_is_not_asked_for_are_refused(tmp_path, lines, place):
    """They would be left out without a word."""
    file = tmp_path / "x.toml"
    file.write_text(f'models = "efficientnet_lite0"\n{lines}\n')
    say = "has budgets in l2, and no attack is run in l2\nadd it to norms, or take l2 out of eps"
    with pytest.raises(UserError, match=f"suite x: {place} {say}"):
        load_suite(file)
    table = {"name": "x", **tomllib.loads(file.read_text())}
    with pytest.raises(UserError, match=f"suite x: {place} {say}"):
        load_suite(table)
    with pytest.raises(UserError, match=f"suite x: {place} {say}"):
        load_suite(Suite(**table))
    file.write_text(f'norms = ["linf", "l2"]\n{file.read_text()}')
    assert load_suite(file).norms == ("linf", "l2")


@pytest.mark.parametrize(
    ("key", "asked", "idle"),
    [
        ("norms", ["linf", "l0"], "l0"),
        ("norms", ["l0"], "l0"),
        ("goals", ["untargeted", "label-on:3"], "label-on:3"),
    ],
)
def test_norms_and_goals_that_no_attack_takes_are_refused(tmp_path, key, asked, idle):
    """They would be left out without a word: no row of any report would mention them."""
    table = {"name": "x", "models": "lenet", "datasets": "mnist-samples", "eps": {"linf": 0.1}, key: asked}
    spec = {"name": "pgd", "goals": "untargeted"} if key == "goals" else {"name": "pgd"}
    if "l0" in asked:
        table["eps"] = {norm: 0.1 if norm == "linf" else 10 for norm in asked}
    say = f"suite x: {key} has {idle}, and no attack of the suite takes it\ntake it out of {key}, or add an attack"
    with pytest.raises(UserError, match=say):
        load_suite(table | {"attacks": [spec]})
    other = {"name": "fmn", "goals": idle} if key == "goals" else {"name": "fmn", "norms": idle}
    assert getattr(load_suite(table | {"attacks": [spec, other]}), key) == tuple(asked)


def test_norms_that_nobody_asked_for_are_not_missed():
    """The suite's default is for attacks that name none; on a surrogate, it is still the default."""
    table = {"name": "x", "models": "lenet", "datasets": "mnist-samples", "attacks": {"name": "ddn", "norms": "l2"}}
    suite = load_suite(table)
    assert suite.norms == ("linf",)
    assert load_suite(on_surrogates(suite, ["mlp_mnist"])).norms == ("linf",)


def test_full_has_every_model_of_one_class_that_is_carried_with_pictures_and_every_attack():
    suite = load_suite("full")
    pictured = {card.data for card in DATASETS.values()}
    carried = {card.name for card in MODELS.values() if card.weights_sha256 and card.source != "torchvision"}
    assert {spec.name for spec in suite.models} == {
        name for name in carried if MODELS[name].data in pictured and not MODELS[name].several
    }
    asked = {spec.name for spec in suite.attacks}
    own = {card.name for card in ATTACKS.values() if card.source == "advbench"}
    assert own - asked == {"noise"}, "which is run beside all others"
    foreign = {name for name in ATTACKS if name.startswith("foolbox/")}
    needs_numba = {name for name in foreign if ATTACKS[name].needs}
    assert foreign - asked == needs_numba | {"foolbox/newtonfool", "foolbox/binarization-refinement"}


def test_what_is_missing_is_named():
    with pytest.raises(UserError, match=r"models: is missing\ndatasets: is missing\nattacks: is missing"):
        load_suite({"name": "x"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"models = = 3", r"suite\.toml is not TOML: .*line 1"),
        (b"\xff\xfe", r"suite\.toml is not UTF-8 text"),
        (b'models = "vgg61"', r"suite\.toml is invalid\nmodels\[0\]\.name: unknown model"),
    ],
)
def test_a_file_is_named_in_its_mistakes(tmp_path, text, message):
    path = tmp_path / "suite.toml"
    path.write_bytes(text)
    with pytest.raises(UserError, match=message):
        load_suite(path)


def test_a_suite_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"cannot read the suite .*none\.toml: No such file"):
        load_suite(tmp_path / "none.toml")
    with pytest.raises(UserError, match=r"unknown suite 'smoek'\ndid you mean smoke\? there are"):
        load_suite("smoek")


def test_paths_start_at_the_file_and_its_name_is_the_suites(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    text = 'models = { name = "vgg16", weights = "w.pt" }\ndatasets = "imagenet-samples"\nattacks = "pgd"'
    (tmp_path / "in" / "mine.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    suite = load_suite("in/mine.toml")
    assert suite.name == "mine"
    assert suite.models[0].weights.as_posix() == "in/w.pt"


def test_a_suite_survives_the_manifest():
    suite = load_suite(GOOD | {"gates": {"floors": [{"min_robust_accuracy": 0.5, "norm": "linf", "eps": "2/255"}]}})
    assert Suite.model_validate(suite.model_dump(mode="json")) == suite


def test_every_harmless_field_exists():
    assert set(HARMLESS) == {Suite, Prove, ModelSpec, SurrogateSpec, DatasetSpec, AttackSpec}
    for table, names in HARMLESS.items():
        assert names <= set(table.model_fields)
    assert Gates in [field.annotation for name, field in Suite.model_fields.items() if name in HARMLESS[Suite]]


def test_reading_a_suite_imports_no_torch():
    load = "from advbench.config.suite_files import load_suite; load_suite('smoke')"
    code = f"import sys\n{load}\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("severities", [[[]], {}, {"a": 1}, [None], "high", [1.5], [0], [6], []], ids=str)
def test_severities_of_another_kind_are_a_mistake_like_others(severities):
    with pytest.raises(UserError, match="suite is invalid\nseverities"):
        load_suite(GOOD | {"corruptions": "fog", "severities": severities})


def test_severities_are_sorted_and_each_there_once():
    assert load_suite(GOOD | {"corruptions": "fog", "severities": [3, 1, 3]}).severities == (1, 3)


@pytest.mark.parametrize("key", ["models", "surrogates"])
def test_a_name_longer_than_that_of_any_file_is_a_mistake_like_others(key):
    with pytest.raises(UserError, match="unknown model 'aaa"):
        load_suite(GOOD | {key: "a" * 300})


def test_a_mask_that_cannot_be_read_is_refused_where_it_is_read():
    suite = load_suite(GOOD | {"mask": "a" * 300})
    with pytest.raises(UserError, match=r"cannot read the mask aaa.*: File name too long"):
        make_plan(suite, Resources(suite))
