"""Data sets of the user's own in suites: those that fit no model, or cannot be opened, are said to be."""

import fakes
import pytest
import torch
from PIL import Image

from advbench.config.suite import Suite
from advbench.errors import UserError
from advbench.planning.pairing import fitting_pairs
from advbench.planning.resources import Resources


def folder(path, *names):
    for name in names:
        (path / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(path / name / "a.png")
    return path


def resources(**data):
    suite = Suite.model_validate(
        {"name": "x", "models": "mine", "datasets": [{"name": "folder", **data}], "attacks": "pgd"},
        context={"names": {"mine"}},
    )
    return suite, Resources(suite, models={"mine": fakes.classifier()})


def test_a_folder_with_numbers_of_classes_fits(tmp_path):
    names = [str(index) for index in range(len(fakes.CLASSES))]
    suite, found = resources(path=folder(tmp_path / "val", *names))
    assert len(fitting_pairs(suite, found)) == 1
    assert found.matched("mine", "folder").dataset.labels == tuple(map(int, sorted(names)))


def test_a_class_that_the_model_lacks_is_named(tmp_path):
    suite, found = resources(path=folder(tmp_path / "val", fakes.CLASSES[0], "zebra crossing"))
    with pytest.raises(UserError, match="'zebra crossing'"):
        fitting_pairs(suite, found)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    suite, found = resources(path=tmp_path / "nowhere")
    with pytest.raises(UserError, match="does not exist"):
        fitting_pairs(suite, found)


def test_two_sets_that_restrict_a_model_to_as_many_classes_have_a_form_each(tmp_path):
    suite = Suite.model_validate(
        {
            "name": "x",
            "models": "mine",
            "datasets": [
                {"name": "imagenet-a", "path": folder(tmp_path / "a", "0", "2")},
                {"name": "imagenet-r", "path": folder(tmp_path / "r", "1", "3")},
            ],
            "attacks": "pgd",
        },
        context={"names": {"mine"}},
    )
    found, x = Resources(suite, models={"mine": fakes.classifier()}), torch.rand(2, 3, fakes.SIZE, fakes.SIZE)
    whole = found.model("mine")(x)
    for name, among in (("imagenet-a", [0, 2]), ("imagenet-r", [1, 3])):
        assert found.judged("mine", name).classes == tuple(fakes.CLASSES[index] for index in among)
        torch.testing.assert_close(found.fast("mine", name, "plain", x)(x), whole[:, among])


def test_what_judges_is_known_without_opening_a_data_set_that_restricts_nothing(tmp_path):
    _, found = resources(path=tmp_path / "nowhere")
    assert found.judged("mine", "folder") is found.model("mine")
