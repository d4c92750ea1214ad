"""Trust flags as data: they survive JSON, and say where they belong."""

import json
import re
from dataclasses import replace

import pytest

from advbench.records.flag import CHECKS, Flag, for_people

FLAG = Flag(
    id="A7",
    severity="F",
    model="net",
    dataset="mnist",
    attack="pgd",
    message="missed 3",
    advice="more steps",
    value=0.03,
)


@pytest.mark.parametrize("flag", [FLAG, Flag(id="M1", severity="E", model="m", dataset="d", message="x", advice="y")])
def test_a_flag_survives_json(flag):
    assert Flag.from_dict(json.loads(json.dumps(flag.as_dict(), allow_nan=False))) == flag


def test_a_flag_says_where_it_belongs():
    assert str(FLAG) == "A7 net on mnist, pgd: missed 3; more steps"


def test_an_unknown_field_is_refused():
    with pytest.raises(TypeError, match="colour"):
        Flag.from_dict(FLAG.as_dict() | {"colour": "red"})


def test_checks_are_about_models_data_or_attacks_and_say_what_they_ask_for():
    assert all(re.fullmatch(r"[MDAP][1-9]\d*", check) for check in CHECKS)
    assert len(set(CHECKS.values())) == len(CHECKS)


def test_what_several_models_share_is_said_once_and_in_order():
    others = [replace(FLAG, model=name) for name in ("b", "a")]
    other = replace(FLAG, model="c", value=0.04)
    assert for_people([FLAG, other, *others]) == [replace(FLAG, model="net, b, a"), other]
    assert str(for_people([replace(FLAG, model=f"m{k}") for k in range(19)])[0]) == (
        "A7 m0, m1 and 17 more models on mnist, pgd: missed 3; more steps"
    )
