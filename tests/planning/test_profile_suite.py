"""What the suite `profile` asks for: budgets that suit the data, masks of attacks, other models and data, a fit."""

import json
import re

import pytest
from command import run

from advbench.catalog import DATASETS
from advbench.config.budgets import NORMS, usual_budgets
from advbench.config.data.name import parse_data
from advbench.config.fields import AS_IT_WAS
from advbench.config.models.model import ModelSpec
from advbench.config.suite import Suite
from advbench.config.suite_files import load_suite, on_other_data, on_other_models, on_surrogates
from advbench.errors import UserError
from advbench.planning.cells import cells_for
from advbench.planning.plan import make_plan
from advbench.planning.resources import Resources

BASE = {"name": "x", "models": "lenet", "datasets": "mnist", "images": 8}
MASKED = {"attacks": ["fgsm", {"name": "pgd", "mask": "border:2"}], "noise": False}


def planned(suite, place=0):
    return [(cell.attack, cell.norm, cell.eps) for cell in cells_for(suite, suite.models[0], suite.datasets[place])]


@pytest.mark.parametrize("size", ["small", "large"])
def test_every_data_set_has_usual_budgets_in_every_norm(size):
    for name in DATASETS:
        assert set(usual_budgets(name, size)) == set(NORMS)
        assert all(usual_budgets(name, "small")[norm] < usual_budgets(name, "large")[norm] for norm in NORMS)


def test_budgets_suit_the_data_and_an_attack_may_have_others():
    attacks = ["fgsm", {"name": "pgd", "budgets": "large"}, {"name": "apgd", "eps": {"linf": 0.5}}]
    suite = Suite(**BASE, attacks=attacks, budgets="small", noise=False)
    assert planned(suite) == [("fgsm", "linf", 0.1), ("pgd", "linf", 0.3), ("apgd", "linf", 0.5)]
    photographs = on_other_data(suite, (parse_data("imagenet-samples"),))
    assert planned(photographs)[:2] == [("fgsm", "linf", 1 / 255), ("pgd", "linf", 4 / 255)]


def test_a_data_set_keeps_the_budgets_that_it_has():
    data = {"name": "mnist", "eps": {"linf": 0.2}}
    assert planned(Suite(**BASE | {"datasets": data}, attacks="fgsm", budgets="small", noise=False))[0][2] == 0.2


def test_a_mask_of_an_attack_takes_the_data_set_once_more():
    suite = Suite(**BASE, **MASKED, corruptions="fog", severities=[1])
    assert [data.label for data in suite.datasets] == ["mnist", "mnist, only border:2"]
    assert [name for name, *_ in planned(suite)] == ["fgsm", "corruption/fog"]
    assert [name for name, *_ in planned(suite, 1)] == ["pgd"]


def test_it_is_taken_once_more_only_once():
    suite = Suite(**BASE, **MASKED)
    again = Suite.model_validate(suite.model_dump(mode="json"), context=AS_IT_WAS)
    assert again == suite
    assert on_other_data(suite, suite.datasets).datasets == suite.datasets
    other = on_other_data(suite, (parse_data("mnist-samples"),))
    assert [data.label for data in other.datasets] == ["mnist-samples", "mnist-samples, only border:2"]


def test_the_mask_of_the_whole_suite_is_no_mask_of_an_attack():
    with pytest.raises(UserError, match="an attack names the mask border:2, which the whole suite already has"):
        load_suite(BASE | MASKED | {"mask": "border:2"})


def test_a_picture_as_the_mask_of_an_attack_is_found_beside_the_suite_file(tmp_path):
    (tmp_path / "m.png").write_bytes(b"x")
    file = tmp_path / "own.toml"
    file.write_text(
        'models = "lenet"\ndatasets = "mnist"\nattacks = [{ name = "pgd", mask = "m.png" }, "fgsm"]\nnoise = false\n'
    )
    suite = load_suite(file)
    assert [name for name, *_ in planned(suite)] == ["fgsm"]
    assert [name for name, *_ in planned(suite, 1)] == ["pgd"]
    assert re.fullmatch(r"mnist, only m\.png \(\w{8}\)", suite.datasets[1].label)


