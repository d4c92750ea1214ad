"""Zero-shot classifiers from open_clip: `clip/ARCH:PRETRAINED`, with classes named by the user's prompts."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from torch import Tensor, nn

from advbench.catalog.cards import ModelCard
from advbench.catalog.registry import did_you_mean
from advbench.catalog.user_models import CLIP
from advbench.config.image_size import Size
from advbench.config.model_description import NOTHING, Description
from advbench.errors import UserError, not_installed, reason
from advbench.models.classifier import Classifier
from advbench.models.files.weights import ENDINGS, sha256_of
from advbench.models.labels import imagenet_classes
from advbench.models.preprocess import covering, through
from advbench.models.sources.hub import hub_file

TEMPLATES = ("a photo of a {}.",)
"""The default prompts, used unless the user gives others."""
_FOLDER = "local-dir"
_CONFIG = "open_clip_config.json"
_PREPROCESS = ("mean", "std", "interpolation", "resize_mode")


def load(card: ModelCard, weights: Path | None = None, about: Description = NOTHING) -> Classifier:
    """Load a zero-shot classifier from open_clip.

    The logits are the scaled cosine similarities of an image and the prompts of each class, averaged over the
    templates.

    Args:
        card: Card whose name is `clip/`, an architecture of open_clip, a colon, and a tag of its pretrained weights or
            a file with weights; or `clip/local-dir:` and a folder with an open_clip_config.json and weights.
        weights: File to use instead of those weights.
        about: Names of the classes, by default those of ImageNet; and templates for the prompts, each with {} where the
            name goes.

    Raises:
        UserError: open_clip is not installed, there is no such architecture, its weights or its tokenizer cannot be
            obtained, or the classes or templates are invalid.
    """
    package = _open_clip(card.name)
    names, prompts = _classes(package, about, card.name), _templates(about)
    source = _source(package, card.name, weights)
    network = _made(package, source, card.name)
    text = _text(package, source.arch, network, (names, prompts), card.name)
    transform = ClipTransform(package, network)
    model = Classifier(
        ZeroShot(network, text),
        num_classes=len(names),
        mean=transform.mean,
        std=transform.std,
        classes=about.classes or imagenet_classes(),
        input_size=transform.size,
        preprocess=transform,
        name=card.name,
        weights_sha256=sha256_of(source.file),
    )
    if about.classes is None:
        model.notes += (f"{card.name} was given no classes, so it uses those of ImageNet",)
    return model


class ZeroShot(nn.Module):
    """An open_clip network with fixed prompts.

    Args:
        network: Network with `encode_image`, `logit_scale` and perhaps `logit_bias`.
        text: Unit vectors of the classes; shape (features, classes).
    """

    text: Tensor

    def __init__(self, network: nn.Module, text: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("text", text)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised images (N, C, H, W) to logits (N, number of classes)."""
        network: Any = self.network
        logits: Tensor = network.logit_scale.exp() * network.encode_image(x, normalize=True) @ self.text
        return logits if network.logit_bias is None else logits + network.logit_bias


class ClipTransform:
    """open_clip's own evaluation transform without the normalisation, which the classifier does.

    Args:
        package: The package open_clip.
        network: Network built by the package.
    """

    def __init__(self, package: Any, network: nn.Module) -> None:
        found = package.get_model_preprocess_cfg(network)
        made = package.transform.image_transform_v2(package.transform.PreprocessCfg(**found), is_train=False)
        self._steps = tuple(made.transforms[:-1])
        sides = found["size"]
        height, width = (sides, sides) if isinstance(sides, int) else sides
        self.size: Size = height if height == width else (height, width)
        self.mean: tuple[float, ...] = tuple(found["mean"])
        self.std: tuple[float, ...] = tuple(found["std"])
        self._covers = found["resize_mode"] == "shortest"

    def __call__(self, image: Image.Image) -> Tensor:
        """Convert a picture of any size and mode to the input of a classifier: see :meth:`ResizeAndCrop.__call__`."""
        if self._covers:
            covering(image.size, self.size)
        return through(self._steps, image)


def _open_clip(name: str) -> Any:
    try:
        import open_clip
    except ImportError:
        raise not_installed(name, "open_clip_torch", "clip") from None
    return open_clip


def _classes(package: Any, about: Description, name: str) -> tuple[str, ...]:
    """The names of the classes in prompts."""
    if about.classes is None:
        return tuple(package.IMAGENET_CLASSNAMES)
    if len(set(about.classes)) < max(2, len(about.classes)):
        twice = sorted({each for each in about.classes if about.classes.count(each) > 1})
        got = f"{twice[0]!r} twice" if twice else f"{len(about.classes)}"
        raise UserError(f"expected two classes or more for {name}, each named once, got {got}")
    return about.classes


def _templates(about: Description) -> tuple[str, ...]:
    given: tuple[str, ...] = about.templates or TEMPLATES
    for each in given:
        if "{}" not in each:
            raise UserError(
                f"template {each!r} has no place for the name of a class", hint="write {} there: a photo of a {}."
            )
    return given


