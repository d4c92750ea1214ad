"""Data sets of arrays: what is understood, what is refused, and that nothing is unpickled."""

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from advbench.datasets import load_dataset
from advbench.datasets.sources import array_files
from advbench.errors import UserError

rng = np.random.default_rng(0)
RGB = rng.integers(0, 256, (6, 8, 9, 3), np.uint8)
Y = np.array([2, 0, 1, 1, 0, 2])


def save_npz(folder, compressed=False, **arrays):
    (np.savez_compressed if compressed else np.savez)(folder / "set.npz", **arrays)
    return folder / "set.npz"


def save_npy(folder, **arrays):
    (folder / "npy").mkdir()
    for name, array in arrays.items():
        np.save(folder / "npy" / name, array)
    return folder / "npy"


def save_tensors(folder, **arrays):
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / "set.safetensors")
    return folder / "set.safetensors"


WAYS = {
    "npz": save_npz,
    "compressed npz": lambda folder, **arrays: save_npz(folder, compressed=True, **arrays),
    "npy": save_npy,
    "safetensors": save_tensors,
}
each_way = pytest.mark.parametrize("save", WAYS.values(), ids=WAYS)


@each_way
@pytest.mark.parametrize(
    "keys", [("x", "y"), ("images", "labels"), ("x_test", "y_test"), ("test_images", "test_labels")]
)
def test_every_format_and_name_gives_the_same_images(tmp_path, save, keys):
    dataset = load_dataset("arrays", save(tmp_path, **dict(zip(keys, (RGB, Y), strict=True))))
    assert (dataset.labels, dataset.classes, len(dataset)) == (tuple(Y.tolist()), None, 6)
    for number in (5, 0, 3):
        picture = dataset.read(number)
        assert picture.mode == "RGB"
        assert np.array_equal(np.asarray(picture), RGB[number])
    assert len(set(dataset.images)) == 6


@each_way
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_go_in_as_they_are(tmp_path, save, dtype, order):
    images = np.asarray(rng.random((6, 3, 4, 5)), dtype, order=order)
    dataset = load_dataset("arrays", save(tmp_path, X=images, Y=np.eye(3)[Y]))
    assert dataset.labels == tuple(Y.tolist())
    assert torch.equal(dataset.read(4), torch.from_numpy(images[4].astype(np.float32)))


@pytest.mark.parametrize(
    ("images", "mode"),
    [(RGB.transpose(0, 3, 1, 2), "RGB"), (RGB[..., :1], "L"), (RGB[..., 0], "L"), (RGB[..., 0][:, None], "L")],
)
def test_every_layout_of_8_bit_images(tmp_path, images, mode):
    picture = load_dataset("arrays", save_npz(tmp_path, x=images, y=Y)).read(1)
    assert (picture.mode, picture.size) == (mode, (9, 8))
    assert np.array_equal(np.asarray(picture), RGB[1] if mode == "RGB" else RGB[1, ..., 0])


def test_layouts_of_floats_become_channels_first(tmp_path):
    for images in (RGB / 255, RGB[..., 0] / 255):
        shape = load_dataset("arrays", save_npz(tmp_path, x=images, y=Y)).read(0).shape
        assert shape == ((3, 8, 9) if images.ndim == 4 else (1, 8, 9))


def test_the_test_part_is_taken_unless_another_is_asked_for(tmp_path):
    path = save_npz(tmp_path, x_train=RGB, y_train=Y, x_test=RGB[:4], y_test=Y[:4], fine=Y[::-1])
    assert len(load_dataset("arrays", path)) == 4
    assert len(load_dataset("arrays", path, split="train")) == 6
    named = load_dataset("arrays", path, image_column="x_train", label_column="fine")
    assert named.labels == tuple(Y[::-1].tolist())
    assert len(load_dataset("arrays", path, image_column="x_train")) == 6
    with pytest.raises(
        UserError, match=r"no images with labels of the split 'val' in .*, which holds x_train, y_train"
    ):
        load_dataset("arrays", path, split="val")
    with pytest.raises(UserError, match="there is no array 'z' in"):
        load_dataset("arrays", path, image_column="z")


def test_one_npy_file_stands_for_its_pair(tmp_path):
    folder = save_npy(tmp_path, x_train=RGB, y_train=Y, x_test=RGB[:4], y_test=Y[:4])
    assert len(load_dataset("arrays", folder / "x_train.npy")) == 6
    assert len(load_dataset("arrays", folder)) == 4


def test_names_of_classes_as_labels(tmp_path):
    dataset = load_dataset("arrays", save_npz(tmp_path, x=RGB, y=np.array(list("cabbac"))))
    assert (dataset.labels, dataset.classes) == ((2, 0, 1, 1, 0, 2), ("a", "b", "c"))


