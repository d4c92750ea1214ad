"""How often attacks made on one network fool others, compared with torchattack's: `python -m tests.peers.transfer`.

Photographs and networks are in the folder `shared` next to the repository. Every network gets the same crops of 224 x
224 pixels, resized to its own input, and only photographs that all of them classify correctly count. Those with odd
numbers are reported; those with even numbers are for choosing parameters (`--tune`). Stored measurements are kept
unless `--again` repeats them.
"""

import argparse
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from advbench.datasets.images.files import read_picture
from advbench.evaluation.memory import keep_memory
from advbench.evaluation.meter import Meter
from advbench.models import load_model
from advbench.models.classifier import Classifier
from advbench.models.preprocess import ResizeAndCrop
from advbench.models.resized import resized
from attacks import BSR, DIFGSM, MEF, MIFGSM, SIA, TIFGSM, VMI, BudgetAttack, Model, Untargeted, ensemble, fast
from tests.peers.photographs import labels, photographs, shared_classifier
from tests.peers.report import Report, add_shared, parser_for, say
from tests.peers.transfer_page import page

SIDE, RESIZED_TO = 224, 256
"""Side of the crops, and of the photographs before they are cropped, pixels."""
COUNT = 40
"""Number of photographs that are attacked."""
BATCH = 8
"""Photographs in a batch: the number at which networks of this size take the least time per photograph."""

NETWORKS: dict[str, Callable[[], Classifier]] = {
    "efficientnet_lite0": lambda: load_model("efficientnet_lite0"),
    "efficientnet_lite1": lambda: load_model("efficientnet_lite1"),
    "efficientnet_lite2": lambda: load_model("efficientnet_lite2"),
    "mobilenet_v1-0.75": lambda: shared_classifier("imagenet-mobilenet_v1-0.75-192", 192, 219),
    "mobilenet_v1-0.5": lambda: shared_classifier("imagenet-mobilenet_v1-0.5-160", 160, 183),
    "squeezenet1_0": lambda: shared_classifier("imagenet-squeezenet1_0-deepcompression", 227, 256),
}
MADE_ON = {
    "efficientnet_lite0": ("efficientnet_lite0",),
    "mobilenet_v1-0.75": ("mobilenet_v1-0.75",),
    "mobilenet_v1-0.5": ("mobilenet_v1-0.5",),
    "both": ("efficientnet_lite0", "mobilenet_v1-0.75"),
}
"""Name of what attacks are made on -> the networks in it."""
SIZES = (8, 16)
"""Budgets in Linf, 1/255."""

OURS: dict[str, BudgetAttack] = {
    "MI": MIFGSM(relative_step=0.1),
    "DI": DIFGSM(),
    "TI": TIFGSM(),
    "BSR": BSR(),
    "SIA": SIA(),
    "MEF": MEF(),
    "VMI": VMI(),
    "BSR, 20 copies": BSR(copies=20),
}
THEIRS = {"MI": "MIFGSM", "DI": "DIFGSM", "TI": "TIFGSM", "VMI": "VMIFGSM", "BSR": "BSR"}
"""Attack -> its name in torchattack."""
PEER = "torchattack "
"""Prefix of the attacks of torchattack, which are run with that library's defaults."""


class Photographs(NamedTuple):
    """Photographs that all networks classify correctly."""

    x: Tensor
    """Crops (N, 3, 224, 224)."""
    y: Tensor
    """Labels of the photographs (N,)."""
    numbers: list[int]
    """Numbers of the photographs in their list (N,)."""


def main() -> None:
    parser = parser_for("transfer", __doc__)
    parser.add_argument("--made-on", nargs="+", choices=MADE_ON, default=list(MADE_ON))
    parser.add_argument("--attacks", nargs="+", metavar="NAME", help="default: those on the page")
    parser.add_argument("--sizes", nargs="+", type=int, metavar="N", default=list(SIZES), help="budgets in Linf, 1/255")
    add_shared(parser, "--again")
    parser.add_argument(
        "--tune", nargs="+", metavar="CALL", help="attacks to try on other photographs, such as 'DIFGSM(smallest=0.7)'"
    )
    parser.add_argument("--count", type=int, default=COUNT, help=f"number of photographs (default: {COUNT})")
    add_shared(parser, "--page")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default: 1)")
    add_shared(parser, "--out")
    options = parser.parse_args()
    report = Report(options.out, "transfer", page)
    if options.page:
        report.rewrite_page()
        return
    torch.set_num_threads(options.threads)
    keep_memory(torch.device("cpu"))
    nets = {name: load() for name, load in NETWORKS.items()}
    seen = {name: resized(net, net.sides(SIDE)) for name, net in nets.items()}
    chosen = _chosen(seen, report, options)
    if not options.tune:
        _keep(report, {}, chosen)
    for attack, made_on, size in _wanted(options):
        key = f"{made_on} {size}/255 {attack}"
        results = {} if options.tune else report.stored()
        if key in results.get("rows", {}) and not options.again:
            continue
        row = _measured(attack, made_on, size, nets, seen, chosen)
        say(f"{key}: mean success on the others {_mean(row):.3f}, {row['seconds']:.0f} s")
        if not options.tune:
            _keep(report, {key: row}, chosen)


def _wanted(options: argparse.Namespace) -> Iterable[tuple[str, str, int]]:
    """Attack, what it is made on, and budget, the cheapest first."""
    for size in options.sizes:
        for made_on in options.made_on:
            for attack in options.tune or options.attacks or _of_the_page(made_on, size):
                yield attack, made_on, size


