"""The user's own models, given as a file or as a timm name, and how to tell them apart. Does not import torch."""

import hashlib
import re
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from stat import S_ISREG

from advbench.catalog import MODELS
from advbench.catalog.cards import ModelCard
from advbench.errors import UserError, refuse_no_text

OWN = (
    "file.py:function, net.onnx, net.keras, net.pt2, net.pt (TorchScript), trained.safetensors, timm/NAME, hf/NAME, "
    "a folder with config.json (transformers), clip/ARCH:PRETRAINED, robustbench/DATASET/THREAT/NAME"
)
"""The ways to name one of the user's own models."""

_NAMED = "such as vgg16 or nets.py:net; a network is wrapped by advbench.Classifier(network, num_classes=10)"
FACTORY = re.compile(r"(?P<file>.+\.py):(?P<function>[A-Za-z_]\w*)")
"""Names such as `path/to/file.py:function`."""
TIMM = "timm/"
"""Prefix of the names of timm's models."""
HUB = "hf/"
"""Prefix of the names of image classifiers on the Hugging Face hub."""
CLIP = "clip/"
"""Prefix of the names of open_clip's models."""
ROBUSTBENCH = "robustbench/"
"""Prefix of the names of RobustBench's models."""

_PACKAGES = {
    TIMM: ("advbench.models.sources.timm:load", "timm", ("timm",)),
    HUB: ("advbench.models.sources.transformers:load", "transformers", ("transformers",)),
    CLIP: ("advbench.models.sources.open_clip:load", "open_clip", ("open_clip_torch", "timm")),
    ROBUSTBENCH: ("advbench.models.sources.robustbench:load", "robustbench", ("robustbench", "timm")),
}
"""Prefix -> the function that loads a model from a package, the package, and the packages that determine its
networks."""

_LOADERS = {
    ".keras": "advbench.models.sources.keras:load",
    ".onnx": "advbench.models.sources.onnx:load",
    ".safetensors": "advbench.models.sources.checkpoint:load",
    ".pt2": "advbench.models.sources.exported:load_exported",
    ".pt": "advbench.models.sources.exported:load_script",
    ".ts": "advbench.models.sources.exported:load_script",
}
"""File suffix -> the function that loads it."""
_RUNTIMES = {".onnx": ("onnxruntime", "onnx2torch", "onnx2pytorch"), ".keras": ("keras",)}
"""File suffix -> the packages that run it."""
_FACTORY_LOADER = "advbench.models.sources.user_code:load_factory"
_NETWORK = ("num_classes", "input_size", "mean", "std", "classes", "thresholds", "output")
_DESCRIBED = {
    _FACTORY_LOADER: _NETWORK,
    _PACKAGES[HUB][0]: ("classes", "thresholds"),
    _PACKAGES[CLIP][0]: ("classes", "templates"),
    _PACKAGES[ROBUSTBENCH][0]: ("classes",),
    **{loader: _NETWORK for suffix, loader in _LOADERS.items() if suffix != ".safetensors"},
}
"""The loaders that also read a description -> the fields that they read. Files from `advbench train` describe
themselves."""


def model_card(name: str) -> ModelCard:
    """The card of a model of the catalog, or of one of the user's own.

    Args:
        name: A name of `advbench models`; `file.py:function`; a file that ends in .onnx, .keras, .pt2 (torch.export),
            .pt or .ts (TorchScript), or in .safetensors if `advbench train` wrote it; `timm/` and the name of a timm
            model; `hf/` and the name of an image classifier of the Hugging Face hub, or a folder that transformers
            wrote; `clip/`, an architecture of open_clip and its weights; or `robustbench/`, data set, threat and name.

    Returns:
        The card. That of a user's own model says little before the model is loaded.

    Raises:
        UserError: There is no such name, or it is not a string.

    Example:
        >>> model_card("nets.py:small").runs
        'nets.py'
        >>> model_card("timm/resnet18.a1_in1k").source
        'timm'
        >>> model_card("timm:resnet18")
        Traceback (most recent call last):
        advbench.errors.UserError: unknown model 'timm:resnet18'
        did you mean timm/resnet18?
    """
    refuse_no_text("a model", name, _NAMED)
    if name in MODELS:
        return MODELS[name]
    if match := FACTORY.fullmatch(name):
        return _own(name, _FACTORY_LOADER, match["file"], runs=True)
    if prefix := _prefix(name):
        loader, package, _ = _PACKAGES[prefix]
        return _own(name, loader, package, runs=False)
    if _is_folder(name):
        return _own(name, _PACKAGES[HUB][0], "transformers", runs=False)
    suffix = Path(name).suffix
    if suffix in _LOADERS:
        # torch.export stores some values as pickles, and a TorchScript archive is a program.
        return _own(name, _LOADERS[suffix], name, runs=suffix in (".pt2", ".pt", ".ts"))
    if hint := _meant(name):
        raise UserError(f"unknown model {name!r}", hint=hint)
    return MODELS[name]


def _meant(name: str) -> str:
    """A hint for a name that is almost that of a user's own model; empty if there is none."""
    suffix = Path(name).suffix
    if suffix == ".py":
        return f"name a function or a network in it as well: {name}:NAME"
    if suffix in (".pth", ".ckpt"):
        return f"weights go with the name of their network: --model NAME --weights {name}, or weights in a suite"
    source, colon, model = name.partition(":")
    if colon and f"{source}/" in _PACKAGES:
        return f"did you mean {source}/{model}?"
    if colon and FACTORY.fullmatch(f"{source}.py:{model}") and is_there(Path(f"{source}.py")):
        return f"did you mean {source}.py:{model}?"
    known = re.split("[:/]", name)[-1]
    return f"did you mean {known}?" if known in MODELS else ""


