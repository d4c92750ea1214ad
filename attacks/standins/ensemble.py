"""Several models of the same task combined into one, for attacks meant to transfer to similar models."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from attacks.geometry.rows import mean_of
from attacks.protocols import Model
from attacks.queries.answers import ask
from attacks.queries.derivatives import Measure
from attacks.queries.gradients import asked_backwards, asked_measure, exact_form, quick_form
from attacks.queries.modes import check_callable

Average = Literal["logits", "probabilities", "losses"]
"""The quantity averaged over the members."""


@dataclass(frozen=True)
class Ensemble:
    """Several models combined into one; see :func:`ensemble`.

    Example:
        >>> Ensemble((lambda x: x, lambda x: 3 * x))(torch.tensor([[0.5, 0.25]]))
        tensor([[1.0000, 0.5000]])
    """

    members: tuple[Model, ...]
    """The models to query, at least one."""
    average: Average = "logits"
    """The quantity averaged over them."""

    @property
    def quick_form(self) -> Model | None:
        """The members' faster forms together, if any has one."""
        return self._in_forms([quick_form(each) for each in self.members])

    @property
    def exact_form(self) -> Model | None:
        """The members' float32 forms together, if any has one."""
        return self._in_forms([exact_form(each) for each in self.members])

    def __call__(self, x: Tensor, /) -> Tensor:
        """Logits (N, C) of all members together.

        Raises:
            ValueError: ``expected ..., got ...`` if members differ in their number of classes.
        """
        logits = [ask(each, x) for each in self.members]
        if len(counts := {each.shape[1] for each in logits}) > 1:
            raise ValueError(
                f"expected models of the same classes, got {' and '.join(map(str, sorted(counts)))} classes"
            )
        if self.average == "logits":
            return mean_of(logits)
        logs = [each.log_softmax(1) for each in logits]
        if self.average == "probabilities":
            return torch.stack(logs, 2).logsumexp(2) - math.log(len(logits))
        measure = asked_measure()
        if measure is None or asked_backwards() != 1 or not all(each.requires_grad for each in logits):
            return mean_of(logs)
        lent: Tensor = _MeanLoss.apply(mean_of(logs).detach(), measure, *logits)
        return lent

    def _in_forms(self, forms: list[Model | None]) -> Model | None:
        if not any(forms):
            return None
        return Ensemble(tuple(form or each for form, each in zip(forms, self.members, strict=True)), self.average)


def ensemble(models: Sequence[Model], average: Average = "logits") -> Ensemble:
    """Combine several models of the same task into one for any attack: what fools all of them transfers more often.

    Each pass queries every member. Images have the size that all members take; if they differ, wrap those that need
    another: ``lambda x: model(torch.nn.functional.interpolate(x, (192, 192), mode="bilinear", antialias=True))``.

    References:
        Liu et al., Delving into transferable adversarial examples and black-box attacks
        <https://arxiv.org/abs/1611.02770>, 2017 (probabilities). Dong et al., Boosting adversarial attacks with
        momentum <https://arxiv.org/abs/1710.06081>, 2018 (logits and losses).

    Args:
        models: Models, at least one, each images in [0, 1] -> logits of the same classes.
        average: "logits"; "probabilities": the output is the logarithm of their mean; or "losses": the gradient is the
            mean of the attack's loss gradients for each member, and the output the mean of their log-probabilities. An
            attack that takes several gradients of one pass gets those of the mean.

    Returns:
        A model; its gradients come from the members' faster forms if they have any (:func:`attacks.fast`).

    Raises:
        ValueError: If ``models`` is not a list of models, one of them cannot be called, or the average is unknown; when
            called, if members differ in their classes.

    Example:
        >>> from attacks import MIFGSM, Untargeted
        >>> both = ensemble([lambda x: x, lambda x: 3 * x], average="losses")
        >>> x, goal = torch.tensor([[0.6, 0.5]]), Untargeted(torch.tensor([0]))
        >>> MIFGSM()(both, x, goal, eps=0.125)
        tensor([[0.4750, 0.6250]])
    """
    handed: object = models
    single = isinstance(handed, nn.Module) and not isinstance(handed, nn.ModuleList)  # a Sequential yields layers
    if single or not isinstance(handed, Iterable):
        raise ValueError(f"expected a list of models, got {type(handed).__name__}: write [model] for a single one")
    given = tuple(models)
    if not given:
        raise ValueError("expected at least one model, got none")
    for each in given:
        check_callable(each)
    if average not in get_args(Average):
        raise ValueError(f"expected average to be one of {', '.join(get_args(Average))}, got {average!r}")
    return Ensemble(given, average)


class _MeanLoss(torch.autograd.Function):
    """The first argument, with the gradient of the mean loss over several models' logits, whatever it is used for."""

    @staticmethod
    def forward(ctx: Any, answer: Tensor, measure: Measure, *logits: Tensor) -> Tensor:
        with torch.enable_grad():
            leaves = [each.detach().requires_grad_() for each in logits]
            losses = [measure(each).sum() / len(leaves) for each in leaves]
            ctx.gradients = [
                torch.autograd.grad(loss, each)[0] if loss.requires_grad else torch.zeros_like(each)
                for loss, each in zip(losses, leaves, strict=True)
            ]
        return answer.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Any, ...]:
        return None, None, *ctx.gradients
