"""Speed and verdicts of the attacks on a CUDA GPU, in at most eight minutes: `python -m tests.peers.gpu`.

Each part runs in a separate process with a time limit, and its results are saved row by row: a part that takes too
long or dies only loses the rest of its own rows. On a machine without a GPU the command says so and exits with code 2;
`--device cpu` tries the script itself on tiny inputs.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from tests.peers.gpu_page import page
from tests.peers.report import REPORTS, Report, add_shared, parser_for, say

REPORT = REPORTS / "gpu"
TOTAL = 480.0
"""Time limit for all parts together, seconds."""
PATIENCE = {"cuda": 1.0, "cpu": 4.0}
"""Device -> factor on all time limits, so that a busy machine does not spoil a trial."""
RESERVE = 10.0
"""Seconds of `TOTAL` reserved for ending the last part and writing the page."""


class Part(NamedTuple):
    """One part of the measurements."""

    name: str
    """Name of its function in `tests.peers.gpu_parts`."""
    seconds: float
    """Time limit, seconds; less if earlier parts have used up the total."""


PARTS = (
    Part("machine", 30),
    Part("pgd", 80),
    Part("agreement", 60),
    Part("standard", 80),
    Part("workers", 80),
    Part("compiled", 70),
    Part("contract", 110),
)
"""The parts in order of importance; the last gets the remaining time."""


def main() -> None:
    options = _options()
    if options.part:
        _work(options.part, options.device, options.into)
        return
    if options.page:
        _report(options.out or REPORT).rewrite_page()
        return
    if options.device == "cuda" and not _has_gpu():
        say("error: this machine has no CUDA GPU; --device cpu tries the script on tiny inputs")
        sys.exit(2)
    out = options.out or (REPORT if options.device == "cuda" else Path(tempfile.mkdtemp(prefix="gpu-")))
    say(f"wrote {measure(options.device, out, only=options.only)}")


def _options() -> argparse.Namespace:
    parser = parser_for("gpu", __doc__)
    names = [part.name for part in PARTS]
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu: try the script on tiny inputs")
    parser.add_argument("--only", nargs="+", choices=names, metavar="PART", help=f"some of: {', '.join(names)}")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: reports/gpu; with cpu: a temporary one")
    add_shared(parser, "--page")
    parser.add_argument("--part", choices=names, help=argparse.SUPPRESS)
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def measure(device: str, out: Path, *, only: list[str] | None = None) -> Path:
    """Run the parts one after the other, and write the results after each of them.

    Args:
        device: "cuda", or "cpu" with tiny inputs.
        out: Folder for `gpu.json` and `README.md`.
        only: Names of parts; None: all of them.

    Returns:
        Path of the page.
    """
    start = time.monotonic()
    results: dict[str, Any] = {"device": device, "parts": {}}
    for part in PARTS:
        if only and part.name not in only:
            continue
        left = PATIENCE[device] * TOTAL - RESERVE - (time.monotonic() - start)
        limit = max(0.0, min(PATIENCE[device] * part.seconds, left))
        say(f"{part.name}: at most {limit:.0f} s")
        results["parts"][part.name] = run_part(part.name, device, limit)
        results["seconds"] = time.monotonic() - start
        _report(out).save(results)
    return out / "README.md"


def run_part(name: str, device: str, seconds: float) -> dict[str, Any]:
    """Run one part in a separate process, which is killed with its children when its time is up.

    Returns:
        Rows, seconds taken, and how it ended: "done", "out of time" or its last line of output.
    """
    if seconds <= 0:
        return {"rows": [], "seconds": 0.0, "ended": "out of time"}
    with tempfile.TemporaryDirectory() as scratch:
        rows, errors = Path(scratch) / "rows", Path(scratch) / "errors"
        command = [sys.executable, "-m", "tests.peers.gpu", "--part", name, "--device", device, "--into", str(rows)]
        start = time.monotonic()
        with errors.open("w") as stream:
            process = subprocess.Popen(command, stdout=stream, stderr=stream, start_new_session=True)
            try:
                code = process.wait(seconds)
                ended = "done" if code == 0 else _last_line(errors) or f"ended with code {code}"
            except subprocess.TimeoutExpired:
                ended = "out of time"
            finally:
                _kill(process)
        return {"rows": _read(rows), "seconds": time.monotonic() - start, "ended": ended}


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """End a process and its children, which share its process group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def _read(path: Path) -> list[dict[str, Any]]:
    """The rows of a part; the last one may have been cut short when it was killed."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def _work(name: str, device: str, into: Path) -> None:
    """Measure a part in this process, and save each row as soon as it is measured."""
    from tests.peers import gpu_parts

    with into.open("w", encoding="utf-8") as file:
        for row in getattr(gpu_parts, name)(device):
            file.write(json.dumps(row, allow_nan=False) + "\n")
            file.flush()


def _report(out: Path) -> Report:
    return Report(out, "gpu", page, page_name="README")


if __name__ == "__main__":
    main()
