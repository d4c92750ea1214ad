"""Data sets of tar shards: samples, labels, and what a stranger may have put into them."""

import io
import json
import pickle
import tarfile
from pathlib import Path

import pytest
from encoded_images import encoded, same

from advbench.datasets import load_dataset
from advbench.datasets.images.files import PictureError
from advbench.errors import UserError

Y = [1, 0, 2, 1]


def save(path, members, kind=tarfile.REGTYPE):
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            entry = tarfile.TarInfo(name)
            entry.size, entry.type, entry.linkname = len(data), kind, "elsewhere" * (kind == tarfile.SYMTYPE)
            tar.addfile(entry, io.BytesIO(data))
    return path


def samples(start=0, labels=Y, extension="cls", write=str, folder=""):
    for number, label in enumerate(labels, start):
        yield f"{folder}{number:06}.png", encoded(number)
        yield f"{folder}{number:06}.{extension}", write(label).encode()


def test_shards_by_pattern_and_folder(tmp_path):
    for shard in range(3):
        save(tmp_path / f"val-{shard:03}.tar", samples(10 * shard))
    for path in (tmp_path / "val-{000..002}.tar", tmp_path, tmp_path / "val-*.tar"):
        dataset = load_dataset("webdataset", path)
        assert (len(dataset), dataset.labels, dataset.classes) == (12, tuple(3 * Y), None)
        assert same(dataset, 9, 21)
        assert same(dataset, 1, 1)
    assert dataset.images[:2] == ("000000", "000001")
    assert load_dataset("webdataset", tmp_path / "val-001.tar").images[0] == "000010"


