"""Reference page of the trust flags: rule, thresholds and advice, read from the code that raises them.

A rule is the docstring of a function, which begins with the flag's id: "M2: the same images get different answers."
Thresholds are the constants that the functions of its module name; message and advice are what the flag is made with.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import NamedTuple

from advbench.guide.docstrings import inline
from advbench.guide.markdown import code, joined, plain, table
from advbench.guide.source import Field, Function, fields, tree_of
from advbench.guide.texts import Texts
from advbench.records.flag import CHECKS

MODULES = (
    "advbench.evaluation.checks.model",
    "advbench.evaluation.checks.squashed",
    "advbench.evaluation.checks.gradients",
    "advbench.evaluation.checks.data",
    "advbench.evaluation.checks.normalisation",
    "advbench.evaluation.checks.sets",
    "advbench.evaluation.checks.attack",
    "advbench.evaluation.checks.active",
    "advbench.analysis.checks.attacks",
    "advbench.analysis.checks.suites",
)
"""The modules that raise flags."""
_PLACES = {
    "Flag": (None, None, None),
    "Finding": (1, 2, 3),
    "_flag": (None, 4, 5),
    "_finding": (None, 3, 4),
}
"""Name of what makes a flag -> places of its severity, its message and its advice, where these have no names."""
_SEVERITIES = {
    "E": "do not use the number",
    "F": "doubt the number until the flag is understood; the tables mark it",
    "I": "good to know",
}
_KINDS = {
    "M": ("Models", "before anything is attacked, on some images"),
    "D": ("Data", "before anything is attacked"),
    "A": ("Attacks", "from the rows of a run, or by running the attack in other ways on a few images"),
    "P": ("Proofs", "from the rows of a run"),
}
_FULL = ' Checked in full only with `trust = "full"` in a suite, or `advbench run --trust full`.'
_RULE = re.compile(r"^([A-Z]\d+): (.+(?:\n.+)*)", re.MULTILINE)


class Raised(NamedTuple):
    """One place in the code where a flag is raised."""

    id: str
    """Id of the flag."""
    severities: frozenset[str]
    """The severities that it may have."""
    messages: tuple[str, ...]
    """What it says, with dots for what is filled in; empty where the code puts it together from elsewhere."""
    advice: tuple[str, ...]
    """What to do next, in one way or several."""


class Rule(NamedTuple):
    """What a flag is raised for."""

    text: str
    """The rule in one sentence."""
    thresholds: tuple[Field, ...]
    """The constants that decide, with what each is."""


def body() -> str:
    """All flags, each with its rule."""
    legend = table(["severity", "meaning"], list(_SEVERITIES.items()))
    parts = []
    for letter, (heading, when) in _KINDS.items():
        own = [name for name in CHECKS if name[0] == letter]
        parts.append(joined(f"## {heading}", f"Raised {when}.", *map(_section, own)))
    return joined(
        "A trust flag is a warning about a number, stored with it and shown above it: a reason why the model may only "
        "seem robust, or why the attack may have failed. If no flag is raised, that proves nothing.",
        legend,
        *parts,
    )


def _section(name: str) -> str:
    rule, places = rules()[name], [each for each in raised() if each.id == name]
    severities = sorted({each for place in places for each in place.severities})
    messages = dict.fromkeys(text for place in places for text in place.messages)
    advice = dict.fromkeys(text for place in places for text in place.advice)
    limits = [
        f"{code(f'{each.name} = {each.default}')}: {inline(' '.join(each.text.split()))}" for each in rule.thresholds
    ]
    return joined(
        f"### {name}: {CHECKS[name].asks}",
        f"{inline(rule.text)} Severity {' or '.join(severities)}.{_FULL if CHECKS[name].full else ''}",
        _listed("It says", [f"*{plain(text)}*" for text in messages]),
        _listed("What to do", [plain(text) for text in advice]),
        _listed("Thresholds", limits),
    )


def _listed(what: str, texts: list[str]) -> str:
    if len(texts) <= 1:
        return f"{what}: {texts[0]}" if texts else ""
    return f"{what}:\n\n" + "\n".join(f"- {text}" for text in texts)


@cache
def rules() -> dict[str, Rule]:
    """Id of a flag -> its rule."""
    found: dict[str, Rule] = {}
    for tree in map(tree_of, MODULES):
        constants = [field for field in fields(tree) if field.text and _is_number(field.default)]
        functions = {each.name: each for each in ast.walk(tree) if isinstance(each, Function)}
        for node in (tree, *functions.values()):
            for name, text in _RULE.findall(ast.get_docstring(node) or ""):
                used = _named(node, functions)
                limits = tuple(field for field in constants if field.name in used)
                found[name] = Rule(text[0].upper() + " ".join(text.split())[1:], limits)
    return found


def _named(node: ast.AST, functions: Mapping[str, Function]) -> set[str]:
    """The names in a function, and in the functions of its module that it calls."""
    seen: set[str] = set()
    waiting: list[ast.AST] = [node]
    while waiting:
        fresh = {each.id for each in ast.walk(waiting.pop()) if isinstance(each, ast.Name)} - seen
        seen |= fresh
        waiting += [functions[name] for name in fresh if name in functions]
    return seen


def _is_number(default: str) -> bool:
    return re.fullmatch(r"[\d.e*/ ()-]+", default) is not None


@cache
def raised() -> tuple[Raised, ...]:
    """Every place where a flag is raised."""
    return tuple(each for module in MODULES for each in _raised_in(module))


def _raised_in(module: str) -> Iterator[Raised]:
    texts = Texts(module)
    for call in (node for node in ast.walk(tree_of(module)) if isinstance(node, ast.Call)):
        maker = ast.unparse(call.func)
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        first = given.get("id") or (call.args[0] if call.args else None)
        if maker not in _PLACES or not isinstance(first, ast.Constant) or first.value not in CHECKS:
            continue
        severity, message, advice = (
            given.get(name) or (call.args[i] if i is not None and i < len(call.args) else None)
            for name, i in zip(("severity", "message", "advice"), _PLACES[maker], strict=True)
        )
        yield Raised(
            str(first.value),
            _severities(severity) or _severities(_default_of(module, maker)),
            tuple(texts.of(message)),
            tuple(texts.of(advice or ast.Name("_ADVICE", ast.Load()))),
        )


def _default_of(module: str, maker: str) -> ast.AST:
    """Where the severity is said if not in the call: in the function that makes the flag; F of all else."""
    functions = {each.name: each for each in ast.walk(tree_of(module)) if isinstance(each, Function)}
    return functions.get(maker, ast.Constant("F"))


def _severities(node: ast.AST | None) -> frozenset[str]:
    """The severities that are named in a piece of code."""
    constants = (each.value for each in ast.walk(node) if isinstance(each, ast.Constant)) if node else ()
    return frozenset(each for each in constants if isinstance(each, str) and each in _SEVERITIES)
