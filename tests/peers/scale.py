"""Memory and time of runs on many photographs: `python -m tests.peers.scale`.

Runs of growing size on generated images of 224 pixels, each a separate command; then a report on many rows.
"""

import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.peers.machine import busy_seconds, processor
from tests.peers.report import Report, add_shared, parser_for, say

SUITE = """
name = "scale"
models = "cheap"
datasets = "generated"
attacks = "fgsm"
eps = { linf = "4/255" }
save = "none"
"""
_PAGE = """# Runs on many photographs

Made by `python -m tests.peers.scale{flags}`; the numbers are in `scale.json`.

`advbench run`, from start to end: FGSM and random noise on a cheap network. The images, 224 x 224 pixels, are
generated again each time they are read, as if decoded from a file. Peak memory is that of the largest process. Measured
on {processor}.

| images | workers | units | rows | seconds | processor time, s | processor time per image, ms | peak memory, MB |
|--:|--:|--:|--:|--:|--:|--:|--:|
{lines}

`advbench report --format markdown` on a run of {many[rows]:,} rows, from start to end, took
{many[seconds]:.1f} s and {many[peak]:,.0f} MB.
"""
_LINE = "| {images:,} | {workers} | {units} | {rows:,} | {seconds:.0f} | {busy:.0f} | {each:.1f} | {peak:,.0f} |"


def main() -> None:
    parser = parser_for("scale", __doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[5_000, 20_000, 50_000], metavar="N")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], metavar="N")
    parser.add_argument("--rows", type=int, default=1_000_000, metavar="N", help="rows of the run to report on")
    add_shared(parser, "--page", "--out")
    options = parser.parse_args()
    report = Report(options.out, "scale", _page)
    if options.page:
        report.rewrite_page()
        return
    given = [word for word in sys.argv[1:] if "out" not in word]
    found: dict[str, Any] = {"flags": "".join(f" {word}" for word in given), "processor": processor(), "runs": []}
    for images in options.images:
        for workers in options.workers:
            found["runs"].append(_run(images, workers))
            say(found["runs"][-1])
    found["many"] = _many(options.rows)
    report.save(found)


def _page(found: dict[str, Any]) -> str:
    return _PAGE.format(lines="\n".join(_LINE.format(**run) for run in found["runs"]), **found)


def _run(images: int, workers: int) -> dict[str, Any]:
    """Run the suite on this many images."""
    with tempfile.TemporaryDirectory() as folder:
        suite = Path(folder) / "suite.toml"
        suite.write_text(SUITE, encoding="utf-8")
        command = [sys.executable, "-m", "advbench", "run", str(suite), "--plugin", "tests.peers.scale_plugin"]
        command += ["--workers", str(workers), "--out", f"{folder}/run", "--quiet"]
        start, before = time.perf_counter(), busy_seconds()
        process = subprocess.Popen(command, env=os.environ | {"ADVBENCH_SCALE_IMAGES": str(images)})
        peak = _watch(process)
        seconds, busy = time.perf_counter() - start, busy_seconds() - before
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
        facts = _facts(Path(folder) / "run")
    return {
        "images": images,
        "workers": workers,
        "seconds": seconds,
        "busy": busy,
        "each": 1000 * busy / images,
        "peak": peak,
    } | facts


def _watch(process: "subprocess.Popen[bytes]", every: float = 0.5) -> float:
    """Wait for a process, and return the largest peak memory of it and its children, MB."""
    peaks = [0.0]
    while process.poll() is None:
        for pid in [str(process.pid), *_children(process.pid)]:
            try:
                status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
            except OSError:
                continue
            if "VmHWM:" in status:
                peaks.append(int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6)
        time.sleep(every)
    return max(peaks)


def _children(pid: int) -> list[str]:
    """Ids of the children of a process, read from `/proc`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended in the meantime
            after_name = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if after_name[1] == str(pid):
                found.append(path.parent.name)
    return found


def _many(rows: int) -> dict[str, Any]:
    """Report on a run of many rows: five attacks at four budgets, in units of 250 images."""
    with tempfile.TemporaryDirectory() as name:
        _write_many(Path(name) / "run", rows // 20)
        command = [sys.executable, "-m", "advbench", "report", f"{name}/run", "--format", "markdown", "--out"]
        start = time.perf_counter()
        process = subprocess.Popen([*command, f"{name}/report.md"])
        peak = _watch(process, every=0.05)
        return {"rows": rows // 20 * 20, "seconds": time.perf_counter() - start, "peak": peak}


def _write_many(folder: Path, images: int) -> None:
    """Write the folder of a run that never took place, with random rows."""
    import numpy as np

    from advbench.records.run_folder import RunFolder
    from advbench.records.storage.atomic import write_atomic
    from advbench.records.storage.shards import as_shard
    from advbench.records.stored_run import gather_rows
    from advbench.records.unit import FORMAT, Unit

    suite = {"name": "made", "models": ["cheap"], "datasets": ["generated"], "attacks": ["pgd"]}
    files, units, chance = RunFolder(folder), [], np.random.default_rng(0)
    files.write_manifest({"format": FORMAT, "run_id": "r", "suite": suite, "status": "complete"})
    for attack, eps in itertools.product(("fgsm", "pgd", "apgd", "fab", "square"), (1, 2, 4, 8)):
        for first in range(0, images, 250):
            numbers = tuple(range(first, min(first + 250, images)))
            ids = tuple(f"{number:016x}" for number in numbers)
            same = {"model": "cheap", "dataset": "generated", "attack": attack, "goal": "untargeted", "norm": "linf"}
            same |= {"eps": eps / 255, "unit_id": f"{len(units):032x}"}
            units.append(Unit(task="attack", samples=numbers, sample_ids=ids, **same))
            records = made_records(same, ids, chance)
            write_atomic(files.shard(units[-1].unit_id), as_shard(records, units[-1].unit_id))
    write_atomic(files.plan, "".join(f"{unit.to_json()}\n" for unit in units).encode())
    gather_rows(folder)


def made_records(same: dict[str, Any], ids: Sequence[str], chance: Any) -> list[Any]:
    """Records of images that were never attacked, with random sizes.

    Args:
        same: Columns that all records share.
        ids: Ids of the images (N,).
        chance: NumPy random generator.
    """
    from advbench.records.record import OK, Record

    return [
        Record(
            **same, run_id="r", weights_sha256="ab", sample_id=each, sample_name=each, label=0, clean_class=0,
            clean_confidence=0.75, adv_class=1, adv_confidence=0.5, clean_topk=(0,), adv_topk=(1,), flipped=True,
            met=bool(size <= same["eps"]), l0=3.0, l1=0.25, l2=0.125, linf=float(size), forwards=8.0, backwards=7.0,
            seconds=0.5, survives_8bit=True, status=OK,
        )
        for each, size in zip(ids, chance.random(len(ids)) * 16 / 255, strict=True)
    ]  # fmt: skip


def _facts(folder: Path) -> dict[str, int]:
    """Numbers of units and rows in a run."""
    from advbench.records.stored_run import read_run

    run = read_run(folder)
    return {"units": len(run.plan), "rows": len(run.frame)}


if __name__ == "__main__":
    main()
