"""The tables of a run as a notebook shows them, with everything escaped."""

from collections.abc import Iterable

from advbench.analysis.run_analysis import RunAnalysis
from advbench.records.flag import for_people
from advbench.records.manifest import describe_misfits
from advbench.report.both_sides import Sides, sides_of
from advbench.report.columns import COLUMNS, tables
from advbench.report.corruptions.tables import heat_maps
from advbench.report.labels.tables import LABEL_COLUMNS, label_rows
from advbench.report.transfer.tables import transfer_tables


def as_html(analysis: RunAnalysis) -> str:
    """The numbers and trust flags as HTML.

    Example:
        >>> import pandas as pd
        >>> from advbench.records.record import COLUMNS
        >>> as_html(RunAnalysis(frame=pd.DataFrame(columns=COLUMNS)))
        '<p>no numbers</p>'
    """
    from markupsafe import escape

    parts = [f"<p><b>{flag.severity}</b> {escape(str(flag))}</p>" for flag in for_people(analysis.flags)]
    parts += [f"<p>{escape(sentence)}</p>" for sentence in describe_misfits(analysis.misfits)]
    for table in tables(analysis.cells):
        shown = [i for i in range(len(COLUMNS)) if any(row[i] for row in table.rows)]
        rows = ([row[i] for i in shown] for row in table.rows)
        parts.append(_table(table.title, table.clean, [COLUMNS[i].heading for i in shown], rows))
        parts += [_bar(sides) for cell in table.cells if (sides := sides_of(cell))]
        parts += [f"<p>{escape(sentence)}</p>" for sentence in table.estimates]
    headings = [column.heading for column in LABEL_COLUMNS]
    parts += [_table(each.title, each.lead, headings, each.rows) for each in label_rows(analysis.label_tables)]
    parts += [_table(each.title, each.lead, each.headings, each.texts) for each in transfer_tables(analysis.transfer)]
    parts += [_table(each.title, each.lead, each.headings, each.texts) for each in heat_maps(analysis.corruptions)]
    return "".join(parts) or "<p>no numbers</p>"


def _table(title: str, lead: str, headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table under its title and a sentence."""
    from markupsafe import escape

    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "".join(f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>" for row in rows)
    return (
        f"<p><b>{escape(title)}</b><br>{escape(lead)}</p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _bar(sides: Sides) -> str:
    """A bar of three colours, with the numbers beside it."""
    from markupsafe import escape

    colours = ("#3a8f4d", "#d9a52b", "#c4472e")
    counts = (sides.proved, sides.open, sides.fooled)
    parts = "".join(
        f'<span style="display:inline-block;height:.8em;width:{100 * count / max(sides.total, 1):.2f}%;'
        f'background:{colour}"></span>'
        for count, colour in zip(counts, colours, strict=True)
    )
    told = f"{sides.bound}: proved {counts[0]}, open {counts[1]}, fooled {counts[2]}; {sides.sentence}"
    return f'<p style="max-width:30em;white-space:nowrap;line-height:1">{parts}</p><p>{escape(told)}</p>'
