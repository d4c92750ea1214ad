"""Models of the user's own, named by a file or by a name of timm's: how each is told apart. No torch."""

import re
from pathlib import Path

from advbench.cards import ModelCard
from advbench.catalog import MODELS

OWN = "file.py:function, net.onnx, net.pt2, net.pt (TorchScript), trained.safetensors, timm/NAME"
"""What a model of the user's own is named by."""

FACTORY = re.compile(r"(?P<file>.+\.py):(?P<function>[A-Za-z_]\w*)")
"""`path/to/file.py:function`."""

_LOADERS = {
    ".onnx": "advbench.models.onnx_file:load",
    ".safetensors": "advbench.models.trained:load",
    ".pt2": "advbench.models.own:load_exported",
    ".pt": "advbench.models.own:load_script",
    ".ts": "advbench.models.own:load_script",
}
"""Ending of a file -> what loads it."""


def model_card(name: str) -> ModelCard:
    """The card of a model of the catalog, or of one of the user's own.

    Args:
        name: A name of `advbench models`; `file.py:function`; a file that ends in .onnx, .pt2 (torch.export), .pt or
            .ts (TorchScript), or in .safetensors if `advbench train` wrote it; or `timm/` and a name of timm's.

    Returns:
        The card; of a model of the user's own it says little before it is loaded.

    Raises:
        UserError: There is no such name.

    Example:
        >>> model_card("nets.py:small").runs
        'nets.py'
        >>> model_card("timm/resnet18.a1_in1k").source
        'timm'
    """
    if name in MODELS:
        return MODELS[name]
    if match := FACTORY.fullmatch(name):
        return _own(name, "advbench.models.own:load_factory", match["file"], runs=True)
    if name.startswith("timm/"):
        return _own(name, "advbench.models.timm_names:load", "timm", runs=False)
    suffix = Path(name).suffix
    if suffix in _LOADERS:
        # torch.export keeps some values as pickles, and a TorchScript archive is a program.
        return _own(name, _LOADERS[suffix], name, runs=suffix in (".pt2", ".pt", ".ts"))
    return MODELS[name]


def _own(name: str, loader: str, source: str, *, runs: bool) -> ModelCard:
    return ModelCard(
        name=name,
        loader=loader,
        data="",
        classes=0,
        input_size=0,
        source=source,
        licence="",
        weights_file="",
        weights_sha256="",
        runs=source if runs else "",
    )
