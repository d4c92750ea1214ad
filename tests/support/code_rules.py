"""What no linter holds: sizes, documentation of everything public, forbidden calls, paths of one machine.

Every checker takes source text and gives its findings as sentences that say what to do.
"""

import ast
import doctest
import inspect
import re
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path
from pkgutil import resolve_name
from types import FunctionType
from typing import NamedTuple

from layers import imports, under

MAX_MODULE_LINES = 300
MAX_BODY_LINES = 40
MAX_ARGUMENTS = 7
MAX_OPTIONS = 9
"""Arguments of a function whose arguments are all keyword-only but one: each names itself where it is called."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Definition(NamedTuple):
    """A class or a function and where it stands."""

    name: str
    """As in ``__qualname__``: ``PGD.__call__``, ``decorate.<locals>.inner``."""
    node: ast.ClassDef | Function
    in_class: bool


def definitions(tree: ast.AST, prefix: str = "", *, in_class: bool = False) -> Iterator[Definition]:
    """Every class and function below ``tree``."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.ClassDef | Function):
            yield Definition(prefix + child.name, child, in_class)
            is_class = isinstance(child, ast.ClassDef)
            inside = f"{prefix}{child.name}." + ("" if is_class else "<locals>.")
            yield from definitions(child, inside, in_class=is_class)
        else:
            yield from definitions(child, prefix, in_class=in_class)


def decorators(node: ast.ClassDef | Function) -> set[str]:
    """Last names of the decorators: ``@dataclasses.dataclass(frozen=True)`` gives ``dataclass``."""
    calls = (item.func if isinstance(item, ast.Call) else item for item in node.decorator_list)
    return {ast.unparse(item).rpartition(".")[2] for item in calls}


def body_lines(function: Function) -> int:
    """Lines after signature and docstring; blank lines and comments count."""
    first = function.body[0]
    start = (first.end_lineno or 0) + 1 if ast.get_docstring(function) is not None else first.lineno
    return (function.end_lineno or 0) - start + 1


def count_arguments(function: Function, *, in_class: bool) -> int:
    """Arguments that a caller gives: without ``self`` or ``cls``."""
    spec = function.args
    every = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs, *filter(None, (spec.vararg, spec.kwarg))]
    return len(every) - (in_class and "staticmethod" not in decorators(function))


def oversized(source: str) -> list[str]:
    """A module, function bodies and argument lists that are too long."""
    findings = []
    if (lines := len(source.splitlines())) > MAX_MODULE_LINES:
        findings.append(f"{lines} lines, at most {MAX_MODULE_LINES}: give its second purpose a module of its own")
    for name, node, in_class in definitions(ast.parse(source)):
        if isinstance(node, ast.ClassDef):
            continue
        if (lines := body_lines(node)) > MAX_BODY_LINES:
            findings.append(f"line {node.lineno}: {name} has {lines} lines of body, at most {MAX_BODY_LINES}: split it")
        count = count_arguments(node, in_class=in_class)
        most = MAX_OPTIONS if count - len(node.args.kwonlyargs) <= 1 else MAX_ARGUMENTS
        if count > most:
            findings.append(
                f"line {node.lineno}: {name} takes {count} arguments, at most {most}: "
                "gather those that belong together in a dataclass"
            )
    return findings


RECORDS = {"NamedTuple", "TypedDict", "BaseModel"}


def is_public(name: str) -> bool:
    """Whether a dotted name is part of the interface; of the special methods only ``__call__`` is."""
    return all(not part.startswith(("_", "<")) or part == "__call__" for part in name.split("."))


def is_record(node: ast.ClassDef) -> bool:
    """Whether the annotated names in the class body are its fields."""
    bases = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
    return "dataclass" in decorators(node) or bool(bases & RECORDS)


def listed_in_docstring(node: ast.ClassDef) -> set[str]:
    """Names with an entry in the sections ``Args:`` or ``Attributes:`` of the docstring."""
    docstring = ast.get_docstring(node) or ""
    sections = re.findall(r"^(?:Args|Attributes):\n((?:(?:[ \t].*)?(?:\n|$))*)", docstring, re.MULTILINE)
    entries = re.findall(r"^    (\w+(?:, \w+)*)(?: \(.*\))?:", "\n".join(sections), re.MULTILINE)
    return {name for entry in entries for name in entry.split(", ")}


