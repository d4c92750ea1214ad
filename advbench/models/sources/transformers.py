"""transformers image classifiers: `hf/NAME` from the Hugging Face hub, or a folder written by `save_pretrained`."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from advbench.catalog.cards import ModelCard
from advbench.catalog.registry import did_you_mean
from advbench.catalog.user_models import HUB, hub_folder
from advbench.config.model_description import NOTHING, Description
from advbench.errors import UserError, not_installed, reason
from advbench.models.classifier import Classifier
from advbench.models.files.described import with_classes
from advbench.models.files.weights import read_state_dict, sha256_of_all
from advbench.models.sources.hub import CONFIG, snapshot, weights_in
from advbench.models.sources.processors import CONFIG as PROCESSOR
from advbench.models.sources.processors import ProcessorTransform

_REFUSED = {"auto_map": "custom code", "quantization_config": "quantised weights"}
_FEW = 3


def load(card: ModelCard, weights: Path | None = None, about: Description = NOTHING) -> Classifier:
    """Load a transformers image classifier, with the size, crop, mean and std of its image processor.

    Weights are read only from safetensors, and code from the model is never run.

    Args:
        card: Card whose name is `hf/` and a name on the hub, or a folder with a config.json.
        weights: File to use instead of the published weights.
        about: Names of the classes, if they should differ from the model's.

    Raises:
        UserError: transformers is not installed; the model cannot be obtained, is of an unsupported kind, or lacks some
            of its weights.
    """
    package = _transformers(card.name)
    folder = _folder(card.name, weights)
    config = _checked(folder, card.name)
    processor = _processor(package, folder)
    kind = _kind(package, config, card.name)
    network = _filled(kind, folder, weights, card.name)
    model = _wrapped(network, processor, about, card.name)
    model.weights_sha256 = sha256_of_all((weights,) if weights else weights_in(folder))
    return model


def _transformers(name: str) -> Any:
    try:
        import transformers
    except ImportError:
        raise not_installed(name, "transformers", "hf") from None
    return transformers


def _folder(name: str, weights: Path | None) -> Path:
    """The folder with the files of a model."""
    folder = hub_folder(name)
    if folder is None:
        return snapshot(name.removeprefix(HUB), weights=weights is None)
    if not (folder / CONFIG).is_file():
        raise UserError(f"folder {folder} holds no {CONFIG}", hint="give a folder that save_pretrained wrote")
    return folder


def _checked(folder: Path, name: str) -> dict[str, Any]:
    """The description of a network, checked not to need downloads or code."""
    config = _read_json(folder / CONFIG)
    if (folder / "adapter_config.json").exists():
        raise UserError(f"{name} is an adapter to another model", hint="merge it into that model, and save the result")
    for key, what in _REFUSED.items():
        if key in config:
            raise UserError(f"{name} is refused: it has {what} ({key} in its {CONFIG})")
    for key, value in _entries(config):
        if "implementation" in key and isinstance(value, str) and "/" in value:
            raise UserError(f"{name} is refused: it asks for code from the hub ({key}: {value!r} in its {CONFIG})")
    if "model_type" not in config and ("architecture" in config or "pretrained_cfg" in config):
        raise UserError(f"{name} is a timm model", hint=f"name it as timm does: timm/{Path(name).name}")
    return config


def _read_json(file: Path) -> dict[str, Any]:
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} cannot be read: {reason(error)}") from None
    if not isinstance(said, dict):
        raise UserError(f"{file} does not hold a JSON object")
    return said


def _processor(package: Any, folder: Path) -> ProcessorTransform:
    """The image processor of a model, with the backend "pil", whose pixels do not depend on torchvision's version."""
    file = folder / PROCESSOR
    if not file.is_file():
        raise UserError(
            f"there is no {PROCESSOR} in {folder}, which defines the preprocessing",
            hint="save the image processor next to the network: processor.save_pretrained(FOLDER)",
        )
    try:
        with _quietly():
            made = package.AutoImageProcessor.from_pretrained(
                folder, backend="pil", local_files_only=True, trust_remote_code=False
            )
        return ProcessorTransform(made)
    except Exception as error:  # a processor that does not fit may raise anything
        raise UserError(
            f"the image processor {file} cannot be used: {reason(error)}",
            hint="build the classifier yourself, with its preprocess, and name the function: file.py:function",
        ) from None


