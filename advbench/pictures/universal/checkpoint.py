"""Checkpoints from which an interrupted fit of a universal perturbation continues."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from advbench.errors import UserError
from advbench.planning.identity.run import differences
from advbench.records.storage.atomic import write_atomic
from attacks import FitState

_TENSORS = ("delta", "momentum", "best")


def write_state(path: Path, state: FitState, about: Mapping[str, Any], form: str) -> None:
    """Write the state of a fit; the previous file is replaced only when this one is complete.

    Args:
        path: File of the checkpoint.
        state: State of the fit.
        about: Description of the fit, as plain JSON values.
        form: Form of the network that computes the gradients, see :func:`attacks.fast`; a resumed fit uses the same.

    Raises:
        UserError: It cannot be written.
    """
    numbers = {name: value for name, value in state._asdict().items() if name not in _TENSORS}
    tensors = {name: getattr(state, name).cpu().clone() for name in _TENSORS}
    write_atomic(path, save(tensors, {"fit": json.dumps({"about": about, "numbers": numbers, "form": form})}))


def read_state(path: Path, about: Mapping[str, Any]) -> tuple[FitState | None, str | None]:
    """Read the output of :func:`write_state`; None and None if there is no such file.

    Raises:
        UserError: The file is damaged, or belongs to another fit.
    """
    if not path.exists():
        return None, None
    hint = "delete it to start again, or choose another folder with --out"
    try:
        with safe_open(path, "pt") as file:
            found = json.loads(file.metadata()["fit"])
            tensors = {name: file.get_tensor(name) for name in _TENSORS}
        state = FitState(**tensors, **found["numbers"])
        form = str(found["form"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise UserError(f"checkpoint {path} cannot be read: {error}", hint=hint) from None
    if changed := differences(found["about"], json.loads(json.dumps(about))):
        raise UserError(f"checkpoint {path} belongs to another fit: {'; '.join(changed[:3])}", hint=hint)
    return state, form
