"""The data sets of torchvision, as tiny files in their layouts."""

import gzip
import hashlib
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from encoded_images import encoded, idx, pixels
from torchvision import datasets as theirs

from advbench.catalog import DATASETS
from advbench.datasets import load_dataset
from advbench.datasets.images.files import PictureError
from advbench.datasets.sources import torchvision as ours
from advbench.errors import UserError

Y = [1, 0, 2]
RGB = np.stack([pixels(number, 32) for number in range(3)])


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return hashlib.md5(path.read_bytes()).hexdigest()


def put_pictures(folder, *names):
    for number, name in enumerate(names):
        put(folder / name, encoded(number, 32, "PNG"))


def cifar(root, patch, name="CIFAR10", folder="cifar-10-batches-py", keys=("labels", "label_names")):
    kind = getattr(theirs, name)
    rows = {"data": RGB.transpose(0, 3, 1, 2).reshape(3, -1), keys[0]: Y}
    test = put(root / folder / "test", pickle.dumps(rows))
    meta = put(root / folder / "meta", pickle.dumps({keys[1]: ["ant", "bee", "cat"]}))
    patch.setattr(kind, "train_list", [])
    patch.setattr(kind, "test_list", [["test", test]])
    patch.setattr(kind, "meta", {"filename": "meta", "key": keys[1], "md5": meta})


def mnist(root, patch, name="MNIST"):
    for part in ("t10k", "train"):
        put(root / name / "raw" / f"{part}-images-idx3-ubyte", idx(RGB[..., 0]))
        put(root / name / "raw" / f"{part}-labels-idx1-ubyte", idx(np.array(Y)))


def svhn(root, patch):
    scipy.io.savemat(
        root / "test_32x32.mat", {"X": RGB.transpose(1, 2, 3, 0), "y": np.array([[1], [10], [2]], np.uint8)}
    )
    md5 = hashlib.md5((root / "test_32x32.mat").read_bytes()).hexdigest()
    patch.setattr(theirs.SVHN, "split_list", {"train": ["", "", ""], "test": ["", "test_32x32.mat", md5], "extra": []})


def stl10(root, patch):
    images = np.stack([pixels(number, 96) for number in range(3)]).transpose(0, 3, 2, 1)
    files = {"test_X.bin": images.tobytes(), "test_y.bin": bytes(y + 1 for y in Y)}
    patch.setattr(theirs.STL10, "train_list", [])
    patch.setattr(
        theirs.STL10, "test_list", [[file, put(root / "stl10_binary" / file, data)] for file, data in files.items()]
    )
    put(root / "stl10_binary" / "class_names.txt", "ant\nbee\ncat\n")


def gtsrb(root, patch):
    rows = "".join(f"{number}.ppm;32;32;0;0;1;1;{y}\n" for number, y in enumerate(Y))
    put(root / "gtsrb" / "GT-final_test.csv", f"Filename;Width;Height;X1;Y1;X2;Y2;ClassId\n{rows}")
    for number in range(3):
        data = b"P6\n# made by hand\n32 32\n255\n" + RGB[number].tobytes()
        put(root / "gtsrb" / "GTSRB" / "Final_Test" / "Images" / f"{number}.ppm", data)


def food101(root, patch):
    put(root / "food-101" / "meta" / "test.json", json.dumps({"bee": ["bee/0"], "ant": ["ant/1"], "cat": ["cat/2"]}))
    put_pictures(root / "food-101" / "images", "bee/0.jpg", "ant/1.jpg", "cat/2.jpg")


def flowers102(root, patch):
    folder = root / "flowers-102"
    put_pictures(folder / "jpg", "image_00003.jpg", "image_00001.jpg", "image_00002.jpg")
    scipy.io.savemat(folder / "setid.mat", {"tstid": [[3, 1, 2]], "valid": [[1]], "trnid": [[2]]})
    scipy.io.savemat(folder / "labels.mat", {"labels": [[1, 3, 2]]})
    digest = {name: hashlib.md5((folder / f"{name}.mat").read_bytes()).hexdigest() for name in ("labels", "setid")}
    patch.setattr(
        theirs.Flowers102,
        "_file_dict",
        {"label": ("labels.mat", digest["labels"]), "setid": ("setid.mat", digest["setid"])},
    )


