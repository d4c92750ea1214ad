"""`--data`, which names a data set in one word, on the commands that take one."""

from pathlib import Path

import fakes
import pytest
from command import rows_of, run

from advbench.api import load_run

SUITE = """
models = "lenet"
datasets = "fashion-mnist"
attacks = "fgsm"
noise = false
images = 4
eps = {linf = 0.2}
"""
QUICK = ("--model", "lenet", "--attack", "fgsm", "--goal", "untargeted", "--eps", "0.2", "--device", "cpu")


def digits(folder: Path, classes: int = 3, each: int = 2) -> Path:
    """A folder with a subfolder for each class, named by the digit that its pictures do not show."""
    for number in range(classes):
        (folder / str(number)).mkdir(parents=True)
        for row in range(each):
            fakes.picture(folder / str(number) / f"{row}.png", 10 * number + row, size=(28, 28))
    return folder


def test_attack_takes_images_of_a_data_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = rows_of(run("attack", *QUICK, "--data", "mnist", "--limit", "3", "--json", "--quiet"))
    assert [row["sample_name"] for row in rows] == ["mnist_04510", "mnist_05130", "mnist_05430"]
    assert [row["label"] for row in rows] == [2, 9, 0]
    assert {row["dataset"] for row in rows} == {"mnist"}
    again = rows_of(run("attack", *QUICK, "--data", "mnist", "--image", "mnist_05130", "--image", "7", "--json"))
    assert [row["sample_name"] for row in again] == ["mnist_05130", "mnist_00070"]


def test_attack_takes_a_folder_by_its_word(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    digits(Path("val"))
    rows = rows_of(run("attack", *QUICK, "--data", "folder:val,label=mine", "--limit", "2", "--json"))
    assert {row["dataset"] for row in rows} == {"mine"}
    assert all(row["sample_name"].startswith(f"{row['label']}/") for row in rows)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data", "mnist", "tiger.png"], "both pictures and --data mnist were named"),
        ([], "no pictures were given"),
        (["--limit", "3", "tiger.png"], "--image and --limit choose from a data set"),
        (["--data", "mnist", "--image", "3", "--limit", "3"], "--limit says nothing"),
        (["--data", "mnist", "--image", "mnist_0001"], "has no image 'mnist_0001'\ndid you mean mnist_00010"),
        (["--data", "mnist,spilt=test"], "unknown key 'spilt' in mnist,spilt=test\ndid you mean split?"),
        (["--data", "imagenet-samples"], "imagenet-samples is ImageNet-1k with 1000 classes, and model lenet is for"),
        (["--data", "folder:gone"], "cannot read the folder 'gone': it does not exist"),
    ],
)
def test_mistakes_at_attack(options, message, folder):
    result = run("attack", *QUICK, *options)
    assert result.exit_code == 2
    assert message in result.stderr


def test_run_replaces_the_data_sets_of_a_suite(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("small.toml").write_text(SUITE)
    assert run("run", "small.toml", "--quiet").exit_code == 2  # no model for Fashion-MNIST
    assert run("run", "small.toml", "--data", "mnist", "--data", "mnist,label=few,images=2", "--quiet").exit_code == 0
    counts = load_run("reports/small").frame.groupby("dataset", observed=True)["sample_id"].nunique()
    assert counts.to_dict() == {"few": 2, "mnist": 4}


@pytest.mark.parametrize(
    ("suite", "options", "message"),
    [
        ("", ["--data", "mnist", "--data", "mnist"], "two data sets are called 'mnist'"),
        ("", ["--data", "imagenet-samples"], "has no data set for the model 'lenet'"),
        ("[[gates.floors]]\nmin_robust_accuracy = 0.1\ndataset = 'fashion-mnist'\n", ["--data", "mnist"],
         "has a floor for the data set 'fashion-mnist', which --data replaces"),
        ("", ["--data", "val"], "it is a path: write folder:val"),
    ],
)  # fmt: skip
def test_a_suite_that_cannot_take_it(suite, options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    digits(Path("val"))
    Path("small.toml").write_text(SUITE + suite)
    result = run("run", "small.toml", *options)
    assert result.exit_code == 2
    assert message in result.stderr


def test_explain_takes_an_image_of_a_data_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ("--model", "lenet", "--what", "predictions", "--device", "cpu", "--quiet")
    assert run("explain", "--data", "mnist", "--image", "7", *options).exit_code == 0
    assert Path("reports/mnist-7-lenet-explained/explain.html").is_file()
    for more, message in (
        (["--image", "7"], "--image chooses from a data set"),
        (["--data", "mnist", "x.png"], "both a picture and --data mnist were given"),
        (["--data", "mnist", "--image", "x"], "data set mnist has no image 'x'"),
    ):
        result = run("explain", *more, *options)
        assert result.exit_code == 2
        assert message in result.stderr


def test_universal_perturbations_are_made_for_and_measured_on_a_data_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ("--data", "mnist", "--limit", "24", "--device", "cpu", "--quiet")
    made = ("universal", "fit", "--model", "lenet", "--eps", "0.3", "--steps", "4", "--out", "made")
    assert run(*made, *options).exit_code == 0
    file = "made/perturbation.safetensors"
    (row,) = rows_of(run("universal", "eval", file, *options, "--json"))
    assert row["images"] == 24
    rows = rows_of(run("universal", "apply", file, *options[:2], "--limit", "3", "--device", "cpu", "--json"))
    assert [row["sample_name"] for row in rows] == ["mnist_04510", "mnist_05130", "mnist_05430"]
    refused = run("universal", "eval", file)
    assert refused.exit_code == 2
    assert "no pictures were given" in refused.stderr
