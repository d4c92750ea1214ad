"""The texts that an expression in the source may give, with dots for what is filled in when it runs."""

import ast
from collections.abc import Iterator

from advbench.guide.source import Function, fields, find, tree_of


class Texts:
    """Reads the texts of one module.

    Args:
        module: Dotted name of the module, which is not imported.

    Example:
        >>> node = ast.parse("f'{share:.0%} of the images'", mode="eval").body
        >>> list(Texts("advbench.records.flag").of(node))
        ['… of the images']
    """

    def __init__(self, module: str) -> None:
        self._module = module
        tree = tree_of(module)
        self._constants = _values(module)
        self._functions = {each.name: each for each in ast.walk(tree) if isinstance(each, Function)}
        self._local: dict[str, list[ast.expr]] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self._local.setdefault(node.targets[0].id, []).append(node.value)

    def of(self, node: ast.expr | None) -> Iterator[str]:
        """The texts that an expression may give; none if it is put together in a way that is not followed.

        Args:
            node: Expression of the module.

        Yields:
            Texts of any length.
        """
        match node:
            case ast.Constant(value=str(text)):
                yield text
            case ast.JoinedStr(values=values):
                yield "".join(self._piece(each) for each in values)
            case ast.IfExp(body=one, orelse=other):
                yield from self.of(one)
                yield from self.of(other)
            case ast.Name(id=name):
                for each in self._named(name):
                    yield from self.of(each)
            case ast.Call(func=ast.Name(id=name)) if name in self._functions:
                for inside in ast.walk(self._functions[name]):
                    if isinstance(inside, ast.Return):
                        yield from self.of(inside.value)
            case ast.Call(func=ast.Attribute(attr="join"), args=[ast.GeneratorExp(elt=each)]):
                yield from self.of(each)

    def _named(self, name: str) -> list[ast.expr]:
        """What a name stands for: a value of this module, a local one, or one that is imported."""
        if name in self._constants:
            return [self._constants[name]]
        if name in self._local:
            return self._local[name]
        try:
            home = find(self._module, name)
        except LookupError:
            return []
        found = _values(home.module).get(name)
        return [found] if found is not None else []

    def _piece(self, node: ast.expr) -> str:
        if isinstance(node, ast.Constant):
            return str(node.value)
        inner = node.value if isinstance(node, ast.FormattedValue) else node
        return next(self.of(inner), "…") if isinstance(inner, ast.Name) else "…"


def _values(module: str) -> dict[str, ast.expr]:
    """Name of a value of a module -> the expression that makes it."""
    return {
        field.name: ast.parse(field.default, mode="eval").body for field in fields(tree_of(module)) if field.default
    }
