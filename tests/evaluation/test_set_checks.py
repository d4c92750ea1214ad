"""Flags of a data set itself: pictures resized twice, copies, and pictures that the model has learnt."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from advbench.datasets import load_dataset
from advbench.datasets.images.ids import sample_id
from advbench.datasets.trained_on import DIGITS, file_beside, ids_of_pixels, known_beside, shipped_file, trained_on
from advbench.evaluation.checks.sets import Shown, check_set, is_train_split, lost_by_halving
from advbench.models.classifier import Classifier
from advbench.models.preprocess import ResizeAndCrop
from advbench.training.data.sets import load_split


def net(size=None, resize=None):
    preprocess = ResizeAndCrop(size=size, resize=resize)
    return Classifier(nn.Flatten(), num_classes=4, input_size=size, preprocess=preprocess, name="net")


def flags(model, **shown):
    return {flag.id: flag for flag in check_set(model, Shown(**{"ids": ()} | shown), dataset="toy")}


def photographs():
    data = load_dataset("imagenet-samples")
    return [data.read(number).convert("RGB").resize((256, 192)) for number in range(8)]


def enlarged(side, method=Image.Resampling.BICUBIC):
    return [picture.resize((side, side)).resize((256, 256), method) for picture in photographs()]


def test_photographs_are_resized_once():
    assert flags(net(224, 256), pictures=photographs()) == {}
    assert flags(net(32), pictures=photographs()) == {}


@pytest.mark.parametrize("side", [32, 64])
def test_pictures_that_were_made_larger_and_are_resized_again(side):
    found = flags(net(224, 256), pictures=enlarged(side))["D4"]
    assert found.severity == "F"
    assert "pictures of 256 x 256 pixels have no details finer than half" in found.message


def test_pictures_that_were_made_larger_to_the_size_of_the_model_are_not_resized_again():
    assert flags(net(256), pictures=enlarged(32)) == {}


def test_pictures_that_were_cut_for_the_model_and_are_cut_again():
    cut = [picture.resize((224, 224)) for picture in photographs()]
    assert "have the model's size, 224 x 224" in flags(net(224, 256), pictures=cut)["D4"].message
    assert flags(net(224), pictures=cut) == {}


def test_small_and_flat_pictures_say_nothing():
    data = load_dataset("mnist-samples")
    assert flags(net(32), pictures=[data.read(number) for number in range(8)]) == {}
    assert lost_by_halving(Image.new("RGB", (64, 64))) is None
    assert lost_by_halving(Image.fromarray(np.zeros((8, 8), np.uint8))) is None


def test_a_preprocess_of_the_users_own_is_not_judged():
    own = Classifier(nn.Flatten(), num_classes=4, input_size=224, preprocess=lambda picture: torch.zeros(3, 224, 224))
    assert flags(own, pictures=enlarged(32)) == {}


def test_copies_are_counted():
    ids = [f"{number:016x}" for number in range(500)]
    assert flags(net(), ids=ids) == {}
    few = flags(net(), ids=[*ids, f"{3:016x}-2"])["D5"]
    assert (few.severity, few.value) == ("I", pytest.approx(1 / 501))
    many = flags(net(), ids=[*ids, *(f"{number:016x}-2" for number in range(50))])["D5"]
    assert many.severity == "F"
    assert "50 of 550 images are duplicates (9.1%)" in many.message


def test_copies_with_different_labels():
    found = flags(net(), ids=["ab", "cd", "ab-2"], labels=[0, 1, 1])["D5"]
    assert "1 of them with different labels" in found.message
    assert "labels" not in flags(net(), ids=["ab", "cd", "ab-2"], labels=[0, 1, 0])["D5"].message


def test_images_that_the_model_was_trained_on():
    found = flags(net(), ids=["ab", "cd", "ef"], trained_on={"cd", "12"})["D6"]
    assert (found.severity, found.message) == ("F", "the model was trained on 1 of the 3 images (33.3%)")
    assert flags(net(), ids=["ab"], trained_on={"12"}) == {}
    assert "training split" in flags(net(), ids=["ab"], train_split=True)["D6"].message


def test_the_training_split_is_known_by_name():
    assert is_train_split("mnist-full", "lenet", "train")
    assert not is_train_split("mnist-full", "lenet", "test")
    assert not is_train_split("mnist-full", "nets.py:net", "train")
    assert not is_train_split("folder", "lenet", "train")


def test_ids_of_training_images_are_those_of_inputs(tmp_path):
    data = load_dataset("mnist-samples")
    prepare = ResizeAndCrop(mode="L")
    pixels = torch.stack([torch.from_numpy(np.array(data.read(number).convert("L")))[None] for number in range(3)])
    ids = ids_of_pixels([pixels])
    assert ids == [sample_id(prepare(data.read(number))) for number in range(3)]
    weights = tmp_path / "net.safetensors"
    assert known_beside(weights) == frozenset()
    file_beside(weights).write_text("\n".join(ids))
    assert known_beside(weights) == set(ids)


def test_the_zoo_knows_the_digits_that_it_was_trained_on(shared):
    images = load_split("mnist", shared / "data", "train").x[:300]
    known = trained_on("lenet")
    assert all(name in known for name in ids_of_pixels([images]))
    assert "D6" in flags(net(), ids=ids_of_pixels([images[:2]]), trained_on=known)


def test_no_test_image_is_taken_for_one_of_the_training():
    digits = load_dataset("mnist")
    names = [sample_id(ResizeAndCrop(mode="L")(digits.read(number))) for number in range(1000)]
    assert not [name for name in names if name in trained_on("mnist_convnet")]
    assert shipped_file("mnist").stat().st_size == 60_000 * DIGITS // 2


def test_other_models_and_weights_are_not_said_to_have_learnt_digits(tmp_path):
    for source in (None, "gray_cnn", "nets.py:net", "./", "/", Path("lenet"), tmp_path / "lenet.safetensors"):
        assert trained_on(source) == frozenset()
