"""What `--workers` saves: `python -m tests.peers.workers` runs a suite with one process and with several, in turn.

Every run is a command of its own, as people give it: starting Python, planning and the start of the workers count. The
rows of all runs are compared; they must be the same to the last bit.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.peers.commands import processor

REPORT = Path(__file__).parents[2] / "reports" / "peers"

_PAGE = """# What more processes save

Made by `python -m tests.peers.workers{flags}`; the numbers are in `workers.json`.

`advbench run {suite} --limit {images}` from start to end; runs with each number of workers, in turn: {repeats}, of
which these are the medians.

Every worker computes on one thread, and so does a run without workers. All runs gave the same {rows:,} rows,
to the last bit. {cores} cores of {processor}; other programs took the share of their time that stands in the last
column, and where that is much, the runs waited for each other's and for others' turns.

| workers | seconds from start to end | times as fast | seconds of all processors | cores taken by others |
|--:|--:|--:|--:|--:|
{lines}
"""
_LINE = "| {workers} | {wall:.1f} | {speedup:.2f} | {busy:.1f} | {others:.0%} |"


class Take(NamedTuple):
    """One run."""

    workers: int
    """Processes; 1: the run itself."""
    wall: float
    """Seconds from start to end."""
    busy: float
    """Seconds of the processor, of the run and its workers."""
    others: float
    """Share of the time of all cores that other programs took."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.peers.workers", description=__doc__)
    parser.add_argument("--suite", default="ci", help="one in the package; default: ci")
    parser.add_argument("--images", type=int, default=200, metavar="N", help="of each data set; default: 200")
    parser.add_argument("--workers", type=int, nargs="+", default=[2], metavar="N", help="beside 1; default: 2")
    parser.add_argument("--repeats", type=int, default=1, metavar="N", help="default: 1")
    parser.add_argument("--out", type=Path, metavar="FOLDER", default=REPORT)
    options = parser.parse_args()
    counts = [1, *options.workers]
    with tempfile.TemporaryDirectory() as scratch:
        takes = []
        for lap in range(options.repeats):
            for count in counts:
                takes.append(_run(options.suite, options.images, count, Path(scratch) / f"{lap}-{count}"))
                print(takes[-1], file=sys.stderr, flush=True)
        rows = _same_rows(Path(scratch).iterdir())
    found = {
        "suite": options.suite,
        "images": options.images,
        "repeats": options.repeats,
        "rows": rows,
        "cores": os.cpu_count(),
        "processor": processor(),
        "takes": [take._asdict() for take in takes],
    }
    changed = {name: value for name, value in vars(options).items() if value != parser.get_default(name)}
    changed |= {"workers": " ".join(map(str, options.workers))} if "workers" in changed else {}
    flags = "".join(f" --{name} {value}" for name, value in changed.items() if name != "out")
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "workers.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    page = _PAGE.format(**found, flags=flags, lines="\n".join(_lines(takes, counts)))
    (options.out / "workers.md").write_text(page, encoding="utf-8")


def _run(suite: str, images: int, workers: int, out: Path) -> Take:
    command = [sys.executable, "-m", "advbench", "run", suite, "--limit", str(images), "--workers", str(workers)]
    before, own, start = _busy_cores(), _own(), time.perf_counter()
    # Whether gates hold is no concern here: a suite may have one that lacks its baseline.
    subprocess.run([*command, "--out", str(out), "--quiet"], check=False, stdout=subprocess.DEVNULL)
    wall, busy = time.perf_counter() - start, _own() - own
    others = _busy_cores() - before - busy
    return Take(workers, wall, busy, max(0.0, others) / (wall * (os.cpu_count() or 1)))


def _own() -> float:
    """Seconds of the processor that programs started here have taken, with all that they started."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _busy_cores() -> float:
    """Seconds for which the cores have worked on anything, since the system started; Linux counts them."""
    user, nice, system = Path("/proc/stat").read_text(encoding="ascii").split()[1:4]
    return sum(map(int, (user, nice, system))) / os.sysconf("SC_CLK_TCK")


def _same_rows(folders: Iterator[Path]) -> int:
    """How many rows each run has, if all of them have the same."""
    import pandas as pd

    import advbench

    runs = [advbench.load_run(folder) for folder in folders]
    if not all(run.complete for run in runs):
        raise RuntimeError("a run did not come to its end")
    frames = [run.frame.drop(columns="seconds") for run in runs]
    for frame in frames[1:]:
        pd.testing.assert_frame_equal(frame, frames[0], check_exact=True)
    return len(frames[0])


def _lines(takes: list[Take], counts: list[int]) -> Iterator[str]:
    """A line of the table for each number of workers."""
    middle = {count: _median([take for take in takes if take.workers == count]) for count in counts}
    for take in middle.values():
        yield _LINE.format(**take._asdict(), speedup=middle[1].wall / take.wall)


def _median(takes: list[Take]) -> Take:
    return Take(takes[0].workers, *(median(column) for column in list(zip(*takes, strict=True))[1:]))


if __name__ == "__main__":
    main()
