"""Cost of `advbench attack` for one photograph, and the effect of fewer gradients: `python -m tests.peers.single`.

The default attack is run on photographs as it is, as it was before, and with fewer steps, one after the other in this
process, on one thread. The whole command, from its start to the panel on disk, is run on the tiger with each of these
settings in turn, in a separate process. Photographs that were already measured are skipped.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from statistics import fmean, geometric_mean, median
from typing import Any
from unittest.mock import patch

from tests.peers.machine import busy_seconds, processor
from tests.peers.report import Report, add_shared, parser_for, say

COUNT = 16
ROUNDS = 3
EPS = 2 / 255
MODEL = "efficientnet_lite0"
USUAL = "before"
SETTINGS: dict[str, dict[str, Any]] = {
    USUAL: {"steps": 400, "gamma": 0.15, "momentum": 0.6},  # of which it takes half
    "now": {},
    "60 steps": {"steps": 60},
}
"""Parameters of `topk`, by name."""

_PAGE = """# One photograph

Made by `python -m tests.peers.single`; the numbers are in `single.json`.

`advbench attack --model {model} PHOTOGRAPH`: none of the original top seven classes in the top seven,
in Linf, at most 2/255. The attack is the default, `topk`: **before** it used 200 gradients with its step sizes for few
classes (`gamma` 0.15, `momentum` 0.6), **now** it uses 100 with those for many, and a wide start; it is also run with
60 steps.

| | {heads} |
|---|{bars}
{rows}

Sizes are of {count} photographs spread over the classes, the same for all, and of the tiger. Attacks are timed in one
process on one thread, one after the other on each photograph; the command on the tiger, on as many threads as torch
takes by itself, in {rounds} turns, median; before, only its attack was another. The wall is that of a machine that
others use too.
Measured on {processor}.
"""


def main() -> None:
    parser = parser_for("single", __doc__)
    parser.add_argument("--count", type=int, metavar="N", default=COUNT, help=f"photographs; default: {COUNT}")
    parser.add_argument("--rounds", type=int, metavar="N", default=ROUNDS, help=f"command runs; default: {ROUNDS}")
    add_shared(parser, "--again", "--page", "--out")
    options = parser.parse_args()
    report = Report(options.out, "single", page)
    if options.page:
        report.rewrite_page()
        return
    found = {"processor": processor(), "command": [], "photographs": {}}
    found |= {} if options.again else report.stored()
    for _ in _measured(options, found):
        if found["photographs"]:  # without any, there is nothing to show yet
            report.save(found)


def _measured(options: argparse.Namespace, found: dict[str, Any]) -> Iterator[None]:
    """Add the missing measurements, and yield after each so that it can be saved."""
    while len(found["command"]) < options.rounds:  # first, while this process is small and does nothing else
        found["command"].append({name: command(SETTINGS[name]) for name in SETTINGS})
        say(f"command: {found['command'][-1]}")
        yield
    if "tiger" not in found:
        ((_, found["tiger"]),) = attacks_on([_tiger()])
    missing = [each for each in photographs(options.count) if each.name not in found["photographs"]]
    for photograph, row in attacks_on(missing):
        found["photographs"][photograph.name] = row
        say(f"{photograph.name}: {row}")
        yield


def photographs(count: int) -> list[Path]:
    """Photographs at equal steps through all classes."""
    from tests.peers.photographs import photographs as all_photographs

    every = all_photographs()
    return every[:: len(every) // COUNT][:count]


def _tiger() -> Path:
    from tests.peers.victims import SHARED

    return SHARED / "data/tiger.jpg"


def command(params: dict[str, Any]) -> dict[str, float]:
    """Run the whole command once on the tiger: its processor and wall-clock seconds, and those of the attack."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["attack", "--model", MODEL, str(_tiger()), "--out", folder, "--json"]
        words += [word for name, value in params.items() for word in ("--param", f"{name}={value}")]
        busy, start = busy_seconds(), time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "advbench", *words], capture_output=True, text=True, check=True)
        wall = time.perf_counter() - start
    (row,) = json.loads(done.stdout)
    taken = {"processor": busy_seconds() - busy, "wall": wall, "attack": row["seconds"]}
    return {name: round(value, 2) for name, value in taken.items()}


def attacks_on(paths: list[Path]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Attack photographs in each setting, one at a time."""
    import torch

    from advbench.models import load_model
    from attacks import TopK, TopKExclusion, fast
    from tests.peers.photographs import cut_for

    torch.set_num_threads(1)
    model = load_model(MODEL)
    for path in paths:
        x = cut_for(model, [path])
        quick = fast(model, x, form="channels_last")
        with torch.no_grad():
            goal = TopKExclusion.from_logits(model(x), 7)
        row = {}
        for name, params in SETTINGS.items():
            # Before, there was no wide start.
            with patch("attacks.topk._EARLY", 0.0) if name == USUAL else nullcontext():
                start = time.process_time()
                x_adv = TopK(**params)(quick, x, goal, eps=EPS)
                seconds = time.process_time() - start
            with torch.no_grad():
                met = bool(goal.margin(model(x_adv)) < 0)
            row[name] = {"linf": float((x_adv - x).abs().max()) if met else None, "seconds": round(seconds, 2)}
        yield path, row


def page(found: dict[str, Any]) -> str:
    """The page, in Markdown."""
    photographs, commands = list(found["photographs"].values()), found["command"]
    both = [row for row in photographs if all(row[name]["linf"] is not None for name in SETTINGS)]
    met = [sum(row[name]["linf"] is not None for row in photographs) for name in SETTINGS]
    ratios = [[row[name]["linf"] / row[USUAL]["linf"] for row in both] for name in SETTINGS]
    lines = [
        _line("photographs that meet the goal", met),
        _line("median Linf, 1/255", [median(255 * row[name]["linf"] for row in both) for name in SETTINGS]),
        _line("mean Linf, 1/255", [fmean(255 * row[name]["linf"] for row in both) for name in SETTINGS]),
        _line("Linf as a share of that before, geometric mean", [geometric_mean(each) for each in ratios]),
        _line("the largest such share", [max(each) for each in ratios]),
        _line("the attack, seconds of the processor", _medians(photographs, "seconds")),
        _line("the command, seconds of the processor", _medians(commands, "processor")),
        _line("the command, seconds on the wall", _medians(commands, "wall")),
        _line("of these, the attack", _medians(commands, "attack")),
        _line("Linf on the tiger, 1/255", [255 * found["tiger"][name]["linf"] for name in SETTINGS]),
    ]
    return _PAGE.format(
        model=MODEL,
        heads=" | ".join(SETTINGS),
        bars="--:|" * len(SETTINGS),
        rows="\n".join(lines),
        count=len(photographs),
        rounds=len(commands),
        processor=found["processor"],
    )


def _medians(rows: list[dict[str, Any]], key: str) -> list[float]:
    return [median(row[name][key] for row in rows) for name in SETTINGS]


def _line(told: str, values: list[float]) -> str:
    return f"| {told} | {' | '.join(f'{value:.4g}' for value in values)} |"


if __name__ == "__main__":
    main()
