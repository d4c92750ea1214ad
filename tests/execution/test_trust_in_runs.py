"""Trust flags of whole runs: every planted trick raises one under PGD alone, and healthy networks none."""

import pytest
from tricks import DETERMINISTIC, RANDOM

import advbench
from advbench.models.classifier import Classifier

TRICKS = DETERMINISTIC | RANDOM
HONEST = {"median"}
"""A filter whose gradient is right: PGD fools it as it would without."""
QUICK = ("quantised", "labels", "shattered", "noise")
SUITE = {"name": "trust", "datasets": "mnist", "images": 16, "eps": {"linf": 0.1}, "attacks": "pgd"}


def tricked(name):
    return Classifier(TRICKS[name](advbench.load_model("mnist_convnet")), num_classes=10, mean=[0.0], input_size=28)


def severe(done):
    return {(flag.model, flag.id) for flag in done.analysis.flags if flag.severity in "EF"}


def run(names, folder, **more):
    models = {name.replace(" ", "_"): tricked(name) for name in names}
    return severe(advbench.run(SUITE | {"models": list(models)} | more, models=models, out=folder, workers=1))


@pytest.mark.parametrize("name", QUICK)
def test_a_trick_is_flagged(name, tmp_path):
    assert run([name], tmp_path / "run")


@pytest.mark.slow
def test_every_trick_is_flagged(tmp_path):
    names = sorted({*TRICKS} - HONEST)
    flagged = {model for model, _ in run(names, tmp_path / "run")}
    assert flagged == {name.replace(" ", "_") for name in names}


@pytest.mark.parametrize("model", ["lenet", "mlp_mnist"])
def test_a_healthy_network_is_not(model, tmp_path):
    assert severe(advbench.run(SUITE | {"models": model}, out=tmp_path / "run", workers=1)) == set()


@pytest.mark.slow
@pytest.mark.parametrize("trust", ["quick", "full"])
@pytest.mark.parametrize(
    ("models", "eps"),
    [(["mlp_mnist", "lenet", "mnist_convnet", "mnist_convnet_robust"], 0.1), (["gray_mlp", "gray_cnn"], 0.01)],
)
def test_no_healthy_network_is(models, eps, trust, tmp_path):
    data = "cifar10-grey-samples" if "gray_mlp" in models else "mnist"
    suite = SUITE | {"models": models, "datasets": data, "images": 100, "eps": {"linf": eps}, "trust": trust}
    short = {"name": "standard", "params": {"rounds": 3, "queries": 20}}
    if trust == "full":
        suite |= {"attacks": ["pgd", short], "images": 20}
    assert severe(advbench.run(suite, out=tmp_path / "run", workers=1)) == set()
