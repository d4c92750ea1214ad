import importlib.machinery
import importlib.util
import re
import subprocess
import sys

import pytest

from advbench.datasets.images.files import read_picture
from advbench.datasets.samples import SAMPLE_SETS, samples
from advbench.errors import UserError


@pytest.mark.parametrize("dataset", SAMPLE_SETS)
def test_twenty_labelled_pictures_each(dataset):
    found = samples(dataset)
    assert [sample.name for sample in found] == [f"{dataset}_{i:02d}" for i in range(20)]
    classes = {"imagenet": 1000, "cifar100": 100}.get(dataset, 10)
    assert all(0 <= sample.label < classes for sample in found)
    assert all(sample.path.stem == f"{sample.name}_{sample.label}" for sample in found)


@pytest.mark.parametrize(
    ("dataset", "labels", "size"),
    [("imagenet", [243, 559, 438], None), ("cifar10", [3, 8, 8], (32, 32)), ("fashionMNIST", [9, 2, 1], (28, 28))],
)
def test_labels_and_pixels_are_the_known_ones(dataset, labels, size):
    found = samples(dataset)
    assert [sample.label for sample in found[:3]] == labels
    pictures = [read_picture(sample.path) for sample in found]
    assert size is None or {picture.size for picture in pictures} == {size}
    assert len({picture.tobytes() for picture in pictures}) == 20


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("cifar", "did you mean cifar10 or cifar100[?]"),
        ("fashionmnist", "did you mean fashionMNIST"),
        ("image net", "did you mean imagenet[?]"),
        ("zzz", "^There are: imagenet, cifar10, cifar100, mnist, fashionMNIST$"),
    ],
)
def test_an_unknown_data_set_names_its_neighbours(typed, hint):
    with pytest.raises(UserError, match="there are no samples of data set") as error:
        samples(typed)
    assert re.search(hint, error.value.hint)


def test_control_characters_in_a_data_set_name_are_not_printed():
    with pytest.raises(UserError) as error:
        samples("\x1b]0;gotcha\x07")
    assert str(error.value).replace("\n", "").isprintable()


@pytest.mark.parametrize("spec", [None, importlib.machinery.ModuleSpec("foolbox", None)])
def test_without_foolbox_the_command_to_install_it_is_told(monkeypatch, spec):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(UserError, match="not installed\ninstall it: python -m pip install foolbox=="):
        samples("mnist")


@pytest.mark.parametrize("files", [None, [], ["mnist_00_7.png", "fashionMNIST_00_9.png"]])
def test_missing_images_are_told(monkeypatch, tmp_path, files):
    spec = importlib.machinery.ModuleSpec("foolbox", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    if files is not None:
        (tmp_path / "data").mkdir()
        for name in files:
            (tmp_path / "data" / name).touch()
    found = 1 if files else 0
    with pytest.raises(UserError, match=f"expected 20 mnist images in .*, found {found}\n.*--force-reinstall"):
        samples("mnist")


def test_neither_torch_nor_foolbox_is_imported():
    code = (
        "import sys; from advbench.datasets import samples; samples.samples('mnist');"
        "sys.exit(bool({'torch', 'foolbox'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
