"""The page `reports/peers/patch.md`, generated from `patch.json`."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from advbench.analysis.statistics import Proportion

Record = Mapping[str, Any]

_HEAD = """# Patches compared with ART's

Made by `python -m tests.peers.patch`; the numbers are in `patch.json`.

The task is a square patch of at most 10 % of the image, at a random place, rotated by at most 20 degrees and scaled
down to 0.7 of its side, fitted to 64 photographs and put into 200 others. **ART** is AdversarialPatchPyTorch 1.20.1
with the same share, angles and sizes, its default of 16 photographs per step, and the learning rate after its name; its
default of 5 is for images from 0 to 255, which is 0.02 here. **Ours** is `attacks.UniversalPatch` with the number of
photographs per step after its name, on `attacks.fast`, whose own time is included; ART has the network itself. All
patches are put into the photographs by the same code, at the same places. **Success** is the share of photographs that
meet the goal, which is to be classified as one class (toaster; for CIFAR-10, ship; photographs of that class are left
out) or no longer as the original class. It is the median over seeds, with the 95 % interval for that number of
photographs. **Random colours** is the effect of a patch that was not optimised. **Seconds** are processor time on one
thread, medians over seeds, on a machine that also did other work; the methods take turns, in one process unless the
command was interrupted and continued.

The target is ART's best success after 500 steps, in a tenth of its time.

"""


def page(results: Record) -> str:
    """The page for all rows that were measured."""
    rows = list(results.values())
    lines = [
        "| Network | Goal | Method | Steps | Seeds | Success | Interval, % | Seconds |",
        "|---|---|---|--:|--:|--:|--:|--:|",
    ]
    bars = [
        "",
        "## The target",
        "",
        "| Network | Goal | ART's best | Seconds | Ours that reach it | Seconds | Time ratio |",
    ]
    bars += ["|---|---|--:|--:|--:|--:|--:|"]
    for net, goal in dict.fromkeys((row["net"], row["goal"]) for row in rows):
        cells = _cells([row for row in rows if (row["net"], row["goal"]) == (net, goal)])
        lines += [f"| {net} | {goal} | {_line(cell)} |" for cell in cells]
        bars += _bar(net, goal, cells)
    machines = ", ".join(sorted({row["machine"] for row in rows}))
    versions = ", ".join(sorted({row["torch"] for row in rows}))
    return _HEAD + "\n".join([*lines, *bars, "", f"Measured on {machines}, torch {versions}."]) + "\n"


def _cells(rows: Sequence[Record]) -> list[dict[str, Any]]:
    """A record for each method and number of steps: medians over the seeds."""
    found: dict[tuple[str, int], list[Record]] = {}
    for row in rows:
        for point in row["points"]:
            found.setdefault((row["method"], point["steps"]), []).append(point)
    return [
        {
            "method": method,
            "steps": steps,
            "seeds": len(points),
            "met": round(median(point["met"] for point in points)),
            "of": points[0]["of"],
            "seconds": median(point["seconds"] for point in points),
        }
        for (method, steps), points in found.items()
    ]


def _line(cell: Record) -> str:
    share = Proportion(cell["met"], cell["of"])
    name = {"noise": "random colours"}.get(cell["method"], cell["method"])
    return (
        f"{name} | {cell['steps'] or ''} | {cell['seeds']} | {share.percent} | {share.interval} | {cell['seconds']:.1f}"
    )


def _bar(net: str, goal: str, cells: Sequence[Record]) -> list[str]:
    """ART's best after all its steps, and the least time in which we do as well."""
    theirs = [cell for cell in cells if cell["method"].startswith("ART")]
    ours = [cell for cell in cells if cell["method"].startswith("ours")]
    if not theirs or not ours:
        return []
    best = max((cell for cell in theirs if cell["steps"] >= 500), key=lambda cell: cell["met"], default=None)
    if best is None:
        return []
    asked = f"{Proportion(best['met'], best['of']).percent} ({best['method']}) | {best['seconds']:.0f}"
    reaching = [cell for cell in ours if cell["met"] >= best["met"]]
    if reaching:
        shown, none = min(reaching, key=lambda cell: cell["seconds"]), ""
    else:
        shown, none = max(ours, key=lambda cell: cell["met"]), "none; "
    share = Proportion(shown["met"], shown["of"]).percent
    told = f"{none}{share} ({shown['method']}, {shown['steps']} steps) | {shown['seconds']:.1f}"
    return [f"| {net} | {goal} | {asked} | {told} | {shown['seconds'] / best['seconds']:.3f} |"]
