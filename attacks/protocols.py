"""The contract between models, attacks and their callers."""

from collections.abc import Mapping
from typing import Literal, Protocol

from torch import Tensor

from attacks.goals import Goal
from attacks.norms import Norm

Kind = Literal["budget", "minimum norm"]
"""A budget attack is given an ``eps``; a minimum-norm attack looks for the smallest perturbation."""
Access = Literal["gradients", "scores", "decisions", "nothing"]
"""The most that an attack needs from a model: its gradients, its logits, whether the goal is met, or not even that."""
Search = Literal["many steps", "for transfer", "one step", "in one place", "blind"]
"""How an attack finds its candidates: by many steps, each guided by the model's answer to the previous one; by such
steps chosen to transfer to other models, at some cost on this one; by one step; by many steps within one part of the
image, so that a failure says nothing about the rest; or by changes that do not depend on the model, of which it keeps
those that fool."""
Precision = Literal["bfloat16", "float32", "exact"]
"""The coarsest arithmetic from which an attack can take its gradients, where a model has faster forms: half precision,
good enough for a budget attack; float32 rounded differently from the model, good enough for the way to a boundary if
the model confirms what is found there; or that of the model itself, the default for an attack that declares nothing."""


class Model(Protocol):
    """Any callable from images to logits; normalisation, if any, happens inside.

    :func:`attacks.standins.fast.fast` builds models with the attributes ``quick_form``, a faster model for approximate
    gradients, and ``exact_form``, one whose answers differ only by rounding. A wrapper exposes its model as the
    attribute ``wrapped``, so that :func:`attacks.queries.modes.check_mode` sees the networks inside.

    A model that fails when its images require a gradient, or whose output has none, counts as one without gradients.
    Outputs that hold the logits in another form are understood too, see :func:`attacks.queries.answers.read_logits`.

    Example:
        >>> import torch
        >>> model: Model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 5)).eval()
        >>> model(torch.rand(2, 3, 2, 2)).shape
        torch.Size([2, 5])
    """

    def __call__(self, x: Tensor, /) -> Tensor:
        """Images (N, ...) in [0, 1] -> logits (N, C), each row depending on its own image only."""
        ...


class BudgetAttack(Protocol):
    """Looks for an image within a given distance that meets the goal.

    Example:
        >>> from attacks import PGD
        >>> attack: BudgetAttack = PGD(steps=10)
        >>> attack.kind, attack.norm
        ('budget', Linf())
    """

    @property
    def kind(self) -> Kind:
        """Which of the two kinds it is; may be a class attribute."""
        ...

    @property
    def norms(self) -> tuple[str, ...]:
        """Names of the norms it supports; may be a class attribute."""
        ...

    @property
    def norm(self) -> Norm:
        """The norm in which perturbations are measured."""
        ...

    def __call__(self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor, seed: int = 0) -> Tensor:
        """Return candidates within ``eps`` of ``x`` and within [0, 1]; whether they succeed is for the caller to judge.

        Images that already meet the goal are returned unchanged. The model's mode, weights and gradients are left
        unchanged; a model with batch norms in training mode, which every pass would change, is rejected. Images do not
        influence each other: random draws and decisions for one depend only on ``seed``, its id and the model's answers
        about it. (Those of a large network may be rounded differently at another batch size, and so may candidates.)

        Args:
            model: Images in [0, 1] -> logits.
            x: Images (N, ...), float32 or float64, in [0, 1].
            goal: Success criterion for these N images.
            eps: Largest allowed size of a perturbation in the attack's norm, image units; a number or (N,).
            seed: The seed of all random draws.

        Returns:
            Images shaped like ``x``, of its dtype, on its device.

        Raises:
            ValueError: If the images, the goal, ``eps`` or the model's output are not as above.
            AttackError: If the attack could not be carried out on some of the images.
        """
        ...


class MinNormAttack(Protocol):
    """Looks for the nearest image that meets the goal.

    Example:
        >>> from attacks import DDN
        >>> attack: MinNormAttack = DDN()
        >>> attack.kind, attack.norm
        ('minimum norm', L2())
    """

    @property
    def kind(self) -> Kind:
        """Which of the two kinds it is; may be a class attribute."""
        ...

    @property
    def norms(self) -> tuple[str, ...]:
        """Names of the norms it supports; may be a class attribute."""
        ...

    @property
    def norm(self) -> Norm:
        """The norm in which perturbations are measured."""
        ...

    def __call__(
        self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """Return the nearest candidates found; the contract is that of :class:`BudgetAttack`.

        Args:
            model: Images in [0, 1] -> logits.
            x: Images (N, ...), float32 or float64, in [0, 1].
            goal: Success criterion for these N images.
            eps: Largest distance to search; None: no limit.
            seed: The seed of all random draws.

        Returns:
            Images shaped like ``x``; the original image where nothing was found.

        Raises:
            ValueError, AttackError: As for a budget attack.
        """
        ...


class AttackError(RuntimeError):
    """An attack failed on some images, about which nothing is known. The others are finished.

    Args:
        x_adv: Candidates (N, ...) for all images, the original ones where the attack failed.
        errors: Row of each image on which it failed -> why.

    Example:
        >>> import torch
        >>> failure = AttackError(torch.zeros(3, 4), {1: "TimeoutError: no result within 60 seconds"})
        >>> print(failure)
        the attack failed on 1 of 3 images: TimeoutError: no result within 60 seconds
    """

    def __init__(self, x_adv: Tensor, errors: Mapping[int, str]) -> None:
        self.x_adv, self.errors = x_adv, dict(errors)
        reasons = "; ".join(dict.fromkeys(self.errors.values()))
        super().__init__(f"the attack failed on {len(self.errors)} of {len(x_adv)} images: {reasons}")


Attack = BudgetAttack | MinNormAttack
"""An attack of either kind."""
