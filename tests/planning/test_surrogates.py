"""Surrogates in a suite: what attacks are made on, which mistakes are told, and runs from end to end."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from command import run

import advbench
from advbench.config.models.surrogate import SURROGATE
from advbench.config.suite import Suite
from advbench.config.suite_files import load_suite, on_surrogates, refuse_code
from advbench.errors import UserError
from advbench.models import load_model
from advbench.planning.cells import cells_for
from advbench.planning.forms.surrogates import surrogate_model
from advbench.planning.plan import make_plan
from advbench.planning.resources import Resources
from advbench.records.stored_run import read_run
from attacks import BSR, Untargeted

BASE = {
    "name": "x",
    "models": "lenet",
    "datasets": "mnist-samples",
    "attacks": "mifgsm",
    "eps": {"linf": 0.1},
    "images": 12,
}
OTHER = "mnist_convnet"


def loaded(**fields):
    return load_suite(BASE | fields)


def made_on(cells):
    return [(cell.attack, json.loads(cell.params).get(SURROGATE)) for cell in cells]


def planned(**fields):
    suite = loaded(**fields)
    return cells_for(suite, suite.models[0], suite.datasets[0])


# --- the suite ---


def test_names_tables_and_lists_are_surrogates():
    wanted = [OTHER, ["lenet", OTHER], {"models": [OTHER, "mlp_mnist"], "average": "losses"}, {"name": "mlp_mnist"}]
    found = loaded(surrogates=wanted).surrogates
    assert [each.label for each in found] == [
        "mnist_convnet", "lenet + mnist_convnet", "mnist_convnet + mlp_mnist, losses", "mlp_mnist",
    ]  # fmt: skip
    assert [each.average for each in found] == ["logits", "logits", "losses", "logits"]


def test_one_name_is_short_for_a_list_of_one():
    assert loaded(surrogates=OTHER) == loaded(surrogates=[OTHER])
    assert loaded().surrogates == ()


def test_the_label_of_a_model_of_the_suite_stands_for_it():
    suite = loaded(models=[{"name": OTHER, "label": "mine"}, "lenet"], surrogates=["mine", ["mine", "lenet"]])
    assert suite.surrogates[0].models == (suite.models[0],)
    assert [each.label for each in suite.every_model] == ["mine", "lenet"]


def test_a_suite_survives_the_way_to_a_worker():
    suite = loaded(surrogates=[OTHER, ["lenet", OTHER]])
    assert Suite.model_validate(json.loads(json.dumps(suite.model_dump(mode="json")))) == suite


def test_each_attack_is_made_on_each_surrogate_and_noise_on_none():
    cells = planned(surrogates=[OTHER, ["lenet", OTHER]])
    assert made_on(cells) == [("mifgsm", OTHER), ("mifgsm", "lenet + mnist_convnet"), ("noise", None)]


def test_attacks_choose_among_the_surrogates():
    attacks = ["mifgsm", {"name": "pgd", "surrogates": []}, {"name": "bsr", "surrogates": "mlp_mnist"}]
    cells = planned(surrogates=[OTHER, "mlp_mnist"], attacks=attacks)
    assert made_on(cells) == [
        ("mifgsm", OTHER), ("mifgsm", "mlp_mnist"), ("pgd", None), ("bsr", "mlp_mnist"), ("noise", None),
    ]  # fmt: skip


def test_surrogates_on_the_command_line_replace_those_of_the_suite():
    suite = loaded(surrogates=[OTHER], attacks=[{"name": "mifgsm", "surrogates": [OTHER]}])
    found = on_surrogates(suite, ["mlp_mnist", f"lenet+{OTHER}"])
    assert [each.label for each in found.surrogates] == ["mlp_mnist", "lenet + mnist_convnet"]
    assert made_on(cells_for(found, found.models[0], found.datasets[0]))[:2] == [
        ("mifgsm", "mlp_mnist"), ("mifgsm", "lenet + mnist_convnet"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"surrogates": "lenett"}, r"surrogates\[0\]\.models\[0\]\.name: unknown model 'lenett'; did you mean lenet"),
        ({"surrogates": [["lenet", "vgg61"]]}, r"surrogates\[0\]\.models\[1\]\.name: unknown model 'vgg61'"),
        ({"surrogates": [[]]}, r"surrogates\[0\]\.models: Value should have at least 1 item"),
        ({"surrogates": [{"models": "lenet", "average": "mean"}]}, r"average: Input should be 'logits'"),
        ({"surrogates": [{"models": "lenet", "averag": "losses"}]}, r"averag: unknown key; did you mean average"),
        ({"surrogates": ["lenet", "lenet"]}, "two surrogates are called 'lenet'; give one of them a label"),
        (
            {"surrogates": [{"name": OTHER, "label": "lenet"}]},
            "two models are called 'lenet'; give that of the surrogate a label",
        ),
        (
            {"surrogates": OTHER, "attacks": [{"name": "bsr", "surrogates": "vgg16"}]},
            "attack bsr has the surrogate 'vgg16', and of the suite's there are mnist_convnet",
        ),
        ({"attacks": [{"name": "bsr", "surrogates": "lenet"}]}, "and of the suite's it has none"),
    ],
)  # fmt: skip
def test_mistakes_are_named(fields, message):
    with pytest.raises(UserError, match=message):
        loaded(**fields)


def test_code_of_surrogates_is_refused_as_that_of_models_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text("net = None\n")
    with pytest.raises(UserError, match=r"suite x names models that run code: nets.py"):
        loaded(surrogates=["nets.py:net"])
    with pytest.raises(UserError, match="names models that run code"):
        refuse_code(on_surrogates(loaded(), ["nets.py:net"]))


def test_paths_of_surrogates_start_at_the_suite_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "suites").mkdir()
    file = tmp_path / "suites" / "own.toml"
    lines = ('models = ["lenet"]', 'datasets = ["mnist-samples"]', 'attacks = ["bsr"]', 'surrogates = ["net.onnx"]')
    file.write_text("\n".join(lines))
    (found,) = load_suite(file).surrogates
    assert Path(found.models[0].name) == Path("suites/net.onnx")


# --- the plan ---


@pytest.mark.parametrize(
    ("surrogate", "message"),
    [
        (
            "gray_cnn",
            "surrogate 'gray_cnn' does not fit the model 'lenet' on mnist-samples: gray_cnn is for CIFAR-10 grey",
        ),
        ([OTHER, "gray_mlp"], r"surrogate 'mnist_convnet \+ gray_mlp' does not fit .*: gray_mlp is for CIFAR-10 grey"),
    ],
)
def test_a_surrogate_for_other_data_is_refused(surrogate, message):
    suite = loaded(surrogates=[surrogate])
    with pytest.raises(UserError, match=message):
        make_plan(suite, Resources(suite))


def own_model(classes, channels=1, names=None):
    """A classifier made as an object."""
    net = torch.nn.Sequential(
        torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(16 * channels, classes)
    )
    mean = [0.5] * channels
    return advbench.Classifier(net, num_classes=classes, mean=mean, std=mean, classes=names, input_size=20)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (own_model(7), "own has 7 classes, and lenet has 10"),
        (own_model(10, names=list("1234567890")), "own has the classes of lenet in another order"),
        (own_model(10, channels=3), r"model own fails on an image of shape \(1, 20, 20\)"),
    ],
)
def test_a_surrogate_that_cannot_stand_for_the_model_is_refused(model, message, tmp_path):
    with pytest.raises(UserError, match=f"surrogate 'own' does not fit the model 'lenet' on mnist-samples: {message}"):
        advbench.run(BASE | {"surrogates": "own"}, out=tmp_path, models={"own": model})


def test_images_are_resized_within_the_surrogate():
    suite = Suite.model_validate(BASE | {"surrogates": "own"}, context={"names": {"own"}})
    model = own_model(10)
    resources = Resources(suite, {"own": model})
    x = torch.rand(2, 1, 28, 28)
    found = surrogate_model(resources, suite.surrogate("own"), "lenet", "mnist-samples", "plain", x)
    small = torch.nn.functional.interpolate(x, (20, 20), mode="bilinear", antialias=True)
    torch.testing.assert_close(found(x), model(small))
    x_adv = BSR(copies=2, steps=2)(found, x, Untargeted(found(x).argmax(1)), eps=0.1)
    assert x_adv.shape == x.shape


# --- runs ---


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with two surrogates, one of them an ensemble that holds the model itself."""
    folder = tmp_path_factory.mktemp("runs") / "out"
    suite = BASE | {"surrogates": [OTHER, ["lenet", OTHER]], "attacks": ["mifgsm", {"name": "pgd", "surrogates": []}]}
    return advbench.run(suite, out=folder, workers=1)


