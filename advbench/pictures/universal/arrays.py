"""Universal perturbations stored by other projects: plain arrays without a description."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from advbench.config.budgets import describe_size
from advbench.errors import UserError, reason
from advbench.models.files.weights import ENDINGS, load_tensors, readable, unpacked_size
from attacks import NORMS, Perturbation
from attacks.universal.perturbation import ENTRY

MOST_BYTES = 2**28
"""Largest size of an unpacked numpy file; a perturbation for one image is far smaller."""
_ARRAYS = (".npy", ".npz")
_COLOURS = (1, 3)
_SIGNED = (torch.int8, torch.int16, torch.int32, torch.int64)
_WHAT = "perturbation"
_ONE = "save only the perturbation, as (C, H, W)"
_SURELY = 0.5
"""Largest value for which an array must be in units of [0, 1]: half a level of 255 would not be a perturbation."""


class Told(NamedTuple):
    """The user's description of an array that has none."""

    norm: str | None = None
    """Name of the norm in which it is small; None: Linf."""
    eps: float | None = None
    """Budget in that norm, image units; None: the array's own size."""
    scale: int | None = None
    """Largest pixel value in the array's units, 1 or 255; None: inferred from its values."""


NOTHING = Told()
"""No description: the values decide."""


def read_perturbation(path: Path, told: Told = NOTHING) -> Perturbation:
    """Read a universal perturbation: an advbench file, or an array from another project.

    An array is a .npy file, or a .npz, .pt, .pth or .safetensors file with a single array or tensor, of shape
    (C, H, W), (H, W, C) or that of a batch of one. Nothing in a file is executed. An array larger than its ``eps`` is
    projected, as the attacks of X-TransferBench do before adding theirs.

    Args:
        path: File with the perturbation.
        told: Description of an array. An advbench file contains its own.

    Raises:
        UserError: There is no such file, it is something else, or it is ambiguous.
    """
    if path.suffix not in (*_ARRAYS, *ENDINGS) or not path.exists() or _is_own(path):
        found = _read_own(path)
        if told != NOTHING:
            raise UserError(
                f"{path} already contains its norm and its size",
                hint="--norm, --eps and --scale are for arrays from other projects: leave them out",
            )
        return found
    values = _oriented(path, _values(path, _only(path, _content(path))))
    scale = told.scale or _scale(path, values)
    norm = NORMS[told.norm or "linf"]()
    delta = values / scale
    size = float(norm.measure(delta.unsqueeze(0)))
    eps = size if told.eps is None else told.eps
    card = {"read": f"array with pixels from 0 to {scale}"}
    if size > eps * (1 + 1e-5):
        card["read"] += f", projected from {describe_size(norm.name, size)}"
        delta = norm.project(delta.unsqueeze(0), eps)[0]
    return Perturbation(delta=delta, norm=norm, eps=eps, card=card)


def _is_own(path: Path) -> bool:
    """Whether :meth:`attacks.Perturbation.save` wrote a file, according to its header."""
    if path.suffix != ".safetensors":
        return False
    try:
        with safe_open(path, "pt") as file:
            return ENTRY in (file.metadata() or {})
    except (SafetensorError, OSError):
        return True  # its reader reports the problem


def _read_own(path: Path) -> Perturbation:
    try:
        return Perturbation.load(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}", hint="check the spelling") from None
    except ValueError as error:
        hint = "make one: advbench universal fit FOLDER"
        raise UserError(f"{path} is not a universal perturbation: {error}", hint=hint) from None


def _content(path: Path) -> Any:
    """The content of a file: an array, a tensor, a dict of them, or anything else."""
    if path.suffix in ENDINGS:
        return load_tensors(path, what=_WHAT)
    readable(path, _WHAT)
    try:
        if unpacked_size(path) > MOST_BYTES:
            raise ValueError(f"it would unpack to more than {MOST_BYTES} bytes")
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found
        with found:
            return {name: found[name] for name in found.files}
    except Exception as error:  # hostile or damaged bytes can make a parser raise nearly anything
        raise UserError(f"{_WHAT} {path} cannot be read by numpy without pickle: {reason(error)}") from None


def _only(path: Path, found: Any) -> Any:
    """The single array in a file."""
    if not isinstance(found, Mapping):
        return found
    if len(found) != 1:
        named = ", ".join(map(str, [*found][:3])) + (", ..." if len(found) > 3 else "")
        raise UserError(f"{path} holds {len(found)} entries ({named}) instead of one perturbation", hint=_ONE)
    return next(iter(found.values()))


def _values(path: Path, found: Any) -> Tensor:
    """An array of finite signed numbers, as float32."""
    if isinstance(found, np.ndarray) and found.dtype.kind in "fi":
        found = torch.from_numpy(found.astype(np.float32))
    elif isinstance(found, np.ndarray):
        raise UserError(f"{path} holds an array of {found.dtype} instead of signed numbers", hint=_ONE)
    if not isinstance(found, Tensor):
        raise UserError(f"{path} holds one {type(found).__name__} instead of an array", hint=_ONE)
    if not (found.is_floating_point() or found.dtype in _SIGNED) or found.layout != torch.strided:
        raise UserError(f"{path} holds a tensor of {found.dtype} instead of signed numbers", hint=_ONE)
    values = found.detach().float()
    if not values.numel() or not bool(values.isfinite().all()) or not bool(values.any()):
        raise UserError(f"{path} holds values that are not finite, or none but zeros")
    return values


def _oriented(path: Path, values: Tensor) -> Tensor:
    """An array as (C, H, W)."""
    image = values[0] if values.ndim == 4 and len(values) == 1 else values
    first, last = (image.ndim == 3 and image.shape[place] in _COLOURS for place in (0, 2))
    if first == last:
        shape = " x ".join(map(str, values.shape))
        why = "with its channels first or last" if first else "which is not a single image with one or three channels"
        raise UserError(f"{path} holds an array of {shape}, {why}", hint=_ONE)
    return (image if first else image.permute(2, 0, 1)).contiguous()


def _scale(path: Path, values: Tensor) -> int:
    """The largest pixel value in the units of a perturbation (C, H, W), inferred from its values."""
    largest = float(values.abs().max())
    if _SURELY < largest <= 1:
        raise UserError(
            f"{path} has values up to {largest:.3g}, which may be for pixels from 0 to 1 or from 0 to 255",
            hint="specify which: --scale 1 or --scale 255",
        )
    return 255 if largest > 1 else 1
