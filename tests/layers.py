"""The layers of the product as a table of imports that are forbidden, and the checkers that read them.

A checker takes the name of a module and the sources of all modules; it gives its findings as sentences.
"""

import ast
import sys
from collections.abc import Iterator
from typing import NamedTuple


def under(name: str, *prefixes: str) -> bool:
    """Whether ``name`` is one of the dotted ``prefixes`` or lies below one."""
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


class Import(NamedTuple):
    """One imported name: ``from torch import nn`` gives ``torch.nn``."""

    name: str
    where: str
    """"module" if it runs when the module is imported, "function" if later, "typing" if never."""
    line: int


def imports(source: str, module: str, *, is_package: bool = False) -> Iterator[Import]:
    """Every import in ``source``; relative ones made absolute with the name of the ``module``."""
    package = module.split(".") if is_package else module.split(".")[:-1]

    def visit(node: ast.AST, where: str) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, where, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*parents, *([node.module] if node.module else [])])
            yield from (Import(f"{origin}.{alias.name}", where, node.lineno) for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from (found for child in node.body for found in visit(child, "typing"))
            yield from (found for child in node.orelse for found in visit(child, where))
        else:
            inside = "function" if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) else where
            yield from (found for child in ast.iter_child_nodes(node) for found in visit(child, inside))

    return visit(ast.parse(source), "module")


def imports_of(name: str, sources: dict[str, str]) -> list[Import]:
    """The imports of one module among ``sources``."""
    is_package = any(other.startswith(f"{name}.") for other in sources)
    return list(imports(sources[name], name, is_package=is_package))


class Ban(NamedTuple):
    """Modules that must not import certain others, and what to do instead."""

    modules: tuple[str, ...]
    """Where the rule holds: these modules and everything below them."""
    banned: tuple[str, ...]
    """What they must not import: these and everything below them."""
    advice: str
    """Why, or what to do instead."""
    but_not: tuple[str, ...] = ()
    """Where the rule does not hold after all."""
    where: tuple[str, ...] = ("module", "function", "typing")
    """Which imports are wrong; see :class:`Import`."""


LIGHT = tuple(
    f"advbench.{name}"
    for name in (
        *("errors", "registry", "records", "store", "cards", "catalog", "config", "flags", "pytest_plugin"),
        *(
            "attack_facts",
            "deciding",
            "suite",
            "suite_files",
            "suite_types",
            "parameters",
            "plugins",
            "units",
            "seal",
            "shards",
            "folder",
            "runs",
        ),
    )
)
COMMANDS = ("advbench.cli", "advbench.commands")
TABLES = tuple(
    f"advbench.{name}"
    for name in (
        "columns",
        "evidence",
        "intervals",
        "findings",
        "metrics",
        "successes",
        "compare",
        "baseline",
        "gates",
        "trust",
        "report",
    )
)
WORKERS = tuple(f"advbench.{name}" for name in ("models", "datasets", "meter", "judge", "checks", "plan"))
TORCH = ("torch", "torchvision", "foolbox", "eagerpy", "captum", "efficientnet_lite_pytorch", "safetensors.torch")


BANS = [
    Ban(("attacks",), ("advbench", "pandas"), "the library stands on torch alone"),
    Ban(("attacks",), ("numpy",), "the library stands on torch alone; Foolbox does not", ("attacks.foolbox",)),
    Ban(("attacks",), ("foolbox", "eagerpy"), "only attacks/foolbox.py knows Foolbox", ("attacks.foolbox",)),
    Ban(LIGHT, TORCH, "import it inside the function that needs it", where=("module",)),
    Ban(TABLES, TORCH, "results must be readable without torch", where=("module", "function")),
    Ban(("advbench",), COMMANDS, "the command line is the top layer", ("advbench.__main__", *COMMANDS)),
    Ban(COMMANDS, TORCH, "a listing must not wait for torch: import it inside the handlers", where=("module",)),
    Ban(WORKERS, ("advbench.runner", "advbench.report"), "the runner calls this module, not the reverse"),
    Ban(("advbench.runner",), ("advbench.report",), "a report is made from the folder a run leaves behind"),
    Ban(
        (*WORKERS, "advbench.runner", "advbench.report", "advbench.attack"),
        ("advbench.explain",),
        "explanations stand on this module, not the reverse",
    ),
    Ban(
        ("advbench",),
        ("captum",),
        "only advbench/explain/attribution.py knows captum",
        ("advbench.explain.attribution",),
    ),
    Ban(("attacks", "advbench"), ("reports", "tests"), "published results and tests are not shipped"),
]


def banned_imports(name: str, sources: dict[str, str]) -> list[str]:
    """Imports that the table of layers forbids."""
    return [
        f"line {found.line}: must not import {found.name}: {ban.advice}"
        for ban in BANS
        if under(name, *ban.modules) and not under(name, *ban.but_not)
        for found in imports_of(name, sources)
        if under(found.name, *ban.banned) and found.where in ban.where
    ]


def third_party_at_import(name: str, sources: dict[str, str]) -> list[str]:
    """What ``import attacks`` would need beyond torch and the standard library."""
    return [
        f"line {found.line}: import {found.name} inside the function that needs it: `import attacks` needs torch alone"
        for found in imports_of(name, sources)
        if found.where == "module" and found.name.split(".")[0] not in sys.stdlib_module_names | {"torch", "attacks"}
    ]


def chain_to_torch(name: str, sources: dict[str, str]) -> list[str]:
    """The chain of imports by which importing ``name`` imports torch, or an empty list."""
    queue, seen = [[name]], {name}
    while queue:
        chain = queue.pop(0)
        parents = [chain[-1].rsplit(".", depth)[0] for depth in range(1, chain[-1].count(".") + 1)]
        found = [item.name for item in imports_of(chain[-1], sources) if item.where == "module"]
        for target in parents + found:
            if under(target, *TORCH):
                return [*chain, target]
            # "attacks.goals.Untargeted" is a name in the module attacks.goals
            known = next((n for n in (target, target.rpartition(".")[0]) if n in sources), None)
            if known and known not in seen:
                seen.add(known)
                queue.append([*chain, known])
    return []
