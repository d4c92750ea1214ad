"""Attacks within an L0 budget and their originals, at equal numbers of passes: `python -m tests.peers.sparse`.

The networks and images are in the folder `shared` next to the repository. The originals are the authors' own files, in
a folder of yours: `spgd.py` from CityU-MLO/sPGD, `rs_attacks.py` and `utils.py` from fra31/sparse-rs. Without
`--authors` they are skipped. Results are saved as they come, so the command can be interrupted.
"""

import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.peers.report import Report, add_shared, parser_for

CASES = {"cifar10-cnn-a-adv": (7, 100), "mnist-cnn-a-adv": (5, 100), "cifar10-resnet20": (3, 100)}
"""Network -> number of values that may change, such that about half of the images survive, and number of images."""
PASSES = 1000
"""Forward plus backward passes on an image that is not fooled."""
NAMES = ("standard", "standard-capped", "spgd", "spgd-projected", "sparse_rs")
"""Attacks of this project."""
ORIGINALS = ("original-spgd", "original-spgd-projected", "original-sparse-rs")
"""The authors' own implementations."""

_HEAD = """# Attacks within an L0 budget

Made by `python -m tests.peers.sparse --authors FOLDER`; the numbers are in `sparse.json`.

Each attack gets those of the first test images that the network classifies correctly, in one batch on one thread.
**k** is the number of values that may change; a colour pixel counts as three. **Robust** is the share of images that a
fresh forward pass of the model still classifies correctly; candidates that exceed k or leave [0, 1] do not count as
fooled. **Passes**, forward and backward, are averaged over the images; on an image that is not fooled, every attack but
`standard` stops at {passes:,}, `standard-capped` by means of `attacks.capped`. **Seconds** are processor time on a
machine with other work, and rows were measured on different days, so they are only rough.

The originals are the authors' own code with their defaults. They count pixels, so every image is passed to them with a
single channel, and their pixels are our values. The settings of `standard` were chosen on test images 100 to 163 of the
first two networks. Slow networks get fewer images (`--images`).

| Network | k | Images | Attack | Robust | Passes | Seconds |
|---|--:|--:|---|--:|--:|--:|
"""


class Counted:
    """A model that counts passes, and gives images the shape that the network expects.

    Args:
        model: Network that is called.
        shape: Shape of its images, without N.
    """

    training = False

    def __init__(self, model: Any, shape: tuple[int, ...]) -> None:
        self.model, self.shape, self.passes = model, shape, 0

    def __call__(self, x: Any) -> Any:
        """Images (N, ...) -> logits (N, C)."""
        logits = self.model(x.reshape(len(x), *self.shape))
        self.passes += len(x)
        if logits.requires_grad:
            logits.register_hook(self._count)
        return logits

    def eval(self) -> "Counted":
        """Do nothing; the authors' code calls it."""
        return self

    def _count(self, gradient: Any) -> None:
        self.passes += len(gradient)


def main() -> None:
    parser = parser_for("sparse", __doc__)
    parser.add_argument("--networks", nargs="+", metavar="NAME", choices=CASES, default=list(CASES))
    parser.add_argument("--attacks", nargs="+", metavar="NAME", choices=(*NAMES, *ORIGINALS), help="default: all")
    parser.add_argument(
        "--images", type=int, metavar="N", help="only the first N images, for a quick look or a busy machine"
    )
    parser.add_argument("--authors", type=Path, metavar="FOLDER", help="folder with the authors' files")
    add_shared(parser, "--again", "--page", "--out")
    options = parser.parse_args()
    report = Report(options.out, "sparse", _page)
    if options.page:
        report.rewrite_page()
        return
    if options.authors:
        _find_authors(options.authors)
    rows = report.stored()
    for network in options.networks:
        for attack in options.attacks or (NAMES + ORIGINALS if options.authors else NAMES):
            name = f"{network}, {attack}"
            if name not in rows or options.again:
                rows[name] = _measure(network, attack, options.images)
                print(_line(rows[name]), file=sys.stderr, end="", flush=True)
            report.save(rows)


