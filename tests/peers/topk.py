"""`topk` compared with everything that can be adapted to top-k exclusion: `python -m tests.peers.topk`.

Each attack gets the same images and the same number of gradients. Stored measurements are kept unless `--again`
repeats them. The networks are in the folder `shared` next to the repository.
"""

import argparse
import itertools
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from advbench.models import load_model
from advbench.models.classifier import Classifier
from attacks import (
    CW,
    DDN,
    FMN,
    NORMS,
    PGD,
    Attack,
    AttackError,
    Norm,
    OrderedTopK,
    TopK,
    TopKExclusion,
    binary_search_eps,
    foolbox,
)
from attacks.goals import Goal, met
from attacks.objectives.ranking import outside
from attacks.objectives.rivals import Overtake
from attacks.protocols import Model
from attacks.queries.gradients import forward
from attacks.searches.nearest import Nearest
from tests.peers.counted import Counted
from tests.peers.ordered import LOSSES, constants, penalised, random_order
from tests.peers.photographs import cut_for, photographs, shared_classifier
from tests.peers.report import REPORTS, Report, add_shared, parser_for, say
from tests.peers.topk_page import page
from tests.peers.victims import cifar10

REPORT = REPORTS / "topk"
_ROUNDS = 10  # rounds of a bisection
_SEEDS = 5  # random orders per image
_LIMIT = "TopK, every set"


class Net(NamedTuple):
    """A network and its settings."""

    load: Callable[[int], tuple[Classifier, Tensor]]
    """Number of images -> the model and images that it classifies with some confidence."""
    k: int
    """Value of k in the table."""
    ks: tuple[int, ...]
    """Values of k in the curve."""
    gradients: tuple[int, ...]
    """Numbers of gradients for each image."""
    images: int
    """Default number of images."""
    limit: int = 0
    """Gradients for all sets of rising classes together; 0 where there are too many sets."""


def _cifar(name: str) -> Callable[[int], tuple[Classifier, Tensor]]:
    def load(images: int) -> tuple[Classifier, Tensor]:
        target = cifar10(name, 2 * images)()
        right = (target.model(target.x).argmax(1) == target.y).nonzero().squeeze(1)[:images]
        return target.model, target.x[right]

    return load


