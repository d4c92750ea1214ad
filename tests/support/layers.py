"""Which module may import which, as lists of what is allowed, and the checkers that read them.

A checker takes the name of a module and the sources of all modules; it gives its findings as sentences.
"""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

PACKAGES = (
    *("errors", "sanitize", "intervals", "catalog", "config", "records", "datasets", "models", "evaluation", "proofs"),
    *("planning", "execution", "analysis", "report", "guide", "evidence", "tracking", "pictures", "training"),
    *("explain", "maintenance", "api", "testing", "pytest_plugin", "cli", "__main__"),
)
"""The packages and modules of advbench in the order in which data flows through them. Each imports from itself and from
those before it, wherever the import stands: in the module, in a function, for typing alone."""
ATTACKS = "attacks"
"""The library, which every package of advbench may import and which imports none of them."""
PARTS = ("geometry", "objectives", "searches", "queries", "speed", "standins")
"""Folders of the library that hold what attacks are made of."""
BELOW_ATTACKS = ("goals", "norms", "losses", "protocols", *PARTS)
"""All of the library that a part may import: no attack, and not the package that lists them."""
WITHOUT_TORCH = (
    *("errors", "sanitize", "intervals", "catalog", "config", "records", "analysis", "report", "guide", "tracking"),
    *("pytest_plugin", "cli"),
)
"""Packages of advbench that a person may use without waiting for torch: importing a module of theirs imports none."""
NEVER_TORCH = ("intervals", "analysis", "report", "guide", "tracking")
"""Packages that read results and do without torch in their functions too."""
TORCH = ("torch", "torchvision", "foolbox", "eagerpy", "captum", "efficientnet_lite_pytorch", "safetensors.torch")
"""What imports torch."""
ONLY_IN = {
    "datasets": "advbench.datasets.sources.hub",
    "captum": "advbench.explain.attribution",
    "foolbox": "attacks.foolbox",
    "eagerpy": "attacks.foolbox",
    "keras": "advbench.models.sources.keras",
    "onnxruntime": ("advbench.models.sources.onnx", "advbench.evidence.standalone"),
    "mlflow": "advbench.tracking.to_mlflow",
    "cryptography": "advbench.evidence.signature",
    "onnx": ("advbench.models.sources.onnx_graph", "advbench.proofs.exchange.onnx_file"),
    "onnx2torch": "advbench.models.sources.onnx_twin",
    "onnx2pytorch": "advbench.models.sources.onnx_twin",
    "open_clip": "advbench.models.sources.open_clip",
    "robustbench": "advbench.models.sources.robustbench",
    "trackio": "advbench.tracking.to_trackio",
    "transformers": "advbench.models.sources.transformers",
    "wandb": "advbench.tracking.to_wandb",
}
"""Library -> the one module or package that knows it, or the two."""
NOT_SHIPPED = ("reports", "tests")
"""Published results and tests, which no module may import."""


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


def imports_of(name: str, sources: dict[str, str]) -> tuple[Import, ...]:
    """The imports of one module among ``sources``."""
    return _imports_of(sources[name], name, any(other.startswith(f"{name}.") for other in sources))


@cache
def _imports_of(source: str, name: str, is_package: bool) -> tuple[Import, ...]:
    return tuple(imports(source, name, is_package=is_package))


def package_of(name: str) -> str:
    """``advbench.cli.main`` -> ``cli``; empty for ``advbench`` itself. In attacks a module is its own package."""
    return (*name.split("."), "")[1]


def forbidden_imports(name: str, sources: dict[str, str]) -> list[str]:
    """Imports that the lists above do not allow."""
    return [
        f"line {found.line}: must not import {found.name}: {why}"
        for found in imports_of(name, sources)
        if (why := _objection(name, found))
    ]


def _objection(name: str, found: Import) -> str:
    """Why a module must not have an import; empty where it may."""
    top = found.name.split(".")[0]
    if top in NOT_SHIPPED:
        return "published results and tests are not shipped"
    homes = ONLY_IN.get(top, name)
    homes = (homes,) if isinstance(homes, str) else homes
    if not under(name, *homes):
        return f"only {' and '.join(homes)} knows {top}"
    if under(name, ATTACKS):
        if top in ("advbench", "pandas"):
            return "the library stands on torch alone"
        knows = package_of(found.name) in BELOW_ATTACKS
        return "" if top != ATTACKS or package_of(name) not in PARTS or knows else "parts know no attack"
    if top == "advbench":
        return _against_the_order(name, found.name)
    if package_of(name) in NEVER_TORCH and found.where != "typing" and under(found.name, *TORCH):
        return "results must be readable without torch"
    if package_of(name) in WITHOUT_TORCH and found.where == "module" and under(found.name, *TORCH):
        return "nobody should wait for torch here: import it inside the function that needs it"
    return ""


def _against_the_order(name: str, imported: str) -> str:
    own, other = package_of(name), package_of(imported)
    if other in ("", "__version__"):
        return ""
    if other not in PACKAGES:
        return f"{other} has no place in PACKAGES of tests/support/layers.py"
    if not own:  # advbench itself hands out public names, from wherever they are
        return "" if other != "cli" else "the command line is the top layer"
    if own not in PACKAGES:
        return f"{own} has no place in PACKAGES of tests/support/layers.py"
    return "" if PACKAGES.index(other) <= PACKAGES.index(own) else f"{other} comes after {own} in the order of packages"


def circles(sources: dict[str, str]) -> list[list[str]]:
    """Modules that import each other, directly or through others, wherever the imports stand."""
    graph = {
        name: {known for found in imports_of(name, sources) if (known := _home(found.name, sources))}
        for name in sources
    }
    reach = {name: _reachable(name, graph) for name in graph}
    groups = {frozenset({name, *(other for other in reach[name] if name in reach[other])}) for name in graph}
    return sorted(sorted(group) for group in groups if len(group) > 1)


def _home(imported: str, sources: dict[str, str]) -> str:
    """The module that an imported name is, or lies in; packages that only hand names on do not count."""
    return next(
        (n for n in (imported, imported.rpartition(".")[0]) if n in sources and n not in ("advbench", ATTACKS)), ""
    )


def _reachable(name: str, graph: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        fresh = graph[waiting.pop()] - seen
        seen |= fresh
        waiting += fresh
    return seen - {name}


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
