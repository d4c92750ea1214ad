"""The panel: what it says, that all of it is on it, and that no name is taken for a formula."""

import io
import itertools
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import fakes
import matplotlib.figure
import numpy as np
import pytest
from PIL import Image

from advbench.pictures.outcome import Guess, PictureResult
from advbench.pictures.panel import draw_panel
from advbench.records.record import OK, Record

RECORD = Record(
    run_id="r", model="efficientnet_lite0", dataset="files", sample_id="s", attack="topk", goal="topk-exclusion:7",
    norm="linf", eps=2 / 255, clean_topk=tuple(range(7)), adv_topk=tuple(range(4, 11)), met=True,
    l0=150483.0, l1=449.5633, l2=1.17766, linf=0.79 / 255, forwards=202.0, backwards=200.0, seconds=17.25,
    survives_8bit=True, status=OK,
)  # fmt: skip
BEFORE = tuple(Guess(i, f"before {i}", 0.3 / 2**i) for i in range(7))
AFTER = tuple(Guess(i, f"after {i}", 0.2 / 2**i) for i in range(4, 11))
OUTCOME = PictureResult(Path("in/tiger.jpg"), RECORD, BEFORE, AFTER, met_8bit=True, size_8bit=1 / 255)
GREY = Image.new("L", (28, 28), 128)
PHOTO = Image.new("RGB", (32, 32), "orange")


def draw(outcome=OUTCOME):
    """The figure of a panel, with its texts laid out."""
    figures = []
    save = matplotlib.figure.Figure.savefig

    def keep(figure, *args, **kwargs):
        save(figure, *args, **kwargs)
        figures.append(figure)

    with patch.object(matplotlib.figure.Figure, "savefig", keep):
        draw_panel(PHOTO, PHOTO, PHOTO, outcome)
    return figures[0]


@pytest.fixture(scope="module")
def figure():
    """The panel of an ordinary outcome."""
    return draw()


def texts(figure):
    return [text for text in figure.findobj(matplotlib.text.Text) if text.get_text() and text.get_visible()]


def words(figure):
    return [text.get_text() for text in texts(figure)]


@pytest.mark.parametrize("picture", [GREY, PHOTO], ids=["grey", "colour"])
def test_is_a_png_that_anybody_can_look_at(picture):
    with Image.open(io.BytesIO(draw_panel(picture, picture, picture, OUTCOME))) as panel:
        assert panel.format == "PNG"
        assert panel.size == (960, 1020)


def test_the_same_outcome_draws_the_same_bytes():
    assert draw_panel(PHOTO, PHOTO, PHOTO, OUTCOME) == draw_panel(PHOTO, PHOTO, PHOTO, OUTCOME)


def test_says_what_happened(figure):
    said = words(figure)
    assert "tiger.jpg · efficientnet_lite0 · topk · Linf ≤ 2/255" in said
    assert {"original", "perturbation", "adversarial"} <= set(said)
    assert [text for text in said if text.startswith("before")] == [
        "before 0  30.0%",
        "before 1  15.0%",
        "before 2  7.5%",
        "before 3  3.8%",
        "before 4  1.9%",
    ]
    assert len([text for text in said if text.startswith("after")]) == 5
    (facts,) = (text for text in said if text.startswith("goal"))
    assert facts.splitlines() == [
        "goal topk-exclusion:7: met",
        "Linf 0.79/255   L2 1.178",
        "L1 449.6   L0 150483 values",
        "8-bit PNG: goal met at Linf 1/255",
        "202 forward, 200 backward passes, 17.2 s",
    ]
    assert "among the original's first 7" in said


def bar_colours(axes):
    return [tuple(bar.get_facecolor()) for bar in axes.patches]


def test_classes_that_were_there_before_have_one_colour(figure):
    axes = figure.axes
    before, after = bar_colours(axes[1]), bar_colours(axes[5])
    assert len(set(before)) == 1
    assert after[:3] == before[:3]  # 4, 5 and 6 were among the first seven
    assert before[0] not in after[3:]


