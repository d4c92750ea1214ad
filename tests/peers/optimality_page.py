"""The page `reports/peers/optimality.md`, generated from `optimality.json`."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

Sizes = Sequence[float | None]
"""Size of the smallest perturbation found for each image; None where it was not fooled."""

_HEAD = """# How close to the smallest perturbation

Made by `make optimality`; the sizes for each image are in `optimality.json`.

All attacks search for the smallest perturbation of the same images, with up to about 1,000 forward and 1,000 backward
passes per image. **Optimality** compares an attack with the envelope, which has for each image the smallest size that
any of these attacks found: 1 means as good as the best attack on every image, 0 that no image was fooled.

With d the sizes found by an attack and d* those of the envelope, it is
`1 - (mean(min(d, cap)) - mean(d*)) / (cap - mean(d*))`, which is the exact area between the two curves of robust
accuracy against eps, as these are step functions. The **cap** is the largest size in the envelope. An image that an
attack does not fool counts with the cap, and one that no attack fools counts with the cap for all of them. Sizes come
from a fresh forward pass of the model on what each attack returned. All images are classified correctly to begin with.
A dash means not measured yet; then there is no mean.

AttackBench (`attackbenchlib`) measures the same; `tests/test_optimality.py` compares the two measures. Its attacks are
those of other libraries, reimplementations of the same algorithms, and two of its own: a trust region attack, which
stops once it has crossed a boundary, and `pgd0`. Both are run here as it configures them, except for the number of
steps.
"""


def optimality(runs: Mapping[str, Sizes]) -> dict[str, float]:
    """Optimality of each attack, from the sizes that all of them found on the same images.

    Example:
        >>> optimality({"best": [1.0, 2.0, None], "other": [1.0, None, None]})
        {'best': 1.0, 'other': 1.0}
        >>> optimality({"best": [1.0, 2.0, 3.0], "other": [2.0, None, 3.0]})
        {'best': 1.0, 'other': 0.333...}
    """
    envelope = _envelope(list(runs.values()))
    cap = cap_of(list(runs.values()))
    least = fmean(cap if size is None else size for size in envelope)
    room = cap - least

    def of(sizes: Sizes) -> float:
        return 1 - (fmean(cap if size is None else min(size, cap) for size in sizes) - least) / room if room else 1.0

    return {name: of(sizes) for name, sizes in runs.items()}


def _envelope(runs: Sequence[Sizes]) -> Sizes:
    """The smallest size that any run found for each image."""
    return [min((size for size in sizes if size is not None), default=None) for sizes in zip(*runs, strict=True)]


def cap_of(runs: Sequence[Sizes]) -> float:
    """The largest size in the envelope of the runs.

    Example:
        >>> cap_of([[1.0, None, 5.0], [2.0, None, 3.0]])
        3.0
    """
    return max((size for size in _envelope(runs) if size is not None), default=0.0)


def page(results: dict[str, Any]) -> str:
    """The whole page, in Markdown."""
    counts = {victim: _count(norms) for victim, norms in results["runs"].items()}
    parts = [_HEAD, _images(counts, results.get("libraries", {}))]
    for norm in ("linf", "l2", "l1", "l0"):
        tables = {
            victim: {name: _first(counts[victim], run) for name, run in runs[norm].items()}
            for victim, runs in results["runs"].items()
            if runs.get(norm)
        }
        if tables:
            parts.append(_table(norm, tables))
    return "\n".join(parts)


def _count(norms: Mapping[str, Mapping[str, Any]]) -> int:
    """Number of images of a model that all attacks have been run on, in every norm."""
    return min(len(run["sizes"]) for runs in norms.values() for run in runs.values() if "sizes" in run)


def _first(count: int, run: dict[str, Any]) -> dict[str, Any]:
    """A run, restricted to its first images."""
    return run | {"sizes": run["sizes"][:count]} if "sizes" in run else run


def _images(counts: Mapping[str, int], versions: Mapping[str, str]) -> str:
    libraries = ", ".join(f"{name} {number}" for name, number in versions.items())
    return f"Images: {', '.join(f'{count} on {name}' for name, count in counts.items())}. Libraries: {libraries}.\n"


def _table(norm: str, tables: dict[str, dict[str, Any]]) -> str:
    """Table of a norm: the attacks from the best to the worst on average, and their costs."""
    sizes = {victim: _sizes(runs) for victim, runs in tables.items()}
    marks = {victim: optimality(found) for victim, found in sizes.items()}
    everybody = {name for runs in tables.values() for name in runs}
    whole = {name for name in everybody if all(name in runs for runs in tables.values())}
    names = sorted(everybody, key=lambda name: (name not in whole, -_mean(marks, name)))
    lines = [
        f"## {norm[0].upper()}{norm[1:]}\n",
        f"| Attack | Mean | {' | '.join(marks)} | Forwards | Backwards |",
        f"|---|--:|{'--:|' * len(marks)}--:|--:|",
    ]
    for name in names:
        runs = [runs[name] for runs in tables.values() if "sizes" in runs.get(name, {})]
        cells = [
            f"{values[name]:.3f}" if name in values else "failed" if name in tables[victim] else "-"
            for victim, values in marks.items()
        ]
        shown = f"**{name}**" if name.startswith("advbench") else name
        costs = [f"{fmean(run[key] for run in runs):.0f}" for key in ("forwards", "backwards")] if runs else ["", ""]
        mean = f"{_mean(marks, name):.3f}" if name in whole else "-"
        lines.append(f"| {shown} | {mean} | {' | '.join(cells)} | {' | '.join(costs)} |")
    caps = ", ".join(f"{cap_of(list(found.values())):.4g} on {victim}" for victim, found in sizes.items())
    return "\n".join(lines) + f"\n\nCap: {caps}.\n"


def _mean(marks: Mapping[str, Mapping[str, float]], name: str) -> float:
    """Mean over the models, to which a failed run contributes 0."""
    return fmean(values.get(name, 0.0) for values in marks.values())


def _sizes(runs: dict[str, Any]) -> dict[str, Sizes]:
    """Sizes of the runs that did not fail."""
    return {name: run["sizes"] for name, run in runs.items() if "sizes" in run}
