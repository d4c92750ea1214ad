"""What an attack call costs: forward and backward passes of each image, and time."""

import math
import time
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from attacks.gradients import asked_ids, quick_form
from attacks.protocols import Model


class Meter:
    """A model that counts, to be attacked in place of the model.

    Attacks say which images they ask about, so that every pass is booked on its image although images leave the
    batch when they are fooled. Where an attack does not say so (a foreign one), its rows are shared out evenly.

    Args:
        model: Images -> logits.
        ids: Ids of the images, int64 (N,), all different.
        on_pass: Called at each forward pass, for a progress display.

    Example:
        >>> from attacks import PGD, Untargeted
        >>> x, goal = torch.tensor([[0.6, 0.5], [0.5, 0.6]]), Untargeted(torch.tensor([0, 0]))
        >>> with Meter(lambda x: x, goal.ids) as metered:
        ...     x_adv = PGD(steps=1)(metered, x, goal, eps=0.1)
        >>> metered.forwards, metered.backwards
        (tensor([2., 1.]), tensor([1., 0.]))
    """

    forwards: Tensor
    """Forward passes of each image (N,)."""
    backwards: Tensor
    """Backward passes of each image (N,)."""
    not_finite: Tensor
    """How many answers about each image held NaN or infinity (N,)."""
    seconds: float
    """Wall time between entering and leaving the context."""

    def __init__(self, model: Model, ids: Tensor, on_pass: Callable[[], None] = lambda: None) -> None:
        self._model, self._on_pass = model, on_pass
        self._sorted, self._order = ids.sort()
        self.forwards = torch.zeros(len(ids), device=ids.device)
        self.backwards = torch.zeros(len(ids), device=ids.device)
        self.not_finite = torch.zeros(len(ids), device=ids.device)
        self.seconds = 0.0

    def __call__(self, x: Tensor, /) -> Tensor:
        """The model's logits; the passes are booked."""
        return self._pass(self._model, x)

    @property
    def quick_form(self) -> Model | None:
        """The model's faster form, if it has one; its passes are booked like all others."""
        form = quick_form(self._model)
        return None if form is None else partial(self._pass, form)

    def _pass(self, model: Model, x: Tensor) -> Tensor:
        self._on_pass()
        ids, once = asked_ids(), torch.ones(len(x), device=x.device)
        self._book(self.forwards, ids, once)
        logits = model(x)
        self._book(self.not_finite, ids, _not_finite(logits.detach()).float())
        if logits.requires_grad:
            logits.register_hook(lambda _: self._book(self.backwards, ids, once))  # type: ignore[no-untyped-call]
        return logits

    def __enter__(self) -> Self:
        self._start = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = time.perf_counter() - self._start

    def _book(self, count: Tensor, ids: Tensor | None, rows: Tensor) -> None:
        if ids is None or len(ids) != len(rows):
            count += rows.sum() / len(count)
            return
        count.index_add_(0, self._order[torch.searchsorted(self._sorted, ids)], rows)


def _not_finite(logits: Tensor) -> Tensor:
    """Which rows hold NaN or infinity, bool (N,); the rows may be of any shape, and there may be none."""
    return (~logits.isfinite()).reshape(len(logits), math.prod(logits.shape[1:])).any(1)
