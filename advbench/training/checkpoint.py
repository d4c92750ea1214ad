"""Checkpoints: the complete training state in one safetensors file, with everything but tensors as JSON."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from advbench.errors import UserError, first_line
from advbench.records.storage.atomic import write_atomic

_MODEL, _OPTIMIZER = "model.", "optimizer."


def write_checkpoint(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, progress: dict[str, Any]) -> None:
    """Write the training state; the previous checkpoint is replaced only when this one is complete.

    Args:
        path: File of the checkpoint.
        module: Network in training.
        optimizer: Optimizer with its state.
        progress: Everything else needed to continue, as JSON-compatible data.

    Raises:
        UserError: It cannot be written; the previous checkpoint is kept.
    """
    tensors = {_MODEL + key: value for key, value in module.state_dict().items()}
    for index, entries in optimizer.state_dict()["state"].items():
        tensors |= {f"{_OPTIMIZER}{index}.{key}": value for key, value in entries.items() if value is not None}
    plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    write_atomic(path, save(plain, {"progress": json.dumps(progress)}))


def read_progress(path: Path) -> dict[str, Any]:
    """Read the data other than tensors that `write_checkpoint` was given.

    Raises:
        UserError: The file is damaged, or is not a checkpoint.
    """
    try:
        with safe_open(path, "pt") as file:
            progress: dict[str, Any] = json.loads(file.metadata()["progress"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise UserError(
            f"checkpoint {path} cannot be read: {error}", hint="delete it to start again, or choose another --out"
        ) from None
    return progress


def read_checkpoint(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Restore a network and an optimizer from a checkpoint.

    Raises:
        UserError: The file is damaged, or does not belong to this network.
    """
    try:
        with safe_open(path, "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
        module.load_state_dict({key.removeprefix(_MODEL): tensors[key] for key in tensors if key.startswith(_MODEL)})
        optimizer.load_state_dict({**optimizer.state_dict(), "state": _optimizer_state(tensors)})
        _lay_out_as_parameters(optimizer)
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        why = first_line(error)
        raise UserError(
            f"checkpoint {path} cannot be used: {why}", hint="delete it to start again, or choose another --out"
        ) from None


def _optimizer_state(tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith(_OPTIMIZER):
            _, index, name = key.split(".")
            state.setdefault(int(index), {})[name] = value
    return state


def _lay_out_as_parameters(optimizer: torch.optim.Optimizer) -> None:
    """Give momenta the memory format of their parameters: fused steps traverse both in memory order."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter).copy_(value)
