"""How many images are proved, broken and open: `python -m tests.peers.proofs --help`.

The networks are in the folder `shared` next to the repository. `standard` attacks those of the first test images that a
network classifies correctly; a proof is then attempted for those that it does not fool.
"""

import io
import platform
import time
from typing import Any, NamedTuple

from tests.peers.report import Report, add_shared, parser_for


class Bar(NamedTuple):
    """A network and a budget, and the targets for them."""

    network: str
    norm: str
    eps: float
    open: int | None = None
    """Target: how many of the first 100 images may stay open; None: no target."""
    seconds: float | None = None
    """Target: processor seconds per image, averaged over those that are proved or stay open; None: no target."""
    images: int = 100
    """Most test images to take; fewer where each takes many seconds."""

    @property
    def name(self) -> str:
        return f"{self.network} {self.norm} {self.size}"

    @property
    def size(self) -> str:
        return f"{self.eps * 255:g}/255" if self.eps * 255 == round(self.eps * 255) else f"{self.eps:g}"


BARS = (
    Bar("mnist-kw-linf0.1", "linf", 0.1, 1, 0.3),
    Bar("mnist-conv-small-clean", "linf", 0.02, 1, 0.3),
    Bar("mnist-conv-small-clean", "linf", 0.05, 1, 0.3),
    Bar("mnist-mlp-clean", "linf", 0.01, 1, 0.3),
    Bar("mnist-cnn-a-adv", "linf", 0.1, 1, 0.3),
    Bar("cifar10-kw-linf8", "linf", 8 / 255, 1, 0.3),
    Bar("cifar10-resnet2b-adv2", "linf", 1 / 255, 3, 2.5),
    Bar("cifar10-kw-l2-36", "l2", 36 / 255, 3, 2.5),
    Bar("mnist-mlp-clean", "linf", 0.02, 8, 2.5),
    Bar("cifar10-cnn-a-adv", "linf", 2 / 255, 9, 2.5),
    Bar("cifar10-cnn-a-mix", "linf", 2 / 255, 12, 2.5),
    Bar("mnist-cnn-a-adv", "linf", 0.3, 15, 2.5),
    Bar("cifar10-resnet2b-adv2", "linf", 2 / 255, 20, 2.5),
)
ZOO = (
    Bar("zoo/mlp_mnist", "linf", 0.01),
    Bar("zoo/lenet", "linf", 0.01),
    Bar("zoo/mnist_convnet", "linf", 0.005, images=20),
    Bar("zoo/mnist_convnet_robust", "linf", 0.02, images=10),
    Bar("zoo/gray_mlp", "linf", 1 / 255),
)
"""Networks of the model zoo, without a target."""
IMAGES = 100

_HEAD = """# What no attack can do

Made by `python -m tests.peers.proofs` (`make truth`); the numbers are in `proofs.json`.

`standard` attacks those of the first test images (for CIFAR-10, JPEG copies) that are classified correctly.
**Fooled** are the images for which it, or the search for a proof, finds an adversarial image within eps; **proved** are
those for which `advbench.proofs` proves that there is none; **open** are the rest. Robust accuracy lies between proved
and proved + open. The command fails if any image is both proved and fooled. **Seconds** are processor time on one
thread, averaged over the images that `standard` does not fool. **Target** is the most of the first 100 images that may
stay open, and the most seconds. There is no target for the networks of the model zoo (`zoo/`); those with
wide max pooling, which take many seconds per image, are run on fewer images.

| Network | Norm | eps | Images | Right | Fooled | Proved | Open | Target | Seconds | Target | By method |
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|
"""


def main() -> None:
    parser = parser_for("proofs", __doc__)
    parser.add_argument("--only", nargs="+", metavar="WORD", help="rows whose names contain one of these words")
    parser.add_argument("--images", type=int, default=IMAGES, help=f"number of test images; default: {IMAGES}")
    parser.add_argument("--domains", type=int, default=2000, help="branch-and-bound domains per image")
    add_shared(parser, "--again", "--page", "--out")
    options = parser.parse_args()
    report = Report(options.out, "proofs", page)
    if options.page:
        report.rewrite_page()
        return
    results = report.stored()
    for bar in (*BARS, *ZOO):
        if options.only and not any(word in bar.name for word in options.only):
            continue
        known = results.get(bar.name, {})
        images = min(options.images, bar.images)
        if options.again or known.get("images", 0) < images:
            results[bar.name] = _measured(bar, images, options.domains)
            print(f"{bar.name}: {results[bar.name]}", flush=True)
        report.save(results)


