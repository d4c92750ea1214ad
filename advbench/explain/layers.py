"""List the layers of a network by name, and compute the output of one."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn

from advbench.catalog.registry import did_you_mean
from advbench.errors import UserError
from advbench.models.classifier import Classifier
from advbench.models.trial import input_of, try_model

_SIDE = 64
"""Side, in pixels, of the picture to pass through a network that accepts any size."""


class Layer(NamedTuple):
    """One call of a module in a forward pass: a module that runs several times counts as several layers."""

    name: str
    """Torch's name of the module; `name:2` is its second run if it runs more than once."""
    module: nn.Module
    """The module that runs."""
    run: int
    """Number of the run of the module, from 1."""
    shape: tuple[int, ...]
    """Shape of its output, without the batch."""
    alias: str = ""
    """Other name, such as Keras's for VGG; empty for most."""

    @property
    def kind(self) -> str:
        """The module's class."""
        return type(self.module).__name__

    @property
    def parameters(self) -> int:
        """Number of parameters of the module and its submodules."""
        return sum(parameter.numel() for parameter in self.module.parameters())

    @property
    def is_map(self) -> bool:
        """Whether the output is a stack of feature maps: channels, height and width, with more than one position."""
        return len(self.shape) == 3 and self.shape[1] * self.shape[2] > 1


def list_layers(model: Classifier) -> tuple[Layer, ...]:
    """List the layers of a network in execution order.

    Args:
        model: Classifier to inspect; one forward pass of a black picture shows what runs, and in what order.

    Returns:
        Every call of a named module that returns a tensor; none for a network that consists only of functions.

    Raises:
        UserError: The network fails: perhaps it does not state its input size, which is not 64 pixels.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(512, 10))
        >>> for layer in list_layers(Classifier(net, num_classes=10, input_size=8)):
        ...     print(layer.name, layer.kind, layer.shape, layer.parameters)
        0 Conv2d (8, 8, 8) 224
        1 ReLU (8, 8, 8) 0
        2 Flatten (512,) 0
        3 Linear (10,) 5130
    """
    done: list[Layer] = []
    names = {module: name for name, module in model.module.named_modules() if name}
    runs: Counter[nn.Module] = Counter()

    def note(module: nn.Module, _: Any, output: Any) -> None:
        runs[module] += 1
        if isinstance(output, Tensor):
            done.append(Layer(names[module], module, runs[module], tuple(output.shape[1:])))

    black = black_picture(model)
    hooks = [module.register_forward_hook(note) for module in names]
    try:
        with torch.no_grad():
            model(black)
    finally:
        for hook in hooks:
            hook.remove()
    aliases = _aliases(model.module)
    return tuple(
        layer._replace(name=f"{layer.name}:{layer.run}" if runs[layer.module] > 1 else layer.name)._replace(
            alias=aliases.get(layer.name, "")
        )
        for layer in done
    )


def black_picture(model: Classifier) -> Tensor:
    """A batch of one black picture of the model's input shape (1, C, H, W).

    Raises:
        UserError: The model fails on it.
    """
    height, width = model.sides(otherwise=_SIDE)
    pixels = input_of(model, Image.new("RGB", (width, height)))
    try_model(model, pixels)
    return pixels.unsqueeze(0).to(next(model.buffers()).device)


def find_layer(model: Classifier, name: str, *, maps: bool = False) -> Layer:
    """Find the layer with that name.

    Args:
        model: Classifier with the layer.
        name: Name from `list_layers`, or its alias, such as `block1_conv2` for `features.2` of VGG16.
        maps: Whether the layer must return feature maps.

    Raises:
        UserError: There is no such layer, its module runs more than once, or it does not return feature maps.

    Example:
        >>> find_layer(Classifier(nn.Sequential(nn.Flatten()), num_classes=12288, input_size=64), "00")
        Traceback (most recent call last):
        advbench.errors.UserError: classifier has no layer '00'
        did you mean 0? `advbench explain --what layers` lists them all
    """
    layers = list_layers(model)
    for layer in layers:
        if name in (layer.name, layer.alias):
            if maps and not layer.is_map:
                size = " x ".join(map(str, layer.shape))
                raise UserError(f"layer '{name}' of {model.name} has no feature maps: its output is {size}", hint=_LIST)
            return layer
    if not layers:
        raise UserError(f"{model.name} has no layers to show: its network is a single module or consists of functions")
    if runs := [layer.name for layer in layers if layer.name.rpartition(":")[0] == name]:
        raise UserError(f"layer '{name}' of {model.name} runs {len(runs)} times", hint=f"name one: {', '.join(runs)}")
    known = [each for layer in layers for each in (layer.alias, layer.name) if each]
    raise UserError(f"{model.name} has no layer '{name}'", hint=did_you_mean(name, known, _LIST))