def _entries(said: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in said.items():
        yield key, value
        if isinstance(value, Mapping):
            yield from _entries(value)


def _kind(package: Any, config: Mapping[str, Any], name: str) -> Any:
    """The class of the network."""
    auto = package.models.auto.modeling_auto
    known = auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES
    kind = str(config.get("model_type"))
    if kind not in known:
        hint = did_you_mean(kind, known) or "image classifiers have a head ForImageClassification"
        raise UserError(f"{name} is not an image classifier known to transformers: model_type {kind!r}", hint=hint)
    names = (known[kind],) if isinstance(known[kind], str) else tuple(known[kind])
    written = [each for each in config.get("architectures") or () if each in names]
    try:
        return getattr(package, (written or names)[0])
    except Exception as error:  # some need a package that transformers does not install
        raise UserError(f"transformers cannot create {name}: {reason(error)}") from None


def _filled(kind: Any, folder: Path, weights: Path | None, name: str) -> nn.Module:
    """The network with all of its weights."""
    if weights is None and not weights_in(folder):
        raise UserError(
            f"{name} has no weights in safetensors; other formats are not read, since they can contain code",
            hint="save them: model.save_pretrained(FOLDER); or give a file: --weights FILE",
        )
    given: dict[str, Any] = {"config": None if weights is None else kind.config_class.from_pretrained(folder)}
    if weights is not None:
        given["state_dict"] = read_state_dict(weights)
    try:
        with _quietly():
            network, told = kind.from_pretrained(
                None if weights else folder,
                **{key: value for key, value in given.items() if value is not None},
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except Exception as error:  # damaged files raise nearly anything
        raise UserError(f"the weights of {name} cannot be loaded: {reason(error)}") from None
    for what in ("missing", "unexpected"):
        if keys := sorted(told[f"{what}_keys"]):
            few = f"{', '.join(keys[:_FEW])}{', ...' if len(keys) > _FEW else ''}"
            raise UserError(
                f"{weights or name} does not fit the network of {name}: {len(keys)} {what} ({few})",
                hint="missing weights would be random numbers; train the head, and save the whole model",
            )
    loaded: nn.Module = network.float().eval()
    return loaded


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence the progress bars and messages of transformers."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


class LogitsOf(nn.Module):
    """A transformers network, reduced to its logits.

    Args:
        network: Network that takes `pixel_values` and returns an output with `logits`.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised images (N, C, H, W) to logits (N, number of classes)."""
        logits: Tensor = self.network(pixel_values=x).logits
        return logits


def _wrapped(network: Any, processor: ProcessorTransform, about: Description, name: str) -> Classifier:
    size, channels = processor.size, int(getattr(network.config, "num_channels", 3))
    if len(processor.mean) != channels:
        raise UserError(f"{name} takes images of {channels} channels, but its processor returns {len(processor.mean)}")
    side = (size, size) if isinstance(size, int) else size or (224, 224)
    try:
        with torch.no_grad():
            width = network(pixel_values=torch.zeros(1, channels, *side)).logits.shape[1]
    except Exception as error:  # a network that does not fit may raise anything
        raise UserError(f"{name} fails on an image of {side[0]} x {side[1]} pixels: {reason(error)}") from None
    try:
        model = Classifier(
            LogitsOf(network),
            num_classes=width,
            mean=processor.mean,
            std=processor.std,
            classes=_classes(network.config, width),
            input_size=size,
            preprocess=processor,
            name=name,
        )
    except ValueError as error:
        raise UserError(f"{name} cannot be used: {error}") from None
    return with_classes(model, about)


def _classes(config: Any, width: int) -> tuple[str, ...] | None:
    """The names of the classes in the order of their numbers, which differs from that in the file."""
    named = config.id2label or {}
    found = tuple(str(named[number]) for number in sorted(named))
    return found if sorted(named) == list(range(width)) else None
