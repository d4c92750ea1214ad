"""Universal perturbations that other projects have stored: plain arrays, which do not say what they are."""

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
"""Largest size of an unpacked file of numpy's; one change for one image has far less."""
_ARRAYS = (".npy", ".npz")
_COLOURS = (1, 3)
_SIGNED = (torch.int8, torch.int16, torch.int32, torch.int64)
_WHAT = "perturbation"
_ONE = "save the perturbation alone, as (C, H, W)"
_SURELY = 0.5
"""Largest value up to which an array can only be in units of [0, 1]: half a level of 255 is no perturbation."""


class Told(NamedTuple):
    """What is said of an array that does not say it itself."""

    norm: str | None = None
    """Name of the norm in which it is small; None: Linf."""
    eps: float | None = None
    """Its budget in that norm, image units; None: the size that it has."""
    scale: int | None = None
    """Largest value of a pixel in its units, 1 or 255; None: as its values say."""


NOTHING = Told()
"""Nothing is said: the values decide."""


def read_perturbation(path: Path, told: Told = NOTHING) -> Perturbation:
    """Read a universal perturbation: a file of advbench's, or an array of another project's.

    An array is a .npy file, or a .npz, .pt, .pth or .safetensors file with one array or tensor in it, of the shape
    (C, H, W), (H, W, C) or that of a batch of one. Nothing in a file is executed. An array beyond its ``eps`` is
    projected, as the attacks of X-TransferBench do before they add theirs.

    Args:
        path: File that holds it.
        told: What is said of an array. A file of advbench's says it itself.

    Raises:
        UserError: There is no such file, it is something else, or it can be read in several ways.
    """
    if path.suffix not in (*_ARRAYS, *ENDINGS) or not path.exists() or _is_own(path):
        found = _read_own(path)
        if told != NOTHING:
            raise UserError(
                f"{path} says itself in which norm it is small, and how small",
                hint="--norm, --eps and --scale are for arrays of other projects: leave them out",
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
    """Whether a file is one that :meth:`attacks.Perturbation.save` wrote, as its header says."""
    if path.suffix != ".safetensors":
        return False
    try:
        with safe_open(path, "pt") as file:
            return ENTRY in (file.metadata() or {})
    except (SafetensorError, OSError):
        return True  # its reader says what is wrong with it


def _read_own(path: Path) -> Perturbation:
    try:
        return Perturbation.load(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}", hint="check the spelling") from None
    except ValueError as error:
        hint = "make one: advbench universal fit FOLDER"
        raise UserError(f"{path} is no universal perturbation: {error}", hint=hint) from None


def _content(path: Path) -> Any:
    """What is in a file: an array, a tensor, a dict of them, or anything else."""
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
    except Exception as error:  # hostile or damaged bytes raise nearly anything out of a parser
        raise UserError(f"{_WHAT} {path} cannot be read by numpy without pickle: {reason(error)}") from None


def _only(path: Path, found: Any) -> Any:
    """The one array in a file."""
    if not isinstance(found, Mapping):
        return found
    if len(found) != 1:
        named = ", ".join(map(str, [*found][:3])) + (", ..." if len(found) > 3 else "")
        raise UserError(f"{path} holds {len(found)} entries ({named}) instead of one perturbation", hint=_ONE)
    return next(iter(found.values()))


def _values(path: Path, found: Any) -> Tensor:
    """An array of finite numbers with signs, as float32."""
    if isinstance(found, np.ndarray) and found.dtype.kind in "fi":
        found = torch.from_numpy(found.astype(np.float32))
    elif isinstance(found, np.ndarray):
        raise UserError(f"{path} holds an array of {found.dtype} instead of numbers with signs", hint=_ONE)
    if not isinstance(found, Tensor):
        raise UserError(f"{path} holds one {type(found).__name__} instead of an array", hint=_ONE)
    if not (found.is_floating_point() or found.dtype in _SIGNED) or found.layout != torch.strided:
        raise UserError(f"{path} holds a tensor of {found.dtype} instead of numbers with signs", hint=_ONE)
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
        why = "with its colours first or last" if first else "which is no one image of one or three colours"
        raise UserError(f"{path} holds an array of {shape}, {why}", hint=_ONE)
    return (image if first else image.permute(2, 0, 1)).contiguous()


def _scale(path: Path, values: Tensor) -> int:
    """The largest value of a pixel in the units of a perturbation (C, H, W), as its own values say."""
    largest = float(values.abs().max())
    if _SURELY < largest <= 1:
        raise UserError(
            f"{path} has values up to {largest:.3g}, which may be of pixels from 0 to 1 or from 0 to 255",
            hint="say which: --scale 1 or --scale 255",
        )
    return 255 if largest > 1 else 1
