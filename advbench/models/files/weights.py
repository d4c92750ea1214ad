"""Weights files: read without running anything in them; a bad one is refused with the reason."""

import hashlib
import re
import stat
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from advbench.errors import UserError

ENDINGS = (".safetensors", ".pt", ".pth")
"""Suffixes of weights files."""

MAX_RATIO = 10
"""torch compresses no tensors: a file that unpacks to more than this many times its size is an attack."""

_NESTED = ("state_dict", "model_state_dict", "model")
_PREFIX = "module."
_HOW_TO_SAVE = "save tensors only: torch.save(model.state_dict(), FILE), or as .safetensors"


def sha256_of(path: str | Path, *, what: str = "weights file") -> str:
    """The sha256 of a file as 64 lower-case hexadecimal digits.

    Args:
        path: Path of the file.
        what: Kind of the file, for messages.

    Raises:
        UserError: The file is missing, is a folder, is empty or cannot be read.
    """
    with readable(path, what).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_all(paths: Sequence[str | Path]) -> str:
    """The sha256 of a file, or that of the digests of several.

    Raises:
        UserError: A file is missing, is a folder, is empty or cannot be read.
    """
    digests = [sha256_of(path) for path in paths]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a weights file onto the CPU. Nothing in the file is executed.

    Args:
        path: A .safetensors file, or a .pt or .pth file with a state dict or with a dict that holds one
            as "state_dict", "model_state_dict" or "model". Where every entry has the prefix "module."
            (as DataParallel saves them) it is removed.

    Returns:
        Entry name -> tensor.

    Raises:
        UserError: The file is missing, unreadable, damaged, of another kind, wants to run code, or
            holds something else than tensors.
    """
    path, loaded = Path(path), load_tensors(path)
    for key in _NESTED:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    if not isinstance(loaded, Mapping) or not loaded:
        what = "nothing" if isinstance(loaded, Mapping) else f"one {type(loaded).__name__}"
        raise UserError(f"weights file {path} holds {what} instead of named tensors", hint=_HOW_TO_SAVE)
    for key, value in loaded.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            kind = type(value).__name__
            message = f"weights file {path} holds other things than tensors: entry {key!r} is a {kind}"
            raise UserError(message, hint=_HOW_TO_SAVE)
    prefix = _PREFIX if all(key.startswith(_PREFIX) for key in loaded) else ""
    return {key.removeprefix(prefix): value for key, value in loaded.items()}


def load_tensors(path: str | Path, *, what: str = "weights file") -> object:
    """What a file of tensors holds, on the CPU: in .safetensors a dict. Nothing in the file is executed.

    Args:
        path: A .safetensors, .pt or .pth file.
        what: Kind of the file, for messages.

    Raises:
        UserError: The file is missing, unreadable, damaged, of another kind, or wants to run code.
    """
    path = readable(path, what)
    if path.suffix not in ENDINGS:
        raise UserError(f"{what} {path} is not of a known kind: expected {', '.join(ENDINGS)}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        unpacked = unpacked_size(path)
        if unpacked <= MAX_RATIO * path.stat().st_size:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # it warns of a TorchScript archive, and then refuses it
                return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # hostile or damaged bytes raise nearly anything out of a parser
        raise _refusal(path, error, what) from None
    raise UserError(f"{what} {path} is refused: it would unpack to {unpacked} bytes", hint=_HOW_TO_SAVE)


def readable(path: str | Path, what: str = "weights file") -> Path:
    """The path of a file that is there, can be read and is not empty.

    Raises:
        UserError: It is not.
    """
    path = Path(path)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise UserError(f"{what} {path} is a folder")
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{what} {path} is not a regular file")
        if status.st_size == 0:
            raise UserError(f"{what} {path} is empty")
        path.open("rb").close()
    except OSError as error:
        raise UserError(f"{what} {path} cannot be read: {error.strerror}") from None
    return path


def unpacked_size(path: Path) -> int:
    """Bytes after unpacking a zip archive; 0 for other files."""
    if not zipfile.is_zipfile(path):
        return 0
    with zipfile.ZipFile(path) as archive:
        return sum(entry.file_size for entry in archive.infolist())


def load_into(module: nn.Module, state_dict: Mapping[str, Tensor], path: str | Path, expected: str) -> None:
    """Copy weights into a network. Every entry must be there, have the right shape and be finite.

    Args:
        module: Network to be filled; it is left as it was if the entries or their shapes do not fit.
        state_dict: State dict from `read_state_dict`. Where no name fits, what all of them begin with is removed: the
            network was a part of another module when it was saved, as `model` of a trainer or `_orig_mod` of a
            compiled one.
        path: File of the weights, for messages.
        expected: Name of the architecture, for messages.

    Raises:
        UserError: The weights do not fit, or have entries that are NaN or infinite.
    """
    own = module.state_dict()
    state_dict = _unwrapped(state_dict, own)
    counters = ("num_batches_tracked",)  # absent from files of torch 0.4; evaluation does not use them
    reshaped = [
        f"{key!r}: {tuple(state_dict[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in state_dict and state_dict[key].shape != own[key].shape
    ]
    differences = {
        "missing": [repr(key) for key in own if key not in state_dict and not key.endswith(counters)],
        "unexpected": [repr(key) for key in state_dict if key not in own],
        "of another shape": reshaped,
    }
    if any(differences.values()):
        listed = ", ".join(_first_few(kind, found) for kind, found in differences.items() if found)
        raise UserError(
            f"weights file {path} does not fit {expected}: {listed}",
            hint=f"give the state dict of a {expected}, or name the model that the file belongs to",
        )
    _copy(module, state_dict, path)


def _unwrapped(state_dict: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The entries by the names that they have in the network itself, if any name then fits; else as they are."""
    inner = dict(state_dict)
    while not inner.keys() & own.keys():
        first = {key.partition(".")[0] for key in inner if "." in key}
        if len(first) != 1 or not all("." in key for key in inner):
            return state_dict
        inner = {key.partition(".")[2]: value for key, value in inner.items()}
    return inner


