"""Explain one picture: figures as files, and one page with all of them."""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from PIL import Image
from torch import Tensor

from advbench.catalog import MODELS
from advbench.config.explain import ExplainConfig, Options
from advbench.datasets.images.files import read_picture
from advbench.datasets.samples import samples
from advbench.errors import UserError
from advbench.explain import sections
from advbench.explain.gallery import explain_run
from advbench.explain.layers import find_layer
from advbench.explain.scene import Scene, Section
from advbench.explain.subject import Subject, attack_subject, read_subject
from advbench.models import load_model
from advbench.models.classifier import Classifier
from advbench.models.thresholds import refuse_several
from advbench.pictures.choice import choose, suit
from advbench.records.storage.atomic import folder_for_results, write_atomic
from advbench.report.html.document import data_uri, render
from advbench.sanitize import count_of, display_name, slug

DRAWN: Mapping[str, Callable[[Scene], Section]] = MappingProxyType(
    {
        "predictions": sections.predictions,
        "grad-cam": sections.GRAD_CAM,
        "saliency": sections.SALIENCY,
        "smooth-saliency": sections.SMOOTH_SALIENCY,
        "integrated-gradients": sections.INTEGRATED_GRADIENTS,
        "occlusion": sections.OCCLUSION,
        "path": sections.path,
        "embedding": sections.embedding,
        "features": sections.features,
        "filters": sections.filters,
        "class-image": sections.class_image,
        "layers": sections.layers,
    }
)
"""Name for `--what` -> function that computes and draws it, in the order of the page."""

Progress = Callable[[str, int, int], None]
"""Function called with the current activity, the steps done, and the steps in all."""


class Explained(NamedTuple):
    """The result of `advbench explain`."""

    sections: tuple[Section, ...]
    """Sections, in the order of the page."""
    files: Mapping[str, Path]
    """Name -> path of each file written; `explain.html` is the page."""

    @property
    def told(self) -> tuple[Section, ...]:
        """The sections as they are shown: those that are impossible for the same reason are one, named after all."""
        found: dict[str, Section] = {}
        for section in self.sections:
            drawn = bool(section.figures or section.table)
            key = section.name if drawn else section.text
            before = None if drawn else found.get(key)
            found[key] = section if before is None else before._replace(title=f"{before.title}, {section.title}")
        return tuple(found.values())


def explain_picture(config: ExplainConfig, progress: Progress = lambda *_: None) -> Explained:
    """Explain a picture according to a configuration.

    Args:
        config: Configuration of `advbench explain`.
        progress: Called at every step.

    Raises:
        UserError: The model cannot be loaded, a picture cannot be read or attacked, the results cannot be written, or
            an explanation requested by name is not possible.
    """
    with folder_for_results(config.out):
        if config.run is not None:
            found = explain_run(
                config.run, worst=config.worst, device=config.device, allow_code=config.allow_code, progress=progress
            )
            lead = f"At most {count_of(config.worst, 'image')}: those that the smallest perturbations fooled."
            return _write(config.out, f"What was fooled most easily in {display_name(config.run.name)}", lead, found)
        progress(f"loading {config.model}", 0, 1)
        model = load_model(config.model, weights=config.weights, about=config.about, device=config.device)
        refuse_several(model.thresholds, config.model, "explanations")
        for name in config.options.classes:
            model.class_index(name)
        if config.options.layer is not None:
            find_layer(model, config.options.layer)
        picture, model = _subject(config, model)
        if picture and config.attack:
            what = f"attacking with {config.attack.attack}"
            picture = attack_subject(model, picture, config.attack, lambda: progress(what, 0, 1))
        return explain(model, picture, config.out, what=config.what, options=config.options, progress=progress)