def test_a_large_compressed_array_goes_through_a_temporary_file(tmp_path, monkeypatch):
    path = save_npz(tmp_path, compressed=True, x=RGB, y=Y)
    monkeypatch.setattr(array_files, "IN_MEMORY", 100)
    dataset = load_dataset("arrays", path)
    assert np.array_equal(np.asarray(dataset.read(5)), RGB[5])
    monkeypatch.setattr(array_files.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(UserError, match=r"x in .*set.npz has 0.0 GB, and .* has 0.0 GB left\nsave it with numpy.savez"):
        load_dataset("arrays", path)


class Mine:
    """Writes a file when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("compressed", [False, True])
def test_pickled_objects_are_never_loaded(tmp_path, compressed):
    mark = tmp_path / "ran"
    hostile = np.array([Mine(mark)] * 6)
    for arrays in ({"x": hostile, "y": Y}, {"x": RGB, "y": hostile}):
        path = save_npz(tmp_path, compressed=compressed, **arrays)
        with pytest.raises(UserError, match="holds pickled Python objects, which are never loaded"):
            load_dataset("arrays", path)
    (tmp_path / "bare.npz").write_bytes(pickle.dumps(Mine(mark)))
    with pytest.raises(UserError, match=r"bare.npz cannot be read: .*not a zip file"):
        load_dataset("arrays", tmp_path / "bare.npz")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": RGB.astype(np.int32), "y": Y}, r"uint8 or floats in \[0, 1\], got int32 of shape \(6, 8, 9, 3\)"),
        ({"x": RGB.astype(np.int64), "y": Y}, r"\nx.astype\('uint8'\) makes 8-bit images of values from 0 to 255"),
        ({"x": RGB > 99, "y": Y}, r"got bool of shape \(6, 8, 9, 3\)\nx.astype\('float32'\) makes floats"),
        (
            {"x": RGB.astype(np.float32), "y": Y},
            "expected images in .*, got values from 0 to 255: did you forget / 255",
        ),
        ({"x": RGB / 127.5 - 1, "y": Y}, "got values from -1 to 1: normalised[?]"),
        ({"x": RGB / np.nan, "y": Y}, "NaN"),
        ({"x": np.zeros((6, 8, 9, 4), np.uint8), "y": Y}, r"got uint8 of shape \(6, 8, 9, 4\)\n.*alpha channel"),
        ({"x": np.zeros((6, 72), np.uint8), "y": Y}, r"got uint8 of shape \(6, 72\)"),
        ({"x": np.zeros((6, 0, 9, 3), np.uint8), "y": Y}, r"got uint8 of shape \(6, 0, 9, 3\)"),
        ({"x": RGB[:0], "y": Y[:0]}, "there are no images"),
        ({"x": RGB, "y": Y[:5]}, "expected one label for each of 6 images, got shape"),
        ({"x": RGB, "y": Y.astype(float)}, "y in .*set.npz: .*whole numbers or one-hot rows, got floats such as 2"),
        ({"x": RGB, "y": Y - 1}, "image 1 and 1 more have the label -1"),
        ({"x": RGB, "y": Y * 0}, "all 6 images have the label 0"),
        ({"x": RGB, "y": RGB}, "labels .* or one-hot rows, got shape"),
        ({"x": RGB}, "found no images with labels in .*set.npz, which holds x\ncall them x and y"),
    ],
)
def test_what_is_refused_says_what_was_seen(tmp_path, arrays, message):
    with pytest.raises(UserError, match=message):
        load_dataset("arrays", save_npz(tmp_path, **arrays))


def test_one_image_outside_0_to_1_is_unknown_and_the_others_go_on(tmp_path):
    images = (RGB / 255).repeat(10, axis=0)
    images[1] += 1  # not among those that are looked at beforehand
    dataset = load_dataset("arrays", save_npz(tmp_path, x=images, y=Y.repeat(10)))
    with pytest.raises(UserError, match=r"image 1 of x in .*set.npz has values from 1 to 2, outside \[0, 1\]"):
        dataset.read(1)
    assert dataset.read(2).shape == (3, 8, 9)


@pytest.mark.parametrize("cut", [3, 40, 200, 700])
@each_way
def test_files_cut_short_are_refused(tmp_path, save, cut):
    path = save(tmp_path, x=RGB, y=Y)
    file = path / "x.npy" if path.is_dir() else path
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(UserError, match=r"cannot be read|damaged"):
        load_dataset("arrays", path)


def test_a_zip_member_that_lies_about_its_size_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as x:
        np.lib.format.write_array_header_1_0(x, {"descr": "|u1", "fortran_order": False, "shape": (10**9, 64, 64, 3)})
        x.write(bytes(1000))
    np.save(tmp_path / "y.npy", Y)
    with zipfile.ZipFile(tmp_path / "bomb.npz", "a") as archive:
        archive.write(tmp_path / "y.npy", "y.npy")
    with pytest.raises(UserError, match=r"x in .*bomb.npz is damaged: its size does not match its shape"):
        load_dataset("arrays", tmp_path / "bomb.npz")


@pytest.mark.parametrize(
    ("name", "message"),
    [("none.npz", "there is no file or folder"), ("set.h5", "not a file of arrays"), ("empty", "no .npy files in")],
)
def test_paths_that_are_no_arrays(tmp_path, name, message):
    (tmp_path / "set.h5").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=message):
        load_dataset("arrays", tmp_path / name)


def test_tensors_of_other_types_are_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(2, 3, 4, 4).bfloat16(), "y": torch.arange(2)}, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match=r"x in .* is of type BF16, which numpy does not have"):
        load_dataset("arrays", tmp_path / "x.safetensors")