def pets(root, patch):
    folder = root / "oxford-iiit-pet"
    put(folder / "annotations" / "test.txt", "a_bee_1 2 1 1\nan_ant_1 1 1 1\nCat_1 3 1 1\n")
    put_pictures(folder / "images", "a_bee_1.jpg", "an_ant_1.jpg", "Cat_1.jpg")


def dtd(root, patch):
    put(root / "dtd" / "dtd" / "labels" / "test1.txt", "bee/0.jpg\nant/1.jpg\ncat/2.jpg\n")
    put_pictures(root / "dtd" / "dtd" / "images", "bee/0.jpg", "ant/1.jpg", "cat/2.jpg")


WNIDS = ("n01440764", "n02102040", "n02979186")


def imagenette(root, patch):
    put_pictures(root / "imagenette2" / "val", *(f"{WNIDS[y]}/{i}.JPEG" for i, y in enumerate(Y)))


def imagenet(root, patch):
    put_pictures(root / "val", *(f"{WNIDS[y]}/{i}.JPEG" for i, y in enumerate(Y)))
    (root / "val" / "devkit").mkdir()


NAMES = ("ant", "bee", "cat")
DIGITS = tuple("0123456789")
SETS = {
    "cifar10": (cifar, NAMES),
    "cifar100": (
        lambda root, patch: cifar(root, patch, "CIFAR100", "cifar-100-python", ("fine_labels", "fine_label_names")),
        NAMES,
    ),
    "mnist-full": (mnist, DIGITS),
    "fashion-mnist-full": (lambda root, patch: mnist(root, patch, "FashionMNIST"), tuple(theirs.FashionMNIST.classes)),
    "kmnist": (lambda root, patch: mnist(root, patch, "KMNIST"), tuple(theirs.KMNIST.classes)),
    "svhn": (svhn, DIGITS),
    "stl10": (stl10, NAMES),
    "gtsrb": (gtsrb, None),
    "food101": (food101, NAMES),
    "flowers102": (flowers102, None),
    "pets": (pets, ("An Ant", "A Bee", "Cat")),
    "dtd": (dtd, NAMES),
    "imagenette": (imagenette, WNIDS),
    "imagenet": (imagenet, WNIDS),
}


def test_every_set_is_tried():
    fetched = {card.name for card in DATASETS.values() if card.fetched}
    assert SETS.keys() == fetched == ours.KNOWN.keys() | {"imagenet"}


@pytest.mark.parametrize("inside", ["", "own"])
@pytest.mark.parametrize("name", SETS)
def test_images_labels_and_classes(tmp_path, monkeypatch, name, inside):
    make, classes = SETS[name]
    root = tmp_path / name if inside else tmp_path
    root.mkdir(exist_ok=True)
    make(root, monkeypatch)
    monkeypatch.setenv("ADVBENCH_DATA", str(tmp_path))
    dataset = load_dataset(name)
    if name == "flowers102":
        assert dataset.classes is None or len(dataset.classes) == 102
    else:
        assert dataset.classes == classes
    found = {label: np.asarray(dataset.read(number).convert("RGB")) for number, label in enumerate(dataset.labels)}
    for number, label in enumerate(Y):
        expected = pixels(number, 96 if name == "stl10" else 32)
        grey = np.repeat(expected[..., :1], 3, axis=2)
        assert np.array_equal(found[label], grey if "mnist" in name else expected)
    assert len(set(dataset.images)) == 3


def test_the_training_part_may_be_named(tmp_path, monkeypatch):
    mnist(tmp_path, monkeypatch)
    assert load_dataset("mnist-full", root=tmp_path, split="train").images[0] == "mnist-full_train_00000"
    with pytest.raises(UserError, match=r"mnist-full has no split 'val'\nthere are: test, train"):
        load_dataset("mnist-full", root=tmp_path, split="val")
    imagenette(tmp_path, monkeypatch)
    assert len(load_dataset("imagenette", root=str(tmp_path), split="validation")) == 3


@pytest.mark.parametrize("name", SETS)
def test_what_is_missing_is_told_with_the_command(tmp_path, monkeypatch, name):
    command = f"fetch it: advbench datasets --download {name} --data-root {tmp_path}"
    message = rf"data set {name} is not in {tmp_path}: .*\n{command}"
    with pytest.raises(UserError, match=message):
        load_dataset(name, root=tmp_path)
    monkeypatch.delenv("ADVBENCH_DATA", raising=False)
    with pytest.raises(UserError, match=r"needs the folder in which .*\nname it with --data-root.* ADVBENCH_DATA"):
        load_dataset(name)


