"""Files of a model on the Hugging Face hub, from its cache or from the hub itself. No code from it is run."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from advbench.errors import UserError, first_line

CONFIG = "config.json"
"""Name of the file that describes a network."""
WEIGHTS = "model.safetensors"
"""Name of the weights file, unless there are several."""
INDEX = f"{WEIGHTS}.index.json"
"""Name of the file that lists the parts of weights split over several files."""
_PATTERNS = (CONFIG, "preprocessor_config.json", "adapter_config.json", WEIGHTS, INDEX, "model-*-of-*.safetensors")


def snapshot(name: str, *, weights: bool) -> Path:
    """The folder with a model's files, from the cache if it has them all.

    Args:
        name: Name on the hub, such as "google/vit-base-patch16-224".
        weights: Whether the weights are needed too.

    Raises:
        UserError: The cache lacks them, and they cannot be downloaded; or there is no such model.
    """
    from huggingface_hub import snapshot_download

    wanted = [each for each in _PATTERNS if weights or not each.endswith((".safetensors", INDEX))]
    try:
        cached = Path(snapshot_download(name, allow_patterns=wanted, local_files_only=True))
        if (cached / CONFIG).is_file() and (not weights or weights_in(cached)):
            return cached
    except Exception:  # noqa: S110 - not in the cache; each reason has its own class
        pass
    try:
        return Path(snapshot_download(name, allow_patterns=wanted, etag_timeout=5))
    except Exception as error:  # no network, no such model, no permission: each has its own class
        why = first_line(error, otherwise=type(error).__name__)
        raise UserError(
            f"hf/{name} is not in the hub's cache, and cannot be downloaded: {why}",
            hint=f"on a connected machine: hf download {name}; then name the folder that it prints\n"
            "meanwhile: efficientnet_lite0, which loads offline",
        ) from None


def hub_file(repository: str, names: Sequence[str]) -> Path:
    """The first of several files that a repository on the hub has, from the cache or from the hub itself.

    Raises:
        Exception: None can be obtained; each reason has its own class.
    """
    from huggingface_hub import HfApi, constants, hf_hub_download

    for name in names:
        with suppress(Exception):
            return Path(hf_hub_download(repository, name, local_files_only=True))
    # Without a network this fails at once, whereas a download would be retried for half a minute.
    info = HfApi().model_info(repository, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    there = {file.rfilename for file in info.siblings or ()}
    return Path(hf_hub_download(repository, next((name for name in names if name in there), names[-1])))


def weights_in(folder: Path) -> tuple[Path, ...]:
    """The weights files in a folder, in order; empty if one is missing.

    Raises:
        UserError: The list of the parts is damaged, or names files elsewhere.
    """
    if (folder / WEIGHTS).is_file():
        return (folder / WEIGHTS,)
    if not (folder / INDEX).is_file():
        return ()
    try:
        listed = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()
        names = sorted(set(listed))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{folder / INDEX} cannot be read: {first_line(error)}") from None
    if any(not isinstance(name, str) or Path(name).name != name for name in names):
        raise UserError(f"{folder / INDEX} names files outside its folder")
    return tuple(folder / name for name in names) if all((folder / name).is_file() for name in names) else ()
