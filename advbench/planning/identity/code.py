"""Which code decides the results of a run: what a unit of work executes, and all that this imports. No torch."""

import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOTS = (
    *(
        "attacks",
        "advbench.records",
        "advbench.datasets",
        "advbench.models",
        "advbench.evaluation",
        "advbench.planning",
    ),
    *("advbench.execution.tasks", "advbench.execution.worker"),
)
"""Modules to begin with, and packages with everything below them, since tables name their contents as text."""
HARMLESS = {
    "advbench": "hands out what other modules have",
}
"""Modules that decide nothing though they are imported -> why; their imports are not followed either."""
DATA = ("advbench/catalog/attack_facts.json",)
"""Patterns of files read as tables. Weights, images and labels are not among them: each has its own digest."""

_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import[ \t]+(\([^)]*\)|[^\n]*)|import[ \t]+([^\n]*))", re.MULTILINE
)


@cache
def code_digest() -> str:
    """Digest of the sources that decide results.

    Example:
        >>> len(code_digest())
        16
    """
    root = Path(__file__).parents[3]
    files = [*deciding_modules(root).values(), *(root / name for name in DATA)]
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{path.relative_to(root).as_posix()}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def deciding_modules(root: Path) -> dict[str, Path]:
    """The modules that decide results: closed under imports, those inside functions included.

    Args:
        root: The folder that holds the packages `advbench` and `attacks`.

    Returns:
        Dotted name -> file.

    Raises:
        ValueError: A root, or a module that is declared harmless, does not exist (any more).

    Example:
        >>> found = deciding_modules(Path(__file__).parents[3])
        >>> "advbench.evaluation.judge" in found, "advbench.report.html.page" in found
        (True, False)
    """
    paths = [path for top in ("advbench", "attacks") for path in (root / top).rglob("*.py")]
    known = {_name(path.relative_to(root)): path for path in paths}
    for name in (*ROOTS, *HARMLESS):
        if name not in known:
            raise ValueError(f"expected {name} to be a module or package of advbench or attacks, got none of that name")
    queue = [name for name in known if any(name == start or name.startswith(f"{start}.") for start in ROOTS)]
    found: dict[str, Path] = {}
    while queue:
        name = queue.pop()
        if name in known and name not in found and name not in HARMLESS:
            found[name] = known[name]
            queue += [name.rpartition(".")[0], *_imported(known[name].read_text(encoding="utf-8"))]
    return found


def _name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(source: str) -> Iterator[str]:
    """What a source imports anywhere, modules and names in them. Parsing would take longer than hashing."""
    for module, names, modules in _IMPORT.findall(source):
        if module:
            yield module
            yield from (f"{module}.{name}" for name in re.findall(r"\w+", names))
        else:
            yield from re.findall(r"[\w.]+", modules)
