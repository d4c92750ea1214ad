"""The pages of the guide: where each is written or made, and how it reads in a terminal."""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from advbench.catalog.registry import near_misses, resolve
from advbench.errors import UserError

FOLDER = Path(__file__).parent
"""Folder of the pages that are written by hand, and of the pictures of the gallery."""
SECTIONS = {
    "start": "Start: five minutes each",
    "howto": "How to",
    "reference": "Reference, generated from the code",
    "background": "Background",
}
"""First part of the names of pages -> heading above them."""
WRITTEN = (
    "start/photograph",
    "start/own-model",
    "start/ci",
    "start/first-attack",
    "howto/budget",
    "howto/compare",
    "howto/decided",
    "howto/baseline",
    "howto/report",
    "howto/reporting",
    "howto/universal",
    "howto/topk",
    "howto/masks",
    "howto/original-size",
    "howto/patches",
    "howto/labels",
    "howto/defence",
    "howto/proofs",
    "howto/transfer",
    "howto/corruptions",
    "howto/profile",
    "howto/explain",
    "howto/cluster",
    "howto/sources",
    "howto/zoo",
    "howto/plugins",
    "howto/export",
    "howto/evidence",
    "howto/paper",
    "background/numbers",
    "background/design",
    "background/judge",
    "background/randomness",
    "background/statistics",
    "background/traps",
    "background/limits",
    "background/glossary",
    "gallery",
)
"""Names of the pages that are written by hand, each a file of that name and `.md`, in order."""
MADE = {
    "reference/command-line": ("Command line", "advbench.cli.command_page:body"),
    "reference/suite": ("The suite file", "advbench.guide.suite:body"),
    "reference/attacks": ("Attacks", "advbench.guide.attacks:body"),
    "reference/foolbox": ("Attacks of Foolbox", "advbench.guide.attacks:foolbox_body"),
    "reference/record": ("Columns of the record", "advbench.guide.facts:record_body"),
    "reference/flags": ("Trust flags", "advbench.guide.flags:body"),
    "reference/exit-codes": ("Exit codes", "advbench.guide.facts:exit_codes_body"),
    "reference/python-attacks": ("Python: attacks", "advbench.guide.api:attacks_body"),
    "reference/python-advbench": ("Python: advbench", "advbench.guide.api:advbench_body"),
}
"""Name of each page that is made of the code -> its title, and the "module:attr" of what makes the rest of it."""
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(((?:\.\./)?(?:[\w-]+/)?[\w-]+)\.md(?:#[\w-]+)?\)")
_ANCHOR = re.compile(r"(?<!!)\[([^\]]+)\]\(#[\w-]+\)")
_PICTURE = re.compile(r"!\[([^\]]*)\]\([^)]+\)\n*")
_COMMENT = re.compile(r"<!--.*?-->\n?", re.DOTALL)


class Page(NamedTuple):
    """One page of the guide."""

    name: str
    """Name, as in `advbench guide NAME`."""
    title: str
    """Title in a few words."""

    @property
    def section(self) -> str:
        """First part of the name; empty for a page outside of all sections."""
        return self.name.rpartition("/")[0]

    def text(self) -> str:
        """The page as Markdown, with links that are relative to it."""
        return _made(self.name) if self.name in MADE else _file(self.name).read_text(encoding="utf-8")


@cache
def _made(name: str) -> str:
    title, maker = MADE[name]
    return f"# {title}\n\n{resolve(maker)()}\n"


def _file(name: str) -> Path:
    return FOLDER / f"{name}.md"


@cache
def pages() -> dict[str, Page]:
    """Name of a page -> page, section after section.

    Example:
        >>> pages()["howto/topk"].section
        'howto'
    """
    written = {name: _file(name).read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ") for name in WRITTEN}
    titles = written | {name: title for name, (title, _) in MADE.items()}
    places = [*SECTIONS, ""]
    found = sorted((Page(name, title) for name, title in titles.items()), key=lambda page: places.index(page.section))
    return {page.name: page for page in found}


def page(topic: str) -> Page:
    """The page of that name; its last part is enough.

    Args:
        topic: Name of a page, in any case.

    Raises:
        UserError: There is no such page; the hint has those that may be meant.

    Example:
        >>> page("flags").name
        'reference/flags'
    """
    wanted = topic.strip().strip("/").removesuffix(".md").casefold()
    known = pages()
    short = {name.rpartition("/")[2]: name for name in known}
    name = short.get(wanted, wanted)
    if name not in known:
        close = [short[each] for each in near_misses(wanted.rpartition("/")[2], short)]
        guess = f"did you mean {', '.join(close)}? " if close else ""
        raise UserError(f"unknown page {topic!r}", hint=f"{guess}`advbench guide` lists all pages")
    return known[name]


def in_terminal(text: str) -> str:
    """A page for a terminal: links become commands that show their pages, pictures the words that describe them.

    Args:
        text: Page as Markdown.

    Example:
        >>> in_terminal("See [top-k](../howto/topk.md).")
        'See top-k (`advbench guide topk`).'
    """

    def command(link: re.Match[str]) -> str:
        return f"{link[1]} (`advbench guide {link[2].rpartition('/')[2]}`)"

    text = _PICTURE.sub(lambda picture: f"*Picture: {picture[1]}*\n\n" if picture[1] else "", _COMMENT.sub("", text))
    return _ANCHOR.sub(r"\1", _LINK.sub(command, text))


def on_a_site(page: Page, known: Iterable[str]) -> str:
    """A page for a site: commands that show a page become links to it.

    Args:
        page: Page to be shown.
        known: Names of all pages.
    """
    names, up = set(known), "../" if page.section else ""

    def link(command: re.Match[str]) -> str:
        name = command[1]
        return f"[{pages()[name].title}]({up}{name}.md)" if name in names else command[0]

    return re.sub(r"`advbench guide ([\w/-]+)`", link, _COMMENT.sub("", page.text()))
