"""The code that decides the results of a run: everything a unit executes or imports. Does not import torch."""

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
"""Root modules, and packages with everything below them, since registries name their entries as text."""
HARMLESS = {
    "advbench": "hands out what other modules have",
}
"""Imported modules that have no influence on results -> why; their imports are not followed either."""
DATA = ("advbench/catalog/attack_facts.json",)
"""Patterns of files read as tables. Weights, images and labels are not included: they have their own digests."""

_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import[ \t]+(\([^)]*\)|[^\n]*)|import[ \t]+([^\n]*))", re.MULTILINE
)


@cache
def code_digest() -> str:
    """Digest of the source files that decide results.

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
    """The modules that decide results: closed under imports, including those inside functions.

    Args:
        root: The folder with the packages `advbench` and `attacks`.

    Returns:
        Dotted name -> file.

    Raises:
        ValueError: A root module, or a module that is declared harmless, does not exist (any more).

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
    """Modules and names that a source imports anywhere. Uses a regex, as parsing would take longer than hashing."""
    for module, names, modules in _IMPORT.findall(source):
        if module:
            yield module
            yield from (f"{module}.{name}" for name in re.findall(r"\w+", names))
        else:
            yield from re.findall(r"[\w.]+", modules)
