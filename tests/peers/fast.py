"""What `attacks.fast` saves and what it costs in strength: `python -m tests.peers.fast --help`."""

import time
from functools import partial
from typing import Any

from tests.peers.machine import processor, processors
from tests.peers.report import Report, add_shared, parser_for, say
from tests.peers.standard import CASES

SEEDED = ("resnet50", "vgg16", "timm/tf_efficientnet_lite0", "timm/mobilevit_xxs")
"""Networks of torchvision and timm with seeded random weights, only used for timing."""
RACES = {
    "efficientnet_lite0": 4,
    "cifar10-resnet20": 32,
    "mnist-lenet5-clean": 100,
    "resnet50": 2,
    "vgg16": 2,
    "timm/tf_efficientnet_lite0": 4,
    "timm/mobilevit_xxs": 4,
}
"""Network -> number of images; a pass of vgg16 takes half a second."""
TINY = 1e-5
"""An eps with which no image is fooled, so that all steps are taken."""
STRENGTH = 40
"""Number of images for each network in `shared`."""
PHOTOGRAPHS = ("efficientnet_lite0", "linf", 0.25 / 255, 10)
"""A network for photographs, the norm, an eps at which some of them survive, and the number of photographs."""

SMALLEST = {"efficientnet_lite0": 2, "cifar10-resnet20": 32}
"""Network -> number of images for which the smallest perturbation is searched."""
NETS = (*dict.fromkeys(name for name, *_ in CASES), PHOTOGRAPHS[0])
"""Networks on which the strength of attacks is compared."""

_HEAD = """# The faster form of a network

Made by `python -m tests.peers.fast`; the numbers are in `fast.json`. One process, one thread, all contestants in turn;
**seconds** are processor time, the minimum over the **rounds**. Measured on {processor}.

## PGD, Linf, 40 steps, cross-entropy, random start

`advbench` is the attack on the network itself, `fast` the same attack on `attacks.fast(model, x)`, which chose the
**form**. **Ratio** is the time of `fast` divided by that of the fastest other library. **Unbroken** is the share of
images left unbroken, by a fresh forward pass of the original network, in the order of the columns of seconds. resnet50,
vgg16 and the timm networks have random weights from a seed, and the class that they predict is taken as the label.

Our attack drops images the moment they are fooled; the others take all steps with all images. With the usual eps, the
ratio shows what dropping and the form save together, and says little about the form if all images are fooled at once.
With an eps of {tiny:g}, no image is fooled and every library takes all steps: this ratio shows what the form alone
saves.

| Network | Images | Rounds | eps | Form | {libraries} | Ratio | Unbroken |
|---|--:|--:|--:|---|{rule}--:|---|
"""


def main() -> None:
    parser = parser_for("fast", __doc__)
    parser.add_argument("--races", nargs="*", metavar="NETWORK", default=list(RACES), help="default: all")
    parser.add_argument("--nets", nargs="*", metavar="NETWORK", default=NETS, help="networks to compare strength on")
    parser.add_argument("--smallest", nargs="*", metavar="NETWORK", default=list(SMALLEST), help="default: all")
    parser.add_argument("--images", type=int, help="images in each race; default: few, fewer where a pass takes long")
    parser.add_argument("--whole", action="store_true", help="race with the tiny eps only")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--strength", type=int, default=STRENGTH, metavar="N", help="images of each network")
    add_shared(parser, "--page", "--out")
    options = parser.parse_args()
    report = Report(options.out, "fast", _page)
    if options.page:
        report.rewrite_page()
        return
    results = {"races": {}, "strength": {}, "smallest": {}} | report.stored()
    race = partial(_race, usual=not options.whole)
    jobs = [("races", name, options.images or RACES[name], race) for name in options.races]
    jobs += [("strength", name, options.strength, _strength) for name in options.nets]
    jobs += [("smallest", name, SMALLEST[name], _smallest) for name in options.smallest]
    for part, name, images, measure in jobs:
        results[part][name] = measure(name, images, options.rounds) | {"processor": processor()}
        say(f"{name}: {results[part][name]}")
        report.save(results)


