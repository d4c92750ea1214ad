"""What is said of a model: fields, files of names, and which models take it."""

import json
from pathlib import Path

import pytest

from advbench.catalog.user_models import described_fields
from advbench.config.model_description import NOTHING, Description, describe, read_description, refuse_unread
from advbench.config.models.model import ModelSpec
from advbench.errors import UserError


def test_names_come_from_files_beside_the_description(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("\ufeffant\n bee \n\ncat\n", encoding="utf-8")
    (tmp_path / "names.json").write_text(json.dumps(["ant", "bee", "cat"]))
    for ending in ("txt", "json"):
        (tmp_path / "net.toml").write_text(f'classes = "names.{ending}"')
        assert read_description(tmp_path / "net.toml").classes == ("ant", "bee", "cat")
    assert read_description(tmp_path / "none.toml") == NOTHING


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"meen": 0.5}, r"meen: unknown key; did you mean mean\?"),
        ({"mean": []}, "mean: "),
        ({"mean": [0.5, "x"]}, r"mean \(number 2\): "),
        ({"std": float("inf")}, r"std \(number 1\): Input should be a finite number"),
        ({"input_size": [1, 2, 3]}, r"input_size: expected input_size >= 1, or \(height, width\)"),
        ({"classes": "gone.txt"}, r"classes: gone\.txt cannot be read"),
        ({"num_classes": 2.5}, "num_classes: "),
    ],
)
def test_impossible_values(said: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}"):
        describe(said)


def test_files_that_hold_no_names(tmp_path: Path) -> None:
    (tmp_path / "map.json").write_text('{"ant": 0}')
    (tmp_path / "bad.json").write_text("[")
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\xfa")
    for name, message in (("map.json", "a list of names"), ("bad.json", "is no JSON"), ("bad.txt", "is no text")):
        with pytest.raises(UserError, match=message):
            describe({"classes": str(tmp_path / name)})


def test_what_no_loader_reads_is_refused() -> None:
    for name in ("lenet", "trained.safetensors", "timm/resnet18.a1_in1k"):
        assert described_fields(name) == ()
        refuse_unread(name, Description(gradients_from="vgg16"))
        with pytest.raises(UserError, match=f"model {name} takes no mean"):
            refuse_unread(name, Description(mean=0.5))
    every = {*Description.model_fields} - {"gradients_from", "templates"}
    for name in ("nets.py:net", "net.onnx", "net.keras", "net.pt2", "net.pt", "net.ts"):
        assert set(described_fields(name)) == every


def test_a_table_of_a_suite_says_the_same() -> None:
    spec = ModelSpec(name="nets.py:net", mean=[0.5], input_size=[4, 6], label="mine")
    assert spec.about == Description(mean=0.5, input_size=(4, 6))
    assert type(spec.about) is Description
    assert ModelSpec(name="vgg16").about == NOTHING
