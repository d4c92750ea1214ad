"""The four norms and their geometry: the only place that measures, projects or picks a step direction.

Each norm has its own module; :class:`Norm` is the interface that attacks use. The balls of L1 and L0 are restricted to
the box |delta| <= 1 that images in [0, 1] impose.

Example:
    >>> import torch
    >>> {name: norm().measure(torch.tensor([[3.0, -4.0]])).item() for name, norm in NORMS.items()}
    {'linf': 4.0, 'l2': 5.0, 'l1': 7.0, 'l0': 2.0}
"""

from attacks.norms.l0 import L0
from attacks.norms.l1 import L1
from attacks.norms.l2 import L2
from attacks.norms.linf import Linf
from attacks.norms.masked import Masked
from attacks.norms.patched import Patched
from attacks.norms.protocol import Norm

NORMS: dict[str, type[Norm]] = {"linf": Linf, "l2": L2, "l1": L1, "l0": L0}
"""Name -> class."""

__all__ = ["L0", "L1", "L2", "NORMS", "Linf", "Masked", "Norm", "Patched"]