def _race(name: str, images: int, rounds: int, *, usual: bool) -> dict[str, Any]:
    """Time of each library and the share of images it leaves unbroken, with the usual eps and with a tiny one."""
    import torch

    from attacks import fast

    torch.set_num_threads(1)
    model, x, y, eps = _victim(name, images)
    chosen = fast(model, x)
    turns = {f"{each:g}": _turns(model, chosen, x, y, each, rounds) for each in ((eps, TINY) if usual else (TINY,))}
    return {"images": len(x), "rounds": rounds, "form": chosen.form, "eps": turns}


def _turns(model: Any, chosen: Any, x: Any, y: Any, eps: float, rounds: int) -> dict[str, dict[str, float]]:
    import torch

    from attacks import PGD, Linf, Untargeted
    from tests.peers.matches import _PGD_LINF, STEP

    ours = PGD(norm=Linf(), steps=40, relative_step=STEP, loss="ce")
    peers = {library: call for library, call in _PGD_LINF.items() if library != "adv-lib"}
    calls = {
        **{library: lambda call=call: call(model, x, y, eps) for library, call in peers.items()},
        "advbench": lambda: ours(model, x, Untargeted(y), eps=eps),
        "fast": lambda: ours(chosen, x, Untargeted(y), eps=eps),
    }
    rows: dict[str, dict[str, float]] = {}
    for _ in range(rounds):
        for library, call in calls.items():
            torch.manual_seed(0)
            start = time.process_time()
            x_adv = call()
            taken = time.process_time() - start
            with torch.no_grad():
                left = (model(x_adv).argmax(1) == y).float().mean().item()
            rows[library] = {"seconds": min(taken, rows.get(library, {}).get("seconds", taken)), "unbroken": left}
    return rows


def _victim(name: str, images: int) -> tuple[Any, Any, Any, float]:
    import torch

    if name in SEEDED:
        from advbench.models.classifier import Classifier

        torch.manual_seed(0)
        model = Classifier(_unfitted(name), num_classes=1000)
        x = torch.rand(images, 3, 224, 224)
        return model, x, model(x).argmax(1), 1 / 255
    from tests.peers.victims import VICTIMS

    model, x, y = VICTIMS[name].target(images)
    return model, x, y, VICTIMS[name].eps["linf"]


def _unfitted(name: str) -> Any:
    """A network with the weights that its library initialises it with."""
    import timm
    import torchvision

    if name.startswith("timm/"):
        return timm.create_model(name.removeprefix("timm/"))
    return torchvision.models.get_model(name, weights=None)


def _strength(name: str, images: int, rounds: int) -> dict[str, Any]:
    """How many images each attack leaves unbroken, with the network as it is and with its half-precision form."""
    import torch

    from advbench.evaluation.judge import judge
    from attacks import APGD, NORMS, PGD, Fast, Untargeted
    from tests.peers.victims import VICTIMS, cifar10, mnist

    torch.set_num_threads(1)
    norm, eps, most = next((norm, eps, most) for each, norm, eps, most in (*CASES, PHOTOGRAPHS) if each == name)
    images = min(images, most)
    if name == PHOTOGRAPHS[0]:
        model, x, y = VICTIMS[name].target(images)
    else:
        model, x, y = (cifar10 if name.startswith("cifar10") else mnist)(name, images)()
    goal, left = Untargeted(y), {}
    for label, attack in (("pgd", PGD(norm=NORMS[norm](), loss="ce")), ("apgd", APGD(norm=NORMS[norm](), steps=40))):
        for form in ("plain", "bfloat16"):
            x_adv = attack(Fast(model, form), x, goal, eps=eps)
            left[f"{label} {form}"] = int((~judge(model, x, x_adv, goal, NORMS[norm](), eps).met).sum())
    return {"norm": norm, "eps": eps, "images": len(x), "left": left}


