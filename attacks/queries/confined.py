"""A model that restores its images wherever a norm allows no changes."""

import torch
from torch import Tensor

from attacks.norms import Norm
from attacks.protocols import Model
from attacks.queries.gradients import asked_ids
from attacks.queries.in_front import InFront
from attacks.queries.places import Places


def confined(model: Model, norm: Norm, x: Tensor, ids: Tensor) -> Model:
    """The model as seen by an attack in a norm with a mask; the model itself if the norm has none.

    Changes outside the mask do not reach the model, and have no gradient. So a candidate that meets the goal still does
    once they are undone, which makes it no larger: this way every attack respects the mask, even one without mask
    support.

    Args:
        model: Images in [0, 1] -> logits.
        norm: The norm of the attack.
        x: Clean images (N, ...).
        ids: Ids of the images (N,), which identify the images in later queries.

    Raises:
        ValueError: If different images have the same id.

    Example:
        >>> from attacks import Linf, Masked
        >>> x, norm = torch.tensor([[0.5, 0.25]]), Masked(Linf(), torch.tensor([True, False]))
        >>> confined(lambda x: 2 * x, norm, x, torch.tensor([0]))(torch.ones(1, 2))
        tensor([[2.0000, 0.5000]])
    """
    return _Confined(model, norm, x, ids) if norm.confines else model


class _Confined(InFront):
    """The model of :func:`confined`."""

    def __init__(self, model: Model, norm: Norm, x: Tensor, ids: Tensor) -> None:
        super().__init__(model)
        self._norm, self._x = norm, x
        self._places = Places(ids)
        places = self._places.of(ids)
        again = (places != torch.arange(len(x), device=places.device)).nonzero().squeeze(1)
        if len(again) and not torch.equal(x[again], x[places[again]]):
            raise ValueError("expected different images under a mask to have different ids, got the same id twice")

    def _ask(self, model: Model, x: Tensor) -> Tensor:
        return model(self._norm.confine(self._clean(len(x)).to(x.dtype), x))

    def _clean(self, count: int) -> Tensor:
        """The clean images of those in the query."""
        ids = asked_ids()
        if ids is not None and len(ids) == count:
            return self._x[self._places.of(ids)]
        if count != len(self._x):
            raise ValueError(f"expected questions about all {len(self._x)} images under a mask at once, got {count}")
        return self._x
