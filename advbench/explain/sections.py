"""The explanations by name: each computes, draws, and says in a sentence how to read the drawing."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from advbench.errors import UserError
from advbench.explain import attribution
from advbench.explain.canvas import brighten
from advbench.explain.embedding import hidden, principal_axes, widest
from advbench.explain.figures.codes import Coded, draw_codes
from advbench.explain.figures.curves import draw_path
from advbench.explain.figures.frame import Array
from advbench.explain.figures.guesses import draw_predictions
from advbench.explain.figures.maps import draw_filters, draw_maps, draw_one_map, draw_pictures
from advbench.explain.figures.overlays import Row, draw_attribution
from advbench.explain.layers import Layer, activations, convolutions, find_layer, list_layers
from advbench.explain.maximise import class_images, filter_images
from advbench.explain.path import plane, straight_line
from advbench.explain.scene import Scene, Section, arrays
from advbench.pictures.outcome import first_classes
from attacks.objectives.ranking import ranked_classes


def predictions(scene: Scene) -> Section:
    """Explain by the top classes of both pictures."""
    with torch.no_grad():
        guesses = first_classes(scene.model(scene.subject.both), 5, scene.model)
    pictures = arrays(scene.subject.both)
    names = ("clean", "adversarial")
    rows = tuple(zip(names, pictures, guesses, strict=False))
    places = [[str(place)] for place in range(1, len(guesses[0]) + 1)]
    for found in guesses:
        places = [[*row, each.name, f"{each.confidence:.1%}"] for row, each in zip(places, found, strict=True)]
    table = (("", "clean", "", "adversarial", "")[: 1 + 2 * len(guesses)], *map(tuple, places))
    text = "The top five classes and their confidences. Blue: in the clean picture's top five; orange: not."
    figure = draw_predictions(scene.title("Predictions"), rows)
    return Section("predictions", "What the network says", text, {"predictions": figure}, table)


def layers(scene: Scene) -> Section:
    """The layers by name."""
    found = list_layers(scene.model)
    rows: list[tuple[str, ...]] = [
        (each.name, each.alias, each.kind, " x ".join(map(str, each.shape)), f"{each.parameters:,}") for each in found
    ]
    headings: tuple[str, ...] = ("layer", "also", "kind", "output", "parameters")
    if not any(each.alias for each in found):
        rows, headings = [(row[0], *row[2:]) for row in rows], (headings[0], *headings[2:])
    text = f"The names that --layer accepts, in the order in which the layers run; {len(found)} in all."
    return Section("layers", "The layers", text, table=(headings, *rows))


def features(scene: Scene) -> Section:
    """The maps of layers."""
    figures = {}
    for layer in _layers(scene):
        maps = activations(scene.model, scene.subject.both, layer).detach()
        chosen = scene.options.filters or range(len(maps[0]) if scene.options.every else min(32, len(maps[0])))
        numbers = _checked(layer, tuple(chosen))
        kept = arrays(maps[:, list(numbers)])
        title = scene.title(f"Maps of {layer.alias or layer.name}, {layer.shape[0]} filters")
        name = f"features-{layer.name}"
        if len(scene.options.filters) == 1:
            title = scene.title(f"Filter {numbers[0]} of {layer.alias or layer.name}")
            figures[f"{name}-{numbers[0]}"] = draw_one_map(title, list(arrays(scene.subject.both)), list(kept[:, 0]))
        else:
            figures[name] = draw_maps(title, kept[0], kept[1] if len(kept) > 1 else None, numbers)
    text = (
        "How strongly the filters of a layer respond at each position: black not at all, yellow most. The number by a "
        "row is that of its first filter. Early layers see edges and colours, late ones object parts; a change that "
        "nobody can see grows from layer to layer."
    )
    return Section("features", "What the layers see", text, figures)


def filters(scene: Scene) -> Section:
    """The pictures that excite filters most."""
    panels: dict[str, Array] = {}
    numbers: list[tuple[int, ...]] = []
    options = scene.options
    layers = _layers(scene)
    for layer in layers:
        count = min(64 if len(layers) == 1 else 16, layer.shape[0])
        chosen = _checked(layer, options.filters or tuple(range(count)))
        painted = filter_images(scene.model, layer, chosen, steps=options.steps or 64, seed=options.seed)
        panels[f"{layer.alias or layer.name} ({layer.shape[0]} filters)"] = arrays(brighten(painted.images))
        numbers.append(chosen)
    figure = draw_filters(f"What excites each filter most · {scene.model.name}", panels, numbers)
    text = (
        "The picture that excites each filter most, found by gradient ascent from noise. The first layers look "
        "for colours and edges, later ones for textures, patterns and parts. Colours are enhanced for viewing."
    )
    return Section("filters", "What the filters look for", text, {"filters": figure})


def class_image(scene: Scene) -> Section:
    """The pictures that excite classes most."""
    model, options = scene.model, scene.options
    classes = scene.asked[:3]
    targets = [[each] for each in classes] + ([classes] if len(classes) > 1 else [])
    painted = class_images(model, targets, steps=options.steps or 128, seed=options.seed)
    names = [" + ".join(model.classes[each] for each in target) for target in targets]
    pictures = dict(zip(names, arrays(brighten(painted.images)), strict=True))
    text = (
        "The picture that the network finds most typical of the class, found by gradient ascent from noise; "
        "then the one that it finds most typical of both at once."
    )
    figure = draw_pictures(f"What excites a class most · {model.name}", pictures)
    return Section("class-image", "What a class looks like", text, {"class-image": figure})


Attribute = Callable[[Scene, Tensor], Tensor]
"""Scene, class of each image (N,) -> maps (N, C, H, W)."""


@dataclass(frozen=True)
class Attribution:
    """A method that shows which pixels support a class; calling it creates its section."""

    name: str
    """Name, as in `--what`."""
    title: str
    """Title of the section."""
    text: str
    """How to read the maps."""
    style: str
    """Drawing style, as for `draw_attribution`."""
    attribute: Attribute = field(repr=False)
    """Function that computes the maps."""

    def __call__(self, scene: Scene) -> Section:
        """Compute and draw the maps of both pictures for the requested classes."""
        model, x, classes = scene.model, scene.subject.both, scene.asked
        labels = [torch.full((len(x),), each, device=x.device) for each in classes]
        maps = [_flat(self.attribute(scene, label), self.style) for label in labels]
        pictures = arrays(x)
        rows = tuple(Row(scene.heading(i), pictures[i], tuple(each[i] for each in maps)) for i in range(len(pictures)))
        names = tuple(model.classes[each] for each in classes)
        figure = draw_attribution(scene.title(self.title), names, rows, style=self.style)
        return Section(self.name, self.title, self.text, {self.name: figure})


SALIENCY = Attribution(
    "saliency",
    "Saliency",
    "Gradient of the class's logit with respect to each pixel: bright where a small change matters most.",
    "strength",
    lambda scene, y: attribution.saliency(scene.model, scene.subject.both, y),
)
SMOOTH_SALIENCY = Attribution(
    "smooth-saliency",
    "Smoothed saliency",
    "Mean of the saliency of 24 noisy copies (SmoothGrad): effects of a single copy average out.",
    "strength",
    lambda scene, y: attribution.smooth_saliency(scene.model, scene.subject.both, y, seed=scene.options.seed),
)
GRAD_CAM = Attribution(
    "grad-cam",
    "Grad-CAM",
    "The feature maps of the last convolution, each weighted by how much the class's logit rises with it.",
    "overlay",
    lambda scene, y: attribution.grad_cam(scene.model, scene.subject.both, y, _maybe_layer(scene)),
)
INTEGRATED_GRADIENTS = Attribution(
    "integrated-gradients",
    "Integrated gradients",
    "Gradients integrated from black to the picture, summed over the colours: what each pixel adds to the logit.",
    "strength",
    lambda scene, y: attribution.integrated_gradients(scene.model, scene.subject.both, y),
)
OCCLUSION = Attribution(
    "occlusion",
    "Occlusion",
    "How far the log-probability of the class falls when a grey square hides a region: red supports the class, blue "
    "opposes it. On an adversarial picture, the square also hides the perturbation.",
    "signed",
    lambda scene, y: attribution.occlusion(scene.model, scene.subject.both, y),
)


def embedding(scene: Scene) -> Section:
    """The last hidden layer."""
    model, subject = scene.model, scene.subject
    others = [pair for pair in sorted(scene.context, key=_name) if not torch.equal(pair[1], subject.x[0])]
    images = torch.cat([subject.both, *(image.unsqueeze(0) for _, image in others)])
    units = hidden(model, images)
    clean = torch.cat([units[:1], units[len(subject.both) :]])
    if len(clean) < 2:
        raise UserError(f"an embedding compares a picture with others, but there are none for the data of {model.name}")
    # The picture's own rows come first, so that the change is visible bar by bar.
    names = [scene.heading(i) for i in range(len(subject.both))] + [name for name, _ in others]
    chosen, note = widest(units, clean)
    places = (units - clean.mean(0)) @ principal_axes(clean)
    moves = ((0, 1),) if subject.x_adv is not None else ()
    figure = draw_codes(
        scene.title("Last hidden layer"), Coded(arrays(units[:, chosen]), tuple(names), arrays(places), moves), note
    )
    text = (
        "Each line is an image as the last hidden layer sees it; images of one class have similar bar codes. Below, "
        "the same images on a plane: images that the network finds similar are close. The arrow leads from the "
        "clean picture to the adversarial one."
    )
    return Section("embedding", "Among other images", text, {"embedding": figure})


def path(scene: Scene) -> Section:
    """The path from the clean picture to the adversarial one."""
    subject, model = scene.subject, scene.model
    if subject.x_adv is None:
        raise UserError("a path leads to an adversarial picture, but there is none: give --adversarial or --attack")
    places = torch.linspace(-0.5, 2, 51)
    line = straight_line(model, subject.x, subject.x_adv, places)
    around = plane(model, subject.x, subject.x_adv, seed=scene.options.seed)
    often = around.log_probabilities.argmax(-1).flatten().bincount(minlength=model.num_classes)
    seen = [*scene.first, *ranked_classes(line.amax(0, keepdim=True), 4)[0].tolist()]
    seen += [each for each in often.argsort(descending=True, stable=True).tolist() if often[each]]
    classes = list(dict.fromkeys(seen))[:8]
    if len(set(scene.first)) == 1:  # the first two colours belong to the two pictures
        classes = [classes[0], *classes[1:]]
    names = [model.classes[each] for each in classes]
    surface = (arrays(around.towards), arrays(around.aside), arrays(around.log_probabilities[..., classes]))
    figure = draw_path(scene.title("Path"), arrays(places), arrays(line[:, classes]), names, surface)
    text = (
        "Left: confidences on the straight line through both pictures; 0 is the clean one, 1 the adversarial one. "
        "Right: the top class in the plane spanned by the adversarial direction and a random one of the same length."
    )
    if len(set(scene.first)) > 1:
        text += " A random change of this size usually does little; the adversarial one crosses a boundary."
    return Section("path", "From one to the other", text, {"path": figure})


def _name(pair: tuple[str, Tensor]) -> str:
    return pair[0].casefold()


def _flat(maps: Tensor, style: str) -> Array:
    """Maps (N, H, W) of attributions (N, C, H, W)."""
    if style == "strength":
        return arrays(maps.sum(1).abs() if maps.shape[1] == 1 else maps.abs().amax(1))
    return arrays(maps.mean(1))


def _maybe_layer(scene: Scene) -> Layer | None:
    name = scene.options.layer
    return None if name is None else find_layer(scene.model, name, maps=True)


def _layers(scene: Scene) -> tuple[Layer, ...]:
    """The layer that was named, or an early, a middle and a late convolution."""
    if layer := _maybe_layer(scene):
        return (layer,)
    # Only convolutions that mix channels; in the others, each filter sees a single channel.
    found = [each for each in convolutions(scene.model) if each.module.groups == 1]
    if not found:
        raise UserError(f"{scene.model.name} has no convolutions to show", hint="name a layer with --layer")
    return tuple(dict.fromkeys(found[round(share * (len(found) - 1))] for share in (0.15, 0.5, 0.85)))


def _checked(layer: Layer, numbers: tuple[int, ...]) -> tuple[int, ...]:
    count = layer.shape[0]
    if wrong := [each for each in numbers if not 0 <= each < count]:
        raise UserError(f"layer '{layer.name}' has no filter {wrong[0]}", hint=f"it has {count}: 0 to {count - 1}")
    return numbers