def undocumented_fields(node: ast.ClassDef) -> Iterator[ast.AnnAssign]:
    """Public fields of a record without a docstring line and without an entry in the class docstring."""
    listed = listed_in_docstring(node)
    for field, after in zip(node.body, [*node.body[1:], None], strict=True):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        described = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        constant = "ClassVar" in ast.unparse(field.annotation)
        if not (described or constant or field.target.id in listed or field.target.id.startswith("_")):
            yield field


def undocumented(source: str) -> list[str]:
    """Public modules, classes, functions, methods and fields without a docstring."""
    tree = ast.parse(source)
    findings = [] if ast.get_docstring(tree) else ["line 1: the module needs a docstring: what is it for?"]
    for name, node, _ in definitions(tree):
        if not is_public(name) or decorators(node) & {"overload", "setter"}:
            continue
        if not ast.get_docstring(node):
            findings.append(f"line {node.lineno}: {name} needs a docstring")
        if isinstance(node, ast.ClassDef) and is_record(node):
            findings += [
                f"line {field.lineno}: {name}.{ast.unparse(field.target)} needs a line of docstring below it, "
                "or an entry under Args: in the class docstring"
                for field in undocumented_fields(node)
            ]
    return findings


MIN_WORDS = 3
FRAGMENT = re.compile(r"(?:Of|Likewise|That of|Those of|The same as|Whose|(?:On|In|For|From|To|At) which)\b")
"""How an entry begins that leaves out its subject: \"Of the run.\" """
UNIDIOMATIC = {
    r"\bso many\b": 'name the number: "at most N images", "that number of passes"',
    r"\bcame\s+of\s+it\b": 'name the result: "the outcome", "what was found"',
    r"\bis\s+told\b": 'say what it is given: "takes", "is given"',
}


class Entry(NamedTuple):
    """A line of documentation that describes one name."""

    line: int
    name: str
    text: str


def entries(source: str) -> Iterator[Entry]:
    """The items of all ``Args:`` and ``Attributes:`` sections, and the docstrings below constants and fields."""
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", [])
        if isinstance(node, ast.Module | ast.ClassDef | Function):
            for name, text in items_in_docstring(ast.get_docstring(node) or ""):
                yield Entry(getattr(node, "lineno", 1), name, text)
        for first, second in pairwise(body if isinstance(body, list) else []):
            if isinstance(first, ast.AnnAssign | ast.Assign) and (text := docstring_below(second)):
                target = first.target if isinstance(first, ast.AnnAssign) else first.targets[0]
                yield Entry(second.lineno, ast.unparse(target), text)


def docstring_below(statement: ast.stmt) -> str:
    """The text of a statement that is nothing but a string; empty for any other."""
    value = statement.value if isinstance(statement, ast.Expr) else None
    return inspect.cleandoc(value.value) if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""


def items_in_docstring(docstring: str) -> Iterator[tuple[str, str]]:
    """Name and text of each item in the sections ``Args:`` and ``Attributes:``."""
    for section in re.findall(r"^(?:Args|Attributes):\n((?:(?:[ \t].*)?(?:\n|$))*)", docstring, re.MULTILINE):
        yield from re.findall(r"^ {4}([\w*]+(?:, [\w*]+)*)(?: \(.*\))?: ((?:.|\n {8})*)", section, re.MULTILINE)


def unidiomatic(source: str) -> list[str]:
    """Entries too short to say what they describe or without a subject, and turns of phrase that nobody uses."""
    findings = []
    for line, name, text in entries(source):
        if len(text.split()) < MIN_WORDS:
            findings.append(f"line {line}: {name}: {text!r} says too little: name what it is, in three words or more")
        elif FRAGMENT.match(text):
            findings.append(f"line {line}: {name}: {text.splitlines()[0]!r} has no subject: name what it is")
    for pattern, advice in UNIDIOMATIC.items():
        for match in re.finditer(pattern, source, re.IGNORECASE):
            line = source.count("\n", 0, match.start()) + 1
            findings.append(f"line {line}: {match[0]!r} is no plain English here: {advice}")
    return findings