_LIST = "`advbench explain --what layers` lists them all"


def last_maps(model: Classifier) -> Layer:
    """The layer with the last feature maps of a convolution, after layers that keep their size: norm, sum, activation.

    Raises:
        UserError: The network has no convolution with feature maps.
    """
    layers = list_layers(model)
    places = [i for i, layer in enumerate(layers) if isinstance(layer.module, nn.Conv2d) and layer.is_map]
    if not places:
        raise UserError(f"{model.name} has no convolution, so it has no feature maps to show")
    size = layers[places[-1]].shape[1:]
    return [layer for layer in layers[places[-1] :] if layer.is_map and layer.shape[1:] == size][-1]


def convolutions(model: Classifier) -> tuple[Layer, ...]:
    """The convolutions with feature maps, in execution order."""
    return tuple(layer for layer in list_layers(model) if isinstance(layer.module, nn.Conv2d) and layer.is_map)


class _Reached(Exception):  # noqa: N818 - no error: the forward pass has come as far as it has to
    def __init__(self, output: Tensor) -> None:
        self.output = output


def activations(model: Classifier, x: Tensor, layer: Layer) -> Tensor:
    """Compute the output of a layer; the rest of the network is not run.

    Args:
        model: Classifier with the layer.
        x: Images (N, C, H, W) in [0, 1].
        layer: One of the model's layers.

    Returns:
        (N, *layer.shape) for images of the model's size, differentiable with respect to ``x``; unchanged even if the
        next module works in place.
    """

    def stop(_: nn.Module, __: Any, output: Tensor) -> None:
        raise _Reached(output)

    with tapped(model, layer) as tap:
        tap.register_forward_hook(stop)
        try:
            model(x)
        except _Reached as reached:
            return reached.output
    raise ValueError(f"expected a layer of {model.name}, got {layer.name}, which did not run")


@contextmanager
def tapped(model: Classifier, layer: Layer) -> Iterator[nn.Identity]:
    """Context in which a layer's output passes through the yielded module, once per forward pass.

    Hooks on that module see exactly one call of the layer, whatever else its own module does, and their tensors are not
    changed by a following in-place module.
    """
    tap, runs = nn.Identity(), 0

    def begin(*_: Any) -> None:
        nonlocal runs
        runs = 0

    def lead(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        nonlocal runs
        runs += 1
        through: Tensor = tap(output).clone() if runs == layer.run else output
        return through

    hooks = [model.register_forward_pre_hook(begin), layer.module.register_forward_hook(lead)]
    try:
        yield tap
    finally:
        for hook in hooks:
            hook.remove()


_DENSE = ("fc1", "fc2", "predictions")


def _aliases(module: Any) -> dict[str, str]:
    """Keras's names for the layers of a VGG: torch name -> name."""
    if type(module).__name__ != "VGG":
        return {}
    names, block, conv = {}, 1, 0
    for place, child in module.features.named_children():
        if isinstance(child, nn.Conv2d):
            conv += 1
            names[f"features.{place}"] = f"block{block}_conv{conv}"
        elif isinstance(child, nn.MaxPool2d):
            names[f"features.{place}"] = f"block{block}_pool"
            block, conv = block + 1, 0
    dense = [place for place, child in module.classifier.named_children() if isinstance(child, nn.Linear)]
    return names | {f"classifier.{place}": name for place, name in zip(dense, _DENSE, strict=False)}
