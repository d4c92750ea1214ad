"""`advbench guide`: shows the guide of the installed version, offline."""

from pathlib import Path

import click

from advbench.cli.console import Command, console, print_result, results
from advbench.guide.pages import SECTIONS, in_terminal, page, pages

_WIDTH = 100
"""Widest text of a page, in columns."""


@click.command(cls=Command)
@click.argument("topic", required=False)
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FOLDER", help="Write all pages to this folder, as Markdown."
)
def guide(topic: str | None, out: Path | None) -> None:
    """Show a page of the guide, or list the pages.

    TOPIC is the name of a page, such as topk.

    The reference pages are generated from the installed code.
    """
    if topic is not None:
        _show(in_terminal(page(topic).text()))
    if out is not None:
        from advbench.guide.folder import write_pages
        from advbench.records.storage.atomic import folder_for_results

        with folder_for_results(out):
            click.echo(f"written: {write_pages(out)} pages and an index in {out}", err=True)
    elif topic is None:
        _list()


def _list() -> None:
    from advbench.report.terminal import print_table

    known = pages().values()
    for section, heading in (*SECTIONS.items(), ("", "Pictures")):
        own = [(each.name, each.title) for each in known if each.section == section]
        print_table(console(), heading, ["", ""], own)
    print_result("\n`advbench guide NAME` shows a page; the part after the slash is enough, such as topk.")


def _show(text: str) -> None:
    """Print a page: rendered on a terminal, as plain Markdown elsewhere."""
    if not results().isatty():
        print_result(text.rstrip("\n"))
        return
    from rich.markdown import Markdown

    out = console()
    out.print(Markdown(text), width=min(out.width, _WIDTH))
