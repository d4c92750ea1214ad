"""A norm that measures like another one, and restricts where changes may be."""

from typing import ClassVar

from torch import Tensor

from attacks.norms.protocol import Norm


class Wrapping(Norm):
    """Delegates to an inner norm, for norms that only restrict where in the image changes may be.

    Example:
        >>> import torch
        >>> from attacks.norms import L1, Masked
        >>> norm = Masked(L1(), torch.tensor([True, False]))
        >>> norm.confines, norm.name, norm.sparse
        (True, 'l1', True)
    """

    norm: Norm
    """The inner norm."""
    confines: ClassVar[bool] = True

    @property
    def name(self) -> str:  # type: ignore[override]
        """The name of the inner norm, as restricting changes does not affect how they are measured."""
        return self.norm.name

    @property
    def per_value(self) -> bool:  # type: ignore[override]
        """As in the inner norm."""
        return self.norm.per_value

    @property
    def sparse(self) -> bool:  # type: ignore[override]
        """As in the inner norm."""
        return self.norm.sparse

    @property
    def grain(self) -> float:  # type: ignore[override]
        """As in the inner norm."""
        return self.norm.grain

    def masking(self, norm: Norm) -> Norm:
        """As in the inner norm, which may have a mask."""
        return self.norm.masking(norm)

    def round_radius(self, radius: Tensor) -> Tensor:
        """As in the inner norm."""
        return self.norm.round_radius(radius)
