"""Explicit tables of names; nothing is imported before it is needed."""

import difflib
import importlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from advbench.errors import UserError

T = TypeVar("T")


class Registry(Generic[T]):
    """A mapping from names to cards, to which only plugins add.

    Args:
        kind: Kind of entry in the singular, such as "model" or "attack"; used in messages.
        table: Name -> card, or the same as pairs. Names are matched exactly; two names that differ only in case or in
            `-` versus `_` are refused, because they are too easy to confuse.
        listed_by: The command that lists the entries; empty for `advbench` and the kind in the plural.

    Raises:
        ValueError: A name occurs twice.

    Example:
        >>> attacks = Registry("attack", {"pgd": "attacks.pgd:PGD", "ddn": "attacks.ddn:DDN"})
        >>> attacks["pgd"], "PGD" in attacks, list(attacks)
        ('attacks.pgd:PGD', False, ['pgd', 'ddn'])
        >>> attacks["PDG"]
        Traceback (most recent call last):
        advbench.errors.UserError: unknown attack 'PDG'
        did you mean pgd? `advbench attacks` lists all names
    """

    def __init__(self, kind: str, table: Mapping[str, T] | Iterable[tuple[str, T]], *, listed_by: str = "") -> None:
        self.kind = kind
        self.listed_by = listed_by or f"advbench {kind}s"
        self._cards: dict[str, T] = {}
        seen: dict[str, str] = {}
        for name, card in table.items() if isinstance(table, Mapping) else table:
            if (other := seen.setdefault(_fold(name), name)) != name or name in self._cards:
                raise ValueError(f"expected distinct {kind} names, got {other!r} and {name!r}")
            self._cards[name] = card

    def __getitem__(self, name: str) -> T:
        """The card with that name.

        Raises:
            UserError: There is no such name; the hint gives similar names and the command that lists all.
        """
        if name in self._cards:
            return self._cards[name]
        hint = did_you_mean(name, self._cards, f"`{self.listed_by}` lists all names")
        raise UserError(f"unknown {self.kind} {name!r}", hint=hint)

    def __contains__(self, name: object) -> bool:
        return name in self._cards

    def __iter__(self) -> Iterator[str]:
        return iter(self._cards)

    def __len__(self) -> int:
        return len(self._cards)

    def add(self, cards: Mapping[str, T]) -> None:
        """Add the cards of a plugin.

        Raises:
            UserError: A name is already taken, or too similar to one that is.
        """
        taken = {_fold(name): name for name in self._cards}
        for name, card in cards.items():
            if _fold(name) in taken and self._cards.get(name) != card:
                raise UserError(f"{self.kind} {name!r} cannot be added: {taken[_fold(name)]!r} already exists")
            self._cards[name] = card

    def values(self) -> tuple[T, ...]:
        """All cards, in the order of the table."""
        return tuple(self._cards.values())


def resolve(target: str) -> Any:
    """Import the object that "module:attr" names.

    Targets come from advbench's own tables; never pass one that came from a file or an option.

    Args:
        target: Dotted name of a module and the name of one of its attributes, such as "attacks.pgd:PGD".

    Returns:
        The attribute.

    Raises:
        ValueError: The target does not have that form.
        ImportError, AttributeError: The module or the attribute does not exist.

    Example:
        >>> resolve("fractions:Fraction")(1, 2)
        Fraction(1, 2)
    """
    module, colon, attribute = target.partition(":")
    if not (module and colon and attribute):
        raise ValueError(f"expected a target of the form 'module:attr', got {target!r}")
    return getattr(importlib.import_module(module), attribute)


def near_misses(name: str, known: Iterable[str], limit: int = 3) -> list[str]:
    """The known names that someone who typed `name` may have meant, best match first.

    Case is ignored, and `-`, `_` and spaces are equivalent. Names that contain what was typed come first, shortest
    first; then names with the same letters; then names with a similar spelling.

    Example:
        >>> near_misses("VGG61", ["vgg19", "vgg16", "resnet50"])
        ['vgg16', 'vgg19']
        >>> near_misses("shark", ["tiger shark", "sharp", "tench"])
        ['tiger shark', 'sharp']
    """
    folded = {_fold(each): each for each in known}
    wanted = _fold(name)
    containing = sorted((each for each in folded if wanted and wanted in each), key=len)
    close = difflib.get_close_matches(wanted, folded, n=10)
    close.sort(key=lambda each: sorted(each) != sorted(wanted))
    return [folded[each] for each in dict.fromkeys(containing + close)][:limit]


def did_you_mean(name: str, known: Iterable[str], then: str = "") -> str:
    """Ask whether someone who typed `name` meant one of the known names, if any is near; then say the rest.

    Example:
        >>> did_you_mean("VGG61", ["vgg19", "vgg16", "resnet50"], "there are three")
        'did you mean vgg16, vgg19? there are three'
        >>> did_you_mean("shark", ["resnet50"], "there is one")
        'there is one'
    """
    close = near_misses(name, known)
    return f"did you mean {', '.join(close)}? {then}".rstrip() if close else then


def class_numbers(text: str, classes: Sequence[str]) -> tuple[int, ...]:
    """The classes that a text may mean: those with that name, ignoring case, or else the one with that number.

    Args:
        text: Name of a class, or its number, counted from 0.
        classes: Names of the classes in their order.

    Returns:
        Their numbers: none for an unknown class, several if several classes share the name.

    Example:
        >>> classes = ["Crane", "crane", "7"]
        >>> class_numbers("crane", classes), class_numbers("7", classes), class_numbers("1", classes)
        ((0, 1), (2,), (1,))
    """
    named = tuple(i for i, each in enumerate(classes) if each.casefold() == text.casefold())
    return named or number_of(text, len(classes))


def number_of(text: str, count: int) -> tuple[int, ...]:
    """The class with the number that a text states; none if it is not a number or there is no such class.

    Example:
        >>> number_of("007", 10), number_of("10", 10), number_of("-1", 10)
        ((7,), (), ())
    """
    return (int(text),) if text.isdecimal() and len(text) < 10 and int(text) < count else ()


def _fold(name: str) -> str:
    return name.casefold().replace("-", "_").replace(" ", "_")
