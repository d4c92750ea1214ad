"""Reference pages made of one class each: the columns of the record and the exit codes."""

import ast

from advbench.errors import ExitCode
from advbench.guide.docstrings import inline
from advbench.guide.markdown import joined, table
from advbench.guide.source import Field, fields, find
from advbench.records.record import COLUMNS


def fields_of(module: str, name: str) -> dict[str, Field]:
    """The documented fields of a class, by their names."""
    node = find(module, name).node
    if not isinstance(node, ast.ClassDef):
        raise LookupError(f"expected a class {name} in {module}, got none")
    return {field.name: field for field in fields(node)}


def record_body() -> str:
    """The columns of a run's frame, of `record.parquet` and of `record.csv`."""
    known = fields_of("advbench.records.record", "Record")
    reasons = fields_of("advbench.records.record", "Reason")
    rows = [(f"`{name}`", _kind(known[name].kind), inline(known[name].text)) for name in COLUMNS]
    causes = [(f"`{ast.literal_eval(each.default)}`", inline(each.text)) for each in reasons.values()]
    return joined(
        "One row for each image under each attack at each eps: `advbench.load_run(FOLDER).frame`, and `record.parquet` "
        "and `record.csv` of `advbench attack`. Unknown values are empty, never NaN, infinity, or a meaningless "
        "zero.",
        table(["column", "values", "meaning"], rows),
        "## Why an image is unknown",
        table(["`reason`", "meaning"], causes),
    )


def _kind(annotation: str) -> str:
    """A type in words."""
    words = {"str": "text", "int": "whole number", "float": "number", "bool": "yes or no", "Reason": "see below"}
    name, _, rest = annotation.partition(" | ")
    name = "whole numbers" if name.startswith("tuple[int") else words.get(name, name)
    return f"{name}, or empty" if rest else name


def exit_codes_body() -> str:
    """The exit codes of every command."""
    known = fields_of("advbench.errors", "ExitCode")
    rows = [(str(int(code)), code.name.lower().replace("_", " "), inline(known[code.name].text)) for code in ExitCode]
    return joined(
        "Every command ends with one of these. Messages go to standard error, only results to standard output.",
        table(["code", "name", "meaning"], rows),
        "`advbench run` and `advbench resume` end with the verdict on the run: 0 if every gate passed, 1 if one "
        "failed, 3 if something is missing, whatever the gates say. `advbench report` and `advbench guide` only say "
        "whether they could do their own work.",
    )
