"""Sphinx settings for the site of the guide: `make guide` builds it of the pages that `advbench guide --out` writes."""

import re
from pathlib import Path
from typing import Any

_PACKAGE = (Path(__file__).parents[1] / "advbench" / "__init__.py").read_text(encoding="utf-8")
_SECTIONS = {"start": "Start", "howto": "How to", "reference": "Reference", "background": "Background"}

project = "advbench"
copyright = "the authors of advbench"  # noqa: A001 - Sphinx wants this name
version = release = re.findall(r'^__version__ = "(.*)"$', _PACKAGE, re.MULTILINE)[0]
language = "en"

extensions = ["myst_parser"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"advbench {release}"
html_copy_source = html_show_sourcelink = False
html_permalinks_icon = "#"
html_static_path = [str(Path(__file__).with_name("static"))]
html_css_files = ["guide.css"]
pygments_style, pygments_dark_style = "default", "github-dark"


def _with_contents(app: Any, name: str, content: list[str]) -> None:
    """Add the tree of all pages to the index, in its order: it becomes the menu."""
    if name != "index":
        return
    links = re.findall(r"\]\(([\w/-]+)\.md\)", content[0])
    for section, heading in (*_SECTIONS.items(), ("", "Pictures")):
        own = [each for each in links if each.rpartition("/")[0] == section]
        tree = "\n".join([":hidden:", f":caption: {heading}", "", *own])
        content[0] += f"\n```{{toctree}}\n{tree}\n```\n"


def setup(app: Any) -> None:
    """Tell Sphinx about the above."""
    app.connect("source-read", _with_contents)
