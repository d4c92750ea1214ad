"""Share of the breakable images that each attack breaks: `python -m tests.peers.truth --help`.

An image that some attack breaks is known to be breakable, and one that complete splitting proves is known not to be.
The networks and eps are those for which `tests.peers.proofs` left nothing open; the images are others.
"""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from tests.peers.autoattack import in_one_call
from tests.peers.proofs import BARS, Bar, _target
from tests.peers.report import Report, add_shared, parser_for

FIRST, LAST = 100, 300
"""Range of the images that are used, none of which `tests.peers.proofs` counts."""

_HEAD = """# Attacks against the truth

Made by `python -m tests.peers.truth`; the numbers are in `truth.json`.

For networks and eps where `make truth` leaves nothing open, each of the test images 100 to 299 that is classified
correctly is first attacked with PGD. Those that it does not fool go to a proof by complete splitting, and those that
are then neither fooled nor proved are attacked with `thorough`. An image is **breakable** if any of these breaks it, as
measured by the judge; the command fails if a breakable image is proved. Images that are neither are **open**, and left
out. The table shows the share of the breakable images that each attack breaks on its own, with its default parameters
unless stated; Linf, untargeted, seed 0.

"""


def main() -> None:
    parser = parser_for("truth", __doc__)
    parser.add_argument("--only", nargs="+", metavar="WORD", help="rows whose names contain one of these words")
    parser.add_argument("--last", type=int, default=LAST, help=f"number of the image to stop before; default: {LAST}")
    parser.add_argument("--limit", type=float, metavar="MINUTES", help="processor minutes after which none is started")
    add_shared(parser, "--again", "--page", "--out")
    options = parser.parse_args()
    report = Report(options.out, "truth", page)
    if options.page:
        report.rewrite_page()
        return
    proofs = json.loads((options.out / "proofs.json").read_text(encoding="utf-8"))
    results = report.stored()

    def in_time() -> bool:
        return options.limit is None or time.process_time() < 60 * options.limit

    for bar in BARS:
        exact = bar.norm == "linf" and bar.name in proofs and not proofs[bar.name]["open"]
        if not exact or (options.only and not any(word in bar.name for word in options.only)):
            continue
        known = {} if options.again else results.get(bar.name, {})
        for done in _measured(bar, options.last, known, in_time):
            results[bar.name] = done
            report.save(results)


def _measured(bar: Bar, last: int, known: dict[str, Any], in_time: Callable[[], bool]) -> Iterator[dict[str, Any]]:
    """Find out which images are breakable, then how many of them each attack breaks; yield the record after each."""
    missing = [(name, make) for name, make in contestants() if name not in known.get("attacks", {})]
    if not in_time() or (known and not missing):
        return
    field = _Field(bar, last)
    done = known or _truth(bar, field)
    yield done
    for name, make in missing if done["breakable"] else ():
        if not in_time():
            return
        start = time.process_time()
        try:
            met = field.broken(field.rows_of(done["breakable"]), make(field.norm))
        except ModuleNotFoundError as error:
            print(f"{bar.name}: {name} is left out: {error}", flush=True)
            continue
        done["attacks"][name] = {"broken": int(met.sum()), "seconds": round(time.process_time() - start, 2)}
        print(f"{bar.name}: {name} {done['attacks'][name]}", flush=True)
        yield done


class _Field:
    """The images of a row that its network classifies correctly."""

    def __init__(self, bar: Bar, last: int) -> None:
        import torch

        import attacks

        torch.set_num_threads(1)
        self.model, x, y = _target(bar.network, last)
        self.norm, self.eps = attacks.Linf(), bar.eps
        numbers = (self.model(x).argmax(1) == y).nonzero().squeeze(1)
        self.numbers = numbers[numbers >= FIRST]
        self.x, self.y = x[self.numbers], y[self.numbers]
        self.goal = attacks.Untargeted(self.y, ids=self.numbers)

    def rows_of(self, numbers: list[int]) -> Any:
        """Positions of the images with these numbers, int64 (K,)."""
        import torch

        return torch.isin(self.numbers, torch.tensor(numbers)).nonzero().squeeze(1)

    def broken(self, rows: Any, call: Any) -> Any:
        """Whether an attack breaks each of these images, bool (K,)."""
        from advbench.evaluation.judge import judge

        x_adv = call(self.model, self.x[rows], self.y[rows], self.eps)
        return judge(self.model, self.x[rows], x_adv, self.goal.select(rows), self.norm, self.eps).met


