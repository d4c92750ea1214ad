"""`advbench explain`: what a network sees in a picture, and in the adversarial one made of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from advbench.catalog import DEFAULT_MODEL
from advbench.catalog.user_models import OWN
from advbench.cli.console import Command, console, print_result, progress
from advbench.cli.data_options import data_option
from advbench.cli.imports import first_imports
from advbench.cli.model_options import announce, described, description
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
@data_option("An image of a data set in place of the picture")
@click.option("--image", metavar="IMAGE", help="Its name or number in --data. Default: one chosen by the seed.")
@click.option(
    "--model", default=DEFAULT_MODEL, show_default=True, metavar="NAME", help=f"See `advbench models`; or {OWN}."
)
@click.option("--weights", type=click.Path(path_type=Path), metavar="FILE", help="State dict: .safetensors, .pt, .pth.")
@described()
@click.option("--what", multiple=True, metavar="NAME,...", help=f"{', '.join(EXPLANATIONS)}. Default: all.")
@click.option("--layer", metavar="NAME", help="Of features, filters and grad-cam; `--what layers` lists them.")
@click.option("--filter", "filters", multiple=True, type=click.IntRange(min=0), help="Number of a filter; repeatable.")
@click.option("--every", is_flag=True, help="All maps of a layer, not the first 32.")
@click.option("--class", "classes", multiple=True, metavar="CLASS", help="Name or index to ask about; repeatable.")
@click.option("--adversarial", type=click.Path(path_type=Path), metavar="FILE", help="A PNG or .safetensors of it.")
@click.option("--attack", metavar="NAME", help="Makes the adversarial picture; see `advbench attacks`.")
@click.option("--goal", metavar="GOAL", help="Of the attack, as `advbench attack` takes it.")
@click.option("--norm", type=click.Choice(NORMS), help="Of the attack.")
@click.option("--eps", metavar="SIZE", help="Of the attack, such as 2/255.")
@click.option("--run", type=click.Path(path_type=Path), metavar="FOLDER", help="Of a run: its images instead of one.")
@click.option(
    "--worst", type=click.IntRange(min=1), default=12, show_default=True, help="How many, fooled most easily."
)
@click.option("--allow-code", is_flag=True, help="Run the code of models of your own that the run was made with.")
@click.option("--steps", type=click.IntRange(min=1), help="Of each ascent that paints a picture. Default: 64 or 128.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Of all random draws.")
@click.option("--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda:N or mps.")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FOLDER", help="Default: reports/<image>-<model>-explained."
)
@click.option("--json", "as_text", is_flag=True, help="Print a JSON array: an object with tables, texts and files.")
@click.option("--quiet", is_flag=True, help="No progress and no tables.")
def explain(*, as_text: bool, quiet: bool, **asked: Any) -> None:
    """Draw what a network sees in a picture, and in the adversarial one made of it.

    Without options: everything about the clean picture. The figures are PNG files; explain.html holds all of them.
    """
    attack = {name: asked.pop(name) for name in ("attack", "goal", "norm", "eps")}
    chosen = {name: asked.pop(name) for name in ("layer", "filters", "every", "classes", "steps", "seed")}
    data, image = asked.pop("data"), asked.pop("image")
    if image and data is None:
        raise UserError("--image is of a data set", hint="name one with --data")
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
    for section in done.sections:
        # The layers are many, and nobody who asks for everything wants to scroll past them.
        if section.table and (section.name != "layers" or section.name in what):
            rows = [[display_name(cell, limit=36) for cell in row] for row in section.table]
            print_table(out, section.title, rows[0], rows[1:])
            out.print()
        elif not section.table and not section.figures:
            out.print(f"{section.name}: {section.text}", markup=False)
    page = done.files["explain.html"]
    names = ", ".join(done.files)
    out.print(f"files in {display_name(page.parent, limit=200)}: {names}", markup=False)