def test_shows_the_three_pictures(figure):
    pictures = [image.get_array().shape for axes in figure.axes for image in axes.get_images()]
    assert pictures == [(32, 32, 3)] * 3


NAMES = (*fakes.HOSTILE, "$\\frac{", "a long name of a class " * 9, "a_b^c", "\\", "")


@pytest.mark.parametrize("start", range(0, len(NAMES), 5))
def test_no_name_breaks_it_or_runs_over_its_edge(start):
    names = (NAMES + NAMES)[start : start + 5]
    guesses = tuple(Guess(i, name, 0.9) for i, name in enumerate(names))
    record = replace(RECORD, model="shufflenet_v2_x0_5", goal=f"targeted:{names[1]}")
    figure = draw(
        PictureResult(
            Path(f"{names[0].replace('/', '-')}.jpg"), record, guesses, guesses, met_8bit=True, size_8bit=1 / 255
        )
    )
    for text in texts(figure):
        box = text.get_window_extent()
        assert box.x0 >= -1, text.get_text()
        assert box.x1 <= figure.bbox.x1 + 1, text.get_text()
        assert not text.get_parse_math() or "$" not in text.get_text()


def test_facts_do_not_run_into_each_other(figure):
    axes = figure.axes[3]
    boxes = sorted(
        (text.get_window_extent() for text in axes.texts if len(text.get_text()) > 1), key=lambda box: box.y0
    )
    assert all(below.y1 <= above.y0 for below, above in itertools.pairwise(boxes))


def test_of_fewer_than_five_classes_all_are_shown():
    outcome = OUTCOME._replace(before=BEFORE[:2], after=AFTER[:2])
    assert len([text for text in words(draw(outcome)) if text.startswith(("before", "after"))]) == 4


def test_without_a_result_no_size_is_claimed():
    record = replace(RECORD, met=False, l0=None, l1=None, l2=None, linf=None, survives_8bit=False, norm="l2", eps=None)
    said = words(draw(OUTCOME._replace(record=record)))
    assert "goal topk-exclusion:7: not met\n202 forward, 200 backward passes, 17.2 s" in said
    assert "tiger.jpg · efficientnet_lite0 · topk · L2, no bound" in said


def test_a_line_runs_around_what_might_change():
    allowed = np.zeros((32, 32), np.uint8)
    allowed[8:16, 8:24] = 255
    mask = Image.fromarray(allowed)
    grey = Image.new("RGB", (32, 32), (128, 128, 128))
    plain, lined = (
        np.asarray(Image.open(io.BytesIO(draw_panel(grey, grey, grey, OUTCOME, each))).convert("L")).astype(int)
        for each in (None, mask)
    )
    different = plain != lined
    assert different.any()
    assert lined[different].min() < 20, "black beside white is seen on any picture"
    assert lined[different].max() > 235
    rows = np.flatnonzero(different.any(1))
    assert len(np.flatnonzero(np.diff(rows) > 40)) == 2, "in each of the three pictures"


def test_where_what_might_change_is_strewn_about_the_rest_of_the_original_is_faded():
    rows, columns = np.mgrid[:32, :32]
    mask = Image.fromarray(((rows + columns) % 2 * 255).astype(np.uint8))
    red = Image.new("RGB", (32, 32), (255, 0, 0))
    plain, faded = (
        np.asarray(Image.open(io.BytesIO(draw_panel(red, red, red, OUTCOME, each))).convert("RGB")).astype(int)
        for each in (None, mask)
    )
    rows = np.flatnonzero((plain != faded).any((1, 2)))
    assert len(np.flatnonzero(np.diff(rows) > 40)) == 0, "in the first of the three pictures alone"
    assert rows.max() < 400
    assert (faded == (255, 0, 0)).all(2).sum() < (plain == (255, 0, 0)).all(2).sum()
