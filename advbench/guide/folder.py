"""The guide as a folder of Markdown files, from which a site is built."""

import shutil
from pathlib import Path

from advbench.guide.markdown import joined
from advbench.guide.pages import FOLDER, SECTIONS, on_a_site, pages

PICTURES = "gallery"
"""Folder of the pictures of the gallery, beside its page."""


def write_pages(folder: Path) -> int:
    """Write every page, an index of them, and the pictures of the gallery.

    Args:
        folder: Where to; made if it is not there. Files of the same names are replaced.

    Returns:
        Number of the pages, without the index.
    """
    known = pages()
    for page in known.values():
        path = folder / f"{page.name}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(on_a_site(page, known), encoding="utf-8")
    (folder / "index.md").write_text(index(), encoding="utf-8")
    shutil.copytree(FOLDER / PICTURES, folder / PICTURES, dirs_exist_ok=True)
    return len(known)


def index() -> str:
    """The first page: what there is."""
    known = pages().values()
    parts = [f"# advbench\n\n{_ABOUT}"]
    for section, heading in (*SECTIONS.items(), ("", "Pictures")):
        links = [f"- [{page.title}]({page.name}.md)" for page in known if page.section == section]
        parts.append(joined(f"## {heading}", "\n".join(links)))
    return joined(*parts) + "\n"


_ABOUT = """advbench measures how easily an image classifier is fooled, with numbers you can trust: an attack
library (`import attacks`) proposes images, and a separate judge measures every one of them. If you are new here, attack
a photograph first; that takes five minutes, most of them for the installation."""
