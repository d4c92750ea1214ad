"""Patches compared with ART's AdversarialPatch on held-out photographs: `python -m tests.peers.patch --help`.

Networks and photographs are in the folder `shared` next to the repository. Both fit a square patch to the same
photographs, in one process with the same number of threads. The patch takes up at most 10 % of the image, is rotated by
at most 20 degrees, and scaled down to no less than 0.7 of its side. The same code then puts each patch into other
photographs, at the same places for all. Results are saved as they come; an interrupted command resumes where it
stopped.
"""

import argparse
import math
import platform
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from advbench.models import load_model
from advbench.models.classifier import Classifier
from attacks import Fast, FoolingCounts, Placing, Sticker, Targeted, UniversalPatch, fast, fooled
from attacks.universal.fooling import MakeGoal, untargeted
from tests.peers.patch_page import page
from tests.peers.photographs import cut_for, photographs, shared_classifier
from tests.peers.report import Report, add_shared, parser_for, say
from tests.peers.universal_methods import Shuffled
from tests.peers.victims import cifar10

PLACING = Placing(share=0.1, max_rotation=20, min_scale=0.7)
FITTED, HELD_OUT, BATCH = 64, 200, 16
"""Numbers of photographs that patches are fitted to, that they are measured on, and in each of ART's steps."""


def _target(classes: int) -> int:
    """ImageNet's class toaster, or the last class but one if there are fewer."""
    return 859 if classes == 1000 else classes - 2


def _targeted(logits: Tensor, ids: Tensor) -> Targeted:
    return Targeted(torch.full_like(ids, _target(logits.shape[1])), ids=ids)


GOALS: dict[str, MakeGoal] = {"targeted": _targeted, "untargeted": untargeted}
OURS = {4: (100, 200), 16: (25, 50, 100, 300)}
"""Photographs in each of our steps -> numbers of steps."""
THEIRS = (50, 100, 200, 500)
"""Numbers of ART's steps after which its patch is measured; 500 is its default."""
RATES = (0.02, 0.1)
"""ART's learning rates: its default, which is 5 for images from 0 to 255, and our first step."""


class Net(NamedTuple):
    """A network with photographs."""

    load: Callable[[], Classifier]
    rates: tuple[float, ...]
    """Learning rates of ART that are tried on it."""
    images: Callable[[Classifier], Tensor]
    """Gives its images: first those to fit to, then those held out."""


def _photographs(model: Classifier) -> Tensor:
    pictures = photographs()
    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(0)).tolist()
    return cut_for(model, [pictures[number] for number in order[: FITTED + HELD_OUT]])


_cifar10 = cifar10("cifar10-resnet20", FITTED + HELD_OUT)


NETS = {
    "cifar10-resnet20": Net(lambda: _cifar10().model, RATES, lambda model: _cifar10().x),
    "imagenet-mobilenet_v1-0.5-160": Net(
        lambda: shared_classifier("imagenet-mobilenet_v1-0.5-160", 160, 183), RATES, _photographs
    ),
    "efficientnet_lite0": Net(lambda: load_model("efficientnet_lite0"), RATES, _photographs),
}


def main() -> None:
    parser = parser_for("patch", __doc__)
    parser.add_argument("--only", nargs="+", metavar="NET", choices=NETS, help="networks to make patches for")
    parser.add_argument("--goals", nargs="+", metavar="GOAL", choices=GOALS, default=list(GOALS))
    parser.add_argument("--rounds", type=int, default=3, help="number of seeds, each used by both (default: 3)")
    parser.add_argument("--methods", nargs="+", choices=("noise", "ours", "ART"), default=("noise", "ours", "ART"))
    parser.add_argument("--rates", nargs="+", type=float, metavar="RATE", help="ART's learning rates")
    add_shared(parser, "--again", "--page", "--out")
    options = parser.parse_args()
    report = Report(options.out, "patch", page)
    if options.page:
        report.rewrite_page()
        return
    torch.set_num_threads(1)
    results = report.stored()
    for key, row in _rows(options, results):
        results[key] = row
        say(f"{key}: {row}")
        report.save(results)


