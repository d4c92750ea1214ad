"""The reference pages say what the code says: nothing is missing, nothing is older than the code."""

import ast
import inspect
import re
import textwrap
from dataclasses import fields

import click
import pytest

import advbench
import attacks
from advbench.analysis.checks import attacks as attack_checks
from advbench.catalog import ATTACKS
from advbench.catalog.attack_facts import attack_facts
from advbench.cli.main import COMMANDS, main
from advbench.config.fields import Prove
from advbench.config.gates import Floor, Gates
from advbench.config.models.model import ModelSpec
from advbench.config.suite import AttackSpec, DatasetSpec, Suite
from advbench.errors import ExitCode
from advbench.guide import flags
from advbench.guide.docstrings import as_markdown, inline
from advbench.guide.markdown import plain, table
from advbench.guide.pages import pages
from advbench.guide.source import find, signature, tree_of
from advbench.guide.suite import kind
from advbench.guide.texts import Texts
from advbench.records.flag import CHECKS
from advbench.records.record import COLUMNS, Reason, Record
from advbench.report.columns import COLUMNS as REPORT_COLUMNS
from attacks.goals import GOALS


def text_of(name):
    return pages()[f"reference/{name}"].text()


def rows_of(text):
    """First cell -> the whole row, of all tables on a page."""
    cells = [re.split(r"(?<!\\) ?\| ?", line)[1:-1] for line in text.splitlines() if line.startswith("|")]
    return {row[0].strip("`"): row for row in cells}


def section(text, heading):
    """A page between a heading and the next one of its kind or above."""
    level = heading.split(" ")[0]
    rest = text.partition(f"\n{heading}\n")[2]
    assert rest, f"there is no {heading!r}"
    return re.split(rf"^#{{1,{len(level)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


@pytest.mark.parametrize("name", attacks.ATTACKS)
def test_every_attack_has_its_card(name):
    own, facts = section(text_of("attacks"), f"## {name}"), attack_facts()[name]
    card = rows_of(own)
    assert card["kind"][1] == ATTACKS[name].kind
    assert card["norms"][1].split(", ") == list(ATTACKS[name].norms)
    assert card["in Python"][1] == f"`attacks.{attacks.ATTACKS[name].__name__}`"
    for parameter in facts["parameters"]:
        assert parameter["name"] in card
    docstring = inspect.getdoc(attacks.ATTACKS[name])
    assert ("**References**" in own) == ("\nReferences:" in docstring)
    assert ("**Deviations**" in own) == ("\nDeviations:" in docstring)


def test_costs_are_in_passes():
    text = text_of("attacks")
    assert "41 forward and 40 backward passes" in section(text, "## pgd")
    assert "5,000 passes" in section(text, "## square")
    assert "cost" not in rows_of(section(text, "## universal"))


def test_every_attack_of_foolbox_has_a_row_and_its_faults():
    text = text_of("foolbox")
    foreign = [card for card in ATTACKS.values() if card.source.startswith("foolbox")]
    assert len(foreign) > 50
    assert {card.name for card in foreign} <= set(rows_of(text))
    for card in foreign:
        for fault in attack_facts()[card.name]["faults"]:
            assert plain(fault) in section(text, f"## {card.name.replace('/', ' ')}")


def test_every_column_of_the_record_is_explained():
    rows = rows_of(text_of("record"))
    assert [name for name in rows if name in COLUMNS] == list(COLUMNS)
    assert {reason.value for reason in Reason} <= set(rows)
    assert rows["met"][1] == "yes or no, or empty"
    assert rows["met"][2].startswith("Whether the goal was met within eps and [0, 1]")
    assert len(fields(Record)) == len(COLUMNS)


def test_every_exit_code_is_explained():
    rows = rows_of(text_of("exit-codes"))
    assert {str(int(code)) for code in ExitCode} <= set(rows)
    assert rows["3"][2] == "Something failed; the rest is done and saved."


@pytest.mark.parametrize("name", CHECKS)
def test_every_flag_has_a_rule_a_severity_and_advice(name):
    own = section(text_of("flags"), f"### {name}: {CHECKS[name].asks}")
    full = r" Checked in full only with .+" if CHECKS[name].full else ""
    assert re.search(rf"\. Severity [EFI]( or [EFI])*\.{full}\n", own)
    assert re.search(r"^What to do:", own, re.MULTILINE)
    assert [each for each in flags.raised() if each.id == name and each.advice]


def test_thresholds_of_flags_are_those_of_the_code():
    text = text_of("flags")
    for name in ("A7", "A8", "A10"):
        assert f"`TOLERANCE = {attack_checks.TOLERANCE}`" in section(text, f"### {name}: {CHECKS[name].asks}")
    assert "Severity F or I." in section(text, f"### A7: {CHECKS['A7'].asks}")
    assert "Severity E." in section(text, f"### P1: {CHECKS['P1'].asks}")


def test_every_key_of_a_suite_is_explained():
    text = text_of("suite")
    for model, heading in (
        (Suite, "The suite"), (ModelSpec, "A model"), (DatasetSpec, "A data set"), (AttackSpec, "An attack"),
        (Prove, "`prove`"), (Gates, "`[gates]`"), (Floor, "A floor, of `gates.floors`"),
    ):  # fmt: skip
        rows = rows_of(section(text, f"## {heading}"))
        assert set(model.model_fields) == set(rows) - {"key", "---"}
        assert all(row[-1] for row in rows.values()), f"{heading}: a key without a meaning"


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "number", "minimum": 0, "maximum": 1}, "number from 0 to 1"),
        ({"enum": ["a", 1, True]}, '`"a"` or `1` or `true`'),
        ({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}, "text; several as a list"),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, "table of whole number"),
        ({"type": "string", "format": "path"}, "path"),
    ],
)
def test_kinds_of_values_in_words(schema, words):
    assert kind(schema) == words


