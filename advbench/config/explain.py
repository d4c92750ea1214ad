"""The explanations of a network and a picture, and the options of `advbench explain`. Does not import torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from advbench.catalog import DEFAULT_ATTACK, DEFAULT_MODEL
from advbench.catalog.registry import did_you_mean
from advbench.catalog.user_models import model_card
from advbench.config.attack import AttackConfig, attack_config
from advbench.config.data.name import ChosenImages
from advbench.config.model_description import NOTHING, Description
from advbench.errors import UserError
from advbench.sanitize import display_name, slug

EXPLANATIONS: Mapping[str, str] = MappingProxyType(
    {
        "predictions": "the top five classes",
        "grad-cam": "where the last feature maps support the class",
        "saliency": "the pixels that matter most",
        "smooth-saliency": "the same, averaged over noisy copies",
        "integrated-gradients": "what each pixel contributes to the class",
        "occlusion": "what hiding a region changes; needs no gradient",
        "path": "confidences from the clean picture to the adversarial one, and decisions around both",
        "embedding": "the last hidden layer, among other images",
        "features": "the feature maps of a layer",
        "filters": "the picture that excites each filter most",
        "class-image": "the picture that excites a class most",
        "layers": "names, shapes and sizes of the layers",
    }
)
"""Name, as in `--what` -> what it shows, in the order of the page."""
WITHOUT_PICTURE = ("filters", "class-image", "layers")
"""The explanations that need only a network."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the explanations."""

    layer: str | None = None
    """Layer for features, filters and grad-cam; None: an early, a middle and a late one; for grad-cam, the last."""
    filters: tuple[int, ...] = ()
    """Indices of filters, for features and filters; none: the first ones."""
    every: bool = False
    """Whether to show all maps of a layer, not just the first 32."""
    classes: tuple[str, ...] = ()
    """Names or indices of the classes for class images and pixel maps; none: the predicted class of each picture."""
    steps: int | None = None
    """Steps of every gradient ascent that generates a picture; None: enough for shapes to appear."""
    seed: int = 0
    """Seed of all random draws."""


@dataclass(frozen=True, kw_only=True)
class ExplainConfig:
    """All options of `advbench explain`."""

    picture: Path | None = None
    """The clean picture; None: only the network is explained."""
    data: ChosenImages | None = None
    """One image of a data set, instead of the picture."""
    model: str = DEFAULT_MODEL
    """A name of `advbench models`, or a model of the user's own."""
    weights: Path | None = None
    """A file with the model's weights, instead of the published ones."""
    about: Description = NOTHING
    """Description of a user's own model: what its file or function does not state."""
    what: tuple[str, ...] = ()
    """Names of `EXPLANATIONS`; none: all of them."""
    options: Options = Options()
    """Options of the explanations."""
    adversarial: Path | None = None
    """The adversarial picture, from a file."""
    run: Path | None = None
    """The folder of a run whose most easily fooled images are explained, instead of a picture."""
    worst: int = 12
    """Number of those images."""
    allow_code: bool = False
    """Whether the run's models may run the user's own code."""
    attack: AttackConfig | None = None
    """The attack that makes the adversarial picture."""
    device: str = "auto"
    """Device: auto, cpu, cuda, cuda:N or mps."""
    out: Path = Path("reports/explain")
    """Folder for the results."""


def explain_config(
    *,
    what: Sequence[str],
    options: Options,
    attack: Mapping[str, Any],
    picture: Path | None = None,
    model: str = DEFAULT_MODEL,
    adversarial: Path | None = None,
    out: Path | None = None,
    **rest: Any,
) -> ExplainConfig:
    """Check the options of `advbench explain` against the catalog and each other.

    Args:
        what: Names of explanations; each entry may hold several, separated by commas.
        options: Options of the explanations.
        attack: `attack`, `goal`, `norm` and `eps`, as :func:`advbench.config.attack.attack_config` accepts them, each
            possibly None.
        picture: The clean picture.
        model: Name of a model.
        adversarial: The adversarial picture.
        out: Folder for the results; None: a new one in `reports`.
        **rest: The other fields of :class:`ExplainConfig`.

    Raises:
        UserError: An unknown name, two sources for the adversarial picture, or no picture although one is needed.

    Example:
        >>> explain_config(what=["filters,layers"], options=Options(), attack={}).what
        ('filters', 'layers')
        >>> explain_config(what=["gradcam"], options=Options(), attack={})
        Traceback (most recent call last):
        advbench.errors.UserError: unknown explanation 'gradcam'
        did you mean grad-cam? There are: predictions, grad-cam, saliency, smooth-saliency, integrated-gradients, \
occlusion, path, embedding, features, filters, class-image, layers
    """
    names = _names(what)
    run: Path | None = rest.get("run")
    made = any(value is not None for value in attack.values())
    data: ChosenImages | None = rest.get("data")
    if picture and data:
        raise UserError(f"both a picture and --data {data.spec.name} were given", hint="leave one of them out")
    if run is not None:
        if picture or data or adversarial or made or names or rest.get("about", NOTHING) != NOTHING:
            raise UserError("--run explains the images of a run: it takes no picture, attack, --what or description")
        return ExplainConfig(model=model, options=options, out=out or run / "explained", **rest)
    given = picture or data
    if given is None and (not names or set(names) - set(WITHOUT_PICTURE)):
        alone = ", ".join(WITHOUT_PICTURE)
        raise UserError("explain needs a picture", hint=f"only {alone}, chosen with --what, work without one")
    if (made or adversarial) and given is None:
        raise UserError("an adversarial picture needs the clean one that it was made from: give that too")
    if made and adversarial:
        raise UserError("--adversarial and the options of an attack exclude each other: name one source of the picture")
    shown = picture.stem if picture else "-".join([data.spec.label, *data.images]) if data else ""
    folder = "-".join([*filter(None, [shown]), Path(model).name, "explained"])
    return ExplainConfig(
        picture=picture,
        model=model_card(model).name,
        what=names,
        options=options,
        adversarial=adversarial,
        attack=_attack(model, options.seed, attack) if made else None,
        out=out or Path("reports") / slug(folder),
        **rest,
    )


def _names(what: Sequence[str]) -> tuple[str, ...]:
    """Names of explanations, without repeats."""
    names = [name.strip() for each in what for name in each.split(",") if name.strip()]
    for name in names:
        if name not in EXPLANATIONS:
            hint = did_you_mean(name, EXPLANATIONS, f"There are: {', '.join(EXPLANATIONS)}")
            raise UserError(f"unknown explanation '{name}'", hint=hint)
    return tuple(dict.fromkeys(names))


def _attack(model: str, seed: int, options: Mapping[str, Any]) -> AttackConfig:
    named = {"goal": None, "norm": None, "eps": None} | dict(options)
    named["attack"] = named.get("attack") or DEFAULT_ATTACK
    if "," in str(named["attack"]):
        hint = "name one; `advbench attack` compares several"
        raise UserError(f"explain takes one attack at a time, got {display_name(str(named['attack']))}", hint=hint)
    return attack_config(**named, model=model, seed=seed, paths=())
