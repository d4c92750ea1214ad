"""What no perturbation within a budget can change: lower bounds of a goal's margin, from intervals to splitting.

:func:`prove` has a module read as a network (``reading``, ``network``), says what has to hold for the goal and bounds
it on the ball (``bounding``), at first cheaply, then by search (``search``); ``cascade`` is the order in which methods
are tried.

Example:
    >>> import torch
    >>> from torch import nn
    >>> from attacks import Linf, Untargeted
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval()
    >>> x = torch.rand(2, 1, 2, 2)
    >>> proof = prove(model, x, Untargeted(model(x).argmax(1)), norm=Linf(), eps=1e-3)
    >>> proof.proved.shape
    torch.Size([2])
"""

from advbench.proofs.errors import UnprovableError
from advbench.proofs.proof import Proof
from advbench.proofs.prove import bound, prove

__all__ = ["Proof", "UnprovableError", "bound", "prove"]
