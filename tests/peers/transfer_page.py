"""The page `reports/peers/transfer.md`, made of `transfer.json`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_page(results: Mapping[str, Any], folder: Path) -> None:
    """Write the page."""
    (folder / "transfer.md").write_text("# Transfer\n", encoding="utf-8")
