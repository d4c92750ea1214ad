"""The facts of attacks that are written down are those that the attacks state, and none lacks a classification."""

import json
from typing import get_args

import pytest

import attacks
from advbench.catalog import ATTACKS, cards
from advbench.catalog.attack_facts import ATTACK_FACTS, attack_costs
from advbench.maintenance.attack_facts import FULL, costs, facts, own, with_every_attack
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
    assert tuple(goal for goal in cards.ANY if goal not in cards.LABEL_GOALS) == row.ANY


@pytest.mark.parametrize("name", attacks.ATTACKS)
def test_an_attack_is_found_in_the_file_that_bears_its_name(name):
    assert own(attacks.ATTACKS[name])["target"].partition(":")[0] == f"attacks.{name}"


def test_the_suite_of_every_attack_gets_those_that_are_new():
    written = FULL.read_text(encoding="utf-8")
    assert with_every_attack(written) == written, "stale: run `python -m advbench.maintenance.attack_facts`"
    without = written.replace('    "pgd",\n', "")
    assert '    "pgd",\n    # Foolbox' in with_every_attack(without)
    with pytest.raises(ValueError, match="expected the attacks of Foolbox"):
        with_every_attack("")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad:UserWarning")
def test_the_costs_are_those_that_are_counted():
    counted = costs()
    assert set(attack_costs()) == set(counted), "python -m advbench.maintenance.attack_facts counts them"
    for name, passes in counted.items():  # libraries round differently, and some attacks stop by what they see
        assert attack_costs()[name] == pytest.approx(passes, rel=0.1), name
