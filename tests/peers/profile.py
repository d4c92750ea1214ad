"""The suite `profile` on a hundred photographs, and its cost: `python -m tests.peers.profile`.

The photographs are in the folder `shared` next to the repository. The run is kept in a folder, so an interrupted run
can be resumed; its processor time is summed over all starts.
"""

import argparse
import json
import resource
import time
from functools import partial
from pathlib import Path
from typing import Any

from advbench.api import load_run
from advbench.api import run as run_suite
from advbench.config.data.name import parse_data
from advbench.config.models.model import ModelSpec
from advbench.config.suite_files import load_suite, on_other_data, on_other_models
from advbench.report.profile.lines import COLUMNS, LEGEND, Page, pages
from tests.peers.machine import processor
from tests.peers.report import PEERS, Report, parser_for
from tests.peers.victims import SHARED

_PAGE = """# A profile of {model} in half an hour

Made by `python -m tests.peers.profile{flags}`; the numbers are in `profile.json`.

`advbench run profile --model {model} --data {data}` on {images} photographs, with two workers:
**{minutes:.1f} minutes** if two cores are free, from {cpu:.0f} seconds of processor time. (The wall-clock time, on a
machine with other work, was {wall:.0f} seconds.) Measured on {processor}.

{lead}.

{table}

{legend}.

{curves}

Seconds per image by attack, including the harness: {seconds}.
"""


def main() -> None:
    parser = parser_for("profile", __doc__)
    parser.add_argument("--model", default="efficientnet_lite0", metavar="NAME")
    parser.add_argument("--images", type=int, default=100, metavar="N")
    parser.add_argument("--run", type=Path, default=Path("reports/profile"), metavar="FOLDER", help="folder of the run")
    parser.add_argument("--out", type=Path, default=PEERS, metavar="FOLDER", help="folder of the page")
    parser.add_argument("--page", action="store_true", help="only write the page of a finished run")
    options = parser.parse_args()
    if not options.page:
        _run(options)
    _write(options)


def _run(options: argparse.Namespace) -> None:
    suite = on_other_models(load_suite("profile"), (ModelSpec(name=options.model),))
    data = parse_data(f"folder:{SHARED / 'data/imagenet-sample/even'},label=photographs")
    suite = on_other_data(suite.model_copy(update={"images": options.images}), (data,))
    start = _spent()
    run_suite(suite, out=options.run, workers=2)
    clock = options.run / "clock.json"
    before = json.loads(clock.read_text(encoding="utf-8")) if clock.exists() else [0.0, 0.0]
    both = [old + now - then for old, now, then in zip(before, _spent(), start, strict=True)]
    clock.write_text(json.dumps(both), encoding="utf-8")


def _spent() -> tuple[float, float]:
    """Processor seconds of this process and its finished children, and wall-clock seconds."""
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in uses), time.perf_counter()


def _write(options: argparse.Namespace) -> None:
    run = load_run(options.run)
    cpu, wall = json.loads((options.run / "clock.json").read_text(encoding="utf-8"))
    (profile,), (page,) = run.analysis.profiles, pages(run.analysis.profiles)
    found: dict[str, Any] = {"model": options.model, "images": options.images, "cpu_seconds": cpu, "wall_seconds": wall}
    found |= {"processor": processor(), "profile": profile.as_dict(), "seconds": _by_attack(run)}
    Report(options.out, "profile", partial(_page, shown=page)).save(found)


def _page(found: dict[str, Any], shown: Page) -> str:
    return _PAGE.format(
        flags="" if found["model"] == "efficientnet_lite0" else f" --model {found['model']}",
        model=found["model"],
        data="folder:PHOTOGRAPHS",
        images=found["images"],
        minutes=found["cpu_seconds"] / 2 / 60,
        cpu=found["cpu_seconds"],
        wall=found["wall_seconds"],
        processor=found["processor"],
        lead=shown.lead[:1].upper() + shown.lead[1:],
        table="\n".join(_table(shown)),
        legend=LEGEND,
        curves="\n".join(f"- {curve}" for curve in shown.curves),
        seconds=", ".join(f"{name} {each:.2g}" for name, each in found["seconds"].items()),
    )


def _by_attack(run: Any) -> dict[str, float]:
    """Attack -> mean seconds per image."""
    names = run.frame["attack"].astype(str).str.partition("/")[0]
    sums = run.frame["seconds"].astype(float).groupby(names).sum() / run.frame["sample_id"].nunique()
    return {str(name): float(each) for name, each in sums.sort_values(ascending=False).items()}


def _table(page: Page) -> list[str]:
    shown = [i for i in range(len(COLUMNS)) if any(row[i] for row in page.texts)]
    lines = [f"| {' | '.join(COLUMNS[i].heading for i in shown)} |"]
    lines.append(f"|{'|'.join(':--' if COLUMNS[i].kind == 'name' else '--:' for i in shown)}|")
    for line, row in zip(page.lines, page.texts, strict=True):
        cells = [f"**{row[i]}**" if line.strong and row[i] else row[i] for i in shown]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