def test_rows_say_what_they_were_made_on(finished):
    rows = finished.frame[finished.frame["attack"] == "mifgsm"]
    assert set(rows["surrogate"]) == {OTHER, "lenet + mnist_convnet"}
    assert rows["surrogate_class"].notna().all()
    own = finished.frame[finished.frame["attack"] != "mifgsm"]
    assert set(own["surrogate"]) == {""}
    assert own["surrogate_class"].isna().all()
    assert (rows["forwards"] > 0).all()


def test_candidates_are_those_of_the_surrogate(finished):
    """What the run says is what the attack does, called by hand."""
    rows = finished.frame[(finished.frame["attack"] == "mifgsm") & (finished.frame["surrogate"] == OTHER)]
    lenet, other = load_model("lenet"), load_model(OTHER)
    resources = Resources(finished.suite)
    unit = next(unit for unit in finished.plan if unit.surrogate == OTHER)
    x = resources.images(unit).x
    labels = torch.tensor(rows["label"].astype(int).tolist())
    goal = Untargeted(labels)
    from attacks import MIFGSM

    x_adv = MIFGSM()(other, x, goal, eps=0.1)
    assert (goal.margin(lenet(x_adv)) < 0).tolist() == rows["met"].astype(bool).tolist()
    assert other(x).argmax(1).tolist() == rows["surrogate_class"].astype(int).tolist()