@pytest.mark.parametrize("tar_format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_folders_and_long_names(tmp_path, tar_format):
    deep = "a" * 90 + "/" + "b" * 60
    with tarfile.open(tmp_path / "a.tar", "w", format=tar_format) as tar:
        folder = tarfile.TarInfo("./" + "a" * 90)
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for number in range(2):
            for extension, data in (("JPG", encoded(number)), ("cls", b"%d\n" % number)):
                entry = tarfile.TarInfo(f"./{deep}{number}.{extension}")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    dataset = load_dataset("webdataset", tmp_path / "a.tar")
    assert dataset.images == (f"{deep}0", f"{deep}1")
    assert same(dataset, 1, 1)


@pytest.mark.parametrize(
    ("extension", "write", "column", "classes"),
    [
        ("cls", "c{}".format, None, ("c0", "c1", "c2")),
        ("txt", "c{}".format, None, ("c0", "c1", "c2")),
        ("json", str, None, None),
        ("json", lambda y: json.dumps({"label": y, "id": 7}), None, None),
        ("json", lambda y: json.dumps({"fine": y, "label": 0}), "fine", None),
        ("json", lambda y: json.dumps([int(y == i) for i in range(3)]), None, None),
        ("class.txt", str, "class.txt", None),
    ],
)
def test_every_kind_of_label(tmp_path, extension, write, column, classes):
    path = save(tmp_path / "a.tar", samples(extension=extension, write=write))
    dataset = load_dataset("webdataset", path, label_column=column)
    assert (dataset.labels, dataset.classes) == (tuple(Y), classes)


def test_of_several_pictures_the_plain_one_or_the_one_that_is_named(tmp_path):
    members = [(f"{i}.{e}", encoded(10 * i + j)) for i in range(2) for j, e in enumerate(("png", "seg.png"))]
    members += [("0.cls", b"0"), ("1.cls", b"1")]
    path = save(tmp_path / "a.tar", sorted(members))
    assert same(load_dataset("webdataset", path), 1, 10)
    assert same(load_dataset("webdataset", path, image_column="seg.png"), 1, 11)
    path = save(tmp_path / "b.tar", [("0.jpg", encoded(0)), ("0.png", encoded(1)), ("0.cls", b"0")])
    with pytest.raises(UserError, match='has several pictures: jpg, png, cls\nchoose one: image_column = "jpg"'):
        load_dataset("webdataset", path)


def test_keys_that_two_shards_share_stay_apart(tmp_path):
    for shard in range(2):
        save(tmp_path / f"{shard}.tar", samples())
    assert load_dataset("webdataset", tmp_path).images[3:5] == ("0:000003", "1:000000")


def test_nothing_is_unpickled_and_other_members_are_passed_over(tmp_path):
    class Mine:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    hostile = [(f"000000.{extension}", pickle.dumps(Mine())) for extension in ("pkl", "pyd", "pth", "npy")]
    members = [("__index__.json", b"{}"), ("._0.png", b"x"), ("README", b"x"), *hostile, *samples()]
    dataset = load_dataset("webdataset", save(tmp_path / "a.tar", members))
    assert same(dataset, 0, 0)
    assert not (tmp_path / "ran").exists()


def test_one_broken_picture_is_unknown_and_the_others_go_on(tmp_path):
    members = dict(samples()) | {"000001.png": b"", "000002.png": b"\x89PNG no"}
    dataset = load_dataset("webdataset", save(tmp_path / "a.tar", members.items()))
    with pytest.raises(PictureError, match=r"cannot read '000001 in .*a.tar': the file is empty"):
        dataset.read(1)
    with pytest.raises(PictureError, match="the PNG is damaged"):
        dataset.read(2)
    assert same(dataset, 3, 3)
    (tmp_path / "a.tar").unlink()
    with pytest.raises(PictureError, match="check that the shard is still there"):
        dataset.read(3)


@pytest.mark.parametrize("name", ["../../evil.png", "/abs.png", "a/../../b.png", "..\\evil.png", "./../x.cls"])
def test_paths_that_leave_the_archive(tmp_path, name):
    path = save(tmp_path / "a.tar", [*samples(), (name, encoded(0))])
    with pytest.raises(UserError, match=r"a.tar holds the path '.*', which leaves it\ndo not unpack it"):
        load_dataset("webdataset", path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices(tmp_path, kind):
    path = save(tmp_path / "a.tar", [("000000.png", b"")], kind)
    with pytest.raises(UserError, match=r"holds '000000.png', which is a link, a device or sparse"):
        load_dataset("webdataset", path)


MEMBERS = list(samples())


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "there are no images"),
        (MEMBERS[::2], r"sample 000000 of .* has no label \(cls or json or txt\), but png"),
        (MEMBERS[1::2], r"sample 000000 of .* has no picture \(png jpg jpeg webp bmp\), but cls"),
        ([MEMBERS[0], MEMBERS[2], MEMBERS[1], MEMBERS[3]], "has no label"),
        ([*MEMBERS[:4], ("000000.json", b"1")], "the members of 000000 are not adjacent"),
        ([MEMBERS[0], MEMBERS[0], MEMBERS[1]], "000000.png occurs twice"),
        (samples(labels=[0, -1]), "image 1 has the label -1"),
        (samples(labels=[3, 3]), "all 2 images have the label 3"),
        (samples(labels=["0.5", "1.0"], extension="json"), "whole numbers or one-hot rows, got floats such as 0.5"),
        (samples(labels=["0", '"a"'], extension="json"), "labels of .* are of several kinds: int, str"),
        (samples(labels=["{}", "1"], extension="json"), "the .json of sample 000000 .* has no label or cls or"),
        (samples(labels=["[" * 10**5, "1"], extension="json"), "is not text, or not JSON"),
        (samples(labels=["", "a"]), "the label of image 0 is empty"),
        (samples(labels=["x" * 2_000_000]), "has a label of 2,000,000 bytes"),
    ],
)
def test_what_is_refused(tmp_path, members, message):
    with pytest.raises(UserError, match=message):
        load_dataset("webdataset", save(tmp_path / "a.tar", members))


@pytest.mark.parametrize("cut", [0, 100, 600, 1024, 1500, 2048, 6000])
def test_shards_cut_short(tmp_path, cut):
    path = save(tmp_path / "a.tar", samples())
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UserError, match=r"cannot be read as tar|damaged or cut short at byte"):
        load_dataset("webdataset", path)


def test_compressed_shards_and_other_files(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("0.png"))
    with pytest.raises(UserError, match=r"a.tar cannot be read as tar: .*\n.*gunzip"):
        load_dataset("webdataset", tmp_path / "a.tar")
    with pytest.raises(UserError, match="there is no file"):
        load_dataset("webdataset", tmp_path / "b-{0..3}.tar")
