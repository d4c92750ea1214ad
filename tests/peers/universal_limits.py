"""What limits universal perturbations: fits that each change one thing: `python -m tests.peers.universal_limits`.

Networks and images are not those of `reports/universal/README.md`, except for MNIST. Stored measurements are kept
unless `--only` or `--again` repeats them.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor

from advbench.models.classifier import Classifier
from attacks import Goal, Perturbation, Targeted, UniversalPerturbation, fast
from attacks.losses import Loss, margin
from attacks.objectives.standing import unlike
from attacks.universal import universal
from attacks.universal.universal import FitState, _likelihood
from tests.peers.photographs import shared_classifier
from tests.peers.report import Report, add_shared, parser_for, say
from tests.peers.universal import REPORT, divided_photographs
from tests.peers.universal_limits_page import page
from tests.peers.universal_methods import Shuffled
from tests.peers.victims import Target, cifar10_training, mnist

MARGIN = {"_likelihood": margin}
"""Replacement of the clipped likelihood by the margin."""
SHORT = {"CERTAIN": 2.5}
"""Clipping of the likelihood at fewer nats."""
SATURATING = {"_likelihood": lambda logits, goal: (margin(logits, goal) / 5).sigmoid()}
"""Replacement of the clipped likelihood by a smooth form of whether an image is fooled."""
FROM_THE_START = universal._NOTHING._replace(weakness=1.0)


class Net(NamedTuple):
    """A network with images to fit to and others."""

    load: Callable[[int], tuple[Classifier, Tensor, Tensor]]
    """Number of a split -> the model, the images to fit to, the others."""
    eps: float
    """Budget in Linf."""


class Fit(NamedTuple):
    """One way to fit, and the number of fits."""

    net: str
    fits: int = 1
    """Number of fits, with seeds from 0 on; on photographs, each on a different split."""
    images: int = 500
    steps: int = 400
    batch: int = 16
    params: Mapping[str, Any] = {}
    """Parameters of the attack."""
    internals: Mapping[str, Any] = {}
    """Names in the attack's module that are replaced for this fit."""
    start: FitState | None = None


def _parts(load: Callable[[], Target], first: int, split: int) -> tuple[Classifier, Tensor, Tensor]:
    """The model, the images to fit to and 1,000 others, starting at image `first`."""
    target = load()
    x = target.x[first:]
    return target.model, torch.cat([x[:500], x[1500:]]), x[500:1500]


def _photographs(split: int) -> tuple[Classifier, Tensor, Tensor]:
    model, x = divided_photographs(shared_classifier("imagenet-mobilenet_v1-0.75-192", 192, 219), split)
    return model, x[:400], x[400:]


CIFAR10, PHOTOGRAPHS, DIGITS = "cifar10-resnet20", "imagenet-mobilenet_v1-0.75-192", "mnist-lenet5-clean"
NETS = {
    CIFAR10: Net(partial(_parts, cifar10_training(CIFAR10, 4000), 1500), 8 / 255),
    PHOTOGRAPHS: Net(_photographs, 10 / 255),
    DIGITS: Net(partial(_parts, mnist(DIGITS, 3000), 1000), 0.2),
}
WHOLE, WEAK = {"still_fooled": 1.0}, {"still_fooled": 1e-6}


def _toward(target: int, logits: Tensor, *, ids: Tensor) -> Targeted:
    return Targeted(torch.full((len(logits),), target), ids=ids)


def _toward_two(first: int, second: int, logits: Tensor, *, ids: Tensor) -> Targeted:
    """All images toward the first class, and its own toward the second."""
    return Targeted(torch.where(logits.argmax(1) == first, second, first), ids=ids)


def _weighed(classes: tuple[int, ...], logits: Tensor, goal: Goal) -> Tensor:
    """The likelihood, six times for images whose class to push out, or wanted class, is one of these."""
    aimed = goal.order if goal.exclusion is None else goal.exclusion.classes
    weights = 1 + 5 * torch.isin(aimed[:, 0], torch.tensor(classes))
    return weights * _likelihood(logits, goal)


def _open_ones(clean: Tensor) -> Loss:
    """The cosine, weighed by how far an image is from being fooled."""
    cosine = unlike(clean)
    return lambda logits, goal: cosine(logits, goal) * (0.1 + (margin(logits, goal).detach() / 2).sigmoid())


