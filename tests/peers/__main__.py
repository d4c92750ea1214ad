"""Compare attacks with those of other libraries and write the results: `python -m tests.peers --help`."""

import argparse
import os
import platform
import tempfile
from pathlib import Path
from typing import Any

from tests.peers.commands import run_commands
from tests.peers.machine import processor
from tests.peers.page import page
from tests.peers.report import PEERS, Report, say


def main() -> None:
    options = _options()
    out = options.out or (Path(tempfile.mkdtemp(prefix="peers-")) if options.quick else PEERS)
    report = Report(out, "results", page, page_name="README")
    results: dict[str, Any] = {"environment": {}, "commands": [], "contests": {}} | report.stored()
    if not options.page:
        # First, while this process is small: a child's peak memory starts at its parent's.
        if not options.only or "commands" in options.only:
            results["commands"] = run_commands(quick=options.quick, progress=say)
        _contests(results, report, options)
    report.save(results)
    say(f"wrote {out / 'README.md'}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.peers", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="prefixes of matches, or `commands`; other results are kept"
    )
    parser.add_argument("--victims", nargs="+", metavar="NAME", help="models to attack; default: all available")
    parser.add_argument("--quick", action="store_true", help="two rounds on eight images, into a temporary folder")
    parser.add_argument(
        "--rounds", type=int, metavar="N", help="turns of each library; default: 3 to 5, depending on the model"
    )
    parser.add_argument("--page", action="store_true", help="only rewrite the page, without measuring")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch, for every library (default: 1)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: reports/peers")
    return parser.parse_args()


def _contests(results: dict[str, Any], report: Report, options: argparse.Namespace) -> None:
    import torch

    torch.set_num_threads(options.threads)
    from tests.peers.libraries import versions
    from tests.peers.matches import MATCHES
    from tests.peers.measure import contest
    from tests.peers.victims import VICTIMS

    results["environment"] = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": options.threads,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "libraries": versions(),
    }
    for name, victim in VICTIMS.items():
        chosen = [match for match in MATCHES if name in match.victims and _is_chosen(match.name, options.only)]
        if not chosen or (options.victims and name not in options.victims):
            continue
        target = victim.target(8 if options.quick else None)
        for match in chosen:
            found = contest(
                match,
                victim,
                target,
                rounds=options.rounds or (2 if options.quick else victim.rounds),
                progress=lambda text, head=f"{match.name} on {name}": say(f"{head}, {text}"),
            )
            results["contests"][f"{match.name} on {name}"] = {"match": match.name, "victim": name, **found}
            report.save(results)


def _is_chosen(name: str, only: list[str] | None) -> bool:
    return not only or any(name.startswith(beginning) for beginning in only)


main()