def _photographs(load: Callable[[], Classifier]) -> Callable[[int], tuple[Classifier, Tensor]]:
    def made(images: int) -> tuple[Classifier, Tensor]:
        model, pictures = load(), photographs()
        return model, cut_for(model, pictures[:: len(pictures) // images][:images])

    return made


_squeezenet = partial(shared_classifier, "imagenet-squeezenet1_0-deepcompression", 227, 256)
_lite0 = partial(load_model, "efficientnet_lite0")
_CIFAR_GRADIENTS = (100, 300, 1000)
NETS = {
    "cifar10-cnn-a-adv": Net(_cifar("cifar10-cnn-a-adv"), 3, (1, 2, 3, 4, 5), _CIFAR_GRADIENTS, 32, 10_500),
    "cifar10-resnet2b-adv2": Net(_cifar("cifar10-resnet2b-adv2"), 3, (1, 2, 3, 4, 5), _CIFAR_GRADIENTS, 32, 10_500),
    "cifar10-resnet20": Net(_cifar("cifar10-resnet20"), 3, (1, 2, 3, 4, 5), _CIFAR_GRADIENTS, 16, 10_500),
    "imagenet-squeezenet1_0": Net(_photographs(_squeezenet), 7, (1, 3, 5, 7, 10, 20), (100, 300), 16),
    "efficientnet_lite0": Net(_photographs(_lite0), 7, (1, 3, 5, 7, 10, 20), (100, 300), 16),
}
"""Name -> network."""


def _of_library(make: Callable[[Norm, int], Attack]) -> Callable[..., Tensor]:
    return lambda model, x, goal, norm, gradients: make(norm, gradients)(model, x, goal)


def _penalised(model: Model, x: Tensor, goal: OrderedTopK, norm: Norm, gradients: int, *, loss: str) -> Tensor:
    return penalised(model, x, goal, goal, loss, gradients)


def _ordered(loss: str) -> Callable[..., Tensor]:
    def call(model: Counted, x: Tensor, goal: TopKExclusion, norm: Norm, gradients: int) -> Tensor:
        return penalised(model, x, goal, random_order(goal, model.num_classes, seed=0), loss, gradients)

    return call


def _every_set(model: Counted, x: Tensor, goal: TopKExclusion, norm: Norm, gradients: int) -> Tensor:
    """The nearest result over all sets of classes that can rise; the gradients are divided among the sets."""
    old, k = goal.classes, goal.classes.shape[1]
    others = outside(forward(model, x, goal), old).topk(model.num_classes - k, dim=1).indices
    sets = list(itertools.combinations(range(others.shape[1]), k))
    best, attack = Nearest(x, norm), TopK(norm=norm, steps=gradients // len(sets))
    for places in sets:
        x_adv = attack(model, x, Overtake(old=old, new=others[:, places], ids=goal.ids))
        best.offer(x_adv, met(goal, forward(model, x_adv, goal)))
    return best.x_adv


ATTACKS: dict[str, tuple[tuple[str, ...], Callable[..., Tensor]]] = {
    "TopK": (("linf", "l2"), _of_library(lambda norm, gradients: TopK(norm=norm, steps=gradients))),
    "FMN, margin": (("linf", "l2"), _of_library(lambda norm, gradients: FMN(norm=norm, steps=gradients))),
    "DDN, margin": (("l2",), _of_library(lambda norm, gradients: DDN(steps=gradients))),
    "PGD, margin, eps bisected": (
        ("linf", "l2"),
        _of_library(
            lambda norm, gradients: binary_search_eps(
                PGD(norm=norm, steps=gradients // _ROUNDS, relative_step=2.5 * _ROUNDS / gradients), _ROUNDS
            )
        ),
    ),
    "CW, margin": (
        ("l2",),
        _of_library(
            lambda norm, gradients: CW(
                steps=gradients // constants(gradients), constants=constants(gradients), first_constant=1.0
            )
        ),
    ),
    **{f"{loss}, random order": (("l2",), _ordered(loss)) for loss in LOSSES},
    "Foolbox Boundary": (("l2",), _of_library(lambda norm, gradients: foolbox.get("boundary", steps=2 * gradients))),
    "Foolbox HopSkipJump": (
        ("linf", "l2"),
        _of_library(
            lambda norm, gradients: foolbox.get(
                "hop-skip-jump", norm=norm, steps=max(1, gradients // 60), initial_gradient_eval_steps=50
            )
        ),
    ),
}
"""Name -> norms, and a call `(model, x, goal, norm, gradients) -> x_adv`."""

ORDERED: dict[str, Callable[..., Tensor]] = {
    **{name: ATTACKS[name][1] for name in ("TopK", "FMN, margin", "DDN, margin")},
    **{name: partial(_penalised, loss=name) for name in LOSSES},
}
"""Name -> the same call, for goals that set an order."""


def main() -> None:
    parser = parser_for("topk", __doc__)
    parser.add_argument("--only", nargs="+", choices=NETS, default=list(NETS), metavar="NET", help="networks to run")
    parser.add_argument("--attacks", nargs="+", choices=ATTACKS, default=list(ATTACKS), metavar="NAME")
    parser.add_argument("--gradients", nargs="+", type=int, metavar="N", help="default: those of each network")
    parser.add_argument("--images", type=int, help="default: those of each network")
    parser.add_argument("--curve", action="store_true", help="also the smallest norms for each k")
    parser.add_argument("--limit", action="store_true", help="also the best over all sets of rising classes")
    parser.add_argument("--ordered", action="store_true", help="also five random orders of five classes")
    add_shared(parser, "--again", "--page", "--out", out=REPORT)
    options = parser.parse_args()
    report = Report(options.out, "results", partial(page, folder=options.out), page_name="README")
    if options.page:
        report.rewrite_page()
        return
    torch.set_num_threads(1)
    results = {} if options.again else report.stored()
    for name in options.only:
        net = NETS[name]
        model, x = net.load(options.images or net.images)
        for rest, measure in _jobs(net, options):
            key = f"{name} · {rest}"
            if key in results and results[key]["images"] == len(x):
                continue
            results[key] = {"net": name, "attack": key.rsplit(" · ")[-1], **measure(model, x)}
            say(key)
            report.save(results)


_Job = tuple[str, Callable[..., dict[str, Any]]]
"""Key and measurement."""


def _jobs(net: Net, options: argparse.Namespace) -> Iterator[_Job]:
    """The measurements of a network."""
    for gradients in options.gradients or net.gradients:
        for name in options.attacks:
            yield from (_job(name, norm, net.k, gradients) for norm in ATTACKS[name][0])
    if options.limit and net.limit:
        yield from (_job(_LIMIT, norm, net.k, net.limit) for norm in ("linf", "l2"))
    for k in net.ks if options.curve else ():
        for norm in ("linf", "l2"):
            yield from (_job(name, norm, k, 300) for name in ("TopK", "FMN, margin"))
    for gradients in (options.gradients or net.gradients) if options.ordered else ():
        for name, call in ORDERED.items():
            yield f"ordered · {gradients} · {name}", partial(_orders, call=call, gradients=gradients)


def _job(name: str, norm: str, k: int, gradients: int) -> _Job:
    attack = _every_set if name == _LIMIT else ATTACKS[name][1]
    call = partial(_exclusion, call=attack, norm=NORMS[norm](), k=k, gradients=gradients)
    return f"{norm} · k = {k} · {gradients} · {name}", call


def _exclusion(
    model: Classifier, x: Tensor, *, call: Callable[..., Tensor], norm: Norm, k: int, gradients: int
) -> dict[str, Any]:
    with torch.no_grad():
        goal = TopKExclusion.from_logits(model(x), k)
    return {"k": k, "gradients": gradients, **_measured(model, x, goal, norm, call, gradients)}


def _orders(model: Classifier, x: Tensor, *, call: Callable[..., Tensor], gradients: int) -> dict[str, Any]:
    """Random classes outside the top k, in random order, for several seeds."""
    k = min(5, model.num_classes // 2)
    with torch.no_grad():
        old = TopKExclusion.from_logits(model(x), k)
    goals = [random_order(old, model.num_classes, seed) for seed in range(_SEEDS)]
    found = [_measured(model, x, goal, NORMS["l2"](), call, gradients) for goal in goals]
    return {"k": k, "gradients": gradients, "images": len(x), "seeds": found}


def _measured(
    model: Classifier, x: Tensor, goal: Goal, norm: Norm, call: Callable[..., Tensor], gradients: int
) -> dict[str, Any]:
    """Sizes image by image, None where the goal is not met, and the cost."""
    counted, start = Counted(model), time.process_time()
    try:
        x_adv = call(counted, x, goal, norm, gradients)
    except AttackError as error:  # it failed on some of the images
        x_adv = error.x_adv
    seconds = time.process_time() - start
    with torch.no_grad():
        met = goal.margin(model(x_adv)) < 0
    sizes = torch.where(met, norm.measure(x_adv - x), torch.inf)
    middle = sizes.median().item()
    return {
        "norm": norm.name,
        "images": len(x),
        "met": int(met.sum()),
        "median": middle if middle < float("inf") else None,
        "sizes": [size if size < float("inf") else None for size in sizes.tolist()],
        "forwards": counted.forwards / len(x),
        "backwards": counted.backwards / len(x),
        "seconds": seconds,
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    main()
