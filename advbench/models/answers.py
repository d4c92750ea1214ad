"""Networks in files with several outputs: find the one with the logits."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from advbench.errors import UserError
from advbench.models.readings import single
from attacks.queries.answers import read_logits

_LOGITS = "logits"
"""Name of the output that is assumed to hold the logits."""


class Chosen(nn.Module):
    """A network with several outputs, reduced to one of them.

    Args:
        module: Network with several outputs.
        output: Name of the output, or its position, counted from 0.

    Example:
        >>> Chosen(lambda x: {"features": x, "logits": 2 * x}, "logits")(torch.ones(1, 2))
        tensor([[2., 2.]])
    """

    def __init__(self, module: Any, output: str | int) -> None:
        super().__init__()
        self.module, self.output = module, output

    def forward(self, x: Tensor) -> Any:
        """Map images to that output, floats in the dtype of the images."""
        part = parts_of(self.module(x))[self.output]
        return part.to(x.dtype) if isinstance(part, Tensor) and part.is_floating_point() else part


def parts_of(answer: Any) -> dict[str | int, Any]:
    """The outputs of a network, by name, or by position from 0 if they have no names.

    Example:
        >>> parts_of((1, 2)), parts_of({"a": 1}), parts_of(1)
        ({0: 1, 1: 2}, {'a': 1}, {0: 1})
    """
    if isinstance(answer, Mapping):
        return dict(answer)
    if isinstance(answer, tuple) and hasattr(answer, "_asdict"):
        return dict(answer._asdict())
    return dict(enumerate(answer)) if isinstance(answer, tuple | list) else {0: answer}


def with_logits(module: nn.Module, x: Tensor, output: str | int | None, file: Path) -> tuple[nn.Module, int]:
    """The network reduced to its logits, and the number of classes.

    Of several outputs, the one that the description names is used, or else the one called "logits".

    Args:
        module: Network with any kind of output.
        x: Images (N, C, H, W) to run it on.
        output: Name or position of the output, from the description.
        file: File of the network, for messages.

    Raises:
        UserError: It is unclear which of several outputs holds the logits, or the output holds none.
    """
    with torch.no_grad():
        answer = module(x)
    parts = parts_of(answer)
    chosen = _choose(parts, output, file)
    try:
        width = 2 if single(parts[chosen], len(x)) else read_logits(parts[chosen], len(x)).shape[1]
    except ValueError as error:
        which = f"output {chosen} of {file}" if len(parts) > 1 or isinstance(chosen, str) else file
        raise UserError(f"{which} holds no logits: {error}", hint=_way_out(parts, chosen, file)) from None
    return (module if isinstance(answer, Tensor) else Chosen(module, chosen)), width


def _choose(parts: Mapping[str | int, Any], output: str | int | None, file: Path) -> str | int:
    if output is not None and output not in parts:
        raise UserError(f"{file} has no output {output!r}", hint=f"it has: {_listed(parts)}")
    if output is not None:
        return output
    for name in parts:
        if len(parts) == 1 or name == _LOGITS:
            return name
    raise UserError(
        f"{file} has {len(parts)} outputs, and it is unclear which holds the logits: {_listed(parts)}",
        hint=_name_one(parts, file) if parts else "export it up to the logits",
    )


def _listed(parts: Mapping[str | int, Any]) -> str:
    return ", ".join(f"{name} {_kind(part)}" for name, part in parts.items())


def _kind(part: Any) -> str:
    if not isinstance(part, Tensor):
        return f"({type(part).__name__})"
    dtype = "" if part.is_floating_point() else f" {part.dtype}".replace("torch.", "")
    return f"{tuple(part.shape)}{dtype}"


def _name_one(parts: Mapping[str | int, Any], file: Path) -> str:
    # The example uses names from the file, preferably of an output that looks like a batch of logits.
    shaped = [name for name, part in parts.items() if isinstance(part, Tensor) and part.ndim == 2]
    example = (shaped or [*parts])[-1]
    written = f'"{example}"' if isinstance(example, str) else example
    return f"name it with --output, or in {file.with_suffix('.toml')}, such as: output = {written}"


def _way_out(parts: Mapping[str | int, Any], chosen: str | int, file: Path) -> str:
    part = parts[chosen]
    if len(parts) > 1:
        return f"it has: {_listed(parts)}\n{_name_one(parts, file)}"
    if isinstance(part, Tensor) and not part.is_floating_point():
        return "predicted class numbers cannot be attacked: export the network up to its logits"
    return "export the network up to its logits, one for each class"