def test_the_matrix_counts_images_that_both_have_right(finished):
    found = {each.attack: each for each in finished.analysis.transfer}
    assert set(found) == {"mifgsm"}
    matrix = found["mifgsm"]
    assert matrix.surrogates == (OTHER, "lenet + mnist_convnet")
    assert matrix.models == ("lenet",)
    rows = finished.frame[(finished.frame["attack"] == "mifgsm") & (finished.frame["surrogate"] == OTHER)]
    both = (rows["clean_class"] == rows["label"]) & (rows["surrogate_class"] == rows["label"])
    cell = matrix.cells[OTHER, "lenet"]
    assert (cell.success.n, cell.success.k) == (both.sum(), (both & rows["met"].astype(bool)).sum())
    assert cell.agreement.k == (rows["clean_class"] == rows["surrogate_class"]).sum()


def test_names_of_numbers_say_what_they_were_made_on(finished):
    names = {cell.attack for cell in finished.analysis.cells}
    assert {"mifgsm from mnist_convnet", "mifgsm from lenet + mnist_convnet", "pgd", "noise"} <= names


def test_every_report_shows_the_matrix(finished):
    folder = str(finished.folder)
    told = json.loads(run("report", folder, "--format", "json").stdout)
    (found,) = told["transfer"]
    assert [(each["from"], each["to"]) for each in found["cells"]] == [
        (OTHER, "lenet"), ("lenet + mnist_convnet", "lenet"),
    ]  # fmt: skip
    markdown = run("report", folder, "--format", "markdown").stdout
    assert "mifgsm on mnist-samples · untargeted · Linf ≤ 0.1 · transfer" in markdown
    assert run("report", folder, "--format", "html").exit_code == 0
    (page,) = finished.folder.rglob("*.html")
    text = page.read_text(encoding="utf-8")
    assert "clean agreement" in text
    assert "mifgsm on mnist-samples" in text
    terminal = run("report", folder).stdout
    assert "from \\ to" in terminal
    assert "agree" in terminal


