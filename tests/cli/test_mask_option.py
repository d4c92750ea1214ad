"""`advbench attack --mask`: what is written, printed, and refused."""

import numpy as np
import pytest
from command import attack, rows_of
from PIL import Image

pytestmark = pytest.mark.usefixtures("small")


@pytest.fixture
def small(folder):
    import fakes

    with fakes.registered():
        yield


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_only_the_box_changes_in_the_picture_that_is_written():
    (row,) = rows_of(attack("tiger.png", "--mask", "box:2,4,10,20", "--eps", "0.3", "--out", "found", "--json"))
    assert row["dataset"] == "files, only box:2,4,10,20"
    assert "mask.png" in row["files"]
    mask = pixels("found/mask.png") > 0
    assert (int(mask.sum()), mask[4:24, 2:12].all()) == (200, True)
    changed = (pixels("found/adversarial.png") != pixels("tiger.png")).any(axis=2)
    assert changed[mask].any()
    assert not changed[~mask].any()


def test_the_mask_of_one_attack_is_that_of_the_next():
    attack("tiger.png", "--mask", "saliency:5%", "--eps", "0.3", "--out", "found")
    text = attack("tiger.png", "--mask", "found/mask.png", "--eps", "0.3", "--out", "again").stdout
    assert "only mask.png" in text
    assert np.array_equal(pixels("again/mask.png"), pixels("found/mask.png"))
    assert int((pixels("again/mask.png") > 0).sum()) == 52


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ("box:20,20,20,20", "reaches beyond the model's input of 32 x 32 pixels"),
        ("border:0", "--mask border:0 allows nothing to change"),
        ("nothing.png", "cannot read the mask nothing.png"),
        ("small.png", "small.png is 8 x 8 pixels, and the model's input 32 x 32"),
        ("black.png", "no pixel of it is white"),
        ("text.png", "text.png"),
    ],
)
def test_a_mask_of_no_use_is_refused_in_a_sentence(folder, mask, message):
    Image.new("L", (8, 8), 255).save("small.png")
    Image.new("L", (32, 32), 0).save("black.png")
    (folder / "text.png").write_text("no picture")
    result = attack("tiger.png", "--mask", mask, "--out", "found")
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert not (folder / "found" / "adversarial.png").exists()
