"""The kind of an attack, including attacks composed of others."""

from collections.abc import Iterable
from typing import Any, ClassVar, get_args

from attacks.norms import NORMS, Norm
from attacks.protocols import Access, Attack, Kind, Search


class MadeOfOne:
    """Properties that an attack wrapping another one takes from it.

    Example:
        >>> from attacks import PGD, capped
        >>> made = capped(PGD(), 100)
        >>> isinstance(made, MadeOfOne), made.norm, made.access
        (True, Linf(), 'gradients')
    """

    attack: Attack
    """The attack inside, of either kind."""
    norms: ClassVar[tuple[str, ...]] = tuple(NORMS)

    def __post_init__(self) -> None:
        check_attack(self.attack)

    @property
    def kind(self) -> Kind:
        """The kind of its attack."""
        return self.attack.kind

    @property
    def norm(self) -> Norm:
        """The norm of its attack."""
        return self.attack.norm

    @property
    def access(self) -> Access | None:
        """The broadest access its attack needs; None if the attack does not declare it."""
        return access_of([self.attack])

    @property
    def search(self) -> Search | None:
        """How its attack searches; None if the attack does not declare it."""
        return search_of([self.attack])


def check_attack(attack: object) -> None:
    """Check that an object is an attack that can be part of another one.

    Raises:
        ValueError: ``expected ..., got ...`` if it is not an attack, or an attack class instead of an instance.

    Example:
        >>> from attacks import PGD
        >>> check_attack(PGD)
        Traceback (most recent call last):
        ValueError: expected an attack such as PGD(), got the class PGD: call it
    """
    if isinstance(attack, type):
        raise ValueError(f"expected an attack such as PGD(), got the class {attack.__name__}: call it")
    if not callable(attack) or getattr(attack, "kind", None) not in get_args(Kind) or not hasattr(attack, "norm"):
        raise ValueError(f"expected an attack such as PGD(), got {type(attack).__name__}")


def access_of(attacks: Iterable[Attack]) -> Access | None:
    """The broadest access that any of several attacks needs; None if one of them does not declare it.

    Example:
        >>> from attacks import PGD, Square
        >>> access_of([Square(), PGD()]), access_of([Square()])
        ('gradients', 'scores')
    """
    found: Access | None = _first(Access, [getattr(attack, "access", None) for attack in attacks])
    return found


def search_of(attacks: Iterable[Attack]) -> Search | None:
    """The most thorough search among several attacks; None if one of them does not declare it.

    Example:
        >>> from attacks import FGSM, PGD
        >>> search_of([FGSM(), PGD()]), search_of([FGSM(), FGSM()])
        ('many steps', 'one step')
    """
    found: Search | None = _first(Search, [getattr(attack, "search", None) for attack in attacks])
    return found


def _first(kinds: Any, values: list[Any]) -> Any:
    """The first of the kinds that occurs; None if a value is not one of them."""
    known = get_args(kinds)
    return None if not values or set(values) - {*known} else min(values, key=known.index)