def _measured(bar: Bar, images: int, domains: int) -> dict[str, Any]:
    """Which of the first images are fooled, proved and open."""
    import torch

    import attacks
    from advbench import proofs
    from advbench.evaluation.judge import judge

    torch.set_num_threads(1)
    model, x, y = _target(bar.network, images)
    norm = attacks.NORMS[bar.norm]()
    rows = (model(x).argmax(1) == y).nonzero().squeeze(1)
    goal = attacks.Untargeted(y[rows], ids=rows)
    x_adv = attacks.Standard(norm=norm)(model, x[rows], goal, eps=bar.eps)
    fooled = judge(model, x[rows], x_adv, goal, norm, bar.eps).met
    left = ~fooled
    start = time.process_time()
    wanted = goal.select(left)
    # the limit on seconds is out of reach, so that no verdict depends on the machine's load
    proof = proofs.prove(model, x[rows][left], wanted, norm=norm, eps=bar.eps, domains=domains, seconds=3600)
    seconds = time.process_time() - start
    # the cheap methods get the fooled ones too: no image may be both
    both = proofs.bound(model, x[rows][fooled], goal.select(fooled), norm=norm, eps=bar.eps, upto="crown")
    if bool(both.proved.any()):
        raise SystemExit(f"{bar.name}: images {rows[fooled][both.proved].tolist()} are both fooled and proved")
    found = torch.zeros(len(proof.proved), dtype=torch.bool)
    for i, candidate in enumerate(proof.counterexample):
        if candidate is not None:
            row = slice(i, i + 1)
            one = wanted.select(torch.tensor([i]))
            found[row] = judge(model, x[rows][left][row], candidate, one, norm, bar.eps).met
    methods = [method for method, proved in zip(proof.method, proof.proved.tolist(), strict=True) if proved]
    return {
        "images": images,
        "right": len(rows),
        "fooled": int(fooled.sum()) + int(found.sum()),
        "proved": int(proof.proved.sum()),
        "open": rows[left][~proof.proved & ~found].tolist(),
        "counterexamples": int(found.sum()),
        "methods": {method: methods.count(method) for method in sorted(set(methods))},
        "seconds": round(seconds / max(int(left.sum()), 1), 3),
        "domains": domains,
        "torch": torch.__version__,
        "machine": platform.machine(),
    }


def _target(network: str, images: int) -> Any:
    """A network with the first test images, including misclassified ones."""
    import numpy as np
    import torch
    from PIL import Image

    from tests.peers.victims import SHARED, _shared_model, mnist

    if network.startswith("zoo/") and network != "zoo/gray_mlp":
        from advbench.models import load_model
        from tests.peers.victims import mnist_images

        return load_model(network.removeprefix("zoo/")), *mnist_images(images)
    if network.startswith("mnist"):
        return mnist(network, images)()
    data = np.load(SHARED / "data/cifar10/cifar10-test-jpeg.npz")
    starts = data["offsets"]
    blob = data["jpeg"].tobytes()
    pictures = [Image.open(io.BytesIO(blob[starts[i] : starts[i + 1]])) for i in range(images)]
    y = torch.from_numpy(data["labels"][:images].astype(np.int64))
    if network == "zoo/gray_mlp":
        from advbench.models import load_model

        grey = np.stack([np.asarray(each.convert("L")) for each in pictures])
        return load_model("gray_mlp"), torch.from_numpy(grey)[:, None].float() / 255, y
    x = torch.from_numpy(np.stack([np.asarray(each) for each in pictures])).permute(0, 3, 1, 2).float() / 255
    return _shared_model(network), x.contiguous(), y


def page(results: dict[str, Any]) -> str:
    """The page, with a row for each case that was measured."""
    lines = [_line(bar, results[bar.name]) for bar in (*BARS, *ZOO) if bar.name in results]
    return _HEAD + "".join(lines)


def _line(bar: Bar, run: dict[str, Any]) -> str:
    methods = ", ".join(f"{method} {count}" for method, count in run["methods"].items())
    asked = ("" if bar.open is None else f"{bar.open}", "" if bar.seconds is None else f"{bar.seconds:g}")
    return (
        f"| {bar.network} | {bar.norm} | {bar.size} | {run['images']} | {run['right']} | {run['fooled']} "
        f"| {run['proved']} | {len(run['open'])} | {asked[0]} | {run['seconds']:.2f} | {asked[1]} | {methods} |\n"
    )


if __name__ == "__main__":
    main()
