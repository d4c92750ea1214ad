"""The tables of a run as a notebook shows them, with everything escaped."""

from advbench.analysis.run_analysis import RunAnalysis
from advbench.records.flag import for_people
from advbench.report.both_sides import Sides, sides_of
from advbench.report.columns import COLUMNS, tables


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
    for table in tables(analysis.cells):
        shown = [i for i in range(len(COLUMNS)) if any(row[i] for row in table.rows)]
        head = "".join(f"<th>{escape(COLUMNS[i].heading)}</th>" for i in shown)
        rows = ("".join(f"<td>{escape(row[i])}</td>" for i in shown) for row in table.rows)
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        parts.append(
            f"<p><b>{escape(table.title)}</b><br>{escape(table.clean)}</p>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        )
        parts += [_bar(sides) for cell in table.cells if (sides := sides_of(cell))]
    return "".join(parts) or "<p>no numbers</p>"


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