def test_a_finished_run_verifies_and_is_resumed_without_work(finished, tmp_path):
    assert run("verify", str(finished.folder)).exit_code == 0
    copied = tmp_path / "again"
    shutil.copytree(finished.folder, copied)
    before = {unit.unit_id for unit in finished.plan}
    lost = next(unit for unit in finished.plan if unit.surrogate == OTHER)
    next(copied.rglob(f"{lost.unit_id}*.parquet")).unlink()
    again = advbench.run(finished.suite, out=copied, workers=1)
    assert {unit.unit_id for unit in again.plan} == before
    kept = [name for name in finished.frame if name not in ("seconds", "run_id")]
    assert again.frame[kept].astype(str).equals(finished.frame[kept].astype(str))


def test_other_weights_of_a_surrogate_are_another_run(finished, tmp_path):
    suite = finished.suite
    plan = make_plan(suite, Resources(suite))
    changed = load_model(OTHER)
    with torch.no_grad():
        next(iter(changed.module.parameters())).mul_(1.01)
    other = make_plan(suite, Resources(suite, {OTHER: changed}))
    assert plan.identity["surrogates"] != other.identity["surrogates"]
    one, two = ({unit.unit_id for unit in each.units if unit.surrogate} for each in (plan, other))
    assert not one & two
    kept = [{unit.unit_id for unit in each.units if not unit.surrogate} for each in (plan, other)]
    assert kept[0] == kept[1]


@pytest.mark.slow
def test_workers_find_the_same(finished, tmp_path):
    again = advbench.run(finished.suite, out=tmp_path / "out", workers=2)
    kept = ["sample_id", "attack", "params", "met", "adv_class", "surrogate", "surrogate_class"]
    one, two = (each.frame.sort_values(["params", "attack", "sample_id"])[kept] for each in (finished, again))
    assert one.astype(str).to_numpy().tolist() == two.astype(str).to_numpy().tolist()


def test_surrogates_from_the_command_line(tmp_path):
    suite = tmp_path / "own.toml"
    lines = ('models = ["lenet"]', 'datasets = ["mnist-samples"]', 'attacks = ["mifgsm"]', "images = 6")
    suite.write_text("\n".join((*lines, "eps = { linf = 0.2 }")))
    folder = tmp_path / "out"
    done = run("run", str(suite), "--surrogate", OTHER, "--out", str(folder))
    assert done.exit_code == 0
    assert "mifgsm from mnist_convnet" in done.stdout
    assert read_run(folder).suite.surrogates[0].label == OTHER
    again = run("run", str(suite), "--out", str(folder))
    assert again.exit_code == 2
    assert "suite.surrogates" in again.stderr
    wrong = run("run", str(suite), "--surrogate", "lenett", "--out", str(tmp_path / "other"))
    assert wrong.exit_code == 2
    assert "unknown model 'lenett'; did you mean lenet" in wrong.stderr


def test_a_dry_run_names_what_attacks_are_made_on(tmp_path):
    suite = tmp_path / "own.toml"
    suite.write_text(
        'models = ["lenet"]\ndatasets = ["mnist-samples"]\nattacks = ["mifgsm"]\nimages = 6\neps = { linf = 0.2 }'
    )
    done = run("run", str(suite), "--surrogate", OTHER, "--dry-run", "--out", str(tmp_path / "out"))
    assert done.exit_code == 0
    assert "mifgsm from" in done.stdout
