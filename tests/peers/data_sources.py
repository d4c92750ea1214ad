"""Time that a run needs to read 50,000 images from each kind of data set: `python -m tests.peers.data_sources`.

The same images are written to a temporary folder as each kind of file. A separate process then opens each data set and
plans a run over all its images, which reads, decodes and hashes every one.
"""

import argparse
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from advbench.catalog import DATASETS
from tests.peers.machine import processor
from tests.peers.report import Report, add_shared, parser_for, say

SIDE = 32
"""Height and width of the images, pixels."""
SECONDS, MEGABYTES = 30, 1000
"""Targets for planning and for peak memory."""

_PAGE = """# Data sets of {count:,} images

Made by `python -m tests.peers.data_sources{flags}`; the numbers are in `data_sources.json`.

The same {count:,} random images of {side} x {side} pixels, stored as each kind of data set. Opening finds the images
and reads the labels; planning reads, decodes and hashes every image. Each is measured in a separate process on one
thread of {processor}. Seconds are processor time; they may double where other programs compete for the caches.
The files have just been written, so no time is spent waiting for the disk. Peak memory is that of the whole process:
Python and torch take {bare:.0f} MB before anything is opened, and planning keeps 64 MiB of images for the units that
follow. The targets are {seconds} s for planning and {megabytes:,} MB.

| data set | files | on disk, MB | opening, s | planning, s | peak memory, MB |
|---|---|--:|--:|--:|--:|
{rows}
"""


def main() -> None:
    parser = parser_for("data_sources", __doc__)
    parser.add_argument("--images", type=int, metavar="N", default=50_000)
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS), metavar="NAME")
    add_shared(parser, "--page", "--out")
    parser.add_argument("--measure", nargs=2, metavar=("NAME", "PATH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(*options.measure)))
        return
    report = Report(options.out, "data_sources", _page)
    if options.page:
        report.rewrite_page()
        return
    found = {}
    for name in options.only:
        with tempfile.TemporaryDirectory() as folder:
            dataset, files, make = WAYS[name]
            if dataset not in DATASETS:
                print(f"{name}: there is no data set {dataset}", file=sys.stderr)
                continue
            path = make(Path(folder), options.images)
            size = sum(each.stat().st_size for each in Path(folder).rglob("*") if each.is_file())
            command = [sys.executable, "-m", "tests.peers.data_sources", "--measure", dataset, str(path)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found[name] = {"dataset": dataset, "files": files, "megabytes": size / 1e6} | json.loads(done.stdout)
            say(name, found[name])
    known = report.stored().get("ways", {}) | found  # earlier measurements of the ways that were not run are kept
    report.save({"processor": processor(), "ways": {name: known[name] for name in WAYS if name in known}})


def measure(dataset: str, path: str) -> dict[str, float]:
    """Open a data set and plan a run over it, in this process."""
    import torch

    from advbench.config.suite import Suite
    from advbench.datasets import load_dataset
    from advbench.models.classifier import Classifier
    from advbench.planning.plan import make_plan
    from advbench.planning.resources import Resources

    torch.set_num_threads(1)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * SIDE * SIDE, 10))
    model = Classifier(network, num_classes=10, input_size=SIDE, name="linear")
    bare, start = _peak(), time.process_time()
    opened = load_dataset(dataset, path)
    middle = time.process_time()
    given = {"name": "cifar10-samples", "label": "given"}  # a name with the model's classes, for the images passed in
    suite = Suite(name="data", models="cifar10_cnn", datasets=[given], attacks="fgsm", precise=True)
    plan = make_plan(suite, Resources(suite, models={"cifar10_cnn": model}, datasets={"given": opened}))
    planned = sum(len(unit.samples) for unit in plan.units if unit.task == "clean")
    end = time.process_time()
    if planned != len(opened):
        raise RuntimeError(f"expected {len(opened)} images in the plan, got {planned}")
    return {"images": planned, "bare": bare, "opening": middle - start, "planning": end - middle, "peak": _peak()}


def _peak() -> float:
    """Peak memory of this process so far, MB."""
    # The peak that getrusage reports for a new process starts at its parent's.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


def _pixels(count: int) -> Iterator[np.ndarray]:
    generator = np.random.default_rng(0)
    for _ in range(count):
        yield generator.integers(0, 256, (SIDE, SIDE, 3), np.uint8)


def _encoded(count: int) -> Iterator[bytes]:
    for image in _pixels(count):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        yield file.getvalue()


def _npz(folder: Path, count: int) -> Path:
    np.savez(folder / "set.npz", x=np.stack([*_pixels(count)]), y=np.arange(count) % 10)
    return folder / "set.npz"


def _compressed(folder: Path, count: int) -> Path:
    np.savez_compressed(folder / "set.npz", x=np.stack([*_pixels(count)]), y=np.arange(count) % 10)
    return folder / "set.npz"


def _parquet(rows: int) -> Callable[[Path, int], Path]:
    def make(folder: Path, count: int) -> Path:
        import pyarrow as pa
        import pyarrow.parquet as pq

        images = pa.array([{"bytes": data, "path": None} for data in _encoded(count)])
        table = pa.table({"image": images, "label": np.arange(count) % 10})
        pq.write_table(table, folder / "val-00000-of-00001.parquet", row_group_size=rows)
        return folder

    return make


def _tar(folder: Path, count: int) -> Path:
    images = enumerate(_encoded(count))
    shards = -(-count // 1000)
    for shard in range(shards):
        with tarfile.open(folder / f"val-{shard:03}.tar", "w") as tar:
            for number, data in (next(images) for _ in range(min(1000, count - 1000 * shard))):
                for extension, content in (("png", data), ("cls", b"%d" % (number % 10))):
                    entry = tarfile.TarInfo(f"{number:06}.{extension}")
                    entry.size = len(content)
                    tar.addfile(entry, io.BytesIO(content))
    return folder / f"val-{{000..{shards - 1:03}}}.tar"


def _folder(folder: Path, count: int) -> Path:
    for label in range(10):
        (folder / str(label)).mkdir()
    for number, data in enumerate(_encoded(count)):
        (folder / str(number % 10) / f"{number:06}.png").write_bytes(data)
    return folder


WAYS: dict[str, tuple[str, str, Callable[[Path, int], Path]]] = {
    "folder": ("folder", "PNG", _folder),
    "parquet": ("parquet", "row groups of 100", _parquet(100)),
    "parquet, one group": ("parquet", "one row group", _parquet(10**6)),
    "webdataset": ("webdataset", "tar shards of 1,000", _tar),
    "arrays": ("arrays", "npz", _npz),
    "arrays, compressed": ("arrays", "npz, compressed", _compressed),
}
"""Name -> data set, kind of files, and the function that writes them."""


def _page(found: dict[str, Any]) -> str:
    ways = found["ways"].values()
    count = max(row["images"] for row in ways)
    rows = "\n".join(
        f"| `{row['dataset']}` | {row['files']} | {row['megabytes']:,.0f} | {row['opening']:.1f} | "
        f"{row['planning']:.1f} | {row['peak']:,.0f} |"
        for row in ways
    )
    return _PAGE.format(
        count=count,
        flags="" if count == 50_000 else f" --images {count}",
        side=SIDE,
        bare=max(row["bare"] for row in ways),
        processor=found["processor"],
        seconds=SECONDS,
        megabytes=MEGABYTES,
        rows=rows,
    )


if __name__ == "__main__":
    main()
