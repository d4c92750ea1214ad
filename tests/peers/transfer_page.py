"""The page `reports/peers/transfer.md`, generated from `transfer.json`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from advbench.analysis.statistics import mean_over

Record = Mapping[str, Any]

_HEAD = """# Transfer

Made by `python -m tests.peers.transfer`; the numbers are in `transfer.json`.

The images are {count} photographs that all {networks} networks classify correctly when clean. Each network gets the
same crops of 224 x 224 pixels, and resizes them to its own input. An attack is made on the network or the ensemble of
the row, within eps in Linf, and judged on all of them; results on the networks that it was made on are in brackets.
**Mean** is the success on the others, with a 95 % interval over photographs. Attacks have their default parameters. No
parameter was chosen on these photographs: those with odd numbers are reported, and choices were made on those with even
ones. **Passes** are forward and backward passes together, averaged over photographs. **Seconds** are processor time on
one thread of a machine that did much other work; only their ratios are comparable, at best. torchattack's attacks use
that library's defaults (20 copies for its BSR) and float32; ours use the fastest form for gradients.

"""

_BARS = (
    ("BSR", 8, 0.65, 1.7),
    ("SIA", 8, None, 1.6),
    ("BSR", 16, 0.92, None),
)
"""Targets: attack, budget, least mean success, least multiple of MI's success."""
_ENSEMBLE = ("BSR", 8, 0.93)
"""Target for an ensemble: attack, budget, least mean success."""
_AIMED = ("efficientnet_lite0", "mobilenet_v1-0.75")
"""Networks that the targets apply to."""


def page(results: Record) -> str:
    """The page, in Markdown."""
    rows = list(results.get("rows", {}).values())
    head = _HEAD.format(count=len(results.get("photographs", ())), networks=len(results.get("networks", ())))
    lines = [*_table(rows, results.get("networks", ())), "", *_bars(rows)]
    return head + "\n".join(lines) + "\n"


def mean_of(row: Record) -> tuple[float, float, float]:
    """Mean success on the networks that a row was not made on, and the ends of its interval."""
    others = [fooled for name, fooled in row["fooled"].items() if name not in row["made_on"]]
    found = mean_over([np.asarray(fooled, float) for fooled in others])
    return (0.0, 0.0, 1.0) if found is None else (found.value, found.low, found.high)


def _table(rows: Sequence[Record], networks: Sequence[str]) -> Iterator[str]:
    yield f"| made on | eps | attack | mean | {' | '.join(networks)} | passes | seconds |"
    yield f"|---|--:|---|--:|{'--:|' * len(networks)}--:|--:|"
    order = {name: place for place, name in enumerate(dict.fromkeys(row["attack"] for row in rows))}
    for row in sorted(rows, key=lambda row: (row["size"], " ".join(row["made_on"]), order[row["attack"]])):
        value, low, high = mean_of(row)
        cells = [_share(row, name) for name in networks]
        made_on, passes = " + ".join(row["made_on"]), f"{row['passes']:.0f}" if "passes" in row else ""
        mean = f"**{value:.2f}** [{low:.2f}, {high:.2f}]"
        named = f"| {made_on} | {row['size']}/255 | {row['attack']} | {mean} |"
        yield f"{named} {' | '.join(cells)} | {passes} | {row['seconds']:.0f} |"


def _share(row: Record, name: str) -> str:
    fooled = row["fooled"][name]
    share = f"{sum(fooled) / len(fooled):.2f}"
    return f"({share})" if name in row["made_on"] else share


def _bars(rows: Sequence[Record]) -> Iterator[str]:
    """The targets, and whether they are reached."""
    yield "## Targets"
    yield ""
    found = {(" + ".join(row["made_on"]), row["size"], row["attack"]): mean_of(row)[0] for row in rows}
    for made_on in _AIMED:
        for attack, size, least, times in _BARS:
            mean, plain = found.get((made_on, size, attack)), found.get((made_on, size, "MI"))
            where = f"{attack} at {size}/255 on {made_on}"
            if least is not None:
                yield _line(f"{where}, at least {least}", mean, least)
            if times is not None:
                yield _line(f"{where}, at least {times} times MI's", mean and plain and mean / plain, times)
    attack, size, least = _ENSEMBLE
    several = next((made_on for made_on, *_ in found if " + " in made_on), "two networks")
    yield _line(f"{attack} at {size}/255 on {several}, at least {least}", found.get((several, size, attack)), least)


def _line(what: str, value: float | None, least: float) -> str:
    if value is None:
        return f"- {what}: not measured yet"
    return f"- {what}: {value:.2f}, {'reached' if value >= least else '**not reached**'}"
