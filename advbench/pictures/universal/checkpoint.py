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
        about: Description of the fit, as JSON holds it.
        form: Form of the network that gives the gradients, see :func:`attacks.fast`; the fit continues with the same.

    Raises:
        UserError: It cannot be written.
    """
    numbers = {name: value for name, value in state._asdict().items() if name not in _TENSORS}
    tensors = {name: getattr(state, name).cpu().clone() for name in _TENSORS}
    write_atomic(path, save(tensors, {"fit": json.dumps({"about": about, "numbers": numbers, "form": form})}))


def read_state(path: Path, about: Mapping[str, Any]) -> tuple[FitState | None, str | None]:
    """Read what :func:`write_state` wrote; None and None if there is no such file.

    Raises:
        UserError: The file is damaged, or of a fit of something else.
    """
    if not path.exists():
        return None, None
    hint = "delete it to start anew, or choose another folder with --out"
    try:
        with safe_open(path, "pt") as file:
            found = json.loads(file.metadata()["fit"])
            tensors = {name: file.get_tensor(name) for name in _TENSORS}
        state = FitState(**tensors, **found["numbers"])
        form = str(found["form"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise UserError(f"checkpoint {path} cannot be read: {error}", hint=hint) from None
    if changed := differences(found["about"], json.loads(json.dumps(about))):
        raise UserError(f"checkpoint {path} is of another fit: {'; '.join(changed[:3])}", hint=hint)
    return state, form
