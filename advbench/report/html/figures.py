"""The figures of a report, as SVG that turns dark when its page does. Does not import torch."""

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from advbench.analysis.curves import Curve, curve, proved_curve
from advbench.analysis.metrics import NOISE, WORST_CASE, smallest
from advbench.analysis.threats import ThreatResults, Trial
from advbench.config.budgets import is_decimal
from advbench.sanitize import display_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _SOFT, _RULE, ACCENT = "#010203", "#010204", "#010205", "#010206"
"""Placeholder colours, which the theme replaces; the last is the colour of what matters most."""
_THEME = """<style>
:root { --ink: #1c1b19; --soft: #6b6862; --rule: #e4e0d9; --accent: #1f5f8b }
@media (prefers-color-scheme: dark) { :root { --ink: #ecebe7; --soft: #9d9a93; --rule: #33363b; --accent: #7ab8e6 } }
@media print { :root { --ink: #000; --soft: #555; --rule: #ccc; --accent: #1f5f8b } }
text { font-family: system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif }
</style>"""
PALETTE = ("#3b8bc4", "#d9622b", "#4f9d69", "#9a6bc2", "#b58a1b", "#c4527e", "#2f9c9c", "#8a6f5c")
"""Colours of lines, one after the other."""
_STYLE: Any = {
    "svg.fonttype": "none", "svg.hashsalt": "advbench", "font.size": 9.5, "axes.edgecolor": _RULE,
    "axes.labelcolor": _SOFT, "text.color": _INK, "xtick.color": _SOFT, "ytick.color": _SOFT, "axes.linewidth": 1,
    "axes.spines.top": False, "axes.spines.right": False, "grid.color": _RULE, "xtick.major.size": 0,
    "ytick.major.size": 0, "legend.frameon": False, "font.family": "sans-serif", "text.parse_math": False,
}  # fmt: skip


class Figure(NamedTuple):
    """A figure with its alternative text."""

    svg: bytes
    """Content of the SVG file."""
    alt: str
    """Text for readers who do not see the figure."""


DOUBT = "†"
"""Mark of a number that a trust flag puts in doubt, at its bar or its line."""
Doubts = Mapping[str, str]
"""Label of an attack, or of the worst case -> ids of the trust flags that are about it, with commas between."""
_SURE: Doubts = MappingProxyType({})


