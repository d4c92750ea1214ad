"""Creates the pictures of the guide's gallery: `python -m advbench.maintenance.gallery`.

They use only data that ships with the package or with Foolbox, so anybody can recreate them; the page shows the command
for each. This takes a few minutes.
"""

import io
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click
from PIL import Image

import advbench
from advbench.analysis.threats import gather
from advbench.config.attack import attack_config
from advbench.config.data.name import ChosenImages, parse_data
from advbench.config.explain import Options, explain_config
from advbench.datasets.samples import samples
from advbench.explain.page import explain_picture
from advbench.guide.pages import FOLDER
from advbench.pictures.attack import attack_pictures
from advbench.pictures.universal.fit import Method, fit_perturbation
from advbench.pictures.universal.options import Fit
from advbench.pictures.universal.patch_fit import fit_patch
from advbench.records.storage.atomic import write_atomic
from advbench.report.html.figures import curves
from attacks import Placing

MODEL = "efficientnet_lite0"
EAGLE, STRAWBERRIES = 17, 4
"""Numbers of two of the photographs that ship with Foolbox."""
WIDTH, QUALITY = 800, 70
"""Width in pixels and quality of the pictures, stored as WebP files."""
SUITE = {
    "name": "both-sides",
    "models": "mlp_mnist",
    "datasets": "mnist",
    "images": 50,
    "attacks": ["fgsm", "apgd"],
    "eps": {"linf": [0.01, 0.02, 0.03, 0.05, 0.08]},
    "prove": {"method": "crown"},
}
"""Suite whose curves are shown."""


def _photograph(number: int) -> Path:
    return samples("imagenet")[number].path


def _attacked(folder: Path, **options: Any) -> bytes:
    """The panel of one attacked picture."""
    usual = {"model": MODEL, "attack": "topk", "goal": None, "norm": None, "eps": None, "paths": (), "device": "cpu"}
    (outcome,) = attack_pictures(attack_config(**(usual | options | {"out": folder})))
    click.echo(f"{outcome.record.attack}: met {outcome.record.met}, {outcome.record.norm} {_size(outcome.record)}")
    return outcome.files["panel.png"].read_bytes()


def _size(record: Any) -> str:
    return f"{getattr(record, record.norm):.4g}"


def _eagle(folder: Path) -> bytes:
    return _attacked(folder, paths=(_photograph(EAGLE),))


def _coral(folder: Path) -> bytes:
    return _attacked(
        folder, paths=(_photograph(STRAWBERRIES),), attack="ddn", norm="l2", goal="targeted:brain coral", eps=None
    )


def _digit(folder: Path) -> bytes:
    digit = ChosenImages(parse_data("mnist"), images=("0",))
    return _attacked(folder, data=digit, model="mnist_convnet", attack="sigma_zero", norm="l0", goal="untargeted")


def _path(folder: Path) -> bytes:
    attack = {"attack": "topk", "goal": None, "norm": None, "eps": None}
    config = explain_config(
        what=["path"],
        options=Options(),
        attack=attack,
        picture=_photograph(EAGLE),
        model=MODEL,
        out=folder,
        device="cpu",
    )
    explain_picture(config)
    return (folder / "path.png").read_bytes()


def _universal(folder: Path) -> bytes:
    paths = tuple(sample.path for sample in samples("imagenet"))
    measured = fit_perturbation(Fit(paths=paths, model=MODEL, steps=100, batch_size=16, out=folder), Method())
    click.echo(f"universal: {measured.counts}")
    return (folder / "panel.png").read_bytes()


def _patch(folder: Path) -> bytes:
    paths = tuple(sample.path for sample in samples("imagenet"))
    measured = fit_patch(Fit(paths=paths, model=MODEL, steps=60, batch_size=8, out=folder), Placing(share=0.1))
    click.echo(f"patch: {measured.counts}")
    return (folder / "panel.png").read_bytes()


def _both_sides(folder: Path) -> bytes:
    run = advbench.run(SUITE, out=folder, workers=1)
    (evidence,) = gather(run.frame)
    figure = curves(evidence)
    click.echo(figure.alt)
    return figure.svg


PICTURES: Mapping[str, Callable[[Path], bytes]] = MappingProxyType(
    {
        "eagle.webp": _eagle,
        "coral.webp": _coral,
        "digit.webp": _digit,
        "path.webp": _path,
        "universal.webp": _universal,
        "patch.webp": _patch,
        "both-sides.svg": _both_sides,
    }
)
"""File of the gallery -> function that creates its content, given an empty folder."""


def small(png: bytes) -> bytes:
    """Convert a picture to a small WebP file.

    Args:
        png: Picture of any size, in a format that Pillow reads.
    """
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    height = round(picture.height * WIDTH / picture.width)
    picture = picture if picture.width <= WIDTH else picture.resize((WIDTH, height), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    picture.save(content, "WEBP", quality=QUALITY, method=6)
    return content.getvalue()


@click.command()
@click.argument("names", nargs=-1, metavar="[FILE]...")
def main(names: tuple[str, ...]) -> None:
    """Create the pictures of the gallery, or only the named ones."""
    for name in names or PICTURES:
        with tempfile.TemporaryDirectory() as folder:
            content = PICTURES[name](Path(folder) / "result")
        content = content if name.endswith(".svg") else small(content)
        click.echo(f"{write_atomic(FOLDER / 'gallery' / name, content)}: {len(content) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
