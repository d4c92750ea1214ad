"""How close attacks come to the smallest perturbation that is known: `python -m tests.peers.optimality --help`."""

import argparse
import time
from pathlib import Path
from typing import Any

from tests.peers.optimality_page import page
from tests.peers.report import PEERS, Report, add_shared, parser_for


def main() -> None:
    options = _options()
    report = Report(options.out, "optimality", page, indent=None)
    if options.page:
        report.rewrite_page()
        return
    results = {"runs": {}} | report.stored()
    _run(results, report, options)
    report.save(results)
    print(f"wrote {options.out / 'optimality.md'}")


def _options() -> argparse.Namespace:
    parser = parser_for("optimality", __doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="attacks whose names contain one of these words")
    parser.add_argument("--norms", nargs="+", choices=("l0", "l1", "l2", "linf"), default=("linf", "l2", "l1", "l0"))
    parser.add_argument("--victims", nargs="+", metavar="NAME", help="models to attack; default: all available")
    parser.add_argument("--images", type=int, help="number of images of each model; stored results are kept")
    add_shared(parser, "--again", "--page")
    parser.add_argument("--out", type=Path, default=PEERS, metavar="FOLDER", help="default: reports/peers")
    return parser.parse_args()


def _run(results: dict[str, Any], report: Report, options: argparse.Namespace) -> None:
    import torch

    torch.set_num_threads(1)
    from tests.peers.contestants import FIELDS, OURS, PEERS
    from tests.peers.libraries import versions
    from tests.peers.victims import VICTIMS

    results["libraries"] = {"torch": torch.__version__, **versions()}
    for victim in options.victims or [name for name in FIELDS if name in VICTIMS]:
        target = VICTIMS[victim].target(options.images or FIELDS[victim])
        for norm in options.norms:
            found = results["runs"].setdefault(victim, {}).setdefault(norm, {})
            everybody = PEERS[norm] | {f"advbench {name}": call for name, call in OURS[norm].items()}
            for name, call in everybody.items():
                if options.only and not any(word in name for word in options.only):
                    continue
                before = {} if options.again else found.get(name, {})
                done = len(before.get("sizes", ()))
                if done < len(target.x) and "failed" not in before:
                    rest = target._replace(x=target.x[done:], y=target.y[done:])
                    found[name] = _joined(before, _measured(call, rest, norm))
                    print(f"{victim} {norm} {name}: {found[name].get('failed') or found[name]['seconds']}", flush=True)
                    report.save(results)


def _measured(call: Any, target: Any, norm: str) -> dict[str, Any]:
    """Size for each image (None where it is not fooled), passes per image, and processor seconds."""
    import torch

    from advbench.evaluation.judge import judge
    from attacks import NORMS, Untargeted
    from tests.peers.counted import Counted

    torch.manual_seed(0)
    geometry, model, goal = NORMS[norm](), Counted(target.model), Untargeted(target.y)
    start = time.process_time()
    try:
        x_adv = call(model, target.x, target.y, None).detach()
    except Exception as error:  # another library may raise anything
        return {"failed": f"{type(error).__name__}: {error}"}
    seconds = time.process_time() - start
    verdicts = judge(target.model, target.x, x_adv, goal, geometry, None)
    sizes = zip(geometry.measure(x_adv - target.x).tolist(), verdicts.met.tolist(), strict=True)
    return {
        "sizes": [float(f"{size:.5g}") if met else None for size, met in sizes],
        "forwards": round(model.forwards / len(target.x)),
        "backwards": round(model.backwards / len(target.x)),
        "seconds": round(seconds, 1),
    }


def _joined(before: dict[str, Any], run: dict[str, Any]) -> dict[str, Any]:
    """Merge the run of the images measured before with that of the images after them."""
    if not before or "failed" in run:
        return run
    old, new = len(before["sizes"]), len(run["sizes"])
    passes = {key: round((old * before[key] + new * run[key]) / (old + new)) for key in ("forwards", "backwards")}
    return passes | {
        "sizes": before["sizes"] + run["sizes"],
        "seconds": round(before["seconds"] + run["seconds"], 1),
    }


if __name__ == "__main__":
    main()