class Mine:
    """Writes a file when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("file", ["test", "meta"])
def test_a_pickle_that_is_not_the_published_one_is_not_opened(tmp_path, monkeypatch, file):
    cifar(tmp_path, monkeypatch)
    put(tmp_path / "cifar-10-batches-py" / file, pickle.dumps(Mine(tmp_path / "ran")))
    with pytest.raises(UserError, match=r"cifar10 in .* is incomplete, or its files are not the published ones\n"):
        load_dataset("cifar10", root=tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["mnist-full", "gtsrb", "food101", "pets", "dtd", "imagenette", "svhn", "stl10"])
def test_damaged_files_end_in_a_sentence(tmp_path, monkeypatch, name):
    SETS[name][0](tmp_path, monkeypatch)
    for path in tmp_path.rglob("*"):
        if path.suffix in (".txt", ".json", ".csv", ".mat", ".bin", "") and path.is_file():
            path.write_bytes(b"\xff\x00")
    if name == "imagenette":
        shutil.rmtree(tmp_path / "imagenette2" / "val")
    with pytest.raises(UserError, match=f"{name} in .* is incomplete, or its files are not the published ones"):
        load_dataset(name, root=tmp_path)


@pytest.mark.parametrize(
    "data", [b"", b"P6 32 32 255\nshort", b"P6 99999 99999 255\n", b"P5 1 1 255\n0", b"P6 0 1 255\n"]
)
def test_a_broken_sign_is_unknown_and_the_others_go_on(tmp_path, monkeypatch, data):
    gtsrb(tmp_path, monkeypatch)
    put(tmp_path / "gtsrb" / "GTSRB" / "Final_Test" / "Images" / "1.ppm", data)
    dataset = load_dataset("gtsrb", root=tmp_path)
    with pytest.raises(PictureError, match=r"1.ppm': (this is not an 8-bit PPM|the PPM is damaged)"):
        dataset.read(1)
    assert dataset.read(2).size == (32, 32)


def test_imagenet_that_is_not_sorted_says_who_sorts_it(tmp_path, monkeypatch):
    put_pictures(tmp_path / "val", "ILSVRC2012_val_00000001.JPEG")
    with pytest.raises(UserError, match=r"val has no folders with WordNet ids .*\ntorchvision sorts"):
        load_dataset("imagenet", root=tmp_path)


def test_download_is_torchvisions(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(theirs, "SVHN", lambda *args, **kwargs: asked.append((args, kwargs)))
    assert ours.download("svhn", tmp_path / "new") == tmp_path / "new" / "svhn"
    assert asked == [((str(tmp_path / "new" / "svhn"),), {"download": True, "split": "test"})]

    def fail(*args, **kwargs):
        raise OSError("<urlopen error no route>")

    monkeypatch.setattr(theirs, "CIFAR10", fail)
    with pytest.raises(UserError, match=r"cifar10 cannot be fetched into .*cifar10: OSError: <urlopen error no route>"):
        ours.download("cifar10", tmp_path)
    with pytest.raises(UserError, match="only available from image-net"):
        ours.download("imagenet", tmp_path)
    with pytest.raises(UserError, match="'mnist' cannot be downloaded\nthese can: mnist-full"):
        ours.download("mnist", tmp_path)


def test_the_whole_of_mnist(tmp_path):
    published = Path(__file__).parents[3] / "shared" / "data" / "mnist"
    if not published.is_dir():
        pytest.skip("needs the official files of MNIST in ../shared/data/mnist")
    for file in published.glob("*.gz"):
        put(tmp_path / "MNIST" / "raw" / file.stem, gzip.decompress(file.read_bytes()))
    dataset, sample = load_dataset("mnist-full", root=tmp_path), load_dataset("mnist")
    assert len(dataset) == DATASETS["mnist-full"].images
    assert dataset.labels[::10] == sample.labels
    assert all(dataset.read(10 * i).tobytes() == sample.read(i).tobytes() for i in range(0, 1000, 50))
