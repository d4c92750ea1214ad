"""Folders of pictures as data sets, and their classes found among those of a model."""

import json
from pathlib import Path

import pytest
from PIL import Image

from advbench import load_dataset
from advbench.datasets.dataset import Dataset
from advbench.datasets.matching import match_classes, matched, wordnet_ids
from advbench.errors import UserError

NAMES = ("tench", "tiger shark", "T-shirt/top", "crane", "Crane")


def picture(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (value, 0, 0)).save(path)


def in_subfolders(folder, *names):
    for value, name in enumerate(names):
        picture(folder / name / "a.png", value)
    return folder


def own(*classes, labels=None, restricted=False):
    labels = tuple(range(len(classes))) if labels is None else labels
    images = tuple(map(str, range(len(labels))))
    return Dataset(name="own", images=images, labels=labels, read=lambda i: i, classes=classes, restricted=restricted)


def test_each_subfolder_is_a_class(tmp_path):
    found = load_dataset("folder", in_subfolders(tmp_path, "dog", "Cat", ".hidden"))
    assert (found.classes, found.labels) == (("Cat", "dog"), (0, 1))
    assert found.images == ("Cat/a.png", "dog/a.png")
    assert found.read(1).getpixel((0, 0)) == (0, 0, 0)


def test_labels_stand_in_a_file(tmp_path):
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    (tmp_path / "labels.csv").write_text("file,label\nb.png,dog\na.png,cat\n")
    found = load_dataset("folder", tmp_path)
    assert (found.images, found.labels, found.classes) == (("b.png", "a.png"), (1, 0), ("cat", "dog"))


def test_a_column_of_labels_can_be_named(tmp_path):
    picture(tmp_path / "a.png")
    (tmp_path / "labels.csv").write_text("path,label,fine\na.png,cat,tabby\n")
    assert load_dataset("folder", tmp_path, label_column="fine").classes == ("tabby",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\n", "has no rows"),
        ("file,label\n../a.png,cat\n", "leaves the folder"),
        ("file,label\nzzz.png,cat\n", "which is not in the folder"),
        ("file,label\na.png,\n", "line 2: the label is missing"),
        ("file,label\na.png,cat\na.png,dog\n", "names a picture more than once"),
        ("file,kind\na.png,cat\n", "has no column label or labels or class or target"),
    ],
)
def test_files_of_labels_that_will_not_do(tmp_path, text, message):
    picture(tmp_path / "a.png")
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        load_dataset("folder", tmp_path)


