"""What an attacked picture leaves behind: PNGs without loss, exact floats, a scaled perturbation."""

import io
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open

from advbench.errors import UserError
from advbench.pictures.files import as_perturbation, as_picture, as_png, write_files
from advbench.pictures.outcome import Guess, PictureResult
from advbench.records.record import COLUMNS, OK, Record

RECORD = Record(
    run_id="r", model="tiny", dataset="files", sample_id="s", attack="topk", goal="untargeted", norm="linf",
    eps=2 / 255, clean_topk=(0,), met=True, l0=1.0, l1=0.1, l2=0.1, linf=0.1, forwards=3.0, backwards=1.0, seconds=0.1,
    survives_8bit=True, status=OK,
)  # fmt: skip
GUESSES = (Guess(0, "tiger", 0.75), Guess(1, "cat", 0.25))
OUTCOME = PictureResult(Path("a.png"), RECORD, GUESSES, GUESSES, met_8bit=True, size_8bit=1 / 255)


def levels(channels, size=4, seed=0):
    return torch.randint(256, (channels, size, size), generator=torch.Generator().manual_seed(seed)) / 255


def values(picture):
    """The levels of a picture, as torch holds images."""
    data = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    return data.view(picture.height, picture.width, -1).permute(2, 0, 1)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_a_png_gives_back_every_level(channels, mode):
    image = levels(channels, 16)
    with Image.open(io.BytesIO(as_png(as_picture(image)))) as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", mode, (16, 16))
        assert torch.equal(values(picture) / 255, image)


def test_between_two_levels_the_nearest_is_taken():
    image = torch.tensor([0.0, 0.4, 0.6, 254.4, 254.6, 255.0]).view(1, 1, 6) / 255
    assert values(as_picture(image)).flatten().tolist() == [0, 0, 1, 254, 255, 255]


@pytest.mark.parametrize(
    "layout", [lambda x: x.flip(2), lambda x: x.transpose(1, 2), lambda x: x.permute(0, 2, 1)[:, 1:]]
)
def test_the_layout_in_memory_does_not_matter(layout):
    image = layout(levels(3))
    assert torch.equal(values(as_picture(image)) / 255, image)


@given(st.floats(1e-6, 1), st.floats(-1, 1), st.floats(-1, 1))
def test_a_perturbation_is_scaled_to_the_whole_range(size, one, other):
    delta = size * torch.tensor([1.0, -1.0, 0.0, one, other]).view(1, 1, 5)
    shown = values(as_perturbation(delta)).flatten().tolist()
    assert shown[:3] == [255, 0, 128]
    for value, level in zip((one, other), shown[3:], strict=True):
        assert abs(level - min(128 + 128 * value, 255)) <= 0.51


@pytest.mark.parametrize(("sign", "level"), [(1, 255), (-1, 0)])
def test_a_perturbation_of_one_sign_keeps_grey_for_no_change(sign, level):
    delta = torch.zeros(3, 2, 2)
    delta[0, 0, 0] = sign * 0.001
    shown = values(as_perturbation(delta))
    assert shown[0, 0, 0] == level
    assert shown.flatten()[1:].unique().tolist() == [128]


def test_no_perturbation_is_grey():
    assert values(as_perturbation(torch.zeros(3, 2, 2))).unique().tolist() == [128]


@pytest.mark.parametrize("channels", [1, 3])
def test_writes_all_files_and_says_where(tmp_path, channels):
    x, x_8bit = levels(channels), levels(channels, seed=1)
    x_adv = (x_8bit + 1e-4).clamp(0, 1)
    files = write_files(tmp_path / "deep" / "er", OUTCOME, x, x_adv, x_8bit)
    assert sorted(files) == sorted(path.name for path in (tmp_path / "deep" / "er").iterdir())
    assert all(path == tmp_path / "deep" / "er" / name for name, path in files.items())
    with Image.open(files["adversarial.png"]) as picture:
        assert torch.equal(values(picture) / 255, x_8bit)
    with safe_open(files["adversarial.safetensors"], "pt") as tensors:
        assert list(tensors.keys()) == ["adversarial"]
        assert torch.equal(tensors.get_tensor("adversarial"), x_adv)
    with Image.open(files["panel.png"]) as panel:
        assert panel.format == "PNG"
    assert tuple(pq.read_table(files["record.parquet"]).column_names) == COLUMNS


def test_floats_in_any_layout_are_written_right(tmp_path):
    x = levels(3)
    x_adv = x.transpose(1, 2)
    files = write_files(tmp_path, OUTCOME, x, x_adv, x)
    with safe_open(files["adversarial.safetensors"], "pt") as tensors:
        assert torch.equal(tensors.get_tensor("adversarial"), x_adv)


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("kept")
    x = levels(3)
    with pytest.raises(UserError, match=r"^cannot write .*adversarial\.png: .*\nchoose another folder"):
        write_files(tmp_path / "file", OUTCOME, x, x, x)
