"""The README and the pages of the guide that are written by hand, taken apart into blocks that tests run."""

import re
import shlex
from functools import cache
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import click

from advbench.cli.main import main

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "advbench" / "guide"
KINDS = ("console", "python", "toml", "yaml")
"""Kinds of blocks that are run or read by something."""
NOT_OURS = ("make", "git", "pip", "python", "cd", "source", "export")
"""First words of commands that install or build, which CI does by itself."""


class Block(NamedTuple):
    """A fenced block of a page."""

    kind: str
    """One of `KINDS`."""
    line: int
    """Number of its first line on the page."""
    text: str
    """Everything between the fences."""
    not_run: str = ""
    """Why it is not run, from the comment before it; empty if it is."""

    @property
    def commands(self) -> list[str]:
        """What stands behind `$ `, continuation lines joined."""
        joined = self.text.replace("\\\n", " ")
        return [line[2:].strip() for line in joined.splitlines() if line.startswith("$ ")]

    @property
    def file(self) -> str:
        """Name of the file that the block is, from the comment in its first line; empty if there is none."""
        named = re.match(r"# ([a-z_]+\.(?:py|toml))\n", self.text)
        return named[1] if named else ""


class Page(NamedTuple):
    """A page with its blocks."""

    name: str
    """Path from the root of the repository, or from the guide."""
    path: Path
    """The file."""

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @property
    def blocks(self) -> tuple[Block, ...]:
        return blocks(self.text)


class Example(NamedTuple):
    """A block on its page."""

    page: Page
    block: Block

    @property
    def place(self) -> str:
        return f"{self.page.name}:{self.block.line}"


class Command(NamedTuple):
    """A command line, taken apart."""

    words: list[str]
    output: str | None
    """The file that standard output goes to."""


@cache
def blocks(text: str) -> tuple[Block, ...]:
    """The fenced blocks of a page that are run or read, in order."""
    fences = rf"^(?:<!-- not run: ([^\n]*) -->\n)?```({'|'.join(KINDS)})\n(.*?)^```$"
    found = re.finditer(fences, text, re.MULTILINE | re.DOTALL)
    return tuple(Block(each[2], text[: each.start(3)].count("\n") + 1, each[3], each[1] or "") for each in found)


PAGES = (
    Page("README.md", ROOT / "README.md"),
    *(Page(str(path.relative_to(GUIDE)), path) for path in sorted(GUIDE.rglob("*.md"))),
)
EXAMPLES = tuple(Example(page, block) for page in PAGES for block in page.blocks)


def example(page: str, first: str) -> Block:
    """The block of a page that begins so."""
    (found,) = (each.block for each in EXAMPLES if each.page.name == page and each.block.text.startswith(first))
    return found


def parsed(command: str) -> Command:
    words = shlex.split(command, comments=True)
    if ">" in words:
        at = words.index(">")
        return Command(words[:at], words[at + 1])
    return Command(words, None)


def expected_code(command: str) -> int:
    """The code that a command ends with: 0, unless a comment behind it says another."""
    told = re.search(r"# ends with (\d)", command)
    return int(told[1]) if told else 0


def check_options(command: str) -> None:
    """Check that a command of ours exists and takes its options, without running it.

    Raises:
        click.UsageError: It does not.
    """
    words = parsed(command).words
    assert words[0] == "advbench", f"do not know what {command!r} is"
    current: click.Command = main
    # with its settings: a command remembers the names of its help option from the first context that it sees
    context, rest = click.Context(main, info_name="advbench", **main.context_settings), words[1:]
    while isinstance(current, click.Group):
        name, *rest = rest
        found = current.get_command(context, name)
        assert found is not None, f"there is no command {name!r}: {command}"
        current = found
        if isinstance(current, click.Group):
            context = click.Context(current, info_name=name, parent=context)
    with patch("advbench.cli.model_options.load_plugins"):  # options are checked, the modules on a page are not there
        current.make_context(words[1], list(rest), parent=context)
