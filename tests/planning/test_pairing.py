"""Data sets of the user's own in suites: those that fit no model, or cannot be opened, are said to be."""

import fakes
import pytest
import torch
from PIL import Image
from torch import nn

from advbench.config.suite import Suite
from advbench.errors import UserError
from advbench.models.classifier import Classifier
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
    assert len(fitting_pairs(suite, found).pairs) == 1
    assert found.matched("mine", "folder").dataset.labels == tuple(map(int, sorted(names)))


def test_a_class_that_the_model_lacks_is_named(tmp_path):
    suite, found = resources(path=folder(tmp_path / "val", fakes.CLASSES[0], "zebra crossing"))
    with pytest.raises(UserError, match="'zebra crossing'"):
        fitting_pairs(suite, found)


def test_pairs_that_do_not_fit_are_told_with_the_reason(tmp_path):
    """Another model takes the data set, and another data set the model, so that nothing is an error."""
    few, many = folder(tmp_path / "few", "0", "1"), folder(tmp_path / "many", *map(str, range(len(fakes.CLASSES) + 1)))
    kept = {"name": "folder", "path": few, "label": "few"}, {"name": "folder", "path": many, "label": "many"}
    models = ["mine", "more", "lenet"]
    table = {"name": "x", "models": models, "datasets": [*kept, "mnist-samples"], "attacks": "pgd"}
    suite = Suite.model_validate(table, context={"names": {"mine", "more"}})
    more = Classifier(nn.Flatten(), num_classes=len(fakes.CLASSES) + 1, name="more")
    found = Resources(suite, models={"mine": fakes.classifier(), "more": more})
    pairs, misfits = fitting_pairs(suite, found)
    fit = [(model.label, data.label) for model, data in pairs]
    assert fit == [("mine", "few"), ("more", "few"), ("more", "many"), ("lenet", "few"), ("lenet", "mnist-samples")]
    why = {(model, data): why for model, data, why in misfits}
    assert [*why] == [("mine", "many"), ("mine", "mnist-samples"), ("more", "mnist-samples"), ("lenet", "many")]
    assert why["mine", "many"].startswith("1 of the 21 classes of data set folder are not among the model's 20")
    assert why["mine", "mnist-samples"] == "the data has 10 classes, and the model has 20"


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
