"""A row of the table of Foolbox's attacks: the facts about one class."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from attacks.goals import GOALS
from attacks.protocols import Access, Search

UNTARGETED = ("untargeted",)
TARGETED = ("targeted",)
CLASSES = (*UNTARGETED, *TARGETED)
ANY = tuple(GOALS)
"""Goals of an attack that only checks whether an image fools."""

Need = Literal["targets", "starting points", "feed", "numba", "4-D input", "steps"]
"""Target classes; images that already fool; other images to choose from; the package numba; images (N, C, H, W); a
number of steps, which Foolbox requires."""
Draws = Literal["never", "always", "random_start", "init_attack", "no grid_search"]
"""When an attack draws random numbers; the last three name the parameter that decides."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One attack class of Foolbox."""

    name: str
    """The name for ``attacks.foolbox.get(name)``."""
    attack: str
    """Name of the class in ``foolbox.attacks``."""
    kind: Literal["budget", "minimum norm", "plain"]
    """Takes an ``eps``; looks for the smallest perturbation; or neither, and is run like a minimum-norm attack."""
    norms: tuple[str, ...]
    """Names of its norms, the default first. All four: no norm guides the attack, and norms only measure its
    results."""
    access: Access
    """The broadest access it needs to a model."""
    search: Search = "many steps"
    """How it finds its candidates."""
    goals: tuple[str, ...] = CLASSES
    """Names of the goals it takes."""
    needs: tuple[Need, ...] = ()
    """Requirements without which it cannot run."""
    draws: Draws = "never"
    """When it draws random numbers."""
    mixes: str = ""
    """How the other images of a batch affect an image's result; empty if they do not."""
    defaults: Mapping[str, object] = field(default_factory=dict)
    """Parameters with a different default here than in Foolbox, or without one there."""
    start: str = ""
    """Attack that finds the starting points, unless the parameter ``init_attack`` names another."""
    start_parameters: Mapping[str, Any] = field(default_factory=dict)
    """Parameters of that attack."""
    black: bool = False
    """Whether a black image means "found nothing"."""
    faults: tuple[str, ...] = ()
    """Known errors and limits, with files and lines of ``foolbox/attacks``."""


_CLASS_PREFIX = {"l0": "L0", "l1": "L1", "l2": "L2", "linf": "Linf"}


def family(name: str, attack: str, norms: tuple[str, ...], **facts: Any) -> tuple[Row, ...]:
    """One row per norm, for attacks whose Foolbox names differ only in the norm.

    Args:
        name: Common name, without the norm.
        attack: Common name of Foolbox's classes, without the norm.
        norms: Names of the norms, one for each row.
        **facts: Other fields of the rows.

    Example:
        >>> [row.attack for row in family("pgd", "PGD", ("l1", "linf"), kind="budget", access="gradients")]
        ['L1PGD', 'LinfPGD']
    """
    return tuple(
        Row(name=f"{norm}-{name}", attack=_CLASS_PREFIX[norm] + attack, norms=(norm,), **facts) for norm in norms
    )