FITS = {
    "default": Fit(CIFAR10, fits=2),
    "1,500 images": Fit(CIFAR10, fits=2, images=1500),
    "the margin as loss": Fit(CIFAR10, fits=2, internals=MARGIN),
    "the likelihood clipped at 2.5 nats": Fit(CIFAR10, fits=2, internals=SHORT),
    "images neither enlarged nor mirrored": Fit(CIFAR10, fits=2, params={"zoom": 1.0}),
    **{f"toward class {k}": Fit(CIFAR10, params={"goal": partial(_toward, k)}) for k in range(10)},
    "toward class 3, its own toward class 2": Fit(CIFAR10, fits=2, params={"goal": partial(_toward_two, 3, 2)}),
    "the same, its own with six times the weight": Fit(
        CIFAR10, fits=2, params={"goal": partial(_toward_two, 3, 2)}, internals={"_likelihood": partial(_weighed, (2,))}
    ),
    "classes 2 and 3 with six times the weight": Fit(
        CIFAR10, fits=2, internals={"_likelihood": partial(_weighed, (2, 3))}
    ),
    "the margin in a sigmoid as loss": Fit(CIFAR10, fits=2, internals=SATURATING),
    "images enlarged by at most 1.1": Fit(CIFAR10, fits=2, params={"zoom": 1.1}),
    "800 steps of 8": Fit(CIFAR10, fits=2, steps=800, batch=8),
    "600 steps of 32": Fit(CIFAR10, fits=2, steps=600, batch=32),
    "1,000 steps of 32": Fit(CIFAR10, steps=1000, batch=32),
    "2,500 steps of 64": Fit(CIFAR10, steps=2500, batch=64),
    "default, photographs": Fit(PHOTOGRAPHS, fits=3, images=400),
    "every view whole, photographs": Fit(PHOTOGRAPHS, fits=3, images=400, params=WHOLE),
    "images not fooled yet weighed more, photographs": Fit(
        PHOTOGRAPHS, fits=3, images=400, internals={"unlike": _open_ones}
    ),
    "default, digits": Fit(DIGITS, fits=2),
    "all views weakened from the start, digits": Fit(DIGITS, fits=2, params=WEAK, start=FROM_THE_START),
}
"""Name -> fit."""


def main() -> None:
    parser = parser_for("universal_limits", __doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=FITS, help="fits to repeat")
    add_shared(parser, "--again", "--page", "--out", out=REPORT)
    options = parser.parse_args()
    report = Report(options.out, "limits", _page)
    if options.page:
        report.rewrite_page()
        return
    torch.set_num_threads(1)
    found = report.stored()
    for name in options.only or FITS:
        if name in found and not (options.again or options.only):
            continue
        found[name] = list(_measured(FITS[name]))
        say(f"{name}: {found[name]}")
        report.save(found)


def _page(found: Mapping[str, Any]) -> str:
    return page({name: found[name] for name in FITS if name in found})


def _measured(fit: Fit) -> Iterator[dict[str, Any]]:
    """A row for each fit."""
    net = NETS[fit.net]
    for number in range(fit.fits):
        model, x, others = net.load(number)
        attack = UniversalPerturbation(**{"eps": net.eps, "steps": fit.steps, **fit.params})
        loader, seconds = Shuffled(x[: fit.images], fit.batch), time.process_time()
        with patch.dict(vars(universal), fit.internals):
            found = attack.fit(fast(model, x[:4]), loader, start=fit.start, seed=number).on_grid()
        seconds = time.process_time() - seconds
        row = {"net": fit.net, "eps": net.eps, "images": fit.images, "steps": fit.steps, "batch": fit.batch}
        of_fitted = _counts(model, x[: min(fit.images, 500)], found)
        yield row | {"seconds": round(seconds, 1), "fitted": of_fitted, "others": _counts(model, others, found)}


def _counts(model: Classifier, x: Tensor, found: Perturbation) -> dict[str, int]:
    """How many images are fooled, and what happens to those of the class that most images end in."""
    before, after = _labels(model, x), _labels(model, found.apply(x))
    favourite = int(after.bincount().argmax())
    were = before == favourite
    return {
        "images": len(x),
        "fooled": int((after != before).sum()),
        "favourite": favourite,
        "put into it": int((after == favourite).sum()),
        "of it already": int(were.sum()),
        "of these fooled": int((after[were] != favourite).sum()),
    }


def _labels(model: Classifier, x: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([model(part).argmax(1) for part in x.split(100)])


if __name__ == "__main__":
    main()
