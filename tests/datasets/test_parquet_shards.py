"""Data sets of Parquet files: columns, shards and row groups, and what is refused."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from encoded_images import encoded, pixels

from advbench.datasets import load_dataset
from advbench.datasets.images.files import PictureError
from advbench.datasets.sources import parquet
from advbench.errors import UserError

Y = [1, 0, 2, 1, 0, 2, 1]


def struct(images):
    return pa.array(images, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))


def hub_images(start=0, count=7):
    return struct([{"bytes": encoded(start + i), "path": f"{i}.png"} for i in range(count)])


def hub_metadata(**features):
    return {b"huggingface": json.dumps({"info": {"features": features}}).encode()}


def save(path, metadata=None, rows=3, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    pq.write_table(table.replace_schema_metadata(metadata), path, row_group_size=rows)
    return path


def same(dataset, number, expected=None):
    return np.array_equal(np.asarray(dataset.read(number)), pixels(number if expected is None else expected))


def test_a_file_of_the_hub_with_the_names_of_its_classes(tmp_path):
    names = ["cat", "dog", "emu"]
    metadata = hub_metadata(image={"_type": "Image"}, coarse={"names": names, "_type": "ClassLabel"})
    path = save(tmp_path / "a.parquet", metadata, image=hub_images(), coarse=Y, width=[8] * 7)
    dataset = load_dataset("parquet", path)
    assert (dataset.labels, dataset.classes) == (tuple(Y), tuple(names))
    for number in (0, 1, 6, 3, 2, 6, 0):  # also backwards, and across row groups
        assert same(dataset, number)
    assert len(set(dataset.images)) == 7


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
@pytest.mark.parametrize("labels", [pa.array(Y), pa.array(Y, pa.int8()), pa.array(["b", "a", "c", "b", "a", "c", "b"])])
def test_plain_columns(tmp_path, kind, labels):
    images = pa.array([encoded(i) for i in range(7)], kind)
    dataset = load_dataset("parquet", save(tmp_path / "a.parquet", img=images, Label=labels, other=["x"] * 7))
    assert dataset.labels == tuple(Y)
    assert same(dataset, 5)


def test_labels_that_are_one_hot_or_a_dictionary(tmp_path):
    hot = pa.array(np.eye(3, dtype=int)[Y].tolist())
    assert load_dataset("parquet", save(tmp_path / "a.parquet", image=hub_images(), label=hot)).labels == tuple(Y)
    named = pa.array([f"c{y}" for y in Y]).dictionary_encode()
    dataset = load_dataset("parquet", save(tmp_path / "b.parquet", image=hub_images(), label=named))
    assert (dataset.labels, dataset.classes) == (tuple(Y), ("c0", "c1", "c2"))


def test_columns_may_be_named(tmp_path):
    columns = {"image": hub_images(), "second": hub_images(20), "label": Y, "fine": [0, 5, 1, 2, 3, 4, 5]}
    path = save(tmp_path / "a.parquet", **columns)
    dataset = load_dataset("parquet", path, image_column="second", label_column="fine")
    assert dataset.labels[1] == 5
    assert same(dataset, 1, 21)
    with pytest.raises(UserError, match=r"no column 'tag' in .*a.parquet\nthere are: image, second, label, fine"):
        load_dataset("parquet", path, label_column="tag")
    with pytest.raises(UserError, match=r"column label of .* holds int64\nexpected a binary column"):
        load_dataset("parquet", path, image_column="label")


def test_columns_that_cannot_be_told_apart_are_listed(tmp_path):
    features = {name: {"names": list("abc"), "_type": "ClassLabel"} for name in ("fine_label", "coarse_label")}
    path = save(tmp_path / "a.parquet", hub_metadata(**features), img=hub_images(), fine_label=Y, coarse_label=Y)
    with pytest.raises(
        UserError, match=r'several columns .*: fine_label, coarse_label\nchoose one: label_column = "fine'
    ):
        load_dataset("parquet", path)
    path = save(tmp_path / "b.parquet", one=hub_images(), two=hub_images(), label=Y)
    with pytest.raises(UserError, match=r"several columns .* could hold the images: one, two"):
        load_dataset("parquet", path)
    path = save(tmp_path / "c.parquet", image=hub_images(), width=Y)
    with pytest.raises(UserError, match=r"no column of .* holds labels\nname it.* There are: image, width"):
        load_dataset("parquet", path)


@pytest.mark.parametrize("metadata", [b"[", b"[]", b'{"info": {"features": {"label": 3}}}', b"\xff", b'{"info": null}'])
def test_metadata_of_any_other_kind_is_ignored(tmp_path, metadata):
    path = save(tmp_path / "a.parquet", {b"huggingface": metadata}, image=hub_images(), label=Y)
    assert load_dataset("parquet", path).classes is None


def test_shards_by_folder_pattern_and_split(tmp_path):
    for number in range(2):
        save(tmp_path / "data" / f"test-{number:05}-of-00002.parquet", image=hub_images(10 * number), label=Y)
    save(tmp_path / "data" / "train-00000-of-00001.parquet", image=hub_images(50), label=Y)
    for path in (
        tmp_path,
        tmp_path / "data" / "test-*.parquet",
        tmp_path / "data" / "test-{00000..00001}-of-00002.parquet",
    ):
        dataset = load_dataset("parquet", path)
        assert len(dataset) == 14
        assert same(dataset, 8, 11)
    assert same(load_dataset("parquet", tmp_path, split="train"), 0, 50)
    with pytest.raises(UserError, match=r"no split 'validation' in .*\nthere are: test, train"):
        load_dataset("parquet", tmp_path, split="validation")
    with pytest.raises(UserError, match=r"there is no file .*test-00002-of-00002.parquet, and 7 more"):
        load_dataset("parquet", tmp_path / "data" / "test-{00000..00009}-of-00002.parquet")


def test_a_large_row_group_is_read_in_small_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "_BATCH_BYTES", 500)
    path = save(tmp_path / "a.parquet", rows=7, image=hub_images(), label=Y)
    dataset = load_dataset("parquet", path)
    assert all(same(dataset, number) for number in (0, 1, 2, 6, 5, 3))
    assert pq.ParquetFile(path).num_row_groups == 1


def test_one_broken_image_is_unknown_and_the_others_go_on(tmp_path):
    images = [{"bytes": encoded(i), "path": None} for i in range(7)]
    images[2]["bytes"], images[4]["bytes"], images[5] = b"\x89PNG broken", None, None
    dataset = load_dataset("parquet", save(tmp_path / "a.parquet", image=struct(images), label=Y))
    with pytest.raises(PictureError, match=r"cannot read 'row 2 of .*a.parquet': the PNG is damaged"):
        dataset.read(2)
    for number in (4, 5):
        with pytest.raises(PictureError, match=f"'row {number} of .*': there are no bytes in this row"):
            dataset.read(number)
    assert same(dataset, 3)
    assert same(dataset, 6)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"image": pa.array([{"path": "a.png"}] * 2), "label": [0, 1]},
            "; column image holds no bytes\n.*not followed",
        ),
        ({"image": ["a.png", "b.png"], "label": [0, 1]}, "no column of .* holds encoded images"),
        ({"image": hub_images(0, 2), "label": [0.0, 1.0]}, "column label of .*a.parquet: .* got floats such as 0"),
        ({"image": hub_images(0, 2), "label": [0, None]}, "image 1 has no label"),
        ({"image": hub_images(0, 2), "label": [-1, -1]}, "image 0 and 1 more have the label -1.*\n.*validation split"),
        ({"image": hub_images(0, 2), "label": [4, 4]}, "all 2 images have the label 4"),
        (
            {"image": hub_images(0, 2), "label": [[0.0, 0.5], [1.0]]},
            "expected lists of labels, numbers or names, got 0.0",
        ),
        ({"image": hub_images(0, 0), "label": pa.array([], pa.int64())}, "there are no images"),
    ],
)
def test_what_is_refused(tmp_path, columns, message):
    with pytest.raises(UserError, match=message):
        load_dataset("parquet", save(tmp_path / "a.parquet", **columns))


def test_labels_outside_the_named_classes(tmp_path):
    metadata = hub_metadata(label={"names": ["a", "b"], "_type": "ClassLabel"})
    with pytest.raises(UserError, match="expected labels from 0 to 1, got 2"):
        load_dataset("parquet", save(tmp_path / "a.parquet", metadata, image=hub_images(), label=Y))


def test_files_that_are_no_parquet_or_do_not_fit_together(tmp_path):
    path = save(tmp_path / "a.parquet", image=hub_images(), label=Y)
    save(tmp_path / "b.parquet", image=hub_images(), tag=Y)
    with pytest.raises(UserError, match=r"b.parquet has no column label, which the shards before it have"):
        load_dataset("parquet", tmp_path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"a.parquet cannot be read as Parquet: .*\nfetch or save it again"):
        load_dataset("parquet", path)
    with pytest.raises(UserError, match=r"no file matches|there is no file"):
        load_dataset("parquet", tmp_path / "none.parquet")


def test_damage_inside_a_file_makes_its_images_unknown(tmp_path):
    path = save(tmp_path / "a.parquet", image=hub_images(), label=Y)
    group = pq.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    start = group.dictionary_page_offset or group.data_page_offset
    data[start : start + 40] = bytes(40)
    path.write_bytes(data)
    dataset = load_dataset("parquet", path)
    with pytest.raises(PictureError, match=r"row 3 of .*: the file is damaged"):
        dataset.read(3)
    assert same(dataset, 0)
    assert same(dataset, 6)