def every_command(command=main, words=("advbench",)):
    context = click.Context(command, info_name=" ".join(words))
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        yield (*words, name), found
        if isinstance(found, click.Group):
            yield from every_command(found, (*words, name))


def test_every_command_has_its_options():
    text = text_of("command-line")
    found = dict(every_command())
    assert len(found) > len(COMMANDS)
    for words, command in found.items():
        own = section(text, f"## {' '.join(words)}")
        shown = " ".join(rows_of(own))
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                assert all(name in shown for name in parameter.opts), words


@pytest.mark.parametrize("package", [attacks, advbench], ids=lambda package: package.__name__)
def test_every_public_name_is_explained(package):
    text = text_of(f"python-{package.__name__}")
    for name in package.__all__:
        if not name.startswith("_"):
            assert len(section(text, f"## {name}")) > 15, name


@pytest.mark.parametrize("name", ["PGD", "Untargeted", "restarts", "Adaptive", "fast", "capped", "Perturbation"])
def test_signatures_are_those_of_python(name):
    shown = re.findall(r"(\w+)(?:=|,|\)|$)", signature(find("attacks", name)).partition("(")[2])
    own = [each for each in inspect.signature(getattr(attacks, name)).parameters if each not in ("self", "args")]
    assert [each for each in own if each not in shown] == []


def test_the_page_on_the_report_explains_every_column():
    rows = rows_of(pages()["howto/report"].text())
    assert {column.heading for column in REPORT_COLUMNS} <= set(rows)


def test_the_first_attack_names_all_that_there_is():
    table_of_all = section(pages()["start/first-attack"].text(), "## What is included")
    named = set(re.findall(r"`(\w+)`", table_of_all))
    kinds = [*attacks.ATTACKS.values(), *attacks.NORMS.values(), *GOALS.values()]
    assert {each.__name__ for each in kinds} <= named
    assert all(hasattr(attacks, name) for name in named - {"advbench"})


def test_links_within_a_page_lead_to_headings():
    for page in pages().values():
        text = re.sub(r"^```.*?^```$", "", page.text(), flags=re.MULTILINE | re.DOTALL)
        seen = {}
        for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
            slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
            seen[slug] = seen.get(slug, -1) + 1
            if seen[slug]:
                seen[f"{slug}-{seen[slug]}"] = 0
        for anchor in re.findall(r"\]\(#([^)]+)\)", text):
            assert anchor in seen, f"{page.name}: #{anchor}"


def test_names_that_differ_in_case_have_links_of_their_own():
    rows = text_of("python-attacks")
    assert "[Capped](#capped)" in rows
    assert "[capped](#capped-1)" in rows


def test_docstrings_become_markdown():
    docstring = textwrap.dedent(
        """\
        Do :func:`it.now` with ``x`` < 3::

            x = 1

        Args:
            x, y: Numbers, such
                as 1.
            **rest: Others.

        Raises:
            ValueError: It is *wrong*.
        """
    )
    assert as_markdown(docstring) == textwrap.dedent(
        """\
        Do `it.now` with `x` \\< 3:

            x = 1

        **Arguments**

        - `x, y`: Numbers, such as 1.
        - `**rest`: Others.

        **Raises**

        - `ValueError`: It is \\*wrong\\*."""
    )


def test_markdown_shows_the_characters_of_the_code():
    assert plain("<a> `<b>` <https://c.org> 2 * 3") == r"\<a> `<b>` <https://c.org> 2 \* 3"
    assert inline("see :class:`A`::") == "see `A`:"
    assert table(["a", "b"], []) == ""
    assert table(["a"], [["x | y\nz"]]).splitlines()[-1] == r"| x \| y z |"


def test_texts_of_the_code_are_followed_to_where_they_are_written():
    texts = Texts("advbench.evaluation.checks.model")
    (diverged,) = texts.of(ast.parse("_DIVERGED", mode="eval").body)
    assert diverged.startswith("the model has diverged")
    assert next(texts.of(ast.parse("f'{_MASKED}; or {BORROW}'", mode="eval").body)).count("…") == 0
    assert list(texts.of(ast.parse("print()", mode="eval").body)) == []


def test_what_is_not_there_is_said():
    with pytest.raises(LookupError, match="expected a name in attacks, got 'Nothing'"):
        find("attacks", "Nothing")
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'attacks\.nothing'"):
        tree_of("attacks.nothing")
