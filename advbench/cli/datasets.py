"""`advbench datasets`: lists the data sets, downloads them, and previews one before a run."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from advbench.catalog import DATASETS
from advbench.catalog.user_models import OWN
from advbench.cli.console import Command, console, print_result
from advbench.cli.model_options import announce, described, description, plugin_option
from advbench.config.data.name import DATA_FORM, NamedData, data_at
from advbench.errors import UserError
from advbench.records.record import as_json
from advbench.sanitize import display_name

if TYPE_CHECKING:
    from advbench.pictures.look import Look

_SHOWN = 12
"""Most classes that are listed."""


@click.command(cls=Command)
@click.argument("data", required=False, metavar=f"[PATH|{DATA_FORM}]")
@click.option(
    "--model", metavar="NAME", help=f"Model to preview the images for: a name from `advbench models`, or {OWN}."
)
@click.option("--weights", type=click.Path(path_type=Path), metavar="FILE", help="State dict to load into the model.")
@described()
@click.option(
    "--limit", type=click.IntRange(min=1), default=64, show_default=True, metavar="N", help="Number of images to read."
)
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Contact sheet to write, as PNG.")
@click.option("--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda:N or mps.")
@plugin_option()
@click.option("--json", "as_text", is_flag=True, help="Print JSON.")
@click.option("--download", metavar="NAME", help="Download a data set of torchvision, such as cifar10.")
@click.option(
    "--data-root",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="ADVBENCH_DATA",
    help="Folder to download to. Default: the environment variable ADVBENCH_DATA.",
)
def datasets(
    data: str | None, out: Path | None, as_text: bool, download: str | None, data_root: Path | None, **asked: Any
) -> None:
    """List the data sets, or preview one before a run.

    With a PATH or a NAME: the number of images, the classes and how each was found in the model, sizes, clean
    accuracy, and what looks like a mistake. The kind of a PATH is guessed by the files that are there.
    """
    if download is not None:
        _download(download, data_root)
    elif data is None:
        if asked["model"] or asked["weights"] or out:
            raise UserError("--model, --weights and --out are for previewing one data set", hint="name it, or its path")
        _list(as_text)
    else:
        _look(data_at(data), out, as_text=as_text, **asked)


def _list(as_text: bool) -> None:
    cards = DATASETS.values()
    if as_text:
        shown = ("name", "data", "classes", "images", "takes_path", "fetched", "summary")
        print_result(as_json([{name: getattr(card, name) for name in shown} for card in cards]))
        return
    from advbench.report.terminal import print_table

    rows = [(card.name, card.data, "" if card.images is None else str(card.images), card.summary) for card in cards]
    print_table(console(), "Data sets", ["name", "of", "images", ""], rows)


def _download(name: str, root: Path | None) -> None:
    if root is None:
        hint = "add --data-root DIR, or set the environment variable ADVBENCH_DATA"
        raise UserError(f"the folder to fetch {name} into is missing", hint=hint)
    if not DATASETS[name].fetched:
        fetched = ", ".join(card.name for card in DATASETS.values() if card.fetched)
        raise UserError(f"data set {name} needs no download", hint=f"those that do: {fetched}")
    from advbench.datasets.sources.torchvision import download

    console().print(f"{name} is in {download(name, root)}", markup=False, soft_wrap=True)


def _look(named: NamedData, out: Path | None, *, as_text: bool, model: str | None, **asked: Any) -> None:
    if asked["weights"] and not model:
        raise UserError("--weights belongs to a model", hint="name it with --model")
    about = description(asked, model)
    announce(model, about)
    from advbench.pictures.look import LookConfig, look_at

    look = look_at(LookConfig(spec=named.spec, model=model, about=about, **asked))
    if out is not None:
        from advbench.pictures.contact_sheet import draw_sheet
        from advbench.records.storage.atomic import folder_for_results, write_atomic

        with folder_for_results(out.absolute().parent):
            write_atomic(out, draw_sheet(_title(look, model), look.seen))
    if as_text:
        print_result(as_json([look.as_row() | {"guessed": named.guessed}]))
    else:
        _print(look, model, guessed=named.guessed, out=out)


def _title(look: "Look", model: str | None) -> str:
    right = "" if look.right is None else f": {look.right.k} of {look.right.n} right"
    return display_name(f"{look.spec.label}{f' · {model}' if model else ''}{right}", limit=90)


def _print(look: "Look", model: str | None, *, guessed: bool, out: Path | None) -> None:
    from advbench.report.terminal import print_table

    console_ = console()
    path = f" at {display_name(look.spec.path, limit=60)}" if look.spec.path else ""
    note = ", guessed by what is there" if guessed else ""
    console_.print(f"{look.spec.name}{path}{note}", style="bold", markup=False)
    print_table(console_, "", ["", ""], list(_facts(look, model, out)))
    if look.counts:
        console_.print()
        print_table(console_, "", *_classes(look))
        if len(look.counts) > _SHOWN:
            console_.print(f"and {len(look.counts) - _SHOWN} more; --json has all", markup=False)
    for flag in look.flags:
        console_.print(f"flag {flag.severity} {flag}", style="yellow", markup=False)
    if not look.flags and model:
        console_.print("no trust flag is raised", style="green", markup=False)


def _facts(look: "Look", model: str | None, out: Path | None) -> "list[tuple[str, str]]":
    left_out = f", {look.left_out:,} of them left out by the map" if look.left_out else ""
    facts = [("images", f"{look.images:,}{left_out}; {len(look.seen)} were read")]
    facts += [("unreadable", f"{len(look.problems)}: {look.problems[0]}")] if look.problems else []
    facts += [("labels, several each" if look.several else "classes", _matching(look, model))]
    low, high = min(look.sizes), max(look.sizes)
    several = "" if low == high else f" to {high[0]} x {high[1]}"
    facts += [("sizes", f"{low[0]} x {low[1]}{several} pixels, {', '.join(look.modes)}")]
    right = "every label right when clean" if look.several else "when clean"
    facts += [("right", f"{look.right} {right}")] if look.right is not None else []
    return facts + ([("sheet", str(out))] if out else [])


def _matching(look: "Look", model: str | None) -> str:
    """A sentence on how the classes were found."""
    if not look.counts:
        return "the images have no labels"
    own = f"{len(look.counts):,}"
    if model is None:
        return own
    if not look.matches:
        return f"{own} of the model's {len(look.model_classes):,}: the labels are its numbers"
    ways = Counter("left out" if match.index is None else f"by {match.how}" for match in look.matches)
    told = ", ".join(f"{count:,} {way}" for way, count in ways.most_common())
    return f"{own}, found among the model's {len(look.model_classes):,}: {told}"


def _classes(look: "Look") -> tuple[list[str], list[tuple[str, ...]]]:
    """Headings and rows for the first classes."""
    rows: list[tuple[str, ...]] = []
    for place, (name, count) in enumerate(look.counts[:_SHOWN]):
        row = [display_name(name, limit=28), f"{count:,}"]
        if look.matches:
            match = look.matches[place]
            what = "left out" if match.index is None else f"{match.index} {look.class_of(match)}"
            row += [display_name(what, limit=28), match.how]
        rows.append(tuple(row))
    noun = "label" if look.several else "class"
    return ([noun, "images", "in the model", "by"] if look.matches else [noun, "images"]), rows