def _find_authors(folder: Path) -> None:
    """Make the authors' files importable, with a stand-in for scikit-image, which they import but never use."""
    sys.path.insert(0, str(folder))
    unused = types.ModuleType("skimage.util")
    unused.random_noise = None  # type: ignore[attr-defined]
    sys.modules |= {"skimage": types.ModuleType("skimage"), "skimage.util": unused}


def _measure(network: str, attack: str, images: int | None) -> dict[str, Any]:
    """The images that survive an attack, and its cost."""
    import torch

    from tests.peers.victims import cifar10, mnist

    torch.set_num_threads(1)
    k, count = CASES[network]
    found = (cifar10 if network.startswith("cifar10") else mnist)(network, min(count, images or count))()
    right = found.model(found.x).argmax(1) == found.y
    x, y = found.x[right], found.y[right]
    model = Counted(found.model, tuple(x.shape[1:]))
    start = time.process_time()
    x_adv = _call(attack)(model, x, y, k).detach().to(x)
    seconds = time.process_time() - start
    valid = ((x_adv != x).flatten(1).sum(1) <= k) & (x_adv.flatten(1).amin(1) >= 0) & (x_adv.flatten(1).amax(1) <= 1)
    robust = ~valid | (found.model(x_adv).argmax(1) == y)
    row = {"network": network, "k": k, "images": len(x), "attack": attack, "seconds": seconds}
    return row | {"robust": robust.nonzero().squeeze(1).tolist(), "passes": model.passes / len(x)}


def _call(name: str) -> Callable[[Any, Any, Any, int], Any]:
    """The attack as a function of model, images, labels and k."""
    from attacks import L0, SPGD, SparseRS, Standard, Untargeted, capped

    own: dict[str, Any] = {
        "standard": Standard(norm=L0()),
        "standard-capped": capped(Standard(norm=L0()), PASSES),
        "spgd": SPGD(steps=PASSES // 2),
        "spgd-projected": SPGD(steps=PASSES // 2, projected=True),
        "sparse_rs": SparseRS(steps=PASSES),
    }
    if name in own:
        return lambda model, x, y, k: own[name](model, x, Untargeted(y), eps=k)
    if name == "original-sparse-rs":
        return _original_random_search
    return lambda model, x, y, k: _original_spgd(model, x, y, k, projected=name.endswith("projected"))


def _original_spgd(model: Counted, x: Any, y: Any, k: int, *, projected: bool) -> Any:
    import torch
    from spgd import SparsePGD

    torch.manual_seed(0)
    attack = SparsePGD(model, k=k, t=PASSES // 2, unprojected_gradient=not projected)
    return attack(x.reshape(len(x), 1, -1, x.shape[-1]).clone(), y.clone())[0].reshape(x.shape)


def _original_random_search(model: Counted, x: Any, y: Any, k: int) -> Any:
    from rs_attacks import RSAttack

    attack = RSAttack(model, norm="L0", eps=k, n_queries=PASSES, verbose=False, seed=0)
    return attack.perturb(x.reshape(len(x), 1, -1, x.shape[-1]).clone(), y.clone())[1].reshape(x.shape)


def _page(rows: dict[str, Any]) -> str:
    names = [f"{network}, {attack}" for network in CASES for attack in NAMES + ORIGINALS]
    lines = [_line(rows[name]) for name in names if name in rows]
    return _HEAD.format(passes=PASSES) + "".join(lines)


def _line(row: dict[str, Any]) -> str:
    share = f"{len(row['robust']) / row['images']:.1%}"
    begins = f"| {row['network']} | {row['k']} | {row['images']} | `{row['attack']}` | {share}"
    return f"{begins} | {row['passes']:,.0f} | {row['seconds']:.1f} |\n"


if __name__ == "__main__":
    main()