class _Source(NamedTuple):
    """Where open_clip finds a model."""

    arch: str
    """Name of the architecture; or "local-dir:" and a folder."""
    file: Path
    """File with the weights."""
    preprocess: dict[str, Any]
    """Mean, std and the like, if the weights were trained with values other than the architecture's."""


def _source(package: Any, name: str, weights: Path | None) -> _Source:
    arch, _, tag = name.removeprefix(CLIP).partition(":")
    if arch == _FOLDER:
        return _Source(f"{_FOLDER}:{tag}", weights or _file_in(Path(tag), name), {})
    if package.get_model_config(arch) is None:
        hint = did_you_mean(arch, package.list_models())
        raise UserError(f"open_clip has no architecture {arch!r}", hint=hint)
    tags = package.list_pretrained_tags_by_model(arch)
    if tag in tags:
        config = package.get_pretrained_cfg(arch, tag)
        _check_activation(package, arch, config, name)
        return _Source(
            arch, weights or _published(package, name, config), {key: config.get(key) for key in _PREPROCESS}
        )
    if (tag and Path(tag).suffix not in ENDINGS) or not (tag or weights):
        what = f"no weights {tag!r} for" if tag else "to be told which weights to use for"
        hint = f"there are: {', '.join(tags) or 'none'}\nor give a file: {CLIP}{arch}:FILE"
        raise UserError(f"open_clip has {what} {arch}", hint=hint)
    return _Source(arch, weights or Path(tag), {})


def _check_activation(package: Any, arch: str, config: dict[str, Any], name: str) -> None:
    """Refuse weights in a network with a different activation, about which open_clip only warns."""
    if bool(config.get("quick_gelu")) != bool(package.get_model_config(arch).get("quick_gelu")):
        ending = "-quickgelu"
        other = arch.removesuffix(ending) if arch.endswith(ending) else f"{arch}{ending}"
        raise UserError(
            f"the weights of {name} were trained with a different activation than that of {arch}",
            hint=f"use {CLIP}{other}:{name.partition(':')[2]}",
        )


def _published(package: Any, name: str, config: dict[str, Any]) -> Path:
    """The file of pretrained weights, downloaded unless it is in the cache."""
    repository, _, file = str(config.get("hf_hub", "")).rpartition("/")
    try:
        if repository:
            return hub_file(repository, [f"{Path(file).stem}.safetensors", file] if file else _IN_A_REPOSITORY)
        with _quietly():
            return Path(package.download_pretrained(config))
    except Exception as error:  # no network, no such file, no permission: each has its own class
        get = f"hf download {repository}" if repository else f"fetch {config.get('url')}; then --weights FILE"
        raise UserError(
            f"{name} lacks its weights: they are not in the cache, and cannot be downloaded: {reason(error)}",
            hint=f"on a connected machine: {get}\nmeanwhile: efficientnet_lite0, which loads offline",
        ) from None


_IN_A_REPOSITORY = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
"""open_clip's names of the weights, the preferred one first."""


def _file_in(folder: Path, name: str) -> Path:
    """The safetensors file in a folder whose description does not ask to run code."""
    try:
        told = (folder / _CONFIG).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{folder / _CONFIG} cannot be read: {reason(error)}") from None
    if "trust_remote_code" in told:
        raise UserError(f"{name} is refused: it asks for code from the hub (trust_remote_code in its {_CONFIG})")
    found = [folder / f"{stem}.safetensors" for stem in ("open_clip_model", "open_clip_pytorch_model", "model")]
    file = next((each for each in found if each.is_file()), None)
    if file is None:
        raise UserError(f"{name} lacks its weights: there is no {found[0].name} in {folder}")
    return file


def _made(package: Any, source: _Source, name: str) -> nn.Module:
    sha256_of(source.file)
    local = source.arch.startswith(f"{_FOLDER}:")
    try:
        with _quietly():
            network = package.create_model(
                source.arch,
                pretrained=None if local else str(source.file),
                load_weights=not local,
                pretrained_text=False,
                force_preprocess_cfg=source.preprocess,
                weights_only=True,
            )
            if local:
                package.load_checkpoint(network, str(source.file), weights_only=True)
    except Exception as error:  # damaged files raise nearly anything
        raise UserError(f"the weights of {name} cannot be loaded from {source.file}: {reason(error)}") from None
    loaded: nn.Module = network.float().eval()
    return loaded


def _text(
    package: Any, arch: str, network: nn.Module, asked: tuple[tuple[str, ...], tuple[str, ...]], name: str
) -> Tensor:
    """Unit vectors of the classes, shape (features, classes)."""
    names, templates = asked
    prompts = [lambda each, template=template: template.replace("{}", each) for template in templates]
    try:
        with _quietly():
            text: Tensor = package.build_zero_shot_classifier(network, package.get_tokenizer(arch), names, prompts)
    except Exception as error:  # many tokenizers are on the hub
        raise UserError(f"the prompts for {name} cannot be encoded: {reason(error)}") from None
    return text


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence open_clip's messages to the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
