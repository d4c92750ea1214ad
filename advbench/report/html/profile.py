"""The profile of a run on its page: a bar for each threat, and curves of success against queries. No torch."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from advbench.analysis.profile.profiles import Profile
from advbench.analysis.profile.queries import QueryCurve
from advbench.analysis.statistics import Proportion
from advbench.config.budgets import describe_norm
from advbench.report.columns import Column
from advbench.report.html.document import data_uri
from advbench.report.html.figures import ACCENT, PALETTE, Figure, drawn
from advbench.report.profile.lines import COLUMNS, Line, pages

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Bar(NamedTuple):
    """A share as a bar; all numbers in percent."""

    rate: float
    """Share that certainly stands."""
    most: float
    """Share if everything unknown stands too."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""


class Row(NamedTuple):
    """One threat of the table."""

    line: Line
    """What is said of it."""
    texts: tuple[str, ...]
    """The same under the headings."""
    bar: Bar
    """The share that stands."""


class ProfilePart(NamedTuple):
    """All that the page says about the threats to one model."""

    title: str
    """Model and data set."""
    lead: str
    """Clean accuracy and cost in words."""
    columns: tuple[Column[Line], ...]
    """Columns of the table that have a text somewhere."""
    rows: tuple[Row, ...]
    """Threats, and last the worst cases."""
    figures: tuple[tuple[str, str, str], ...]
    """Address, alternative text and caption of each figure."""
    curves: tuple[str, ...]
    """What the figure shows, in words."""


def profile_parts(found: Sequence[Profile]) -> list[ProfilePart]:
    """The parts of the page about some profiles."""
    return [_part(profile) for profile in found]


def _part(profile: Profile) -> ProfilePart:
    (page,) = pages([profile])
    shown = [place for place in range(len(COLUMNS)) if any(texts[place] for texts in page.texts)]
    figure = query_figure(profile.queries)
    caption = "Images fooled within a number of queries, of those right when clean, with 95 % intervals."
    return ProfilePart(
        title=page.title,
        lead=page.lead,
        columns=tuple(COLUMNS[place] for place in shown),
        rows=tuple(
            Row(line, tuple(texts[place] for place in shown), _bar(line.robust))
            for line, texts in zip(page.lines, page.texts, strict=True)
        ),
        figures=((data_uri(figure.svg, "image/svg+xml"), figure.alt, caption),) if figure else (),
        curves=page.curves,
    )


def _bar(share: Proportion) -> Bar:
    return Bar(100 * (share.rate or 0), 100 * (share.most or 0), 100 * share.low, 100 * share.high)


def query_figure(curves: Sequence[QueryCurve]) -> Figure | None:
    """Success against queries, which grow by factors; None without a curve."""
    if not curves:
        return None

    def draw(axes: "Axes") -> None:
        for curve, colour in zip(curves, [ACCENT, *PALETTE] * len(curves), strict=False):
            queries = [point.queries for point in curve.points]
            shares = [_bar(point.success) for point in curve.points]
            axes.plot(
                queries,
                [share.rate for share in shares],
                color=colour,
                marker="o",
                markersize=3.5,
                label=f"{curve.attack}, {describe_norm(curve.norm, curve.eps)}",
            )
            low, high = [share.low for share in shares], [share.high for share in shares]
            axes.fill_between(queries, low, high, color=colour, alpha=0.14, linewidth=0)
        axes.set(xscale="log", ylim=(0, 101), xlabel="queries", ylabel="fooled (%)")
        axes.grid(axis="y", linewidth=0.8)
        axes.figure.legend(fontsize=8.5, loc="outside lower center", ncols=2)

    told = "; ".join(f"{curve.attack}: {curve.points[-1].success.percent}" for curve in curves)
    return drawn(draw, f"Success against queries; with all of them {told}")
