"""Creates an attack from its registry name, its norm and its parameters."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from advbench.catalog import ATTACKS, CORRUPTION
from advbench.catalog.parameters import Parameter, check_names
from advbench.catalog.registry import resolve
from advbench.config.models.surrogate import SURROGATE
from advbench.errors import UserError
from attacks import NORMS, Attack, capped
from attacks.corruptions import SMALLEST
from attacks.queries.plain import plain_number

MAX_PASSES = "max_passes"
"""Key, among the parameters of an attack, for the largest number of passes it may spend on each image."""


def make_attack(name: str, norm: str, params: Mapping[str, Any]) -> Attack:
    """Make an attack from its registry name.

    Args:
        name: Registry name of the attack.
        norm: Name of the norm it works in.
        params: Its parameters. Values other than numbers, strings and booleans are parts of the attack and passed on
            unchecked. With `MAX_PASSES` among them, the attack stops on each image after that number of passes.
            `SURROGATE`, the model that it runs on, is ignored.

    Raises:
        UserError: The attack does not take these parameters.

    Example:
        >>> make_attack("pgd", "l2", {"steps": 7}).steps
        7
    """
    card = ATTACKS[name]
    plain = {key: plain_number(value) for key, value in params.items() if key not in (MAX_PASSES, SURROGATE)}
    given = {key: value for key, value in plain.items() if isinstance(value, Parameter)}
    check_names(card, given)
    try:
        attack: Attack = resolve(card.target)(*card.arguments, norm=NORMS[norm](), **given)
        return capped(attack, params[MAX_PASSES]) if MAX_PASSES in params else attack
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(
            f"attack {name} cannot be made with {dict(params)}: {error}", hint=f"see `advbench attacks {name}`"
        ) from None


def refuse_small(attacks: Iterable[str], sides: Sequence[int], what: str) -> None:
    """Reject images that are too small for a corruption, before anything is run.

    Args:
        attacks: Registry names of attacks.
        sides: Height and width of the images in pixels.
        what: Description of the images, for the message.

    Raises:
        UserError: They are too small for one of these attacks.

    Example:
        >>> refuse_small(["corruption/fog"], (8, 8), "the images of digits")
        Traceback (most recent call last):
        advbench.errors.UserError: corruption/fog needs at least 28 x 28 pixels, and the images of digits have 8 x 8
        use a model with a larger input
    """
    found = next((name for name in attacks if name.startswith(CORRUPTION)), None)
    if found and min(sides) < SMALLEST:
        height, width = sides
        raise UserError(
            f"{found} needs at least {SMALLEST} x {SMALLEST} pixels, and {what} have {height} x {width}",
            hint="use a model with a larger input",
        )
