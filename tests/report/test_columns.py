"""The list of columns: every form of the report shows each of them, and a terminal leaves them out in its order."""

import pytest
from frames import images
from runs import a_run
from threat_rows import foggy

from advbench.analysis.gates import evaluate
from advbench.config.gates import Gates
from advbench.report.columns import CHANGE_COLUMNS, COLUMNS, legend, tables
from advbench.report.notebook import as_html

ROWS = [
    *images([0.01, None] * 3),
    *images([None] * 6, attack="noise"),
    *images([0.01, 0.02] * 3, attack="fmn", eps=None),
    *images([None] * 6, attack="proof", proved=False, proof_method="crown"),
]
FLAG = {
    "id": "M7", "severity": "F", "model": "net", "dataset": "toy", "attack": None,
    "message": "gradients mislead", "advice": "attack otherwise", "value": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def found():
    run = a_run(ROWS, flags=[FLAG])
    return run, evaluate(run, Gates())


def test_every_column_has_a_text_for_some_number(found):
    table = tables(found[1].analysis.cells)[0]
    assert all(any(texts) for texts in zip(*table.rows, strict=True))


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.heading)
def test_page_and_notebook_have_every_column(found, column):
    from advbench.report.formats import render

    run, verdict = found
    assert f">{column.heading}{' accuracy' if column.bar else ''}</th>" in render("html", verdict, run)
    assert f"<th>{column.heading}</th>" in as_html(verdict.analysis)
    assert f" {column.heading} |" in render("markdown", verdict, run)


def test_a_notebook_has_corruptions_too_and_escapes_them():
    run = a_run(foggy(1, {0}, model="<b>net") + foggy(5, {0, 3}, model="<b>net"))
    shown = as_html(evaluate(run, Gates()).analysis)
    assert "&lt;b&gt;net on toy · corruptions" in shown
    assert "<td>fog</td><td>25.0</td><td>50.0</td>" in shown
    assert "<b>net" not in shown


@pytest.mark.parametrize("columns", [COLUMNS, CHANGE_COLUMNS])
def test_headings_and_turns_are_distinct(columns):
    headings, turns = [c.heading for c in columns], [c.dropped for c in columns if c.dropped]
    assert len(set(headings)) == len(headings)
    assert sorted(turns) == list(range(1, len(turns) + 1))


@pytest.mark.parametrize(("rows", "proves"), [(ROWS, True), (ROWS[:6], False)])
def test_the_legend_explains_the_numbers_that_are_there(rows, proves):
    from advbench.report.formats import render

    run = a_run(rows, flags=[FLAG])
    verdict = evaluate(run, Gates())
    texts = [texts for table in tables(verdict.analysis.cells) for texts in table.rows]
    for place, column in enumerate(COLUMNS):
        there = bool(column.meaning) and any(row[place] for row in texts)
        assert (f"{column.heading}: {column.meaning}" in legend(verdict.analysis.cells)) is there
    for form in ("text", "markdown", "html", "test-report"):
        assert ("broken nor proved" in render(form, verdict, run)) is proves


@pytest.mark.parametrize(
    ("change", "marked"),
    [
        ({}, ["M7"] * 4),
        ({"severity": "I"}, [""] * 4),
        ({"model": "other"}, [""] * 4),
        ({"attack": "pgd"}, ["", "M7", "", ""]),
    ],
)
def test_numbers_in_doubt_are_marked(change, marked):
    analysis = evaluate(a_run(ROWS, flags=[FLAG | change]), Gates()).analysis
    assert [cell.flags for cell in analysis.cells if cell.eps is not None] == marked
