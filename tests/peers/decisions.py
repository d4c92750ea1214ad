"""Decision-based attacks at equal numbers of queries: `python -m tests.peers.decisions`.

The networks and images are in the folder `shared` next to the repository. Results are saved as they come, so the
command can be interrupted; `--again` repeats them.
"""

import time
from typing import Any

from tests.peers.machine import processor, processors
from tests.peers.report import Report, add_shared, parser_for, say

NETWORKS = ("cifar10-cnn-a-adv", "cifar10-resnet20", "mnist-mlp-clean", "mnist-conv-small-clean")
"""Networks that were not used while developing the attack."""
QUERIES = (1000, 10_000)
IMAGES = 16

SECONDS = 20
"""Time limit of each proof, seconds."""

_HEAD = """# With decisions alone

Made by `python -m tests.peers.decisions`; the numbers are in `decisions.json`.

`adba` and `hop_skip_jump` only learn whether the class changed. Both attack the first {images} test images that the
network classifies correctly, in Linf, and both are stopped after the same number of queries per image, including those
for a starting point (`attacks.capped`). The table shows the median perturbation size over the images, measured
afterwards; **ratio** is that of `adba` divided by that of `hop_skip_jump`. The settings of `adba` were chosen on other
networks (`cifar10-cnn-a-mix`, `mnist-cnn-a-adv`). Times are processor seconds on one thread of {processor}.

`closest` uses gradients, and finds roughly the smallest perturbations that exist. If its median is not far below that
of `adba`, there is little left to find, and the last ratio, of `closest` to `hop_skip_jump`, is about the smallest that
any attack could reach. Where that ratio is above 1/2, **proved** counts the images for which `advbench.proofs` proves
that no perturbation of half the median of `hop_skip_jump` changes the class. If these are more than half of the images,
no attack can halve that median.

| Network | Queries | adba | hop_skip_jump | Ratio | adba, s | hop_skip_jump, s | closest | Its ratio | Proved |
|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|
"""


def main() -> None:
    parser = parser_for("decisions", __doc__)
    parser.add_argument("--networks", nargs="+", metavar="NAME", default=NETWORKS)
    parser.add_argument("--queries", nargs="+", type=int, metavar="N", default=QUERIES)
    add_shared(parser, "--again", "--page", "--out")
    options = parser.parse_args()
    report = Report(options.out, "decisions", _page)
    if options.page:
        report.rewrite_page()
        return
    results = report.stored()
    for queries in options.queries:
        for network in options.networks:
            name = f"{network}, {queries}"
            if name in results and not options.again:
                continue
            results[name] = {"network": network, "queries": queries, "processor": processor()} | _measure(
                network, queries
            )
            say(_line(results[name]))
            report.save(results)


def _measure(network: str, queries: int) -> dict[str, Any]:
    """The median perturbation size of each attack, and its time."""
    import torch

    from attacks import ADBA, Closest, HopSkipJump, Linf, Untargeted, capped
    from tests.peers.victims import cifar10, mnist

    torch.set_num_threads(1)
    found = (cifar10 if network.startswith("cifar10") else mnist)(network, 4 * IMAGES)()
    right = (found.model(found.x).argmax(1) == found.y).nonzero().squeeze(1)[:IMAGES]
    x, goal = found.x[right], Untargeted(found.y[right])
    row: dict[str, Any] = {}
    by_decisions = {"adba": ADBA(queries=queries), "hop_skip_jump": HopSkipJump(norm=Linf(), steps=500)}
    capped_ones = {name: capped(attack, queries) for name, attack in by_decisions.items()}
    for name, attack in (capped_ones | {"closest": Closest(norm=Linf())}).items():
        start = time.process_time()
        x_adv = attack(found.model, x, goal)
        seconds = time.process_time() - start
        fooled = goal.margin(found.model(x_adv)) < 0
        sizes = torch.where(fooled, Linf().measure(x_adv - x), torch.inf)
        row[name] = {"size": float(sizes.median()), "sizes": sizes.tolist(), "seconds": seconds}
    half = row["hop_skip_jump"]["size"] / 2
    if row["closest"]["size"] > half:
        row["proved"] = _proved(found.model, x, goal, half)
    return row


def _proved(model: Any, x: Any, goal: Any, eps: float) -> int:
    """Number of images for which it is proved that nothing within eps changes the class."""
    import torch

    from advbench.proofs import prove
    from attacks import Linf

    each = (torch.tensor([i]) for i in range(len(x)))
    return sum(
        int(prove(model, x[i], goal.select(i), norm=Linf(), eps=eps, seconds=SECONDS).proved.sum()) for i in each
    )


def _page(results: dict[str, Any]) -> str:
    return _HEAD.format(images=IMAGES, processor=processors(results.values())) + "".join(map(_line, results.values()))


def _line(row: dict[str, Any]) -> str:
    ours, other, least = row["adba"], row["hop_skip_jump"], row["closest"]
    return (
        f"| {row['network']} | {row['queries']:,} | {ours['size']:.4f} | {other['size']:.4f} "
        f"| {ours['size'] / other['size']:.2f} | {ours['seconds']:.1f} | {other['seconds']:.1f} "
        f"| {least['size']:.4f} | {least['size'] / other['size']:.2f} | {row.get('proved', '')} |\n"
    )


if __name__ == "__main__":
    main()
