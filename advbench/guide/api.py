"""Reference pages of the Python interface, made of the docstrings; nothing is imported."""

import ast
import inspect
from collections import Counter
from collections.abc import Iterator

from advbench.guide.docstrings import as_markdown, inline, taken_apart
from advbench.guide.markdown import code, joined, table
from advbench.guide.source import (
    Definition,
    Field,
    Function,
    Home,
    call_of,
    fields,
    find,
    is_record,
    methods,
    public_names,
    signature,
    tree_of,
)

_LATER = {"advbench": {"explain": "advbench.explain"}, "attacks": {"foolbox": "attacks.foolbox"}}
"""Package -> its public packages, with their dotted names."""
_BESIDE = {
    "advbench.testing": ("Bench", "Result"),
    "advbench.proofs": ("prove", "Proof"),
}
"""Module -> its public names, for modules that users import by themselves."""


def attacks_body() -> str:
    """The library `attacks`."""
    return joined(
        "`import attacks` needs only torch. A model is any callable from images in [0, 1] to logits; an attack is a "
        "frozen dataclass that takes a model, images and a goal, and returns candidate images. For the papers and "
        "deviations of the attacks, see `advbench guide reference/attacks`.",
        _package("attacks"),
    )


def advbench_body() -> str:
    """What `import advbench` gives, and what is imported from its modules."""
    parts = [joined(f"## From `{module}`", *_documented(module, names)) for module, names in _BESIDE.items()]
    about = "`import advbench` is instant: torch is only imported when it is first needed."
    return joined(about, _package("advbench"), *parts)


def _package(name: str) -> str:
    """A table of all public names, and a section for each."""
    packages = _LATER.get(name, {})
    names = [each for each in public_names(name) if not each.startswith("_") and each not in packages]
    rows = [
        (f"[{each}](#{anchor})", _first_line(name, each)) for each, anchor in zip(names, _anchors(names), strict=True)
    ]
    return joined(
        table(["name", ""], rows),
        *_documented(name, names),
        *(_module(each, packages[each]) for each in public_names(name) if each in packages),
    )


def _anchors(names: list[str]) -> Iterator[str]:
    """Where the headings of these names are found: names that differ only in case are numbered."""
    seen: Counter[str] = Counter()
    for name in names:
        anchor = name.lower()
        yield f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor
        seen[anchor] += 1


def _module(name: str, module: str) -> str:
    names = public_names(module)
    rows = [(code(each), _first_line(module, each)) for each in names]
    return joined(f"## {name}", as_markdown(ast.get_docstring(tree_of(module)) or ""), table(["name", ""], rows))


def _first_line(module: str, name: str) -> str:
    home = find(module, name)
    if home.node is not None:
        return taken_apart(ast.get_docstring(home.node) or "").first
    return inline(_value(home.module, name).text.partition("\n\n")[0]) if _is_value(home.module, name) else ""


def _is_value(module: str, name: str) -> bool:
    return any(field.name == name for field in fields(tree_of(module)))


def _value(module: str, name: str) -> Field:
    return next(field for field in fields(tree_of(module)) if field.name == name)


def _documented(module: str, names: list[str] | tuple[str, ...]) -> Iterator[str]:
    """A section for each name."""
    for name in names:
        home = find(module, name)
        if home.node is not None:
            yield _definition(name, home, home.node)
        elif _is_value(home.module, name):
            field = _value(home.module, name)
            yield joined(f"## {name}", inline(field.text))


def _definition(name: str, home: Home, node: Definition) -> str:
    docstring = as_markdown(inspect.cleandoc(ast.get_docstring(node) or ""), leave_out=("References", "Deviations"))
    head = joined(f"## {name}", f"```python\n{signature(home)}\n```", docstring)
    if not isinstance(node, ast.ClassDef):
        return head
    own = [field for field in fields(node) if field.text and not field.name.startswith("_")]
    rows = [(code(field.name), code(field.default) if is_record(node) else "", inline(field.text)) for field in own]
    return joined(head, table(["field", "default", "meaning"], rows), *map(_method, methods(node)))


def _method(node: Function) -> str:
    is_property = any("property" in ast.unparse(each) for each in node.decorator_list)
    text = as_markdown(inspect.cleandoc(ast.get_docstring(node) or ""))
    head = f"`.{node.name}`" if is_property else f"`.{call_of(node)}`"
    first, _, rest = text.partition("\n\n")
    return joined(f"- {head}: {first}", _indented(rest))


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" if line else "" for line in text.splitlines())
