"""Tables on terminals that are too narrow for them: no number is cut off, since what is left reads like another."""

import io

import pytest
from frames import frame, images
from rich.console import Console
from runs import a_run

from advbench.analysis.baseline import Baseline
from advbench.analysis.gates import evaluate
from advbench.config.gates import Gates
from advbench.report import columns, terminal

ROWS = [*images([0.01, None, 0.02, None] * 10), *images([0.01, 0.02, 0.03, None] * 10, attack="fmn", eps=None)]
BEFORE = [*images([None, None, 0.02, None] * 10), *images([0.01, 0.02, None, None] * 10, attack="fmn", eps=None)]


def printed(thing, width):
    file = io.StringIO()
    Console(file=file, width=width, highlight=False).print(thing)
    return file.getvalue()


@pytest.mark.parametrize("table", ["numbers", "comparison"])
@pytest.mark.parametrize("width", [45, 52, 60, 72, 80])
def test_no_number_is_cut_off_on_a_narrow_terminal(table, width):
    """`13.8-4` reads like an interval that ends at 4."""
    thing = grid(table)
    assert set(printed(thing, width).split()) <= set(printed(thing, 200).split())


@pytest.mark.parametrize("table", ["numbers", "comparison"])
def test_cells_are_continued_where_no_more_columns_can_be_left_out(table):
    staying = [column for column in grid(table)._columns if not column.dropped]
    few = terminal.Grid(staying, [[f"{place}2345678" for place, _ in enumerate(staying)]], [False])
    found, whole = printed(few, 20), printed(few, 200)
    assert max(map(len, found.splitlines())) <= 20
    assert sorted("".join(found.split())) == sorted("".join(whole.split()))


def verdict():
    run = a_run(ROWS)
    run.manifest["classes"] = {}
    return evaluate(run, Gates(max_drop_pp=2), Baseline.of(frame(BEFORE), run_id="old", version="0.1.0"))


def grid(which):
    if which == "numbers":
        table = columns.tables(verdict().analysis.cells)[0]
        return terminal.Grid(columns.COLUMNS, table.rows, [False] * len(table.rows))
    (table,) = columns.differences(verdict().comparison.changes)
    return terminal.Grid(columns.CHANGE_COLUMNS, table.rows, [False] * len(table.rows))
