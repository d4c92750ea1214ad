"""Data with several labels for each image, in the forms that people store them in, and matched to a model."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from encoded_images import encoded
from PIL import Image

from advbench import load_dataset
from advbench.datasets.composed import COUNT, composed
from advbench.datasets.dataset import Dataset
from advbench.datasets.labels import as_labels, labels_for
from advbench.datasets.matching import matched
from advbench.datasets.sources.label_sets import truth_in_columns, truth_of
from advbench.errors import UserError

NAMES = ("boat", "sea", "sky")
SETS = ((0, 1), (), (2,), (0, 1, 2))
ROWS = [[1, 1, 0], [0, 0, 0], [0, 0, 1], [1, 1, 1]]


def in_file(folder, text):
    for number in range(4):
        Image.new("L", (4, 4), number).save(folder / f"{number}.png")
    (folder / "labels.csv").write_text(text)
    return load_dataset("folder", folder)


@pytest.mark.parametrize("between", "|;")
def test_labels_with_a_sign_between(tmp_path, between):
    found = in_file(
        tmp_path, f"file,labels\n0.png,sea{between}boat\n1.png,\n2.png,sky\n3.png,sky{between}boat{between} sea\n"
    )
    assert (found.label_sets, found.classes, found.labels, found.width) == (SETS, NAMES, None, None)


@pytest.mark.parametrize("off", ["0", "-1", "False"])
def test_a_column_for_each_label(tmp_path, off):
    on = "True" if off == "False" else "1"
    lines = [f"{number}.png," + ",".join(on if each else off for each in row) for number, row in enumerate(ROWS)]
    found = in_file(tmp_path, "\n".join(["file,boat,sea,sky", *lines]))
    assert (found.label_sets, found.classes, found.width) == (SETS, NAMES, 3)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("file,boat,sea\n0.png,1,0\n1.png,1,maybe\n", r"expected 0 or 1 in the column 'sea', got 'maybe' in row 1"),
        ("file,boat,sea\n0.png,1,0\n1.png,1,-1\n", r"the columns of labels hold 0, 1 and -1"),
        ("file,boat,sea\n0.png,0,0\n1.png,0,0\n", r"no image has any label"),
        ("file,labels\n0.png,boat\n1.png,\n", r"line 3: the label is missing"),
    ],
)
def test_what_tells_of_no_labels_is_refused(tmp_path, text, problem):
    with pytest.raises(UserError, match=problem):
        in_file(tmp_path, text)


@pytest.mark.parametrize("kind", ["uint8", "bool", "float32", "int64"])
def test_arrays_with_a_place_for_each_label(tmp_path, kind):
    np.savez(tmp_path / "set.npz", x=np.zeros((4, 8, 8), np.uint8), y=np.array(ROWS, kind))
    found = load_dataset("arrays", tmp_path / "set.npz")
    assert (found.label_sets, found.classes, found.width) == (SETS, None, 3)


LISTS = {
    "names": [["sea", "boat"], [], ["sky"], ["sky", "sea", "boat"]],
    "numbers": [[1, 0], [], [2], [0, 1, 2]],
    "rows": ROWS,
}


@pytest.mark.parametrize("kind", LISTS)
def test_parquet_with_a_column_of_lists(tmp_path, kind):
    inner = {"names": list(NAMES), "_type": "ClassLabel"}
    features = {"labels": {"feature": inner, "_type": "Sequence"}} if kind == "numbers" else {}
    table = pa.table({"image": pa.array([encoded(i) for i in range(4)]), "labels": LISTS[kind]})
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "a.parquet")
    found = load_dataset("parquet", tmp_path / "a.parquet")
    assert found.label_sets == SETS
    assert found.classes == (None if kind == "rows" else NAMES)


def test_parquet_with_a_column_for_each_label(tmp_path):
    columns = {name: [bool(row[i]) for row in ROWS] for i, name in enumerate(NAMES)}
    table = pa.table({"image": pa.array([encoded(i) for i in range(4)]), "height": [8] * 4, **columns})
    pq.write_table(table, tmp_path / "a.parquet")
    found = load_dataset("parquet", tmp_path / "a.parquet")
    assert (found.label_sets, found.classes, found.width) == (SETS, NAMES, 3)
    few = load_dataset("parquet", tmp_path / "a.parquet", label_column="sea,sky")
    assert few.classes == ("sea", "sky")
    with pytest.raises(UserError, match=r"expected 0 or 1 in the column 'height', got 8 in row 0"):
        load_dataset("parquet", tmp_path / "a.parquet", label_column="height,sea")


def test_one_label_each_is_a_class():
    assert truth_of([[0, 1], [1, 0]], 2, "y").labels == (1, 0)
    assert truth_in_columns({"cat": [0, 1], "dog": [1, 0]}, "t").labels == (1, 0)


def own(sets=SETS, classes=NAMES, **options):
    usual = {
        "name": "own",
        "images": tuple("abcd"[: len(sets)]),
        "labels": None,
        "label_sets": sets,
        "classes": classes,
    }
    return Dataset(**usual | options, read=lambda number: number)


def test_names_are_found_among_the_labels_of_a_model(tmp_path):
    model = ("sky", "boat", "hat", "sea")
    found = matched(own(), model, several=True).dataset
    assert found.label_sets == ((1, 3), (), (0,), (0, 1, 3))
    single = own(label_sets=None, labels=(0, 1, 2, 2))
    assert matched(single, model, several=True).dataset.label_sets == ((1,), (3,), (0,), (0,))
    (tmp_path / "map.json").write_text('{"sky": null}')
    assert matched(own(), model, tmp_path / "map.json", several=True).dataset.label_sets == ((1, 3), (), (), (1, 3))


@pytest.mark.parametrize(
    ("dataset", "problem"),
    [
        (own(width=3), r"data set own has columns for 3 labels, but the model has 4"),
        (own(classes=None), None),
        (own(classes=None, width=3), r"has columns for 3 labels, but the model has 4"),
        (own(((5,),), None), r"data set own has the label 5, and the model labels from 0 to 3"),
        (own(((0,),), ("ship",)), r"1 of the 1 classes of data set own are not among the model's"),
    ],
)
def test_labels_of_another_model_are_refused(dataset, problem):
    model = ("sky", "boat", "hat", "sea")
    if problem is None:
        assert matched(dataset, model, several=True).dataset.label_sets == SETS
        return
    with pytest.raises(UserError, match=problem):
        matched(dataset, model, several=True)


def test_a_data_set_has_classes_or_labels():
    with pytest.raises(ValueError, match="expected labels or label_sets, got both"):
        own(labels=(0, 1, 2, 0))
    with pytest.raises(ValueError, match="expected labels from 0 to 2, got labels from 3 to 3"):
        own(((3,),))


def test_labels_in_memory_are_rows_of_0_and_1():
    rows = as_labels(np.array(ROWS), 4)
    assert torch.equal(labels_for(rows, 3, "net", several=True), torch.tensor(ROWS) == 1)
    assert torch.equal(labels_for(torch.tensor([2]), 3, "net", several=True), torch.tensor([[False, False, True]]))
    with pytest.raises(ValueError, match="expected rows of 4 labels, those of net, got 3"):
        labels_for(rows, 4, "net", several=True)
    with pytest.raises(ValueError, match="rows of 3 values that are not one-hot"):
        labels_for(rows, 3, "net", several=False)


def test_composed_digits_are_always_the_same():
    digits = np.stack([np.full((28, 28), 20 * number, np.uint8) for number in range(10)])
    one, two = (composed(digits, np.arange(10), 50, seed=seed) for seed in (0, 1))
    again = composed(digits, np.arange(10), 50)
    assert np.array_equal(one.images, again.images)
    assert not np.array_equal(one.images, two.images)
    for image, labels in zip(one.images, one.labels, strict=True):
        inks = {int(value) // 20 for value in np.unique(image)} - {0}
        assert set(np.flatnonzero(labels)) - {0} == {ink for ink in inks if ink < 8}


def test_the_composed_data_set_is_in_the_package():
    found = load_dataset("eight-digits")
    assert (len(found), found.width, found.read(0).size) == (COUNT, 8, (48, 48))
    counts = np.bincount([label for labels in found.label_sets for label in labels], minlength=8)
    assert counts.min() > 150
