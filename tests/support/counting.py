"""A model that counts its passes, for tests of the library alone, and without the code of the harness's own meter."""

from functools import partial

import torch

from attacks.queries.gradients import asked_ids


class Counting:
    """A model that counts the forward and backward passes of each image.

    Args:
        model: Images -> logits.
        ids: Ids of the images, int64 (N,), all different.
    """

    def __init__(self, model, ids):
        self.model, self.ids = model, ids
        self.forwards, self.backwards = torch.zeros(len(ids)), torch.zeros(len(ids))

    def __call__(self, x):
        # An attack that does not say whose images it asks about shares its rows out evenly.
        asked = asked_ids()
        booked = torch.full((len(self.ids),), len(x) / len(self.ids))
        if asked is not None and len(asked) == len(x):
            booked = (asked == self.ids[:, None]).sum(1).float()
        self.forwards += booked
        logits = self.model(x)
        if logits.requires_grad:
            logits.register_hook(partial(self._backward, booked))
        return logits

    def _backward(self, booked, _):
        self.backwards += booked
