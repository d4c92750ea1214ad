"""The facts of attacks that are written down are those that the attacks state, and none lacks a classification."""

import json
from typing import get_args

import pytest

import attacks
from advbench.catalog import ATTACKS, cards
from advbench.catalog.attack_facts import ATTACK_FACTS
from advbench.maintenance.attack_facts import facts, own
from attacks import protocols
from attacks.foolbox import row


def test_the_file_is_what_the_attacks_say():
    written = json.loads(ATTACK_FACTS.read_text(encoding="utf-8"))
    told = json.loads(json.dumps(facts()))
    stale = sorted(name for name in written | told if written.get(name) != told.get(name))
    assert not stale, "stale: run `python -m advbench.maintenance.attack_facts`"


@pytest.mark.parametrize("name", facts())
def test_every_attack_is_classified(name):
    card = ATTACKS[name]
    assert card.kind in get_args(cards.Kind)
    assert card.access in get_args(cards.Access)
    assert card.search in get_args(cards.Search)


def test_the_words_are_those_of_the_library():
    for name in ("Kind", "Access", "Search"):
        assert getattr(cards, name) == getattr(protocols, name)
    assert cards.ANY == row.ANY


@pytest.mark.parametrize("name", attacks.ATTACKS)
def test_an_attack_is_found_in_the_file_that_bears_its_name(name):
    assert own(attacks.ATTACKS[name])["target"].partition(":")[0] == f"attacks.{name}"