def is_own(name: str) -> bool:
    """Whether a name refers to one of the user's own models.

    Example:
        >>> is_own("nets.py:small"), is_own("vgg16")
        (True, False)
    """
    own = FACTORY.fullmatch(name) or _prefix(name) or Path(name).suffix in _LOADERS or _is_folder(name)
    return name not in MODELS and bool(own)


def _prefix(name: str) -> str:
    """The prefix of a model from another package; empty if there is none."""
    return next((prefix for prefix in _PACKAGES if name.startswith(prefix)), "")


def _is_folder(name: str) -> bool:
    """Whether a name refers to a folder that transformers wrote, whether it exists or not."""
    return name not in MODELS and (name.endswith(("/", "\\")) or is_there(Path(name) / "config.json"))


def is_there(file: Path, *, closed: bool = False) -> bool:
    """Whether a file exists; also False for a name that no file can have.

    Args:
        file: Path of the file.
        closed: Answer if its folder may not be read, so that the file cannot be checked.

    Example:
        >>> is_there(Path(__file__)), is_there(Path("no such folder/x"))
        (True, False)
    """
    try:
        return S_ISREG(file.stat().st_mode)  # `is_file` of later Pythons hides that a folder is unreadable
    except PermissionError:
        return closed
    except (OSError, ValueError):
        return False


def hub_folder(name: str) -> Path | None:
    """The folder that the name of a transformers model refers to; None for a name on the hub.

    Example:
        >>> hub_folder("hf/./net").as_posix(), hub_folder("net/").as_posix(), hub_folder("hf/microsoft/resnet-18")
        ('net', 'net', None)
    """
    path = name.removeprefix(HUB)
    return Path(path) if path == name or path.startswith(("./", "../", "/")) else None


def _local(name: str) -> tuple[str, str]:
    """The part before the path in the name of a package's model, and the path; empty if there is none."""
    if name.startswith(HUB):
        folder = hub_folder(name)
        return (f"{HUB}./", folder.as_posix()) if folder else (name, "")
    start, colon, weights = name.partition(":")
    if not name.startswith(CLIP) or not (start == f"{CLIP}local-dir" or "/" in weights or Path(weights).suffix):
        return name, ""
    return f"{start}{colon}", weights


def described_fields(name: str) -> tuple[str, ...]:
    """The fields of a description that loading a model reads; none for a model that describes itself.

    Example:
        >>> described_fields("trained.safetensors"), "mean" in described_fields("net.onnx")
        ((), True)
    """
    return () if name in MODELS else _DESCRIBED.get(model_card(name).loader, ())


def takes_description(name: str) -> bool:
    """Whether a model accepts a description, as its normalisation, class names or input size may be open.

    Example:
        >>> takes_description("net.onnx"), takes_description("trained.safetensors"), takes_description("timm/net.pt")
        (True, False, False)
    """
    return bool(described_fields(name))


def moved(name: str, move: Callable[[Path], Path]) -> str:
    """The name of a model, with the path of its file, if it has one, changed.

    Example:
        >>> moved("nets.py:small", lambda path: Path("work") / path), moved("vgg16", lambda path: Path("work") / path)
        ('work/nets.py:small', 'vgg16')
    """
    if match := FACTORY.fullmatch(name):
        return f"{move(Path(match['file'])).as_posix()}:{match['function']}"
    if _prefix(name):
        start, path = _local(name)
        changed = move(Path(path))
        return f"{start.removesuffix('./') if changed.is_absolute() else start}{changed.as_posix()}" if path else name
    # The trailing slash may be all that marks a folder.
    ending = "/" if name.endswith("/") else ""
    return f"{move(Path(name)).as_posix()}{ending}" if is_own(name) else name


def origin(name: str) -> dict[str, str]:
    """What determines a model's output besides its weights: its name, or the content of its file.

    Args:
        name: Name of the model, as for :func:`model_card`, or any other.

    Returns:
        Plain data. For a function, it covers the file that defines it, but not the modules that the file imports.

    Raises:
        UserError: There is no such file.
    """
    if match := FACTORY.fullmatch(name):
        return {"sha256": sha256_of(Path(match["file"])), "function": match["function"]}
    if not is_own(name):
        return {"name": name}
    if _prefix(name) == HUB or _is_folder(name):
        files, folder = ("config.json", "preprocessor_config.json"), hub_folder(name)
        return ({"name": name} if folder is None else {file: sha256_of(folder / file) for file in files}) | _versions(
            "transformers"
        )
    if prefix := _prefix(name):
        return {"name": name} | _versions(*_PACKAGES[prefix][2])
    runtime = _versions(*_RUNTIMES.get(Path(name).suffix, ()))
    description = Path(name).with_suffix(".toml")
    told = {"description": sha256_of(description)} if description.is_file() else {}
    return {"sha256": sha256_of(Path(name))} | told | runtime


def _versions(*packages: str) -> dict[str, str]:
    """The versions of those packages that are installed."""
    found = {}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def sha256_of(file: Path) -> str:
    """Digest of a file, in hexadecimal.

    Raises:
        UserError: It cannot be read.
    """
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from None


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