REFERENCE = re.compile(r":(?:func|class|meth|mod|data|attr):`~?((?:attacks|advbench)[\w.]*)`")


def dangling(source: str) -> list[str]:
    """References in docstrings to modules and names that do not exist."""
    return [
        f"line {source.count(chr(10), 0, match.start()) + 1}: there is no {match[1]}: it was renamed or removed"
        for match in REFERENCE.finditer(source)
        if not _exists(match[1])
    ]


def _exists(reference: str) -> bool:
    """Whether a dotted name is a module, or can be reached from one; fields may have no default to be reached."""
    parent, _, name = reference.rpartition(".")
    try:
        if name not in getattr(resolve_name(parent or name), "__annotations__", {}):
            resolve_name(reference)
    except (ImportError, AttributeError):
        return False
    return True


def has_running_example(thing: type | Callable[..., object]) -> bool:
    """Whether the docstring of a function, of a class or of a method has an example that is not skipped."""
    members = vars(thing).values() if isinstance(thing, type) else ()
    methods = [item for item in members if isinstance(item, FunctionType | classmethod | staticmethod)]
    docstrings = [item.__doc__ for item in (thing, *methods)]
    examples = [found for text in docstrings for found in doctest.DocTestParser().get_examples(text or "")]
    return any(not example.options.get(doctest.SKIP) for example in examples)


UNSAFE_IMPORTS = ("pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal")
UNSAFE_CALLS = {
    "eval": "it runs what a stranger wrote",
    "exec": "it runs what a stranger wrote",
    "yaml.load": "it can build any object; the formats here are TOML and JSON",
    "torch.hub.load": "it runs code from a network",
    "pandas.read_pickle": "it can run code from the file",
    "pd.read_pickle": "it can run code from the file",
}
UNPICKLING_CALLS = {"torch.load", "torch.hub.load_state_dict_from_url", "load_state_dict_from_url"}
VAGUE_NAMES = {"utils", "util", "base", "common", "helpers", "helper", "misc"}


def unsafe(source: str) -> list[str]:
    """Ways to run a stranger's code, and checks that vanish under ``python -O``."""
    findings = [
        f"line {found.line}: must not import {found.name}: it can run code from the file it reads"
        for found in imports(source, "")
        if under(found.name, *UNSAFE_IMPORTS, "torch.load")
    ]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assert):
            findings.append(f"line {node.lineno}: assert vanishes under `python -O`: raise an error instead")
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called in UNSAFE_CALLS:
            findings.append(f"line {node.lineno}: must not call {called}: {UNSAFE_CALLS[called]}")
        safe = any(item.arg == "weights_only" and ast.unparse(item.value) == "True" for item in node.keywords)
        if called in UNPICKLING_CALLS and not safe:
            findings.append(f"line {node.lineno}: {called} needs weights_only=True: a weights file can hold a pickle")
    return findings


def vague_parts(name: str) -> set[str]:
    """Parts of a module name that say nothing about its purpose."""
    return VAGUE_NAMES & {part.strip("_") for part in name.split(".")}


# one place on one machine; "https://host/work/" and "~/work/" are none
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:(?:home|root|work)/|tmp/venv)")


def machine_paths(text: str) -> list[str]:
    """Lines that name a folder of one machine."""
    return [
        f"line {number}: {match[0]} exists on one machine only: use a relative path"
        for number, line in enumerate(text.splitlines(), start=1)
        if (match := MACHINE_PATH.search(line))
    ]


def committed_texts(root: Path, ignored: list[str]) -> Iterator[tuple[Path, str]]:
    """Text files below ``root`` that are neither ignored nor part of git or of a virtual environment."""
    for path in sorted(root.iterdir()):
        if path.name == ".git" or any(fnmatch(path.name, pattern) for pattern in ignored):
            continue
        if path.is_dir() and not path.is_symlink() and not (path / "pyvenv.cfg").exists():
            yield from committed_texts(path, ignored)
        elif path.is_file() and b"\0" not in (data := path.read_bytes()):
            yield path, data.decode("utf-8", errors="replace")
