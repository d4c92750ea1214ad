"""`advbench explain`: draws what a network sees in a picture and in its adversarial version."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from advbench.catalog import DEFAULT_MODEL
from advbench.catalog.user_models import OWN
from advbench.cli.console import Command, console, print_result, progress
from advbench.cli.data_options import data_option
from advbench.cli.imports import first_imports
from advbench.cli.model_options import announce, described, description, plugin_option
from advbench.config.budgets import NORMS
from advbench.config.data.name import ChosenImages
from advbench.config.explain import EXPLANATIONS, Options, explain_config
from advbench.errors import UserError
from advbench.records.record import as_json
from advbench.sanitize import display_name

if TYPE_CHECKING:
    from advbench.explain import Explained


@click.command(cls=Command)
@click.argument("picture", required=False, type=click.Path(path_type=Path), metavar="[PICTURE]")
@data_option("An image of a data set instead of the picture")
@plugin_option()
@click.option("--image", metavar="IMAGE", help="Name or index of the image in --data. Default: one chosen by the seed.")
@click.option(
    "--model", default=DEFAULT_MODEL, show_default=True, metavar="NAME", help=f"Name from `advbench models`, or {OWN}."
)
@click.option(
    "--weights", type=click.Path(path_type=Path), metavar="FILE", help="State dict to load: .safetensors, .pt or .pth."
)
@described()
@click.option("--what", multiple=True, metavar="NAME,...", help=f"{', '.join(EXPLANATIONS)}. Default: all.")
@click.option("--layer", metavar="NAME", help="Layer for features, filters and grad-cam; `--what layers` lists them.")
@click.option("--filter", "filters", multiple=True, type=click.IntRange(min=0), help="Index of a filter; repeatable.")
@click.option("--every", is_flag=True, help="Draw all maps of a layer, not just the first 32.")
@click.option(
    "--class", "classes", multiple=True, metavar="CLASS", help="Class to explain, by name or index; repeatable."
)
@click.option(
    "--adversarial",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The adversarial picture, as PNG or .safetensors.",
)
@click.option("--attack", metavar="NAME", help="Attack that makes the adversarial picture; see `advbench attacks`.")
@click.option("--goal", metavar="GOAL", help="Goal of the attack, as in `advbench attack`.")
@click.option("--norm", type=click.Choice(NORMS), help="Norm of the attack.")
@click.option("--eps", metavar="SIZE", help="Budget of the attack, such as 2/255.")
@click.option(
    "--run",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Explain images of this run instead of one picture.",
)
@click.option(
    "--worst",
    type=click.IntRange(min=1),
    default=12,
    show_default=True,
    help="With --run: how many images, those fooled most easily.",
)
@click.option(
    "--allow-code", is_flag=True, help="Allow running the code of your own models that the run was made with."
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    help="Gradient steps of each ascent that draws a picture. Default: 64 or 128.",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Seed of all random draws."
)
@click.option("--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda:N or mps.")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FOLDER", help="Default: reports/<image>-<model>-explained."
)
@click.option("--json", "as_text", is_flag=True, help="Print a JSON array of objects with tables, texts and files.")
@click.option("--quiet", is_flag=True, help="Show no progress and no tables.")
def explain(*, as_text: bool, quiet: bool, **asked: Any) -> None:
    """Draw what a network sees in a picture.

    With --attack or --adversarial, also what it sees in the adversarial version.

    By default: everything about the clean picture. The figures are PNG files; explain.html shows them all.
    """
    attack = {name: asked.pop(name) for name in ("attack", "goal", "norm", "eps")}
    chosen = {name: asked.pop(name) for name in ("layer", "filters", "every", "classes", "steps", "seed")}
    data, image = asked.pop("data"), asked.pop("image")
    if image and data is None:
        raise UserError("--image chooses from a data set", hint="name one with --data")
    asked["data"] = data and ChosenImages(data, (image,) if image else (), 1)
    about = description(asked, asked["model"] if asked["run"] is None else None)
    config = explain_config(options=Options(**chosen), attack=attack, about=about, **asked)
    if config.run is None:
        announce(config.model, about)
    with progress(quiet) as told:
        with first_imports():
            from advbench.explain import explain_picture

        done = explain_picture(config, told)
    if as_text:
        print_result(as_json([_as_dict(done)]))
    elif not quiet:
        _print(done, config.what)


def _as_dict(done: "Explained") -> dict[str, Any]:
    sections = {each.name: {"title": each.title, "text": each.text, "table": each.table} for each in done.sections}
    return {"sections": sections, "files": {name: str(path) for name, path in done.files.items()}}


def _print(done: "Explained", what: tuple[str, ...]) -> None:
    from advbench.report.terminal import print_table

    out = console()
    for section in done.told:
        # The layers are many, and nobody who asks for everything wants to scroll past them.
        if section.table and (section.name != "layers" or section.name in what):
            rows = [[display_name(cell, limit=36) for cell in row] for row in section.table]
            print_table(out, section.title, rows[0], rows[1:])
            out.print()
        elif not section.table and not section.figures:
            out.print(f"{section.title}: {section.text}", markup=False)
    page = done.files["explain.html"]
    names = ", ".join(done.files)
    out.print(f"files in {display_name(page.parent, limit=200)}: {names}", markup=False)