def test_other_models_take_the_place_of_those_of_the_suite():
    suite = on_other_models(load_suite("profile"), (ModelSpec(name="lenet"),))
    assert [model.label for model in suite.models] == ["lenet"]
    with pytest.raises(UserError, match="--model lenet is given twice"):
        on_other_models(suite, (ModelSpec(name="lenet"),) * 2)
    floor = {"floors": [{"model": "lenet", "min_robust_accuracy": 0.5}]}
    with pytest.raises(UserError, match="has a floor for the model 'lenet', which --model replaces"):
        on_other_models(Suite(**BASE, attacks="fgsm", gates=floor), (ModelSpec(name="mlp_mnist"),))


def test_an_attack_of_transfer_needs_a_surrogate():
    attacks = [{"name": "fgsm", "surrogates": []}, {"name": "mifgsm", "transfer": True}]
    suite = Suite(**BASE, attacks=attacks, noise=False)
    assert [name for name, *_ in planned(suite)] == ["fgsm"]
    with_one = on_surrogates(suite, ["mlp_mnist"])
    cells = cells_for(with_one, with_one.models[0], with_one.datasets[0])
    assert [(cell.attack, cell.surrogate) for cell in cells] == [("fgsm", None), ("mifgsm", "mlp_mnist")]


def test_images_of_a_fit_decide_its_units():
    attacks = [{"name": "universal", "params": {"fit": 3}}]
    ids = []
    for count in (8, 9):
        suite = Suite(**BASE | {"images": count}, attacks=attacks, budgets="large", noise=False)
        plan = make_plan(suite, Resources(suite))
        (unit,) = [each for each in plan.units if each.task == "attack"]
        ids.append(unit.unit_id)
        assert json.loads(unit.params)["fit"] == 3
        assert unit.passes == 1 + 2 * 3 * 4 * 3 / count
        assert "perturbations" not in plan.identity
    assert ids[0] != ids[1]


OWN = """
models = ["lenet"]
datasets = ["mnist-samples"]
budgets = "large"
profile = true
noise = false
corruptions = ["contrast"]
severities = [5]
attacks = [
    { name = "fgsm", mask = "border:8" },
    { name = "square", params = { steps = 5 } },
    { name = "universal", params = { fit = 2 } },
]
"""


def test_a_profile_of_ones_own_from_end_to_end(tmp_path):
    (tmp_path / "own.toml").write_text(OWN)
    options = ("run", tmp_path / "own.toml", "--model", "mlp_mnist", "--limit", "6", "--out", tmp_path / "out")
    done = run(*options, "--workers", "1")
    assert done.exit_code == 0
    assert "mlp_mnist on mnist-samples · profile" in done.stdout
    (told,) = json.loads(run("report", tmp_path / "out", "--format", "json").stdout)["profiles"]
    assert [row["kind"] for row in told["threats"]] == ["mask", "queries", "universal", "corruption"]
    assert not any(row["robust"]["unknown"] for row in told["threats"])
    assert run("verify", tmp_path / "out").exit_code == 0


OPTIONS = ("--model", "mlp_mnist", "--data", "mnist", "--limit", "10", "--surrogate", "lenet")


@pytest.mark.slow
def test_the_suite_from_end_to_end(tmp_path):
    folder = tmp_path / "out"
    done = run("run", "profile", *OPTIONS, "--out", folder, "--workers", "1")
    assert done.exit_code == 0
    assert "mlp_mnist on mnist · profile" in done.stdout
    (told,) = json.loads(run("report", folder, "--format", "json").stdout)["profiles"]
    kinds = [row["kind"] for row in told["threats"]]
    assert (
        kinds
        == ["gradients"] * 5 + ["mask", "patch", "queries", "transfer", "universal", "movement"] + ["corruption"] * 3
    )
    assert not any(row["robust"]["unknown"] for row in told["threats"])
    assert told["robust_to_everything"]["k"] <= told["robust_to_attacks"]["k"] <= told["clean"]["k"]
    assert run("run", "profile", *OPTIONS, "--out", folder, "--workers", "1").exit_code == 0  # nothing is left to do
    assert run("verify", folder).exit_code == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--model", "vgg61"), "unknown model 'vgg61'; did you mean vgg16"),
        (("--model", "lenet", "--model", "lenet"), "--model lenet is given twice"),
        (("--model", "lenet", "--mean", "0.5"), "model lenet takes no mean"),
        (("--mean", "0.5"), "what is said of a model needs one --model"),
        (("--model", "lenet"), "suite profile has no data set for the model 'lenet', which is for MNIST"),
    ],
)
def test_mistakes_are_told(tmp_path, options, message):
    done = run("run", "profile", *options, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert message in done.stderr.replace("\n", "; ")
