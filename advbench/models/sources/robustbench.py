"""RobustBench models: `robustbench/DATASET/THREAT/NAME`, with weights from its folder or a download."""

import contextlib
import importlib
import importlib.util
import sys
import tempfile
import types
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from advbench.catalog.cards import ModelCard
from advbench.catalog.registry import did_you_mean
from advbench.catalog.user_models import ROBUSTBENCH
from advbench.catalog.zoo import DATA
from advbench.config.folders import cache_folder
from advbench.config.model_description import NOTHING, Description
from advbench.errors import UserError, reason
from advbench.models.classifier import Classifier
from advbench.models.files.described import with_classes
from advbench.models.files.pins import check_pin
from advbench.models.files.weights import sha256_of_all
from advbench.models.labels import imagenet_classes
from advbench.models.preprocess import covering, through

_PACKAGE = "robustbench"
_WIDTHS = {"cifar10": 10, "cifar100": 100, "imagenet": 1000}
_SMALL = 32
"""Side of a CIFAR image, pixels."""


def load(card: ModelCard, weights: Path | None = None, about: Description = NOTHING) -> Classifier:
    """Load a RobustBench model.

    Its file is looked for in `models/DATASET/THREAT`, where RobustBench keeps it, and in advbench's cache, to which it
    is downloaded. It is read without running any code in it, and its digest must be the same as on first use.

    Args:
        card: Card whose name is `robustbench/` and data set, threat and name in RobustBench's tables.
        weights: File to use instead of the published weights.
        about: Names of the classes, if they differ from those of the data set.

    Raises:
        UserError: The package cannot be used, there is no such model, or its weights cannot be obtained, have changed,
            or do not fit.
    """
    dataset, threat, name = _parts(card.name)
    with _package(card.name) as tables:
        entry = _entry(tables, card.name)
        files = (weights,) if weights else _files(tables, entry, card.name)
        digest = sha256_of_all(files)
        if weights is None:
            check_pin(card.name, digest)
        with _in_its_folder(files, card.name) as folder:
            network = _filled(tables, (name, dataset, threat), folder, card.name)
        transform = PictureTransform(entry["preprocessing"]) if dataset == "imagenet" else None
    names = {"cifar10": DATA["cifar10"].classes, "imagenet": imagenet_classes()}
    model = Classifier(
        network,
        num_classes=_WIDTHS[dataset],
        classes=names.get(dataset),
        input_size=transform.size if transform else _SMALL,
        preprocess=transform,
        name=card.name,
        weights_sha256=digest,
    )
    return with_classes(model, about)


def listed(name: str) -> list[str]:
    """The models below a name: `robustbench`, optionally with a data set and a threat.

    Raises:
        UserError: The package cannot be used, or there is nothing with that name.
    """
    with _package(name) as tables:
        found = [
            f"{ROBUSTBENCH}{dataset.value}/{threat.value}/{each}"
            for dataset, threats in tables.models.items()
            for threat, entries in threats.items()
            for each in entries
        ]
    below = [each for each in found if each.startswith(f"{name.rstrip('/')}/") or each == name]
    if not below:
        folders = sorted({each.rpartition("/")[0] for each in found})
        raise UserError(f"RobustBench has no models {name!r}", hint=f"there are: {', '.join(folders)}")
    return below


class PictureTransform:
    """RobustBench's preprocessing of a picture for an ImageNet model.

    Args:
        kind: RobustBench's name for it; RobustBench's own module for it imports packages that no longer exist.

    Example:
        >>> PictureTransform("Res256Crop224")(Image.new("RGB", (400, 279), "orange")).shape
        torch.Size([3, 224, 224])
    """

    def __init__(self, kind: str) -> None:
        steps, self.size = _PREPARATIONS[kind]
        self._steps = (*steps, transforms.ToTensor())

    def __call__(self, image: Image.Image) -> Tensor:
        """Convert a picture of any size and mode to the input of a classifier: see :meth:`ResizeAndCrop.__call__`."""
        covering(image.size, _SHORTER)
        return through(self._steps, image)


_SHORTER = 256
_PREPARATIONS: dict[str, tuple[tuple[Any, ...], int]] = {
    "Res256Crop224": ((transforms.Resize(_SHORTER), transforms.CenterCrop(224)), 224),
    "BicubicRes256Crop224": (
        (transforms.Resize(_SHORTER, interpolation=InterpolationMode.BICUBIC), transforms.CenterCrop(224)),
        224,
    ),
    "Res224": ((transforms.Resize([224, 224]),), 224),
    "Crop288": ((transforms.CenterCrop(288),), 288),
}
"""RobustBench's name of a preprocessing -> torchvision's steps, and the side of their output in pixels."""


class _Tables(NamedTuple):
    """The parts of the package that are used."""

    models: Mapping[Any, Mapping[Any, Mapping[str, Mapping[str, Any]]]]
    utils: Any