def curves(evidence: ThreatResults, doubts: Doubts = _SURE) -> Figure:
    """Robust accuracy against eps: the worst case with its interval, and each attack, marked where it is in doubt."""
    trials = evidence.trials
    scale, unit = _unit(evidence)
    lines = [(trial.label, curve(evidence, [trial]), trial.attack == NOISE) for trial in trials]
    worst, proved, widest = curve(evidence, trials), proved_curve(evidence), _widest(evidence)

    def draw(axes: "Axes") -> None:
        colours = iter(PALETTE * (len(lines) // len(PALETTE) + 1))
        for label, line, noise in lines:
            colour = _SOFT if noise else next(colours)
            style = {"color": colour, "linestyle": ":" if noise else "-", "linewidth": 1.4}
            if worst.exact:  # its steps fall at budgets alone, so a slope between these would pass below it
                style["drawstyle"] = "steps-post"
            _draw_line(axes, line, scale, label, widest=widest if label in doubts else None, **style)
        if len(lines) > 1:
            told = widest if WORST_CASE in doubts else None
            _draw_line(axes, worst, scale, WORST_CASE, widest=told, color=_INK, linewidth=2.2)
        if evidence.proofs:
            axes.plot(
                proved[0] * scale, 100 * proved[1], label="proved", color=ACCENT, drawstyle="steps-pre", marker="v"
            )
        step: Literal["post"] | None = "post" if worst.exact else None
        low, high = 100 * worst.low, 100 * worst.high
        axes.fill_between(worst.eps * scale, low, high, step=step, color=ACCENT, alpha=0.14, linewidth=0)
        axes.set(ylim=(0, 101), xlim=(0, widest * scale))
        axes.set(xlabel=f"eps ({unit})", ylabel="robust accuracy (%)")
        axes.tick_params(axis="x", pad=6)  # the two zeros stand apart
        axes.grid(axis="y", linewidth=0.8)
        axes.figure.legend(
            fontsize=8.5, labelcolor=_INK, loc="outside lower center", ncols=4, title=_said(doubts), title_fontsize=8.5
        )

    start, end = (f"{100 * worst.rate[i]:.1f} %" for i in (0, -1))
    at = f"{worst.eps[-1] * scale:.3g} ({unit})"
    below = f"; proved {100 * proved[1][-1]:.1f} % at {proved[0][-1] * scale:.3g}" if evidence.proofs else ""
    alt = f"Robust accuracy against eps: in the worst case from {start} clean to {end} at {at}{below}"
    return drawn(draw, f"{alt}; {_said(doubts)}" if doubts else alt)


def _said(doubts: Doubts) -> str | None:
    """What the mark says, with the flags behind it; None where there is none."""
    flags = sorted({flag for ids in doubts.values() for flag in ids.split(", ")})
    return f"{DOUBT} in doubt: trust flag {', '.join(flags)}" if flags else None


def histogram(evidence: ThreatResults, doubts: Doubts = _SURE) -> Figure | None:
    """Sizes of the smallest perturbations of correctly classified images; None if none was looked for or found."""
    trials = [trial for trial in evidence.trials if trial.minimal]
    if not trials:
        return None
    scale, unit = _unit(evidence)
    radius = smallest(evidence, trials)[evidence.correct]
    found = radius[np.isfinite(radius)] * scale
    failed = len(radius) - len(found)
    if not len(found):
        return None
    said = _said({trial.label: doubts[trial.label] for trial in trials if trial.label in doubts})

    def draw(axes: "Axes") -> None:
        top = float(np.quantile(found, 0.99)) * 1.05
        counts, *_ = axes.hist(np.minimum(found, top), bins=32, range=(0, top or 1.0), color=ACCENT, alpha=0.85)
        axes.set(xlabel=f"size of the smallest perturbation ({unit})", ylabel="images", xlim=(0, None))
        axes.set_ylim(0, 1.15 * max(1.0, float(np.max(counts))))  # with room for the words
        median = float(np.quantile(np.append(found, [np.inf] * failed), 0.5, method="inverted_cdf"))
        if np.isfinite(median):
            _draw_median(axes, median, f"median {median:.3g}{' ' + DOUBT if said else ''}")
        if said:
            axes.set_title(said, fontsize=8.5, loc="left")
        if failed:
            axes.set_title(f"none found: {failed} of {len(radius)}", fontsize=8.5, loc="right", color=_SOFT)
        axes.grid(axis="y", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.locator_params(axis="y", integer=True)

    none = f"; none was found for {failed} of {len(radius)} images" if failed else ""
    alt = f"Sizes of the smallest perturbations over {_listed(trials)}{none}"
    return drawn(draw, f"{alt}; {said}" if said else alt)


def _draw_median(axes: "Axes", median: float, text: str) -> None:
    """A line at a median with words on the side of it that has more room."""
    axes.axvline(median, color=_INK, linewidth=1.2)
    left = median > axes.get_xlim()[1] / 2
    axes.annotate(
        text,
        (median, 0.97),
        (-5 if left else 5, -6),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        fontsize=8.5,
        ha="right" if left else "left",
    )


def _draw_line(axes: "Axes", line: Curve, scale: float, label: str, *, widest: float | None, **style: object) -> None:
    """Draw one attack: as steps if it is known at every eps, otherwise as the points that were measured.

    With ``widest``, the largest eps that is shown, it is marked as one in doubt.
    """
    drawn: dict[str, object] = {"drawstyle": "steps-post"} if line.exact else {"marker": "o", "markersize": 3.5}
    name = (display_name(label, limit=28).lstrip("_") or "_") + (f" {DOUBT}" if widest is not None else "")
    axes.plot(line.eps * scale, 100 * line.rate, label=name, **(drawn | style))  # type: ignore[arg-type]
    if widest is not None and len(line.eps):
        last = max(int(np.searchsorted(line.eps, widest, side="right")) - 1, 0)
        at = (line.eps[last] * scale, 100 * line.rate[last])
        mark = axes.annotate(DOUBT, at, (-7, 5), textcoords="offset points", fontsize=11, color=str(style["color"]))
        mark.set_in_layout(False)


def _widest(evidence: ThreatResults) -> float:
    """The end of the eps axis: a little beyond the largest budget, or beyond nearly all minimum-norm results."""
    if evidence.eps:
        return 1.12 * evidence.eps[-1]
    radius = smallest(evidence, evidence.trials)
    found = radius[np.isfinite(radius)]
    return 1.1 * float(np.quantile(found, 0.98)) if len(found) and found.max() > 0 else 1.0


def _unit(evidence: ThreatResults) -> tuple[float, str]:
    """The factor for sizes, and the unit that results: 1/255 for Linf, unless all budgets are decimals such as 0.3."""
    norm = evidence.threat.norm
    if norm == "linf" and not (evidence.eps and all(map(is_decimal, evidence.eps))):
        return 255.0, "Linf, 1/255"
    return 1.0, "L0, values" if norm == "l0" else norm.capitalize()


def _listed(trials: Sequence[Trial]) -> str:
    return ", ".join(trial.label for trial in trials)


def drawn(draw: Callable[["Axes"], None], alt: str) -> Figure:
    """A figure with the theme in place of the placeholder colours; matplotlib escapes its texts.

    Args:
        draw: Draws on the axes.
        alt: Text for readers who do not see the figure.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    file = io.BytesIO()
    with warnings.catch_warnings(), mpl.rc_context(_STYLE):
        warnings.simplefilter("ignore", UserWarning)  # the page's font, not matplotlib's, draws the characters
        canvas = Canvas(figsize=(6.2, 3.5), layout="constrained")
        draw(canvas.subplots())
        canvas.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    svg = file.getvalue().decode()
    for colour, name in ((_INK, "ink"), (_SOFT, "soft"), (_RULE, "rule"), (ACCENT, "accent")):
        svg = svg.replace(colour, f"var(--{name})")
    head, tag, rest = svg.partition("<defs>")
    return Figure(f"{head}{_THEME}{tag}{rest}".encode(), alt)