def _smallest(name: str, images: int, rounds: int) -> dict[str, Any]:
    """Time and results of minimum-norm attacks, with the network as it is and with its float32 form."""
    import torch

    from advbench.evaluation.judge import judge
    from attacks import DDN, FMN, L2, Fast, Linf, TopK, Untargeted
    from tests.peers.victims import VICTIMS

    torch.set_num_threads(1)
    model, x, y = VICTIMS[name].target(images)
    forms, goal = {"plain": Fast(model, "plain"), "float32": Fast(model, "bfloat16")}, Untargeted(y)
    attacks = [FMN(norm=Linf()), FMN(norm=L2()), DDN(), TopK(norm=Linf(), steps=100)]
    rows: dict[str, dict[str, dict[str, Any]]] = {}
    for attack in attacks:
        row = rows.setdefault(f"{type(attack).__name__}, {attack.norm.name}", {})
        for _ in range(rounds):
            for form, asked in forms.items():
                start = time.process_time()
                x_adv = attack(asked, x, goal)
                taken = time.process_time() - start
                met = judge(model, x, x_adv, goal, attack.norm, None).met
                size = torch.where(met, attack.norm.measure(x_adv - x), torch.inf).median().item()
                before = row.get(form, {}).get("seconds", taken)
                row[form] = {"seconds": min(taken, before), "fooled": int(met.sum()), "size": size}
    return {"images": len(x), "rows": rows}


def _smallest_page(nets: dict[str, Any]) -> str:
    if not nets:
        return ""
    lines = [
        f"| {name} | {net['images']} | {attack} | {plain['seconds']:.1f} | {exact['seconds']:.1f} "
        f"| {exact['seconds'] / plain['seconds']:.2f} | {plain['fooled']}, {exact['fooled']} | {plain['size']:.4g} "
        f"| {exact['size'] / plain['size'] - 1:+.2%} |\n"
        for name, net in nets.items()
        for attack, (plain, exact) in ((attack, row.values()) for attack, row in net["rows"].items())
    ]
    return (
        "\n## Smallest perturbations\n\nAttacks of 100 steps that tolerate no more than float32 rounding, so the form "
        "is the network with batch norms folded and channels last. **Median** is the median size with the network as "
        "it is; **differs** is the relative difference of the median with the form.\n\n"
        "| Network | Images | Attack | Seconds: plain | float32 | Ratio | Fooled | Median | Differs |\n"
        "|---|--:|---|--:|--:|--:|---|--:|--:|\n" + "".join(lines)
    )


def _page(results: dict[str, Any]) -> str:
    races, nets = results["races"], results["strength"]
    libraries = ["Foolbox", "torchattacks", "ART", "advbench", "fast"]
    lines = []
    for name, race in races.items():
        for eps, rows in race["eps"].items():
            ratio = rows["fast"]["seconds"] / min(rows[library]["seconds"] for library in libraries[:3])
            taken = " | ".join(f"{rows[library]['seconds']:.2f}" for library in libraries)
            unbroken = ", ".join(f"{rows[library]['unbroken']:.0%}" for library in libraries)
            begins = f"| {name} | {race['images']} | {race['rounds']} | {float(eps):.2g} | {race['form']}"
            lines.append(f"{begins} | {taken} | {ratio:.2f} | {unbroken} |")
    head = _HEAD.format(
        processor=processors(row for part in results.values() for row in part.values()),
        libraries=" | ".join(libraries),
        rule="--:|" * 5,
        tiny=TINY,
    )
    return head + "\n".join(lines) + "\n\n" + _strength_page(nets) + _smallest_page(results["smallest"])


def _strength_page(nets: dict[str, Any]) -> str:
    columns = ["pgd plain", "pgd bfloat16", "apgd plain", "apgd bfloat16"]
    rows = [
        f"| {name} | {net['norm']} | {net['eps']:.4f} | {net['images']} | "
        + " | ".join(str(net["left"][column]) for column in columns)
        + " |"
        for name, net in nets.items()
    ]
    pairs = 2 * sum(net["images"] for net in nets.values())
    plain, quick = (sum(net["left"][column] for net in nets.values() for column in columns[i::2]) for i in (0, 1))
    share = 100 * (quick - plain) / pairs if pairs else 0.0
    return (
        "## Strength\n\nThe number of images left unbroken, among the first test images including misclassified ones, "
        "by PGD and APGD of 40 steps, with the network as it is and with its bfloat16 form.\n\n"
        f"| Network | Norm | eps | Images | {' | '.join(columns)} |\n|---|---|--:|--:|--:|--:|--:|--:|\n"
        + "\n".join(rows)
        + f"\n\nOver {pairs:,} pairs of image and attack, the bfloat16 form leaves {quick} unbroken, the network as it "
        f"is {plain}: {share:+.2f} percentage points of robust accuracy.\n"
    )


if __name__ == "__main__":
    main()
