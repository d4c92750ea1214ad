"""What the source of a module says, read without importing it: the guide must not wait for torch."""

import ast
import importlib.util
import inspect
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = ast.ClassDef | Function


class Field(NamedTuple):
    """A name that a class or a module gives a value or a type, with the docstring below it."""

    name: str
    """Name as in the code."""
    kind: str
    """Type as it is written; empty if none is."""
    default: str
    """Value as it is written; empty if there is none."""
    text: str
    """Docstring below it, in one paragraph for each of its own; empty if there is none."""


class Home(NamedTuple):
    """The place where a public name is defined."""

    module: str
    """Dotted name of the module."""
    node: Definition | None
    """The class or the function; None for a value."""


@cache
def tree_of(module: str) -> ast.Module:
    """The syntax tree of a module of an installed package, which is not imported.

    Args:
        module: Dotted name of the module.

    Raises:
        ModuleNotFoundError: There is no such module.

    Example:
        >>> ast.get_docstring(tree_of("attacks.fmn"))
        'Fast minimum-norm attack, for every norm.'
    """
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    for folder in map(Path, (spec.submodule_search_locations or ()) if spec else ()):
        stem = folder.joinpath(*rest)
        for path in (stem.with_suffix(".py"), stem / "__init__.py"):
            if path.is_file():
                return ast.parse(path.read_text(encoding="utf-8"))
    raise ModuleNotFoundError(f"No module named {module!r}", name=module)


def find(module: str, name: str) -> Home:
    """Where a name is defined, through the packages that only hand it on.

    Args:
        module: Dotted name of a module that has the name.
        name: Name in it.

    Raises:
        LookupError: The module neither defines nor imports the name.

    Example:
        >>> find("attacks", "Untargeted").module
        'attacks.goals.untargeted'
    """
    for node in _statements(tree_of(module).body):
        if isinstance(node, Definition) and node.name == name:
            return Home(module, node)
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name and node.module:
                    return _imported(node.module, alias.name)
    if any(field.name == name for field in fields(tree_of(module))):
        return Home(module, None)
    raise LookupError(f"expected a name in {module}, got {name!r}")


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, and those under its conditions, such as imports for typing alone."""
    for node in body:
        yield node
        if isinstance(node, ast.If):
            yield from _statements(node.body)


def _imported(module: str, name: str) -> Home:
    """Where a name is defined that is imported from a package: in one of its modules, or the module is the name."""
    try:
        return find(module, name)
    except LookupError:
        tree_of(f"{module}.{name}")
        return Home(f"{module}.{name}", None)


def public_names(module: str) -> list[str]:
    """The names in the `__all__` of a module.

    Example:
        >>> public_names("advbench")[:2]
        ['Classifier', 'Dataset']
    """
    for node in tree_of(module).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return []


def fields(node: ast.ClassDef | ast.Module) -> list[Field]:
    """The names that a class or a module gives a value or a type, in its order.

    Example:
        >>> (node,) = (each for each in tree_of("attacks.fmn").body if isinstance(each, ast.ClassDef))
        >>> [field.default for field in fields(node) if field.name == "steps"]
        ['100']
    """
    found = []
    target: ast.expr
    for statement, after in pairwise([*node.body, ast.Pass()]):
        if isinstance(statement, ast.AnnAssign):
            target, kind = statement.target, ast.unparse(statement.annotation)
        elif isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target, kind = statement.targets[0], ""
        else:
            continue
        if isinstance(target, ast.Name):
            default = ast.unparse(statement.value) if statement.value is not None else ""
            found.append(Field(target.id, kind, default, _text(after)))
    return found


def _text(statement: ast.stmt) -> str:
    """The text of a statement that is a docstring; empty for any other."""
    value = statement.value if isinstance(statement, ast.Expr) else None
    return inspect.cleandoc(value.value) if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""


def is_record(node: ast.ClassDef) -> bool:
    """Whether the annotated names in a class are the arguments that make one: a dataclass or a named tuple."""
    decorators = {ast.unparse(each).partition("(")[0].rpartition(".")[2] for each in node.decorator_list}
    return "dataclass" in decorators or any(ast.unparse(base).endswith("NamedTuple") for base in node.bases)


def signature(home: Home) -> str:
    """How a function is called, or how one of a class is made; the types are left out.

    Args:
        home: Where the function or the class is defined.

    Raises:
        LookupError: It is neither.

    Example:
        >>> signature(find("attacks", "FMN"))
        'FMN(*, norm=Linf(), steps=100, step_size=1.0, gamma=0.05)'
    """
    node = home.node
    if node is None:
        raise LookupError(f"expected a function or a class in {home.module}, got a value")
    if isinstance(node, Function):
        return call_of(node)
    made = [each for each in node.body if isinstance(each, Function) and each.name == "__init__"]
    if made:
        return f"{node.name}({_arguments(made[0].args)})"
    placed, named = _made_of(home)
    if not placed and not named and not is_record(node):
        return node.name
    return f"{node.name}({', '.join([*placed, *(['*'] if named else []), *named])})"


def call_of(function: Function) -> str:
    """How a function is called; the types are left out."""
    return f"{function.name}({_arguments(function.args)})"


def _made_of(home: Home) -> tuple[list[str], list[str]]:
    """The arguments that make a record, those by place and those by name; what it inherits comes first."""
    placed: list[str] = []
    named: list[str] = []
    if not isinstance(home.node, ast.ClassDef):
        return placed, named
    for base in home.node.bases:
        try:
            inherited = _made_of(find(home.module, ast.unparse(base)))
        except (LookupError, ModuleNotFoundError):
            continue  # of another package, or of none
        placed, named = placed + inherited[0], named + inherited[1]
    if is_record(home.node):
        arguments = named if any("kw_only" in ast.unparse(each) for each in home.node.decorator_list) else placed
        arguments += [
            _argument(each.name, _shown(each.default))
            for each in fields(home.node)
            if each.kind and "ClassVar" not in each.kind and not each.name.startswith("_")
        ]
    return placed, named


def _shown(default: str) -> str:
    """A default as one would write it; `...` where the class makes it."""
    return "..." if default.startswith("field(") else default


def _argument(name: str, default: str) -> str:
    return f"{name}={default}" if default else name


def _arguments(args: ast.arguments) -> str:
    """The arguments of a function without their types, and without `self`."""
    plain = [*args.posonlyargs, *args.args]
    defaults = [""] * (len(plain) - len(args.defaults)) + [ast.unparse(each) for each in args.defaults]
    shown = [
        _argument(each.arg, default)
        for each, default in zip(plain, defaults, strict=True)
        if each.arg not in ("self", "cls")
    ]
    if args.vararg:
        shown.append(f"*{args.vararg.arg}")
    elif args.kwonlyargs:
        shown.append("*")
    for each, value in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        shown.append(_argument(each.arg, ast.unparse(value) if value is not None else ""))
    return ", ".join([*shown, *([f"**{args.kwarg.arg}"] if args.kwarg else [])])


def methods(node: ast.ClassDef) -> list[Function]:
    """The public methods and properties of a class that have a docstring."""
    return [
        each
        for each in node.body
        if isinstance(each, Function) and not each.name.startswith("_") and ast.get_docstring(each)
    ]
