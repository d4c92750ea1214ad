"""A line of the table of Foolbox's attacks: what can be said of one of its classes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from attacks.goals import GOALS
from attacks.protocols import Access, Search

UNTARGETED = ("untargeted",)
TARGETED = ("targeted",)
CLASSES = (*UNTARGETED, *TARGETED)
ANY = tuple(GOALS)
"""Goals of an attack that only asks whether an image fools."""

Need = Literal["targets", "starting points", "feed", "numba", "4-D input", "steps"]
"""Target classes; images that fool already; other images to choose from; the package numba; images (N, C, H, W); a
number of steps, which Foolbox asks for."""
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
    """Is given an ``eps``; looks for the smallest perturbation; or neither, and is run like a minimum-norm attack."""
    norms: tuple[str, ...]
    """Names of its norms, the default first. All four: no norm guides the attack, and they only measure its results."""
    access: Access
    """The most it asks of a model."""
    search: Search = "many steps"
    """How it finds its candidates."""
    goals: tuple[str, ...] = CLASSES
    """Names of the goals it takes."""
    needs: tuple[Need, ...] = ()
    """What it cannot run without."""
    draws: Draws = "never"
    """When it draws random numbers."""
    mixes: str = ""
    """How the other images of a batch change an image's result; empty where they do not."""
    defaults: Mapping[str, object] = field(default_factory=dict)
    """Parameters that get another default here than in Foolbox, or have none there."""
    start: str = ""
    """Attack that finds the starting points, unless the parameter ``init_attack`` names another."""
    start_parameters: Mapping[str, Any] = field(default_factory=dict)
    """Parameters with which that attack runs."""
    black: bool = False
    """Whether a black image stands for "found nothing"."""
    faults: tuple[str, ...] = ()
    """Known errors and limits, with files and lines of ``foolbox/attacks``."""


_CLASS_PREFIX = {"l0": "L0", "l1": "L1", "l2": "L2", "linf": "Linf"}


def family(name: str, attack: str, norms: tuple[str, ...], **facts: Any) -> tuple[Row, ...]:
    """A row for each norm, for attacks whose names in Foolbox differ only in the norm.

    Args:
        name: The name they share, without the norm.
        attack: The name that Foolbox's classes share, without the norm.
        norms: Names of the norms, one for each row.
        **facts: Other fields of the rows.

    Example:
        >>> [row.attack for row in family("pgd", "PGD", ("l1", "linf"), kind="budget", access="gradients")]
        ['L1PGD', 'LinfPGD']
    """
    return tuple(
        Row(name=f"{norm}-{name}", attack=_CLASS_PREFIX[norm] + attack, norms=(norm,), **facts) for norm in norms
    )
