"""Speed-up from more processes: `python -m tests.peers.workers`.

A suite is run with one process, with several, and with a Dask cluster on this machine (`--cluster local:2`), in turn.
Every run is a separate command, as a user would type it: starting Python, planning and starting the workers count. The
rows of all runs are compared; they must be the same to the last bit.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from tests.peers.machine import busy_seconds, processor
from tests.peers.report import Report, add_shared, parser_for, say

_PAGE = """# Speed-up from more processes

Made by `python -m tests.peers.workers{flags}`; the numbers are in `workers.json`.

`advbench run {suite} --limit {images}`, run {repeats} times in each way, in turn; the table shows medians. With
`--cluster local:N`, a Dask scheduler and N workers are started and stopped as part of the run. *After start-up* leaves
out the start of Python and of the cluster, planning, and reading the run back.

Every worker uses one thread, and so does a run without workers. All runs gave the same {rows:,} rows, to the last bit.
Measured on {cores} cores of {processor}. The last column is the share of the cores' time that other programs took;
where it is large, the processes of a run waited for each other and for other programs.

| option | total, s | speed-up | after start-up, s | speed-up | processor time, s | taken by others |
|---|--:|--:|--:|--:|--:|--:|
{lines}
"""
_LINE = "| `{given}` | {wall:.1f} | {speedup:.2f} | {begun:.1f} | {speedup_begun:.2f} | {busy:.1f} | {others:.0%} |"


class Take(NamedTuple):
    """One run."""

    given: str
    """Option given to the command; `--workers 1`: the run does everything itself."""
    wall: float
    """Seconds from start to end."""
    begun: float
    """Seconds after the run is planned and its workers are ready."""
    busy: float
    """Processor seconds of the run and its workers."""
    others: float
    """Share of the time of all cores that other programs took."""


def main() -> None:
    parser = parser_for("workers", __doc__)
    parser.add_argument("--suite", default="ci", help="a suite of the package; default: ci")
    parser.add_argument("--images", type=int, default=200, metavar="N", help="images of each data set; default: 200")
    parser.add_argument("--workers", type=int, nargs="+", default=[2], metavar="N", help="besides 1 worker; default: 2")
    parser.add_argument(
        "--cluster", type=int, nargs="*", default=[2], metavar="N", help="workers of the cluster; default: 2"
    )
    parser.add_argument("--repeats", type=int, default=1, metavar="N", help="runs in each way; default: 1")
    add_shared(parser, "--page", "--out")
    options = parser.parse_args()
    report = Report(options.out, "workers", _page)
    if options.page:
        report.rewrite_page()
        return
    ways = [f"--workers {count}" for count in (1, *options.workers)]
    ways += [f"--cluster local:{count}" for count in options.cluster]
    with tempfile.TemporaryDirectory() as scratch:
        takes = []
        for lap in range(options.repeats):
            for number, given in enumerate(ways):
                takes.append(_run(options.suite, options.images, given, Path(scratch) / f"{lap}-{number}"))
                say(takes[-1])
        rows = _same_rows(Path(scratch).iterdir())
    changed = {name: value for name, value in vars(options).items() if value != parser.get_default(name)}
    changed |= {name: " ".join(map(str, changed[name])) for name in ("workers", "cluster") if name in changed}
    found = {
        "flags": "".join(f" --{name} {value}" for name, value in changed.items() if name != "out"),
        "suite": options.suite,
        "images": options.images,
        "repeats": options.repeats,
        "rows": rows,
        "cores": os.cpu_count(),
        "processor": processor(),
        "takes": [take._asdict() for take in takes],
    }
    report.save(found)


def _run(suite: str, images: int, given: str, out: Path) -> Take:
    command = [sys.executable, "-m", "advbench", "run", suite, "--limit", str(images), *given.split()]
    before, own, start = _busy_cores(), busy_seconds(), time.perf_counter()
    # The exit code does not matter: a gate may fail, for example because its baseline is missing.
    subprocess.run([*command, "--out", str(out), "--quiet"], check=False, stdout=subprocess.DEVNULL)
    wall, busy = time.perf_counter() - start, busy_seconds() - own
    others = _busy_cores() - before - busy
    return Take(given, wall, _begun(out), busy, max(0.0, others) / (wall * (os.cpu_count() or 1)))


def _begun(folder: Path) -> float:
    """Seconds between the first and the last event of a run."""
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    return float(events[-1]["time"] - events[0]["time"])


def _busy_cores() -> float:
    """Seconds that all cores have been busy since the system started, as counted by Linux."""
    user, nice, system = Path("/proc/stat").read_text(encoding="ascii").split()[1:4]
    return sum(map(int, (user, nice, system))) / os.sysconf("SC_CLK_TCK")


def _same_rows(folders: Iterator[Path]) -> int:
    """Number of rows of each run, after checking that all runs have the same rows."""
    import pandas as pd

    import advbench

    runs = [advbench.load_run(folder) for folder in folders]
    if not all(run.complete for run in runs):
        raise RuntimeError("a run is not complete")
    frames = [run.frame.drop(columns="seconds") for run in runs]
    for frame in frames[1:]:
        pd.testing.assert_frame_equal(frame, frames[0], check_exact=True)
    return len(frames[0])


def _page(found: dict[str, Any]) -> str:
    return _PAGE.format(lines="\n".join(_lines([Take(**row) for row in found["takes"]])), **found)


def _lines(takes: list[Take]) -> Iterator[str]:
    """A line of the table for each way, beginning with the single worker."""
    ways = dict.fromkeys(take.given for take in takes)
    middle = [_median([take for take in takes if take.given == given]) for given in ways]
    one = middle[0]
    for take in middle:
        yield _LINE.format(**take._asdict(), speedup=one.wall / take.wall, speedup_begun=one.begun / take.begun)


def _median(takes: list[Take]) -> Take:
    return Take(takes[0].given, *(median(column) for column in list(zip(*takes, strict=True))[1:]))


if __name__ == "__main__":
    main()