def _refusal(path: Path, error: Exception, what: str) -> UserError:
    reason = str(error)
    if path.suffix == ".safetensors":
        return UserError(f"{what} {path} is damaged, cut short or not a safetensors file: {reason}")
    if asked := re.search(r"GLOBAL ([\w.]+)", reason):
        return UserError(
            f"{what} {path} is refused: it asks for {asked.group(1)}, which could run code (none was run)",
            hint=f"a whole saved module is not accepted; {_HOW_TO_SAVE}",
        )
    if "TorchScript" in reason:
        return UserError(f"{what} {path} is refused: it is a TorchScript archive", hint=_HOW_TO_SAVE)
    with path.open("rb") as file:
        head = file.read(2)
    if head in (b"PK", b"\x80\x02"):
        return UserError(f"{what} {path} is damaged, cut short or not written by torch.save")
    return UserError(f"{what} {path} is not a {what}: torch.save did not write it")


def _first_few(kind: str, found: list[str]) -> str:
    return f"{len(found)} {kind} ({', '.join(found[:3])}{', ...' if len(found) > 3 else ''})"


def _copy(module: nn.Module, state_dict: Mapping[str, Tensor], path: str | Path) -> None:
    # The versions that a file claims for its modules are not trusted; MNASNet refuses to load without one.
    versioned = OrderedDict(state_dict)
    versioned._metadata = {"": {"version": module._version}}  # type: ignore[attr-defined]
    try:
        module.load_state_dict(versioned)
    except RuntimeError as error:
        raise UserError(f"weights file {path} cannot be copied: {str(error).splitlines()[-1].strip()}") from None
    for key, value in module.state_dict().items():
        if not value.isfinite().all():
            raise UserError(f"weights file {path} is unusable: entry {key!r} has values that are not finite")
