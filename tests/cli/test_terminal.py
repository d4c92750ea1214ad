"""What a person reads on a terminal: plain words, 100 columns, and no markup from strangers."""

import io
import itertools
from dataclasses import replace
from pathlib import Path

import fakes
import pytest
from rich.console import Console

from advbench.config.budgets import describe_eps, describe_norm, describe_size
from advbench.pictures.outcome import Guess, PictureResult
from advbench.pictures.terminal import attacked
from advbench.pictures.wording import describe_result
from advbench.records.record import OK, Record
from advbench.report.terminal import print_table

RECORD = Record(
    run_id="r", model="efficientnet_lite0", dataset="files", sample_id="s", attack="topk", goal="topk-exclusion:2",
    norm="linf", eps=2 / 255, clean_topk=(0, 1), adv_topk=(2, 1), met=True,
    l0=150483.0, l1=449.5633, l2=1.17766, linf=0.79 / 255, forwards=202.0, backwards=200.0, seconds=17.25,
    survives_8bit=True, status=OK,
)  # fmt: skip
BEFORE = (Guess(0, "tiger", 0.853), Guess(1, "tiger cat", 0.087), Guess(2, "boxer", 0.002))
AFTER = (Guess(2, "boxer", 0.047), Guess(1, "tiger cat", 0.04), Guess(3, "zebra", 0.0001))
FILES = {name: Path("out") / name for name in ("adversarial.png", "panel.png", "record.csv")}
OUTCOME = PictureResult(Path("in/tiger.jpg"), RECORD, BEFORE, AFTER, FILES, met_8bit=True, size_8bit=1 / 255)


def printed(*things, width=100, colour=False):
    file = io.StringIO()
    console = Console(
        file=file, width=width, highlight=False, force_terminal=colour, color_system="256" if colour else None
    )
    console.print(*things)
    return file.getvalue()


def test_says_all_that_happened():
    assert [line.rstrip() for line in printed(attacked(OUTCOME)).splitlines()] == [
        "in/tiger.jpg · efficientnet_lite0 · topk · Linf ≤ 2/255",
        "   before            after",
        "1  tiger      85.3%  boxer      4.7%",
        "2  tiger cat   8.7%  tiger cat  4.0%",
        "3  boxer       0.2%  zebra      0.0%",
        "goal topk-exclusion:2: met",
        "Linf 0.79/255   L2 1.178",
        "L1 449.6   L0 150483 values",
        "8-bit PNG: goal met at Linf 1/255",
        "202 forward, 200 backward passes, 17.2 s",
        "files in out: adversarial.png, panel.png, record.csv",
        "",
    ]


def test_classes_that_were_there_before_have_one_colour():
    lines = printed(attacked(OUTCOME), colour=True).splitlines()
    blue, orange = "\x1b[34m", "\x1b[38;5;166m"
    assert [line.count(blue) for line in lines[2:5]] == [1, 2, 1]
    assert [line.count(orange) for line in lines[2:5]] == [1, 0, 1]


@pytest.mark.parametrize("name", fakes.HOSTILE)
def test_a_hostile_name_is_a_name(name):
    guesses = tuple(Guess(i, name, 0.5) for i in range(3))
    path = Path(f"{name.replace('/', '-')}.jpg")
    outcome = OUTCOME._replace(
        path=path, before=guesses, after=guesses, record=replace(RECORD, goal=f"targeted:{name}")
    )
    text = printed(attacked(outcome))
    lines = text.splitlines()
    assert len(lines) <= 14
    assert all(len(line) <= 100 for line in lines)
    assert "\x1b" not in text
    if len(name) < 30:
        shown = name if name.isprintable() else "\\x1b[31mred\\nnew"
        assert text.count(shown) >= 6


@pytest.mark.parametrize("width", [40, 80, 100])
def test_keeps_to_the_width(width):
    long = tuple(Guess(i, "a long name of a class, such as nobody would give " * 3, 0.5) for i in range(3))
    outcome = OUTCOME._replace(path=Path("folder/" * 30 + "tiger.jpg"), before=long, after=long)
    assert max(len(line) for line in printed(attacked(outcome), width=width).splitlines()) <= width


def test_a_table_takes_its_cells_as_they_are(capsys):
    cells = ["[red]x[/red]", "[/]", ":tiger:", "\\[b]"]
    print_table(Console(width=100, highlight=False), "Title", ["a", "b", "c", "d"], [cells])
    title, header, row = (line.rstrip() for line in capsys.readouterr().out.splitlines())
    assert (title, header.split()) == ("Title", ["a", "b", "c", "d"])
    assert row.split() == cells


@pytest.mark.parametrize(
    ("norm", "size", "text"),
    [
        ("linf", 2 / 255, "2/255"),
        ("linf", 0.003149956464767456, "0.8032/255"),
        ("linf", 1, "1"),
        ("linf", 0.2, "0.2"),
        ("l2", 1.177664875984192, "1.178"),
        ("l1", 449.5633239746094, "449.6"),
        ("l1", 12345.678, "1.235e+04"),
        ("l0", 150483.0, "150483 values"),
        ("l0", 1.0, "1 values"),
    ],
)
def test_sizes_have_the_units_people_use(norm, size, text):
    assert describe_eps(norm, size) == text
    name = {"linf": "Linf", "l2": "L2", "l1": "L1", "l0": "L0"}[norm]
    assert describe_size(norm, size) == f"{name} {text}"
    assert describe_norm(norm, size) == f"{name} ≤ {text}"
    assert describe_norm(norm, None) == f"{name}, no bound"


@pytest.mark.parametrize(
    ("norm", "met", "size", "line"),
    [
        ("linf", True, 1 / 255, "8-bit PNG: goal met at Linf 1/255"),
        ("linf", True, float(int(2 / 255 * 2**30) / 2**30), "8-bit PNG: goal met at Linf 2/255"),
        ("l2", True, 0.53, "8-bit PNG: goal met at L2 0.53"),
        ("l0", True, 17.0, "8-bit PNG: goal met at L0 17 values"),
        ("linf", True, 0.0, "8-bit PNG: goal met at Linf 0/255"),
        ("linf", False, 1 / 255, "8-bit PNG: goal not met"),
    ],
)
def test_the_8bit_picture_has_a_size_of_its_own(norm, met, size, line):
    record = replace(RECORD, norm=norm, survives_8bit=not met)  # that is about plain rounding
    outcome = OUTCOME._replace(record=record, met_8bit=met, size_8bit=size)
    assert line in describe_result(outcome)


@pytest.mark.parametrize("zero", [True, False])
def test_no_size_is_not_a_size_of_zero(zero):
    sizes = dict.fromkeys(("l0", "l1", "l2", "linf"), 0.0 if zero else None)
    lines = describe_result(OUTCOME._replace(record=replace(RECORD, **sizes, met=zero)))
    assert ("Linf 0/255   L2 0" in lines) is zero
    assert ("L1 0   L0 0 values" in lines) is zero
    assert any(line.startswith("8-bit") for line in lines) is zero


def test_every_line_is_short():
    for norm, met in itertools.product(("linf", "l2", "l1", "l0"), (True, False)):
        lines = describe_result(OUTCOME._replace(record=replace(RECORD, norm=norm, met=met)))
        assert max(map(len, lines)) <= 50