def test_folders_that_will_not_do(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        load_dataset("folder", tmp_path / "nowhere")
    with pytest.raises(UserError, match="has no pictures"):
        load_dataset("folder", tmp_path)
    picture(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"has pictures, and neither subfolders nor a labels\.csv"):
        load_dataset("folder", tmp_path)
    in_subfolders(tmp_path, "cat")
    with pytest.raises(UserError, match="has only one class, 'cat'"):
        load_dataset("folder", tmp_path)
    (tmp_path / "dog").mkdir()
    with pytest.raises(UserError, match="no pictures in this folder"):
        load_dataset("folder", tmp_path)


def test_a_class_is_whole_or_refused(tmp_path):
    in_subfolders(tmp_path, "cat", "dog")
    (tmp_path / "dog" / "scan.TIF").touch()
    with pytest.raises(UserError, match=r"part of the class 'dog' is missing: 1 picture is skipped, .*scan\.TIF"):
        load_dataset("folder", tmp_path)
    (tmp_path / "dog" / "clip.gif").touch()
    with pytest.raises(UserError, match=r"'dog' is missing: 2 pictures are skipped, such as .*clip\.gif"):
        load_dataset("folder", tmp_path)


def test_classes_are_found_by_name_whatever_its_case():
    found = match_classes(["Tiger_Shark", "t-shirt_top", "crane"], NAMES, "own")
    assert [(match.index, match.how) for match in found] == [(1, "name"), (2, "name"), (3, "name")]


def test_classes_are_found_by_number_as_numbers():
    classes = [f"class {i}" for i in range(12)]
    assert [match.index for match in match_classes(["0", "10", "002"], classes, "own")] == [0, 10, 2]


def test_classes_are_found_by_wordnet_id():
    nameless = [str(i) for i in range(1000)]
    found = match_classes([wordnet_ids()[292], "n01440764_tench"], nameless, "own")
    assert [(match.index, match.how) for match in found] == [(292, "WordNet id"), (0, "WordNet id")]


def test_a_model_without_names_goes_by_order():
    assert [match.index for match in match_classes(["cat", "dog"], ["0", "1"], "own")] == [0, 1]
    with pytest.raises(UserError, match="2 of the 2 classes of data set own are not among the model's 3"):
        match_classes(["cat", "dog"], ["0", "1", "2"], "own")


def test_what_is_not_there_is_said_with_near_misses():
    with pytest.raises(UserError, match=r"'tenhc' \(did you mean tench\?\)"):
        match_classes(["tenhc", "tiger shark"], NAMES, "own")
    with pytest.raises(UserError, match="it is the name of 3 and 4"):
        match_classes(["CRANE"], NAMES, "own")
    with pytest.raises(UserError, match="are both class 0 of the model"):
        match_classes(["tench", "TENCH"], ["tench", "shark"], "own")


def test_a_map_joins_classes_and_leaves_images_out(tmp_path):
    table = tmp_path / "map.json"
    table.write_text(json.dumps({"tabby": "cat", "siamese": 0, "other": None}))
    found = matched(own("tabby", "other", "siamese", "dog"), ["cat", "dog"], table)
    assert found.dataset.labels == (0, 0, 1)
    assert found.dataset.images == ("0", "2", "3")
    assert [found.dataset.read(i) for i in range(3)] == [0, 2, 3]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot read the map of classes"),
        ("[1]", "expected an object"),
        ('{"tabby": true}', "expected an object"),
        ('{"taby": "cat"}', "maps 'taby', which is not a class of data set own"),
        ('{"tabby": "cow"}', "turns 'tabby' into 'cow'"),
    ],
)
def test_maps_that_will_not_do(tmp_path, content, message):
    table = tmp_path / "map.json"
    table.write_text(content)
    with pytest.raises(UserError, match=message):
        matched(own("tabby"), ["cat", "dog"], table)


def test_a_restricted_set_is_judged_among_its_classes():
    found = matched(own("dog", "ant", restricted=True), ["ant", "bee", "cat", "dog"])
    assert found.among == (0, 3)
    assert found.dataset.labels == (1, 0)


def test_a_folder_below_a_class_that_cannot_be_searched_is_no_silent_loss(tmp_path, monkeypatch):
    for name in ("cat/0.png", "cat/locked/1.png", "dog/2.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    iterdir = Path.iterdir

    def forbid(path):
        if path.name == "locked":
            raise PermissionError(13, "Permission denied")
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", forbid)
    with pytest.raises(UserError, match=r"part of the class 'cat' is missing: cannot read '.*locked': no permission"):
        load_dataset("folder", tmp_path)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("tigre shark", "turns 'cat' into 'tigre shark', which is not a class of the model\ndid you mean tiger shark"),
        (
            99,
            "turns 'cat' into 99, which is not a class of the model\nit takes a name, a WordNet id or a number",
        ),
    ],
)
def test_a_map_that_names_no_class_of_the_model_is_told_so(written, message):
    with pytest.raises(UserError, match=message):
        match_classes(["cat", "crane"], NAMES, "own", {"cat": written})


def test_the_column_of_labels_is_found_whatever_its_case(tmp_path):
    picture(tmp_path / "a.png")
    (tmp_path / "labels.csv").write_text("Filename,index,Class\na.png,0,cat\n")
    assert load_dataset("folder", tmp_path).classes == ("cat",)
