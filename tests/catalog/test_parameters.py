"""The parameters of attacks: as the facts of attacks hold them, and as a person types them."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advbench.catalog import ATTACKS
from advbench.catalog.parameters import Parameter, check_names, parameters_of_card, parse_parameters
from advbench.catalog.registry import resolve
from advbench.config.suite import AttackSpec
from advbench.errors import UserError

OWN = [card for card in ATTACKS.values() if card.target.startswith("attacks.") and not card.arguments]


@pytest.mark.parametrize("card", OWN, ids=lambda card: card.name)
def test_what_is_read_is_what_the_class_has(card):
    fields = [f for f in dataclasses.fields(resolve(card.target)) if f.init and f.default is not dataclasses.MISSING]
    expected = [(f.name, f.default) for f in fields if f.name not in ("norm", "starts")]  # which no text can give
    known = parameters_of_card(card)
    assert [(each.name, each.default) for each in known] == expected
    assert all(each.meaning for each in known)
    assert not any("`" in each.meaning and "``" in each.meaning for each in known)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("200", 200),
        ("-3", -3),
        ("1_000", 1000),
        ("0.25", 0.25),
        ("1e-3", 1e-3),
        ("true", True),
        ("False", False),
        ("ce", "ce"),
        ('"ce"', "ce"),
        ("'12'", "12"),
        ("a=b", "a=b"),
        ("2/255", "2/255"),
        ("1\nother = 2", "1\nother = 2"),
        ("[1, 2]", "[1, 2]"),
        ("2020-01-01", "2020-01-01"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_a_value_is_one_of_toml_or_text(text, value):
    (found,) = parse_parameters([f"x={text}"]).values()
    assert found == value
    assert type(found) is type(value)
    assert AttackSpec(name="pgd", params={"x": found}).params == {"x": value}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["steps"], "--param 'steps' is not of the form NAME=VALUE\nsuch as steps=50"),
        (["=5"], "'=5' is not of the form"),
        (["steps="], "'steps=' is not of the form"),
        (["two words=5"], "'two words=5' is not of the form"),
        ([""], "'' is not of the form"),
        (["steps=1", "steps=2"], "--param steps is given twice"),
        (["steps=nan"], "steps: nan is not a finite number"),
        (["steps=-inf"], "steps: -inf is not a finite number"),
        (["steps=1e999"], "steps: 1e999 is not a finite number"),
    ],
)
def test_another_form_is_refused(texts, message):
    with pytest.raises(UserError) as caught:
        parse_parameters(texts)
    assert message in str(caught.value)


@given(st.text())
def test_no_text_makes_anything_but_a_parameter_or_a_refusal(text):
    try:
        (value,) = parse_parameters([f"x={text}"]).values()
    except UserError:
        return
    assert isinstance(value, Parameter)


def test_names_of_attacks_from_elsewhere_are_not_judged():
    card = dataclasses.replace(ATTACKS["pgd"], target="somewhere:Attack", source="a plugin")
    assert parameters_of_card(card) is None
    check_names(card, {"anything": 1})