@contextmanager
def _package(name: str) -> Iterator[_Tables]:
    """Import the parts of RobustBench that build models.

    Importing the whole package would also import its attacks, from a module that has since been renamed. So its parts
    are imported below an empty package, which is removed afterwards.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"{name} needs the package robustbench, which is not installed", hint=_INSTALL)
    bare = types.ModuleType(_PACKAGE)
    bare.__path__ = list(spec.submodule_search_locations)
    before = sys.modules.get(_PACKAGE)
    sys.modules[_PACKAGE] = before or bare
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about old names in timm
            parts = [importlib.import_module(f"{_PACKAGE}.{part}") for part in ("model_zoo", "utils")]
        yield _Tables(parts[0].model_dicts, parts[1])
    except ImportError as error:
        raise UserError(f"the package robustbench cannot be used: {reason(error)}", hint=_INSTALL) from None
    finally:
        if before is None:
            sys.modules.pop(_PACKAGE, None)


_INSTALL = 'pip install "advbench[robustbench]"'


def _parts(name: str) -> tuple[str, str, str]:
    parts = name.split("/", 3)[1:]
    if len(parts) != 3 or parts[0] not in _WIDTHS:
        raise UserError(
            f"expected robustbench/DATASET/THREAT/NAME with a data set of {', '.join(_WIDTHS)}, got {name!r}",
            hint="`advbench models robustbench/cifar10/Linf` lists those of one table",
        )
    return parts[0], parts[1], parts[2]


def _entry(tables: _Tables, name: str) -> Mapping[str, Any]:
    """The entry of a model in RobustBench's tables, checked to have its own weights files."""
    dataset, threat, model = _parts(name)
    threats = {
        each.value: found
        for key, each_of in tables.models.items()
        if key.value == dataset
        for each, found in each_of.items()
    }
    if threat not in threats:
        raise UserError(f"RobustBench has no threat {threat!r} for {dataset}", hint=f"there are: {', '.join(threats)}")
    if model not in threats[threat]:
        listing = f"`advbench models {ROBUSTBENCH}{dataset}/{threat}` lists them"
        hint = did_you_mean(model, threats[threat], listing)
        raise UserError(f"RobustBench has no model {model!r} for {dataset} and {threat}", hint=hint)
    entry = threats[threat][model]
    if not entry["gdrive_id"]:
        raise UserError(
            f"the weights of {name} are not published by RobustBench, but come from timm or torchvision",
            hint="name the function that makes it: file.py:function; or choose another model",
        )
    return entry


def _files(tables: _Tables, entry: Mapping[str, Any], name: str) -> tuple[Path, ...]:
    """The weights files, several for an ensemble."""
    _, *folders, stem = name.split("/", 3)
    ids = entry["gdrive_id"]
    endings = [".pt"] if isinstance(ids, str) else [f".pt_m{number}.pt" for number in range(len(ids))]
    here, there = Path("models", *folders), cache_folder() / _PACKAGE / Path(*folders)
    found = []
    for ending, each in zip(endings, [ids] if isinstance(ids, str) else ids, strict=True):
        file = f"{stem}{ending}"
        kept = next((folder / file for folder in (here, there) if (folder / file).is_file()), None)
        found.append(kept or _downloaded(tables, each, there / file, name))
    return tuple(found)


def _downloaded(tables: _Tables, identity: str, file: Path, name: str) -> Path:
    part = file.with_name(f"{file.name}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.redirect_stdout(sys.stderr):
            tables.utils.download_gdrive_new(identity, part)
        return part.replace(file)
    except Exception as error:  # no network, no such file, no permission: each has its own class
        raise UserError(
            f"{name} lacks its weights: there is no {file}, and they cannot be downloaded: {reason(error)}",
            hint=f"on a connected machine: gdown {identity} -O {file.name}; then put it there, or give --weights FILE\n"
            "meanwhile: cifar10_resnet_robust, which loads offline",
        ) from None


@contextmanager
def _in_its_folder(files: tuple[Path, ...], name: str) -> Iterator[Path]:
    """A folder with the files under the names that RobustBench expects."""
    _, *folders, stem = name.split("/", 3)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, *folders)
        place.mkdir(parents=True)
        for number, file in enumerate(files):
            ending = f".pt_m{number}.pt" if len(files) > 1 else ".pt"
            (place / f"{stem}{ending}").symlink_to(file.resolve())
        yield Path(folder)


def _filled(tables: _Tables, key: tuple[str, str, str], folder: Path, name: str) -> torch.nn.Module:
    """The network with its weights, which torch reads without running any code in them."""
    model, dataset, threat = key
    try:
        with contextlib.redirect_stdout(sys.stderr):
            network = tables.utils.load_model(model, model_dir=folder, dataset=dataset, threat_model=threat)
    except Exception as error:  # damaged files and networks that need a GPU raise nearly anything
        raise UserError(f"{name} cannot be loaded: {reason(error)}") from None
    loaded: torch.nn.Module = network.float().eval()
    return loaded
