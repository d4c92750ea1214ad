"""The options of an attack on a model under test, parsed and checked before any work is done."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from advbench.catalog import ATTACKS
from advbench.config.budgets import DEFAULT_EPS, parse_eps
from advbench.errors import UserError
from advbench.evaluation.attack_factory import make_attack
from attacks import Attack
from attacks.queries.plain import plain_number

DEFAULTS: dict[str, Any] = {
    "attack": "pgd",
    "norm": None,
    "eps": None,
    "goal": "untargeted",
    "seed": 0,
    "params": {},
    "batch_size": 64,
}
"""Name of each option -> its default; None: the default of the attack."""
NOISE = "noise"
_NOISE_DRAWS = 20


@dataclass(frozen=True, kw_only=True)
class AttackOptions:
    """One attack, as a test requests it."""

    attack: Attack
    """The attack itself, made for the norm."""
    name: str
    """Name of the attack, as in `advbench attacks`."""
    norm: str
    """One of `advbench.config.budgets.NORMS`."""
    eps: float | None
    """Largest allowed size, in image units; None: no bound."""
    goal: str
    """The goal as text, in the syntax of :func:`advbench.config.goals.parse_goal`."""
    seed: int
    """Seed of all random draws."""
    batch_size: int
    """Number of images attacked together."""

    def attacks(self) -> Iterator[tuple[str, Attack]]:
        """The attack, followed by noise of the same size if there is an eps."""
        yield self.name, self.attack
        if self.eps is not None and self.name != NOISE:
            yield NOISE, make_attack(NOISE, self.norm, {"draws": _NOISE_DRAWS})


def read_options(given: Mapping[str, Any]) -> AttackOptions:
    """Parse and check the options of a test.

    Args:
        given: Options that differ from `DEFAULTS`, by name.

    Raises:
        UserError: An unknown name, a norm or parameter that the attack does not support, or an eps on the wrong scale.
        ValueError: ``expected ..., got ...`` for an option that does not exist, or a value of the wrong type.

    Example:
        >>> read_options({"attack": "fgsm", "eps": "8/255"}).norm
        'linf'
    """
    if unknown := sorted(set(given) - set(DEFAULTS)):
        hint = ": labels go with the images, (images, labels)" if "labels" in unknown else ""
        raise ValueError(f"expected the options {', '.join(DEFAULTS)}, got {', '.join(unknown)}{hint}")
    asked = DEFAULTS | dict(given)
    for name, kind, words in _KINDS:
        if not isinstance(asked[name], kind):
            raise ValueError(f"expected {name} to be {words}, got {asked[name]!r}")
    card = ATTACKS[asked["attack"]]
    norm = asked["norm"] or card.norms[0]
    if norm not in card.norms:
        raise UserError(f"attack '{card.name}' works in {', '.join(card.norms)}, not in {norm}")
    eps = DEFAULT_EPS.get(norm) if asked["eps"] is None and card.kind == "budget" else asked["eps"]
    if eps is None and card.kind == "budget":
        raise ValueError(f"expected an eps for {card.name} in {norm}, got none")
    return AttackOptions(
        attack=make_attack(card.name, norm, asked["params"]),
        name=card.name,
        norm=norm,
        eps=None if eps is None else parse_eps(eps, norm, option="eps"),
        goal=asked["goal"],
        seed=_whole("seed", asked["seed"]),
        batch_size=_whole("batch_size", asked["batch_size"], least=1),
    )


_KINDS: tuple[tuple[str, Any, str], ...] = (
    ("attack", str, 'a name of `advbench attacks`, such as "pgd"'),
    ("norm", str | None, 'a name such as "linf"'),
    ("goal", str, 'a text such as "untargeted" or "targeted:3"'),
    ("params", Mapping, 'a mapping such as {"steps": 100}'),
)


def _whole(name: str, value: Any, least: float = float("-inf")) -> int:
    number = plain_number(value)
    if isinstance(number, bool) or not isinstance(number, int) or number < least:
        above = "" if least < 0 else f" from {least}"
        raise ValueError(f"expected {name} to be a whole number{above}, got {value!r}")
    return number
