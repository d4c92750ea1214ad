"""Reference page of the suite file, made of the schema by which suites are checked."""

from collections.abc import Iterator, Mapping
from typing import Any

from advbench.config.suite import Suite
from advbench.config.suite_files import suite_names
from advbench.guide.markdown import code, joined, plain, table

_TABLES = {
    "Suite": "The suite",
    "ModelSpec": "A model",
    "DatasetSpec": "A data set",
    "AttackSpec": "An attack",
    "Prove": "`prove`",
    "Gates": "`[gates]`",
    "Floor": "A floor, of `gates.floors`",
}
"""Name of a table in the schema -> heading above its keys."""
_SEVERAL = "; several as a list"
_FROM_FILE = {("Suite", "name"): "name of the file"}
Schema = Mapping[str, Any]


def body() -> str:
    """The keys of a suite and of the tables in it."""
    schema = Suite.model_json_schema()
    found = {"Suite": schema, **schema["$defs"]}
    known = [name for name in _TABLES if name in found] + [name for name in found if name not in _TABLES]
    return joined(
        "A suite is a TOML file, or a mapping of the same shape for `advbench.run`: models x data sets x attacks x "
        "goals x norms x eps, and the gates. Write several values as a list; a single value needs no list. An eps "
        'is a number or a string such as "2/255". None means that the key is left out. '
        f"The package includes {', '.join(code(name) for name in suite_names())}. `advbench schema` prints this page "
        "as a JSON schema, for editors that check a file as you write it.",
        *(joined(f"## {_TABLES.get(name, name)}", _keys(name, found[name])) for name in known),
    )


def _keys(of: str, schema: Schema) -> str:
    needed = schema.get("required", ())
    rows = [
        (
            code(name),
            kind(each),
            _FROM_FILE.get((of, name)) or _default(each, needed=name in needed),
            plain(each.get("description", "")),
        )
        for name, each in schema["properties"].items()
    ]
    return table(["key", "value", "default", "meaning"], rows)


def _default(schema: Schema, *, needed: bool) -> str:
    if needed:
        return "needed"
    value = schema.get("default")
    if isinstance(value, dict):
        return "see below" if value and "$ref" in schema else ""
    return "" if value in (None, "", [], ()) else code(_written(value))


def _written(value: Any) -> str:
    """A value as it stands in TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def kind(schema: Schema) -> str:
    """What a value may be, in words.

    Args:
        schema: JSON schema of the value.

    Example:
        >>> kind({"anyOf": [{"type": "integer", "exclusiveMinimum": 0}, {"type": "null"}]})
        'whole number above 0'
    """
    found = list(dict.fromkeys(_kinds(schema)))
    return " or ".join(each for each in found if each + _SEVERAL not in found)


def _kinds(schema: Schema) -> Iterator[str]:
    if "anyOf" in schema:
        for each in schema["anyOf"]:
            yield from _kinds(each)
    elif "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        yield f"table, see {_TABLES.get(name, name)}"
    elif "enum" in schema or "const" in schema:
        yield " or ".join(code(_written(each)) for each in schema.get("enum", [schema.get("const")]))
    elif schema.get("type") == "array":
        yield from _lists(schema)
    elif schema.get("type") == "object":
        values = schema.get("additionalProperties")
        yield f"table of {kind(values)}" if isinstance(values, Mapping) else "table"
    elif schema.get("type") != "null":
        yield _single(schema)


def _lists(schema: Schema) -> Iterator[str]:
    """One or several of something; of fixed items, the first says what they are."""
    items = schema.get("items") or (schema.get("prefixItems") or [{}])[0]
    inner = kind(items)
    yield f"{inner}{_SEVERAL}" if inner else "list"


_TYPES = {"integer": "whole number", "number": "number", "string": "text", "boolean": "`true` or `false`"}
_BOUNDS = {"minimum": "from {}", "exclusiveMinimum": "above {}", "maximum": "to {}", "exclusiveMaximum": "below {}"}


def _single(schema: Schema) -> str:
    name = "path" if schema.get("format") == "path" else _TYPES.get(schema.get("type", ""), "")
    bounds = [
        text.format(f"{schema[key]:,g}" if schema[key] < 1e5 else schema[key])
        for key, text in _BOUNDS.items()
        if key in schema
    ]
    return " ".join([name, *bounds])
