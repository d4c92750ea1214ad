"""What the scripts share: options, and a report, which is numbers in a JSON file and the page that shows them."""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPORTS = Path(__file__).parents[2] / "reports"
PEERS = REPORTS / "peers"
_SHARED: dict[str, dict[str, Any]] = {
    "--again": {"action": "store_true", "help": "repeat measurements that are already stored"},
    "--page": {"action": "store_true", "help": "only rewrite the page, without measuring"},
    "--out": {"type": Path, "metavar": "FOLDER"},
}


def parser_for(name: str, description: str | None) -> argparse.ArgumentParser:
    """Parser of the options of `python -m tests.peers.NAME`."""
    return argparse.ArgumentParser(prog=f"python -m tests.peers.{name}", description=description)


def add_shared(parser: argparse.ArgumentParser, *names: str, out: Path = PEERS) -> None:
    """Add options that mean the same in several scripts.

    Args:
        parser: Parser to add them to.
        names: Any of "--again", "--page" and "--out", in the order in which the help lists them.
        out: Default of "--out".
    """
    for name in names:
        parser.add_argument(name, **_SHARED[name], **({"default": out} if name == "--out" else {}))


def say(*words: object) -> None:
    """Print a line about the progress to standard error."""
    print(*words, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Report:
    """Numbers in a JSON file, and the page that shows them, in one folder."""

    folder: Path
    name: str
    """Name of the JSON file, without its ending."""
    page: Callable[[Any], str]
    """Makes the page from the numbers."""
    page_name: str = ""
    """Name of the page, without its ending; default: that of the JSON file."""
    indent: int | None = 1
    """Spaces per level in the JSON file; None: everything on one line."""

    def stored(self) -> dict[str, Any]:
        """Numbers of earlier calls; empty if there are none."""
        path = self.folder / f"{self.name}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def rewrite_page(self) -> None:
        """Write the page of the stored numbers.

        Raises:
            SystemExit: There are none.
        """
        if not (self.folder / f"{self.name}.json").exists():
            raise SystemExit(f"{self.folder} has no {self.name}.json yet: measure first, without --page")
        self._write_page(self.stored())

    def save(self, numbers: Any) -> None:
        """Write the numbers and the page."""
        text = json.dumps(numbers, indent=self.indent, allow_nan=False)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / f"{self.name}.json").write_text(f"{text}\n", encoding="utf-8")
        self._write_page(numbers)

    def _write_page(self, numbers: Any) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / f"{self.page_name or self.name}.md").write_text(self.page(numbers), encoding="utf-8")
