"""What attacks say of themselves is so: who asks for gradients, and what those made of others say."""

from dataclasses import dataclass
from typing import get_args

import pytest
import torch
from attack_table import build, each_attack
from oracles import images, linear

from attacks import (
    ATTACKS,
    FGSM,
    PGD,
    Linf,
    Noise,
    Square,
    Untargeted,
    binary_search_eps,
    capped,
    multi_targeted,
    restarts,
    worst_case,
)
from attacks.protocols import Access, Search
from attacks.queries.classified import access_of, search_of


@each_attack
def test_who_asks_for_gradients_says_so_and_nobody_else(name):
    model, x, asked = linear(3), images(2, (3, 2, 2)), []

    def watched(x):
        asked.append(x.requires_grad and torch.is_grad_enabled())
        return model(x)

    attack = build(name, ATTACKS[name].norms[0], most=8)
    attack(watched, x, Untargeted(model(x).argmax(1)), eps=0.01)
    assert any(asked) is (attack.access == "gradients")
    assert attack.search in get_args(Search)


@dataclass(frozen=True)
class Foreign:
    """An attack of somebody else, who knows nothing of this."""

    kind = "budget"
    norms = ("linf",)
    norm = Linf()

    def __call__(self, model, x, goal, *, eps, seed=0):
        return x


@pytest.mark.parametrize(
    ("attack", "access", "search"),
    [
        (worst_case([Noise(), Square()]), "scores", "many steps"),
        (worst_case([Noise(), FGSM()]), "gradients", "one step"),
        (worst_case([Square(), PGD(), FGSM()]), "gradients", "many steps"),
        (worst_case([PGD(), Foreign()]), None, None),
        (restarts(Noise(), 3), "decisions", "blind"),
        (capped(FGSM(), 9), "gradients", "one step"),
        (multi_targeted(PGD()), "gradients", "many steps"),
        (binary_search_eps(Square()), "scores", "many steps"),
        (capped(restarts(Square(), 2), 9), "scores", "many steps"),
        (capped(binary_search_eps(Foreign()), 9), None, None),
    ],
    ids=repr,
)
def test_attacks_made_of_attacks_say_what_these_say(attack, access, search):
    assert (attack.access, attack.search) == (access, search)


def test_the_order_of_the_kinds_is_from_the_most_to_the_least():
    assert get_args(Access) == ("gradients", "scores", "decisions", "nothing")
    assert access_of([]) is search_of([]) is None
