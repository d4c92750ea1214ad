"""Prove that no perturbation within a budget meets a goal: lower bounds on its margin, from intervals to splitting.

:func:`prove` reads a module as a network (``reading``, ``network``), turns the goal into what has to be proved, and
bounds that on the ball (``bounding``), first cheaply, then by search (``search``); ``cascade`` is the order in which
methods are tried.

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