def _rows(options: argparse.Namespace, known: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Measure and yield the rows that are not stored yet; the methods take turns in each round."""
    for name in options.only or NETS:
        model = NETS[name].load()
        x = NETS[name].images(model)
        start = time.process_time()
        quick = fast(model, x[:4])
        once = time.process_time() - start
        for goal in options.goals:
            for seed in range(options.rounds):
                for method in _methods(options.rates or NETS[name].rates):
                    key = f"{name} {goal} {method} {seed}"
                    left_out = method.partition(" ")[0] not in options.methods
                    if left_out or (key in known and not options.again):
                        continue
                    points = list(_measured(method, quick, x, GOALS[goal], seed))
                    if method.startswith("ours"):
                        points = [point | {"seconds": round(point["seconds"] + once, 2)} for point in points]
                    yield key, {"net": name, "goal": goal, "method": method, "seed": seed, "points": points} | _where()


def _methods(rates: Iterable[float]) -> list[str]:
    return ["noise", *(f"ours {views}" for views in OURS), *(f"ART {rate:g}" for rate in rates)]


def _measured(method: str, model: Fast, x: Tensor, goal: MakeGoal, seed: int) -> Iterator[dict[str, Any]]:
    """Success of a method after different numbers of steps, and the seconds that these took."""
    if method == "noise":
        side = PLACING.side(*x.shape[2:])
        values = torch.rand(3, side, side, generator=torch.Generator().manual_seed(seed))
        made = iter([(0, 0.0, Sticker(content=values, placing=PLACING))])
    elif method.startswith("ours"):
        made = _ours(model, x[:FITTED], goal, seed, int(method.removeprefix("ours ")))
    else:
        made = _art(model, x[:FITTED], goal, seed, float(method.removeprefix("ART ")))
    for steps, seconds, sticker in made:
        counts = _counts(model, x[FITTED:], sticker, goal)
        of = counts.images - counts.pointless
        yield {"steps": steps, "seconds": round(seconds, 2), "met": counts.met, "of": of}


def _counts(model: Fast, x: Tensor, sticker: Sticker, goal: MakeGoal) -> FoolingCounts:
    return fooled(model, x.split(50), partial(sticker.apply, seed=10**6), goal)


def _ours(model: Fast, x: Tensor, goal: MakeGoal, seed: int, views: int) -> Iterator[tuple[int, float, Sticker]]:
    """A separate fit for each number of steps, since the steps of a fit get shorter towards its end."""
    for steps in OURS[views]:
        start = time.process_time()
        attack = UniversalPatch(placing=PLACING, goal=goal, steps=steps, views=views)
        found = attack.fit(model, Shuffled(x, views), seed=seed)
        yield steps, time.process_time() - start, found


def _art(model: Fast, x: Tensor, goal: MakeGoal, seed: int, rate: float) -> Iterator[tuple[int, float, Sticker]]:
    """A single fit, measured after some of its steps."""
    from art.attacks.evasion.adversarial_patch.adversarial_patch_pytorch import AdversarialPatchPyTorch
    from art.estimators.classification import PyTorchClassifier

    # The network itself, as users of ART would pass it.
    network, size = model.wrapped, tuple(x.shape[1:])
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    victim = PyTorchClassifier(
        network, loss=torch.nn.CrossEntropyLoss(), input_shape=size, nb_classes=network.num_classes, clip_values=(0, 1)
    )
    np.random.seed(seed)  # noqa: NPY002 - ART draws from it
    torch.manual_seed(seed)
    side, largest = PLACING.side(*size[1:]), math.sqrt(PLACING.share)
    attack = AdversarialPatchPyTorch(
        victim,
        rotation_max=PLACING.max_rotation,
        scale_min=PLACING.min_scale * largest,
        scale_max=largest,
        learning_rate=rate,
        max_iter=1,
        batch_size=BATCH,
        patch_shape=(size[0], side, side),
        patch_type="square",
        targeted=goal is _targeted,
        verbose=False,
    )
    with torch.no_grad():
        logits = network(x)
    labels = torch.full((len(x),), _target(logits.shape[1])) if goal is _targeted else logits.argmax(1)
    images, done, seconds = x.numpy(), 0, 0.0
    for steps in THEIRS:
        attack.max_iter = math.ceil((steps - done) / (len(x) // BATCH))
        done += attack.max_iter * (len(x) // BATCH)
        start = time.process_time()
        values, _ = attack.generate(images, y=labels.numpy())
        seconds += time.process_time() - start
        yield done, seconds, Sticker(content=torch.from_numpy(values).float().clamp(0, 1), placing=PLACING)


def _where() -> dict[str, str]:
    return {"torch": torch.__version__, "machine": platform.processor() or platform.machine()}


if __name__ == "__main__":
    main()
