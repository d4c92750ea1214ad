"""Cost of an attack's step beyond the passes through a small network: `python -m tests.peers.steps`.

An attack is run once to record the images that it passes to the model. Then the attack, and bare forward and backward
passes on exactly the same images, take turns in one process on one thread.
"""

import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

from tests.peers.machine import processor
from tests.peers.report import Report, add_shared, parser_for, say

NETWORKS = ("mnist_convnet", "lenet")
ROUNDS = {1: 61, 8: 21, 128: 7}
"""Images in the batch -> number of turns of each."""
STEPS = 40
EPS = 1e-6
"""Budget so small that no image is fooled and all are attacked to the end."""

_HEAD = """# The cost of a step beyond its passes

Made by `python -m tests.peers.steps`; the numbers are in `steps.json`.

Attacks of {steps} steps in Linf on MNIST test images; PGD and APGD have an eps of {eps:g}, so that every image is
attacked to the end. **Bare** is the plain loop without a step: forward pass, cross-entropy, and gradient with respect
to the images, on exactly the images that the attack passed to the model. **Ratio** is the time of the attack, including
its checks and its passes over the clean images and the last candidates, divided by that of the bare loop: the median
over consecutive turns, in one process on one thread. **Adds** is the difference per step. All times are processor time.
Measured on {processor}.

| Network | Images | Attack | Bare, ms per step | Adds, ms | Ratio |
|---|--:|---|--:|--:|--:|
"""


def main() -> None:
    parser = parser_for("steps", __doc__)
    parser.add_argument("--networks", nargs="+", metavar="NETWORK", default=NETWORKS, help="MNIST networks of the zoo")
    parser.add_argument("--batches", nargs="+", type=int, metavar="N", choices=ROUNDS, default=list(ROUNDS))
    add_shared(parser, "--page", "--out")
    options = parser.parse_args()
    report = Report(options.out, "steps", _page)
    if options.page:
        report.rewrite_page()
        return
    rows = report.stored().get("rows", {})
    for network in options.networks:
        for images in options.batches:
            for attack, row in _measure(network, images).items():
                rows[f"{network}, {images}, {attack}"] = row
                say(_line(row))
    report.save({"processor": processor(), "rows": rows})


def _measure(network: str, images: int) -> dict[str, dict[str, Any]]:
    """Cost of each attack on this network, in a batch of this many images."""
    import torch

    from advbench import load_model
    from advbench.datasets.embedded import embedded_batch
    from attacks import APGD, FMN, PGD, Untargeted

    torch.set_num_threads(1)
    model, x = load_model(network), embedded_batch("mnist", images).x
    goal = Untargeted(model(x).argmax(1))
    calls: dict[str, Callable[[Any], Any]] = {
        "pgd": lambda model: PGD(steps=STEPS)(model, x, goal, eps=EPS),
        "apgd": lambda model: APGD(steps=STEPS)(model, x, goal, eps=EPS),
        "fmn": lambda model: FMN(steps=STEPS)(model, x, goal),
    }
    rows = {}
    for name, call in calls.items():
        seen: list[torch.Tensor] = []
        call(_remembering(model, seen))
        bare, ratio = _compared(partial(call, model), partial(_bare, model, seen, goal.labels), ROUNDS[images])
        rows[name] = {"network": network, "images": images, "attack": name, "bare": bare / STEPS, "ratio": ratio}
    return rows


def _compared(call: Callable[[], object], bare: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Seconds of the bare loop, and the attack's time relative to it: medians over turns."""
    turns = [(_seconds(call), _seconds(bare)) for _ in range(rounds)]
    return median(without for _, without in turns), median(with_ / without for with_, without in turns)


def _remembering(model: Any, seen: list[Any]) -> Callable[[Any], Any]:
    """The model, recording its inputs whenever a gradient is needed."""

    def asked(x: Any) -> Any:
        if x.requires_grad:
            seen.append(x.detach().clone())
        return model(x)

    return asked


def _bare(model: Any, batches: list[Any], labels: Any) -> None:
    """Run the passes and nothing else."""
    import torch

    for x in batches:
        x.requires_grad_()
        loss = torch.nn.functional.cross_entropy(model(x), labels, reduction="sum")
        torch.autograd.grad(loss, x)


def _seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def _page(found: dict[str, Any]) -> str:
    head = _HEAD.format(steps=STEPS, eps=EPS, processor=found["processor"])
    return head + "".join(map(_line, found["rows"].values()))


def _line(row: dict[str, Any]) -> str:
    bare, ratio = row["bare"] * 1e3, row["ratio"]
    begins = f"| {row['network']} | {row['images']} | {row['attack']}"
    return f"{begins} | {bare:.2f} | {(ratio - 1) * bare:.2f} | {ratio:.2f} |\n"


if __name__ == "__main__":
    main()
