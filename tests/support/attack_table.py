"""Every attack in every norm that it supports, for tests that go through the whole table."""

import dataclasses
from unittest.mock import patch

import pytest

from attacks import ATTACKS, NORMS, AttackError, Standard
from attacks.protocols import Attack
from attacks.searches.starts import needs_start

ENTRIES = [(name, norm) for name, kind in ATTACKS.items() for norm in kind.norms]
"""(name, norm) of all."""

NEED_PLANES = {"difgsm", "tifgsm", "sia", "bsr", "spatial", "patch"}
"""Attacks that take images with rows and columns only."""

SLOW = {"thorough"}
"""Attacks that take long with their own parameters."""

WORK = {
    "steps",
    "walk",
    "close",
    "places",
    "draws",
    "directions",
    "max_directions",
    "rotations",
    "translations",
    "copies",
    "neighbours",
}
"""Parameters that say how long an attack takes."""

_STANDARD = {"steps": 3, "targets": 2, "rounds": 2, "queries": 4}
SHORT = {
    "adba": {"queries": 40, "start_draws": 4},
    "standard": _STANDARD,
    "adaptive": {"first": Standard(**_STANDARD), "draws": 2},
    "thorough": {
        "first": Standard(**_STANDARD),
        "walkers": 4,
        "generations": 2,
        "steps": 3,
        "targets": 2,
        "populations": 2,
    },
}
"""More of them, with values for a quick test: these multiply."""


each_attack = pytest.mark.parametrize("name", ATTACKS)
each_entry = pytest.mark.parametrize(("name", "norm"), ENTRIES, ids=["-".join(entry) for entry in ENTRIES])


def build(name: str, norm: str, most: int | None = None) -> Attack:
    """The attack with its own parameters, or with at most so many steps, draws and the like."""
    attack = ATTACKS[name](norm=NORMS[norm]())
    if most is not None:
        fields = {field.name for field in dataclasses.fields(attack)} & WORK
        counts = {field: min(getattr(attack, field), most) for field in fields}
        attack = dataclasses.replace(attack, **(counts | SHORT.get(name, {})))
        if name in SHORT:
            return Brief(attack)
    return HandsOver(attack) if needs_start(attack) else attack


@dataclasses.dataclass(frozen=True)
class HandsOver:
    """An attack that reports images for which it has no start, without the report; what it hands over is checked."""

    attack: Attack

    @property
    def kind(self):
        return self.attack.kind

    @property
    def norms(self):
        return self.attack.norms

    @property
    def norm(self):
        return self.attack.norm

    @property
    def access(self):
        return self.attack.access

    @property
    def search(self):
        return self.attack.search

    def __call__(self, model, x, goal, **options):
        try:
            return self.attack(model, x, goal, **options)
        except AttackError as error:
            return error.x_adv


class Brief(HandsOver):
    """An attack made of many, whose long descents are short ones: their length is no parameter."""

    def __call__(self, model, x, goal, **options):
        short = patch.multiple("attacks.standard_in_l0", LONG=6, LONGER=2)
        in_l1 = patch.multiple("attacks.standard_in_l1", LONG=6)
        with patch.multiple("attacks.standard", LONG=6, BOUNDARY={"l2": 6}), short, in_l1:
            return super().__call__(model, x, goal, **options)
