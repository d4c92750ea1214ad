"""Universal perturbations that a run fits itself: the images they are fitted to, and the cost."""

import json
from collections.abc import Sequence
from typing import Any, TypeGuard

from advbench.errors import UserError
from advbench.planning.resources import Resources
from advbench.records.unit import Unit
from attacks.universal.stored import BATCH, StoredUniversal


def takes_fit(attack: Any) -> TypeGuard[StoredUniversal]:
    """Whether an attack is a universal perturbation that has to be fitted first.

    Example:
        >>> takes_fit(StoredUniversal(fit=100))
        True
    """
    return isinstance(attack, StoredUniversal) and bool(attack.fit)


def fitted_universal(
    attack: StoredUniversal, unit: Unit, resources: Resources, numbers: Sequence[int], shape: Sequence[int]
) -> StoredUniversal:
    """The attack of a unit, fitted to images of its data set; fitted once per process, for all units.

    Args:
        attack: Attack that needs a fit.
        unit: Unit of work, with the budget and the seed.
        resources: Models and images.
        numbers: Numbers of the images to fit to, the same for all units of the run.
        shape: Required shape of the images (C, H, W).

    Raises:
        UserError: There are too few images to fit to one half and attack the other.
    """

    def fit() -> StoredUniversal:
        images = resources.starts(unit.model, unit.dataset, numbers, shape)
        model = resources.judged(unit.model, unit.dataset)
        try:
            if images is None or unit.eps is None:
                raise ValueError("expected images to fit to, got none")
            return attack.fitted(model, images, eps=unit.eps, seed=unit.seed)
        except ValueError as error:
            hint = "use more images, or name a file with a perturbation"
            raise UserError(f"no universal perturbation can be fitted to {unit.dataset}: {error}", hint=hint) from None

    key = (unit.model, unit.dataset, tuple(shape), unit.params, unit.norm, unit.eps, unit.seed)
    return resources.once(f"universal {key}", fit)


def passes_of_fit(params: str, count: int) -> float:
    """Passes of the two fits, per attacked image.

    Args:
        params: Parameters of the attack, as JSON.
        count: Number of images that are attacked.

    Example:
        >>> passes_of_fit('{"fit": 100}', 96)
        100.0
    """
    steps: int = json.loads(params)["fit"]
    return 2 * steps * min(BATCH, max(count // 2, 1)) * 3 / max(count, 1)
