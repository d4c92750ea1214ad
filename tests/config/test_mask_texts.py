"""Masks as people write them, on the command line and in suites."""

import pytest
from PIL import Image

from advbench.config.attack import attack_config
from advbench.config.masks import mask_in, parse_mask, with_mask, without_mask
from advbench.config.suite import DatasetSpec, Suite
from advbench.config.suite_files import load_suite, on_other_data
from advbench.errors import UserError

ONE = {"name": "one", "models": "vgg16", "datasets": "imagenet-samples", "attacks": "pgd"}


@pytest.mark.parametrize(
    ("text", "kind", "numbers", "said"),
    [
        ("box:1,2, 3,4", "box", (1, 2, 3, 4), "box:1,2,3,4"),
        ("border:8", "border", (8,), "border:8"),
        ("saliency:2.5%", "saliency", (2.5,), "saliency:2.5%"),
        ("logo.png", "picture", (), "logo.png"),
        ("a:b.png", "picture", (), "a:b.png"),
    ],
)
def test_what_a_mask_may_be(text, kind, numbers, said):
    mask = parse_mask(text)
    assert (mask.kind, mask.numbers, mask.text, mask.per_image) == (kind, numbers, said, kind == "saliency")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("box:1,2,3", "box:1,2,3 is not a mask"),
        ("box:-1,2,3,4", "is not a mask"),
        ("border:x", "is not a mask"),
        ("border:", "is not a mask"),
        ("saliency:5", "is not a mask"),
        ("saliency:101%", "is more than the whole image"),
        ("saliency:0%", "allows nothing to change"),
        ("border:0", "allows nothing to change"),
        ("box:1,1,0,5", "allows nothing to change"),
    ],
)
def test_what_is_no_mask_is_said_in_a_sentence(text, message):
    with pytest.raises(UserError, match=message):
        parse_mask(text)


def test_the_label_of_a_data_set_says_the_mask_once(tmp_path):
    assert with_mask(with_mask("digits", "border:2"), "border:2") == "digits, only border:2"
    assert (mask_in("digits, only border:2"), without_mask("digits, only border:2")) == ("border:2", "digits")
    labels = set()
    for folder, level in (("one", 255), ("two", 0)):
        (tmp_path / folder).mkdir()
        Image.new("L", (4, 4), level).save(tmp_path / folder / "logo.png")
        labels.add(with_mask("digits", "logo.png", tmp_path / folder))
    assert len(labels) == 2, "pictures of one name are told apart by their content"
    assert all(label.startswith("digits, only logo.png (") for label in labels)


def test_a_mask_of_the_suite_is_that_of_data_sets_without_one():
    data = ["imagenet-samples", {"name": "mnist-samples", "mask": "box:0,0,4,4", "label": "digits"}]
    suite = Suite(**ONE | {"datasets": data, "mask": "border:8"})
    assert [each.label for each in suite.datasets] == ["imagenet-samples, only border:8", "digits, only box:0,0,4,4"]
    assert [each.mask for each in suite.datasets] == ["border:8", "box:0,0,4,4"]
    assert Suite(**suite.model_dump()) == suite
    other = on_other_data(suite, (DatasetSpec(name="mnist-samples"),))
    assert other.datasets[0].label == "mnist-samples, only border:8"


def test_the_same_data_under_two_masks_are_two():
    data = [{"name": "mnist-samples", "mask": mask} for mask in ("border:2", "border:4")]
    assert len({each.label for each in Suite(**ONE | {"datasets": data}).datasets}) == 2


def test_a_picture_starts_at_the_suite_file(tmp_path, monkeypatch):
    (tmp_path / "suites").mkdir()
    Image.new("L", (4, 4), 255).save(tmp_path / "suites" / "logo.png")
    suite = tmp_path / "suites" / "one.toml"
    suite.write_text('models = "vgg16"\ndatasets = "mnist-samples"\nattacks = "pgd"\nmask = "logo.png"\n')
    monkeypatch.chdir(tmp_path)
    (data,) = load_suite(suite).datasets
    assert parse_mask(data.mask).path.resolve() == tmp_path / "suites" / "logo.png"
    assert data.label.startswith("mnist-samples, only logo.png (")


def test_a_wrong_mask_in_a_suite_is_named_with_its_key():
    with pytest.raises(UserError, match=r"suite is invalid\nmask: mask border:0 allows nothing to change"):
        load_suite(ONE | {"mask": "border:0"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask": "missing.png"}, "cannot read the mask missing.png: No such file"),
        ({"mask": "border:4", "prove": True}, "proofs do not support masks"),
    ],
)
def test_what_cannot_be_attacked_is_said_before_anything_is_loaded(options, message):
    with pytest.raises(UserError, match=message):
        attack_config(model="vgg16", attack="pgd", goal=None, norm=None, eps=None, paths=(), **options)
