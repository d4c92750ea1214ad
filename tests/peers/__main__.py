"""Compare attacks with those of other libraries and write the results: `python -m tests.peers --help`."""

import argparse
import json
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.peers.commands import processor, run_commands
from tests.peers.page import page

REPORT = Path(__file__).parents[2] / "reports" / "peers"


def main() -> None:
    options = _options()
    # read when torch is imported; threads that spin while waiting disturb every measurement
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    out = options.out or (Path(tempfile.mkdtemp(prefix="peers-")) if options.quick else REPORT)
    results = _earlier(out / "results.json")
    if not options.page:
        # First, while this process is small: a child's peak memory starts at its parent's.
        if not options.only or "commands" in options.only:
            results["commands"] = run_commands(quick=options.quick, progress=_say)
        _contests(results, out, options)
    _write(out, results)
    _say(f"wrote {out / 'README.md'}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.peers", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="prefixes of matches, or `commands`; keep other results"
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


def _contests(results: dict[str, Any], out: Path, options: argparse.Namespace) -> None:
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
                progress=lambda text, head=f"{match.name} on {name}": _say(f"{head}, {text}"),
            )
            results["contests"][f"{match.name} on {name}"] = {"match": match.name, "victim": name, **found}
            _write(out, results)


def _is_chosen(name: str, only: list[str] | None) -> bool:
    return not only or any(name.startswith(beginning) for beginning in only)


def _earlier(path: Path) -> dict[str, Any]:
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {"environment": {}, "commands": [], "contests": {}} | results


def _write(out: Path, results: dict[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=1, allow_nan=False) + "\n"
    (out / "results.json").write_text(text, encoding="utf-8")
    (out / "README.md").write_text(page(results), encoding="utf-8")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


main()