def _subject(config: ExplainConfig, model: Classifier) -> tuple[Subject | None, Classifier]:
    """The picture to explain, and the model as it is judged on its data set."""
    if config.data is None:
        path = config.picture
        return (None if path is None else read_subject(model, path, config.adversarial)), model
    found, dataset = choose((), config.data, config.options.seed)
    if dataset is not None:
        found, model = suit(found, dataset, config.data, model, config.model)
    return read_subject(model, found.pictures[0], config.adversarial, found.read), model


def explain(
    model: Classifier,
    picture: Subject | None,
    out: Path,
    *,
    what: Sequence[str] = (),
    options: Options | None = None,
    progress: Progress = lambda *_: None,
) -> Explained:
    """Explain a picture, and write figures and a page.

    Args:
        model: Classifier to be explained.
        picture: Picture, alone or with its adversarial version; None for explanations that need none.
        out: Folder for the files; each figure is written as soon as it is drawn.
        what: Keys of `DRAWN`; none: all of them.
        options: Options of the explanations.
        progress: Called after every explanation.

    Returns:
        The sections and the files.

    Raises:
        UserError: An explanation requested by name is not possible; if all are requested, impossible ones are left out,
            and the page says why.
    """
    scene = Scene(model, picture, options or Options(), _context(model))
    names = tuple(what) or tuple(DRAWN)

    def sections() -> Iterator[Section]:
        for count, name in enumerate(names):
            progress(name, count, len(names))
            yield _attempt(name, scene, named=bool(what))

    if picture is None:
        return _write(out, f"What {model.name} looks for", "The network on its own, without a picture.", sections())
    lead = (
        "The picture as it is."
        if picture.x_adv is None
        else (f"The picture as it is, and an adversarial one ({picture.how}).")
    )
    return _write(out, f"What {model.name} sees in {picture.name}", lead, sections())


def _write(out: Path, heading: str, lead: str, sections: Iterable[Section]) -> Explained:
    """Write each figure as soon as it is drawn, then the page, which is self-contained."""
    files: dict[str, Path] = {}
    shown: list[tuple[Section, dict[str, str]]] = []
    for section in sections:
        for stem, png in section.figures.items():
            files[f"{slug(stem)}.png"] = write_atomic(out / f"{slug(stem)}.png", png)
        shown.append((section, {stem: _embedded(png) for stem, png in section.figures.items()}))
    drawn = {section.name: figures for section, figures in shown}
    found = Explained(tuple(section for section, _ in shown), files)
    told = [(section, drawn[section.name]) for section in found.told]
    page = render("explain.html", heading=heading, lead=lead, shown=told)
    files["explain.html"] = write_atomic(out / "explain.html", page.encode())
    return found


def _attempt(name: str, scene: Scene, *, named: bool) -> Section:
    """One explanation, or the reason why it is impossible."""
    try:
        return DRAWN[name](scene)
    except UserError as error:
        if named:
            raise
        # Any other hint names explanations to ask for instead, and all are tried here.
        do = f"; {error.hint}" if error.hint.startswith("pip install") else ""
        return Section(name, name, f"Not possible: {error.message}{do}.")


def _embedded(png: bytes) -> str:
    """A figure compressed for the page to a tenth of the PNG's size; the PNG is next to the page."""
    file = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").save(file, format="WEBP", quality=60, method=6)
    return data_uri(file.getvalue(), "image/webp")


_SAMPLES = {
    "ImageNet-1k": "imagenet",
    "CIFAR-10": "cifar10",
    "CIFAR-100": "cifar100",
    "MNIST": "mnist",
    "Fashion-MNIST": "fashionMNIST",
}
"""Data of a model -> images of the same data that are always available."""


def _context(model: Classifier) -> tuple[tuple[str, Tensor], ...]:
    """Other images of the model's data, with their classes; none if its data is unknown."""
    data = MODELS[model.name].data if model.name in MODELS else ""
    if data not in _SAMPLES:
        return ()
    device = next(model.buffers()).device
    return tuple(
        (model.classes[sample.label], model.preprocess(read_picture(sample.path)).to(device))
        for sample in samples(_SAMPLES[data])
    )
