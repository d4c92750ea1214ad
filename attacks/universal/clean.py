"""A cache of a model's outputs for clean images that recur."""

from typing import NamedTuple

import torch
from torch import Tensor

from attacks.geometry.rows import flat
from attacks.goals import Untargeted
from attacks.norms import Linf
from attacks.protocols import Model
from attacks.queries.inputs import clean_logits
from attacks.searches.draws import GOLDEN

_KEPT_BYTES = 128 * 2**20


class Clean(NamedTuple):
    """A model's outputs for a batch of clean images."""

    logits: Tensor
    """The images' logits (N, C)."""
    ids: Tensor
    """Ids derived from the images' content, int64 (N,)."""


class CleanLogits:
    """Caches the logits of clean images by content: a loader may give them in any order and batches.

    Args:
        model: Images in [0, 1] -> logits.
        most_bytes: Largest size of the cache; images beyond that are queried each time.

    Example:
        >>> asked = CleanLogits(lambda x: 2 * x)
        >>> x = torch.tensor([[0.5, 0.25]])
        >>> asked(x).logits, bool((asked(x).ids == asked(x.flip(0)).ids).all())
        (tensor([[1.0000, 0.5000]]), True)
    """

    def __init__(self, model: Model, most_bytes: int = _KEPT_BYTES) -> None:
        self._model, self._spare = model, most_bytes
        self._kept: dict[int, Tensor] = {}

    def __call__(self, x: Tensor) -> Clean:
        """Logits and ids of images (N, ...).

        Raises:
            ValueError: As attacks do for invalid images and logits.
        """
        ids = content_ids(x)
        keys = ids.tolist()
        new = [row for row, key in enumerate(keys) if key not in self._kept]
        if not new:
            return Clean(torch.stack([self._kept[key] for key in keys]), ids)
        logits = logits_of(self._model, x)
        for row in new:
            if self._spare >= logits[row].nbytes:
                self._spare -= logits[row].nbytes
                self._kept[keys[row]] = logits[row].clone()
        return Clean(logits, ids)


def logits_of(model: Model, x: Tensor) -> Tensor:
    """A model's logits (N, C) of images (N, ...) for which there is no goal yet.

    Raises:
        ValueError: As attacks do for invalid images and logits.

    Example:
        >>> logits_of(lambda x: 2 * x, torch.tensor([[0.5, 0.25]]))
        tensor([[1.0000, 0.5000]])
    """
    anything = Untargeted(torch.zeros(len(x), dtype=torch.long, device=x.device))
    return clean_logits(model, x, anything, Linf(), None)


def content_ids(x: Tensor) -> Tensor:
    """A hash of each image's content: (N, ...) -> int64 (N,), not negative.

    Example:
        >>> ids = content_ids(torch.tensor([[0.5, 0.25], [0.25, 0.5], [0.5, 0.25]]))
        >>> bool(ids[0] == ids[2]), bool(ids[0] == ids[1])
        (True, False)
    """
    bits = flat(x.float().contiguous()).view(torch.int32).long()
    # Odd factors, and sums modulo 2**64: the same on every device, whatever the order of summation.
    factors = torch.arange(1, bits.shape[1] + 1, device=x.device) * GOLDEN | 1
    total = (bits * factors).sum(1)
    return (total ^ (total >> 29)) & (2**63 - 1)
