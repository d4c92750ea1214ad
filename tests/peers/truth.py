"""What share of the images that can be broken each attack breaks: `python -m tests.peers.truth --help`.

Where an image is not proved by complete splitting and some attack breaks it, it is known to be breakable; where it is
proved, that it is not. The networks and eps are those of `tests.peers.proofs` where nothing was open, on other images.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.peers.proofs import BARS, REPORT, Bar, _target

FIRST, LAST = 100, 300
"""The images that are used: not those that `tests.peers.proofs` counts."""

_HEAD = """# Attacks against the truth

Made by `python -m tests.peers.truth`; the numbers are in `truth.json`.

On networks and eps where `make truth` leaves nothing open, each of the test images 100 to 299 that is classified right
is first attacked with PGD; those that it does not fool are proved by complete splitting, and those that are neither are
attacked with `thorough`. An image is **breakable** if any of these breaks it, as the judge measures; that no breakable
image is proved is checked, or the command fails. Images that are neither are **open**, and left out. The shares are of
the breakable images that each attack alone breaks, with its default parameters unless given; Linf, untargeted, seed 0.

"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.peers.truth", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="WORD", help="rows with these words in their names")
    parser.add_argument("--last", type=int, default=LAST, help=f"number of the image to stop before; default: {LAST}")
    parser.add_argument("--again", action="store_true", help="measure anew what is there already")
    parser.add_argument("--out", type=Path, metavar="FOLDER", default=REPORT)
    options = parser.parse_args()
    proofs = json.loads((options.out / "proofs.json").read_text(encoding="utf-8"))
    path = options.out / "truth.json"
    results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for bar in BARS:
        exact = bar.norm == "linf" and bar.name in proofs and not proofs[bar.name]["open"]
        if not exact or (options.only and not any(word in bar.name for word in options.only)):
            continue
        if options.again or bar.name not in results:
            results[bar.name] = _measured(bar, options.last)
            print(f"{bar.name}: {results[bar.name]}", flush=True)
            path.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        (options.out / "truth.md").write_text(page(results), encoding="utf-8")


def _measured(bar: Bar, last: int) -> dict[str, Any]:
    """Which images are breakable, and which of them each attack breaks."""
    import torch

    import attacks
    from advbench import proofs
    from advbench.evaluation.judge import judge

    torch.set_num_threads(1)
    model, x, y = _target(bar.network, last)
    norm = attacks.Linf()
    rows = (model(x).argmax(1) == y).nonzero().squeeze(1)
    rows = rows[rows >= FIRST]
    x, y, goal = x[rows], y[rows], attacks.Untargeted(y[rows], ids=rows)

    def breaks(which: torch.Tensor, call: Any) -> torch.Tensor:
        x_adv = call(model, x[which], y[which], bar.eps)
        return judge(model, x[which], x_adv, goal.select(which), norm, bar.eps).met

    everything = torch.arange(len(rows))
    broken = torch.zeros(len(rows), dtype=torch.bool)
    broken[everything] = breaks(everything, _ours("PGD")(norm))
    left = everything[~broken]
    proof = proofs.prove(model, x[left], goal.select(left), norm=norm, eps=bar.eps, domains=4000, seconds=3600)
    undecided = left[~proof.proved]
    if len(undecided):
        broken[undecided] = breaks(undecided, _ours("Thorough")(norm))
    breakable = broken.nonzero().squeeze(1)
    found = {}
    for name, make in contestants() if len(breakable) else ():
        start = time.process_time()
        try:
            met = breaks(breakable, make(norm))
        except ModuleNotFoundError as error:
            print(f"{name}: {error}", flush=True)
            continue
        found[name] = {"broken": int(met.sum()), "seconds": round(time.process_time() - start, 2)}
    both = proofs.bound(model, x[breakable], goal.select(breakable), norm=norm, eps=bar.eps, upto="alpha-crown")
    if bool(both.proved.any()):
        raise SystemExit(f"{bar.name}: images {rows[breakable][both.proved].tolist()} are both proved and broken")
    opened = undecided[~broken[undecided]]
    return {
        "right": len(rows),
        "breakable": len(breakable),
        "proved": int(proof.proved.sum()),
        "open": rows[opened].tolist(),
        "attacks": found,
        "torch": torch.__version__,
    }


def _ours(name: str, **parameters: Any) -> Callable[[Any], Any]:
    def make(norm: Any) -> Any:
        import torch

        import attacks

        attack = getattr(attacks, name)(norm=norm, **parameters)

        def call(model: Any, x: Any, y: Any, eps: float) -> Any:
            goal = attacks.Untargeted(y, ids=torch.arange(len(y)))
            return attack(model, x, goal, eps=eps)

        return call

    return make


def _theirs(library: str, name: str, **parameters: Any) -> Callable[[Any], Any]:
    def make(norm: Any) -> Any:
        from tests.peers import libraries

        return getattr(libraries, library)(name, **parameters)

    return make


def _autoattack(norm: Any) -> Any:
    def call(model: Any, x: Any, y: Any, eps: float) -> Any:
        from pyautoattack import AutoAttack

        return AutoAttack(model, norm="Linf", eps=eps, device=x.device, verbose=False).run_standard_evaluation(x, y)

    return call


def contestants() -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """The attacks, each as a name and what makes it for a norm."""
    for name in ("FGSM", "PGD", "MIFGSM", "DIFGSM", "APGD", "FMN", "FAB", "DeepFool", "Square"):
        yield name.lower(), _ours(name)
    yield "standard", _ours("Standard")
    yield "thorough", _ours("Thorough")
    for name in ("LinfFastGradientAttack", "LinfBasicIterativeAttack", "LinfPGD", "LinfDeepFoolAttack"):
        yield f"Foolbox {name}", _theirs("foolbox", name)
    yield "Foolbox LInfFMNAttack", _theirs("foolbox", "LInfFMNAttack", steps=1000)
    yield "AutoAttack standard", _autoattack


def page(results: dict[str, Any]) -> str:
    """The page: the truth of each row, and the share that each attack reaches."""
    known = [(bar, results[bar.name]) for bar in BARS if bar.name in results]
    lines = ["| Network, eps | Right | Proved | Breakable | Open |\n", "|---|--:|--:|--:|--:|\n"]
    lines += [
        f"| {bar.name} | {run['right']} | {run['proved']} | {run['breakable']} | {len(run['open'])} |\n"
        for bar, run in known
    ]
    total = sum(run["breakable"] for _, run in known)
    lines += ["\n", f"| Attack | Broken of {total} | Share | {' | '.join(bar.name for bar, _ in known)} |\n"]
    lines += [f"|---|--:|--:|{'|'.join('--:' for _ in known)}|\n"]
    scored = []
    for name in dict(contestants()):
        counts = [run["attacks"].get(name, {}).get("broken") for _, run in known]
        if all(count is None for count in counts):
            continue
        reached = sum(run["breakable"] for (_, run), count in zip(known, counts, strict=True) if count is not None)
        broken = sum(count or 0 for count in counts)
        texts = [
            "" if count is None else f"{count}/{run['breakable']}"
            for (_, run), count in zip(known, counts, strict=True)
        ]
        scored.append(
            (
                broken / max(reached, 1),
                f"| {name} | {broken} | {100 * broken / max(reached, 1):.1f} % | {' | '.join(texts)} |\n",
            )
        )
    lines += [line for _, line in sorted(scored, key=lambda each: -each[0])]
    return _HEAD + "".join(lines)


if __name__ == "__main__":
    main()
