"""The cost of an attack: forward and backward passes for each image, and time."""

import math
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from attacks.protocols import Model
from attacks.queries.answers import find_logits
from attacks.queries.gradients import asked_ids
from attacks.queries.in_front import InFront, unwatched
from attacks.queries.places import Places


class Meter(InFront):
    """A wrapper that counts passes and is attacked in place of the model.

    Attacks say which images they query, so that every pass is charged to its image even though images leave the
    batch once they are fooled. If an attack does not (one from another library), its rows are shared out evenly.

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

    not_finite: Tensor
    """Number of outputs with NaN or infinity for each image (N,)."""
    seconds: float
    """Wall time between entering and leaving the context."""

    def __init__(self, model: Model, ids: Tensor, on_pass: Callable[[], None] = lambda: None) -> None:
        super().__init__(model)
        self._on_pass = on_pass
        self._known = Places(ids)
        self._last: tuple[Tensor, Tensor] = ids, torch.arange(len(ids), device=ids.device)
        self._forwards, self._backwards = _Count(ids), _Count(ids)
        self.not_finite = torch.zeros(len(ids), device=ids.device)
        self.seconds = 0.0

    @property
    def forwards(self) -> Tensor:
        """Forward passes for each image (N,)."""
        return self._forwards.numbers

    @property
    def backwards(self) -> Tensor:
        """Backward passes for each image (N,)."""
        return self._backwards.numbers

    def _ask(self, model: Model, x: Tensor) -> Tensor:
        self._on_pass()
        rows = len(x)
        places = self._places(asked_ids(), rows)
        self._forwards.add(places, rows)
        # The model may work on its images in place. Attacks that name their images already pass a copy.
        logits = find_logits(model(x.clone() if asked_ids() is None else x), rows)
        if isinstance(logits, Tensor):
            self._look(logits, places, rows)
        answer: Tensor = logits
        return answer

    def _look(self, logits: Tensor, places: Tensor | None, rows: int) -> None:
        """Count outputs that are not finite, and the backward pass when it happens."""
        found = unwatched(logits)
        if not math.isfinite(found.sum()):  # quicker than testing each of them, and rarely a false alarm
            _book(self.not_finite, places, _not_finite(found).float())
        if logits.requires_grad:
            logits.register_hook(lambda _: self._backwards.add(places, rows))  # type: ignore[no-untyped-call]

    def __enter__(self) -> Self:
        self._start = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = time.perf_counter() - self._start

    def _places(self, ids: Tensor | None, count: int) -> Tensor | None:
        """Where the rows of a batch are counted; None if it is not known which images they are of."""
        if ids is None or len(ids) != count:
            return None
        if ids is not self._last[0]:  # as long as no image leaves the batch, its ids are the same tensor
            self._last = ids, self._known.of(ids)
        return self._last[1]


class _Count:
    """A number of passes for each image.

    Consecutive passes over the same images are added up before they are written: on a small network every operation
    besides the pass itself costs noticeable time.

    Args:
        ids: Ids of the images (N,).
    """

    def __init__(self, ids: Tensor) -> None:
        self._numbers = torch.zeros(len(ids), device=ids.device)
        self._places: Tensor | None = None
        self._rows, self._passes = 0, 0

    def add(self, places: Tensor | None, rows: int) -> None:
        """Count a pass over some rows; see :meth:`Meter._places`."""
        if places is not self._places or rows != self._rows:
            self._write()
            self._places, self._rows = places, rows
        self._passes += 1

    @property
    def numbers(self) -> Tensor:
        """Number of passes for each image (N,)."""
        self._write()
        return self._numbers

    def _write(self) -> None:
        if self._passes:
            _book(self._numbers, self._places, self._numbers.new_full((self._rows,), self._passes))
        self._passes = 0


def _book(numbers: Tensor, places: Tensor | None, values: Tensor) -> None:
    """Add one value for each row at its place, or all of them in equal shares if the places are not known."""
    if places is None:
        numbers += values.sum() / len(numbers)
    else:
        numbers.index_add_(0, places, values)


def _not_finite(logits: Tensor) -> Tensor:
    """Which rows hold NaN or infinity, bool (N,); the rows may be of any shape, and there may be none."""
    return (~logits.isfinite()).reshape(len(logits), math.prod(logits.shape[1:])).any(1)
