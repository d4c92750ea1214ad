"""What kind of attack an attack is, also where it is made of others."""

from collections.abc import Iterable
from typing import Any, ClassVar, get_args

from attacks.norms import NORMS, Norm
from attacks.protocols import Access, Attack, Kind, Search


class MadeOfOne:
    """What an attack that is made of one other takes over from it.

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
        """The most its attack asks of a model; None where the attack does not say."""
        return access_of([self.attack])

    @property
    def search(self) -> Search | None:
        """How its attack searches; None where the attack does not say."""
        return search_of([self.attack])


def check_attack(attack: object) -> None:
    """Check that something is an attack that another one can be made of.

    Raises:
        ValueError: ``expected ..., got ...`` if it is none, or the class of one.

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
    """The most that any of several attacks asks of a model; None where one of them does not say.

    Example:
        >>> from attacks import PGD, Square
        >>> access_of([Square(), PGD()]), access_of([Square()])
        ('gradients', 'scores')
    """
    found: Access | None = _first(Access, [getattr(attack, "access", None) for attack in attacks])
    return found


def search_of(attacks: Iterable[Attack]) -> Search | None:
    """The most thorough way in which any of several attacks searches; None where one of them does not say.

    Example:
        >>> from attacks import FGSM, PGD
        >>> search_of([FGSM(), PGD()]), search_of([FGSM(), FGSM()])
        ('many steps', 'one step')
    """
    found: Search | None = _first(Search, [getattr(attack, "search", None) for attack in attacks])
    return found


def _first(kinds: Any, values: list[Any]) -> Any:
    """The first of the kinds that occurs; None where a value is none of them."""
    known = get_args(kinds)
    return None if not values or set(values) - {*known} else min(values, key=known.index)
