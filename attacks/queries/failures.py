"""Composed attacks whose parts fail on some of the images."""

from typing import Any

from torch import Tensor

from attacks.goals import Goal
from attacks.protocols import Attack, AttackError, Model


class Failures:
    """Records on which images of a batch an attack has failed, and why, while others continue.

    Example:
        >>> import torch
        >>> from attacks import FGSM, Untargeted
        >>> failed, x, goal = Failures(), torch.tensor([[0.6, 0.5]]), Untargeted(torch.tensor([0]))
        >>> x_adv = failed.catch(FGSM(), lambda x: x, x, goal, eps=0.125, rows=torch.tensor([0]))
        >>> failed.report(x_adv, fooled=torch.tensor([True]))
        tensor([[0.4750, 0.6250]])
    """

    def __init__(self) -> None:
        self._errors: dict[int, str] = {}

    def catch(self, attack: Attack, model: Model, x: Tensor, goal: Goal, *, rows: Tensor, **options: Any) -> Tensor:
        """The images that the attack returns, or the candidates it had when it failed.

        Args:
            attack: An attack of either kind.
            model: Images in [0, 1] -> logits.
            x: Some images of the batch (n, ...).
            goal: The goal of these images.
            rows: Rows of the images in the batch (n,).
            **options: ``eps`` and ``seed``.
        """
        try:
            return attack(model, x, goal, **options)
        except AttackError as error:
            places = rows.tolist()
            self._errors |= {places[row]: why for row, why in error.errors.items()}
            return error.x_adv.detach()

    def report(self, x_adv: Tensor, fooled: Tensor) -> Tensor:
        """The candidates (N, ...) of the whole batch.

        Raises:
            AttackError: If something failed on an image that is not ``fooled``, bool (N,).
        """
        errors = {row: why for row, why in sorted(self._errors.items()) if not fooled[row]}
        if errors:
            raise AttackError(x_adv, errors)
        return x_adv