def _of_the_page(made_on: str, size: int) -> list[str]:
    if made_on == "both":
        return ["MI", "BSR"]
    peers = [f"{PEER}{name}" for name in THEIRS] if size == SIZES[-1] else []
    twice = ["BSR, 20 copies"] if size == SIZES[0] else []
    return [*(name for name in OURS if name != "BSR, 20 copies"), *twice, *peers]


def _chosen(seen: Mapping[str, Model], report: Report, options: argparse.Namespace) -> Photographs:
    """The first photographs with odd numbers, or for tuning with even ones, that all networks classify correctly."""
    pictures, known, cut = photographs(), labels(), ResizeAndCrop(size=SIDE, resize=RESIZED_TO)
    before = [] if options.tune else report.stored().get("photographs", [])
    if len(before) == options.count:
        x = torch.stack([cut(read_picture(pictures[number])) for number in before])
        return Photographs(x, torch.tensor([known[number] for number in before]), before)
    numbers = list(range(0 if options.tune else 1, len(pictures), 2))
    found: list[int] = []
    kept: list[Tensor] = []
    for start in range(0, len(numbers), 20):
        some = numbers[start : start + 20]
        x, y = (
            torch.stack([cut(read_picture(pictures[number])) for number in some]),
            torch.tensor([known[n] for n in some]),
        )
        with torch.no_grad():
            right = torch.stack([net(x).argmax(1) == y for net in seen.values()]).all(0)
        found += [number for number, each in zip(some, right.tolist(), strict=True) if each]
        kept += list(x[right])
        if len(found) >= options.count:
            break
    found = found[: options.count]
    return Photographs(torch.stack(kept[: options.count]), torch.tensor([known[n] for n in found]), found)


def _measured(
    attack: str,
    made_on: str,
    size: int,
    nets: Mapping[str, Classifier],
    seen: Mapping[str, Model],
    chosen: Photographs,
) -> dict[str, Any]:
    """On which photographs an attack fools each network, and its cost."""
    eps, members = size / 255, MADE_ON[made_on]
    x_adv, cost = (_theirs if attack.startswith(PEER) else _ours)(attack, members, eps, nets, seen, chosen)
    within = bool((x_adv - chosen.x).abs().amax() <= eps + 1e-6 and x_adv.amin() >= 0 and x_adv.amax() <= 1)
    fooled = {}
    with torch.no_grad():
        for name, net in seen.items():
            classes = torch.cat([net(part).argmax(1) for part in x_adv.split(20)])
            fooled[name] = (classes != chosen.y).int().tolist()
    return {
        "made_on": list(members),
        "attack": attack,
        "size": size,
        "fooled": fooled,
        "within": within,
        **cost,
    }


def _ours(
    attack: str,
    members: tuple[str, ...],
    eps: float,
    nets: Mapping[str, Classifier],
    seen: Mapping[str, Model],
    chosen: Photographs,
) -> tuple[Tensor, dict[str, float]]:
    made = OURS.get(attack) or eval(attack, {kind.__name__: kind for kind in map(type, OURS.values())})
    quick = [resized(fast(nets[name], _example(nets[name], chosen.x)), nets[name].sides(SIDE)) for name in members]
    model = quick[0] if len(quick) == 1 else ensemble(quick)
    start, passes, found = time.process_time(), 0.0, []
    for rows in torch.arange(len(chosen.x)).split(BATCH):
        goal = Untargeted(chosen.y[rows], ids=torch.tensor(chosen.numbers)[rows])
        with Meter(model, goal.ids) as metered:
            found.append(made(metered, chosen.x[rows], goal, eps=eps))
        passes += float((metered.forwards + metered.backwards).sum())
    return torch.cat(found), {"seconds": time.process_time() - start, "passes": passes / len(chosen.x)}


def _example(net: Classifier, x: Tensor) -> Tensor:
    return torch.nn.functional.interpolate(x[:4], net.sides(SIDE), mode="bilinear", antialias=True).clamp(0, 1)


def _theirs(
    attack: str,
    members: tuple[str, ...],
    eps: float,
    nets: Mapping[str, Classifier],
    seen: Mapping[str, Model],
    chosen: Photographs,
) -> tuple[Tensor, dict[str, float]]:
    import torchattack

    class Shown(torch.nn.Module):
        """The network as a module, which torchattack requires."""

        def forward(self, x: Tensor) -> Tensor:
            return seen[members[0]](x)

    torch.manual_seed(0)
    kind = getattr(torchattack, THEIRS[attack.removeprefix(PEER)])
    found, start = [], time.process_time()
    for rows in torch.arange(len(chosen.x)).split(BATCH):
        made = kind(Shown().eval(), normalize=lambda x: x, device=torch.device("cpu"), eps=eps)
        found.append(made(chosen.x[rows], chosen.y[rows]).detach())
    return torch.cat(found), {"seconds": time.process_time() - start}


def _mean(row: Mapping[str, Any]) -> float:
    """Mean success on the networks that it was not made on."""
    others = [sum(fooled) / len(fooled) for name, fooled in row["fooled"].items() if name not in row["made_on"]]
    return sum(others) / len(others)


def _keep(report: Report, rows: dict[str, Any], chosen: Photographs) -> None:
    """Add rows to those stored by now, also by other processes, and write the page."""
    known = report.stored().get("rows", {})
    report.save({"photographs": chosen.numbers, "networks": list(NETWORKS), "rows": known | rows})


if __name__ == "__main__":
    main()
