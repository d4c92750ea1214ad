"""The page `reports/peers/README.md`, generated from `results.json` and the table of matches."""

from statistics import fmean, median
from typing import Any, NamedTuple

_HEAD = """# Side by side with other libraries

Made by `make peers`; the numbers are in `results.json`.

**Time ratio** is the time of advbench's attack divided by the other library's, in the same round; below 1 we are
faster. We give the median over the rounds and, in brackets, the smallest and the largest ratio. The libraries take
turns in one process, each after an untimed warm-up call, with the same model, images, batch, labels and threads. Our
attacks make the process retain memory from step to step; all libraries run with that setting.

**Images** are all classified correctly to begin with, so that skipping misclassified ones brings no advantage.
**Parameters are frozen**, so that no library computes gradients of weights. **Robust accuracy** and sizes come from a
fresh forward pass of the model on what each library returned; anything outside the budget or [0, 1] does not count as
fooled.

Our attacks drop an image as soon as it is fooled. The rows in which no image is fooled show what remains of the
difference when that does not help.
"""


class _Row(NamedTuple):
    library: str
    seconds: float
    ratio: float
    least: float
    most: float
    strength: str
    unbroken: float
    size: float | None


def page(results: dict[str, Any]) -> str:
    """The whole page, in Markdown."""
    parts = [_HEAD]
    if results["environment"]:
        parts.append(_environment(results["environment"]))
    if results["contests"]:
        parts += [_summary(results), _details(results)]
    if results["commands"]:
        parts.append(_commands(results))
    return "\n".join(parts)


def _environment(environment: dict[str, Any]) -> str:
    libraries = ", ".join(f"{name} {number}" for name, number in environment["libraries"].items())
    threads = environment["threads"]
    seconds = "processor seconds, which other programs disturb less than wall-clock time"
    return (
        f"Measured on {environment['processor']}, {environment['cores']} cores, {threads} thread"
        f"{'s' * (threads > 1)}, Python {environment['python']}, torch {environment['torch']}; {libraries}. "
        f"Times are {seconds if threads == 1 else 'wall-clock seconds'}.\n"
    )


def _rows(contest: dict[str, Any], threads: int) -> list[_Row]:
    """The rows of a contest: ours first, then the others from the fastest to the slowest."""
    key = "seconds" if threads == 1 else "wall_seconds"
    ours = contest["rows"]["advbench"][key]
    rows = []
    for library, row in contest["rows"].items():
        ratios = [mine / theirs for mine, theirs in zip(ours, row[key], strict=True)]
        unbroken = fmean(row["unbroken"])
        size = None if None in row["median_size"] else median(row["median_size"])
        rows.append(
            _Row(
                library=library,
                seconds=median(row[key]),
                ratio=median(ratios),
                least=min(ratios),
                most=max(ratios),
                strength=_strength(contest["eps"], unbroken, size),
                unbroken=unbroken,
                size=size,
            )
        )
    return [rows[0], *sorted(rows[1:], key=lambda row: -row.ratio)]


def _strength(eps: float | None, unbroken: float, size: float | None) -> str:
    """Robust accuracy; for a minimum-norm attack the median size and the share never fooled."""
    if eps is not None:
        return f"{unbroken:.1%}"
    never = f", {unbroken:.1%} never" if unbroken else ""
    return ("none" if size is None else f"{size:.4g}") + never


def _summary(results: dict[str, Any]) -> str:
    lines = [
        "## Compared with the fastest\n",
        "Strength is robust accuracy (lower is stronger) or, for minimum-norm attacks, the median size (smaller is",
        "stronger) and the share of images never fooled.\n",
        "| Attack | Model | Images | Fastest other | Time ratio | Our strength | Strongest other |",
        "|---|---|--:|---|--:|--:|--:|",
    ]
    for contest in results["contests"].values():
        ours, *others = _rows(contest, results["environment"]["threads"])
        if not others:
            continue
        fastest = others[0]
        strongest = min(others, key=_weakness)
        lines.append(
            f"| {contest['match']} | {contest['victim']} | {contest['images']} | {fastest.library} "
            f"| {_ratio(fastest)} | {ours.strength} | {strongest.strength} ({strongest.library}) |"
        )
    return "\n".join(lines) + "\n"


def _weakness(row: _Row) -> tuple[float, float]:
    return (row.unbroken, row.size if row.size is not None else float("inf"))


def _ratio(row: _Row) -> str:
    return f"{row.ratio:.2f} ({row.least:.2f} to {row.most:.2f})"


def _details(results: dict[str, Any]) -> str:
    from tests.peers.matches import MATCHES

    parts = ["## All results\n"]
    for match in MATCHES:
        contests = [contest for contest in results["contests"].values() if contest["match"] == match.name]
        if not contests:
            continue
        parts.append(f"### {match.name}: {match.title}\n")
        if match.note:
            parts.append(f"{match.note}\n")
        parts.append("| Model | eps | Library | Seconds | Time ratio | Strength |\n|---|--:|---|--:|--:|--:|")
        for contest in contests:
            eps = "" if contest["eps"] is None else f"{contest['eps']:.3g}"
            for row in _rows(contest, results["environment"]["threads"]):
                ratio = "" if row.library == "advbench" else _ratio(row)
                first = f"{contest['victim']} | {eps}" if row.library == "advbench" else " | "
                parts.append(f"| {first} | {row.library} | {row.seconds:.3g} | {ratio} | {row.strength} |")
            parts += [f"|  |  | {name} | failed: {_cell(error)} |  |  |" for name, error in contest["failures"].items()]
        parts.append("")
    return "\n".join(parts)


def _cell(text: str) -> str:
    return text.splitlines()[0].replace("|", "/")[:100]


def _commands(results: dict[str, Any]) -> str:
    lines = [
        "## Whole commands\n",
        "Wall-clock time from start to end, with torch's default number of threads; median of the runs. The picture is",
        "a photograph that ships with Foolbox.\n",
        "| Command | Seconds | Runs | Peak memory | Imports torch |",
        "|---|--:|--:|--:|---|",
    ]
    lines += [
        f"| `{row['command']}` | {row['seconds']:.3g} | {row['runs']} | {row['peak_mib'] / 1024:.2f} GiB "
        f"| {'yes' if row['torch'] else 'no'} |"
        for row in results["commands"]
    ]
    return "\n".join(lines) + "\n"