def _truth(bar: Bar, field: _Field) -> dict[str, Any]:
    """Which images are breakable, proved, and open."""
    import torch

    from advbench import proofs

    numbers = field.numbers
    broken = field.broken(torch.arange(len(numbers)), _ours("PGD")(field.norm))
    left = (~broken).nonzero().squeeze(1)
    goal = field.goal.select(left)
    proof = proofs.prove(field.model, field.x[left], goal, norm=field.norm, eps=bar.eps, domains=4000, seconds=3600)
    undecided = left[~proof.proved]
    if len(undecided):
        broken[undecided] = field.broken(undecided, _ours("Thorough")(field.norm))
    rows = broken.nonzero().squeeze(1)
    goal = field.goal.select(rows)
    both = proofs.bound(field.model, field.x[rows], goal, norm=field.norm, eps=bar.eps, upto="alpha-crown")
    if bool(both.proved.any()):
        raise SystemExit(f"{bar.name}: images {numbers[rows][both.proved].tolist()} are both proved and broken")
    return {
        "right": len(numbers),
        "breakable": numbers[rows].tolist(),
        "proved": int(proof.proved.sum()),
        "open": numbers[undecided][~broken[undecided]].tolist(),
        "attacks": {},
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
        return in_one_call(model, x, y, eps=eps, batch_size=250)

    return call


def contestants() -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """Names of the attacks, each with a function that makes it for a norm; the most important come first."""
    yield "standard", _ours("Standard")
    yield "AutoAttack standard", _autoattack
    for name in ("PGD", "APGD", "FMN", "FGSM", "MIFGSM", "DIFGSM", "DeepFool"):
        yield name.lower(), _ours(name)
    for name in ("LinfPGD", "LinfFastGradientAttack", "LinfBasicIterativeAttack", "LinfDeepFoolAttack"):
        yield f"Foolbox {name}", _theirs("foolbox", name)
    yield "Foolbox LInfFMNAttack", _theirs("foolbox", "LInfFMNAttack", steps=1000)
    for name in ("Thorough", "FAB", "Square"):
        yield name.lower(), _ours(name)


def page(results: dict[str, Any]) -> str:
    """The page: the truth of each row, and the share that each attack reaches."""
    known = [(bar, results[bar.name]) for bar in BARS if bar.name in results]
    lines = ["| Network, eps | Right | Proved | Breakable | Open |\n", "|---|--:|--:|--:|--:|\n"]
    lines += [
        f"| {bar.name} | {run['right']} | {run['proved']} | {len(run['breakable'])} | {len(run['open'])} |\n"
        for bar, run in known
    ]
    total = sum(len(run["breakable"]) for _, run in known)
    lines += ["\n", f"| Attack | Broken of {total} | Share | {' | '.join(bar.name for bar, _ in known)} |\n"]
    lines += [f"|---|--:|--:|{'|'.join('--:' for _ in known)}|\n"]
    scored = []
    for name in dict(contestants()):
        counts = [run["attacks"].get(name, {}).get("broken") for _, run in known]
        if all(count is None for count in counts):
            continue
        reached = sum(len(run["breakable"]) for (_, run), count in zip(known, counts, strict=True) if count is not None)
        broken = sum(count or 0 for count in counts)
        texts = [
            "" if count is None else f"{count}/{len(run['breakable'])}"
            for (_, run), count in zip(known, counts, strict=True)
        ]
        scored.append(
            (
                broken / max(reached, 1),
                f"| {name} | {broken} | {100 * broken / max(reached, 1):.1f} % | {' | '.join(texts)} |\n",
            )
        )
    lines += [line for _, line in sorted(scored, key=lambda each: -each[0])]
    return _HEAD + "".join([*lines, *_left_out(known)])


def _left_out(known: list[tuple[Bar, dict[str, Any]]]) -> list[str]:
    """Lists the attacks that were not measured on rows with breakable images."""
    lines = []
    for bar, run in known:
        missing = [name for name in dict(contestants()) if name not in run["attacks"]] if run["breakable"] else []
        if missing:
            lines.append(f"- {bar.name}: {', '.join(missing)}\n")
    return ["\nNot measured, for lack of time or because the library is not installed:\n\n", *lines] if lines else []


if __name__ == "__main__":
    main()
