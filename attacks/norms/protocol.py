"""The interface of norms."""

from collections.abc import Sequence
from typing import ClassVar, Protocol, runtime_checkable

from torch import Tensor

from attacks.geometry.ball import Around, Ball
from attacks.geometry.box import free


@runtime_checkable
class Norm(Protocol):
    """What attacks use of a norm.

    A perturbation ``delta`` is a tensor (N, ...), one row for each image; an ``eps`` is a number or a tensor (N,). The
    methods implemented here may be inherited: they are right for a norm with continuous sizes whose values share a
    budget, such as L2.

    Example:
        >>> from attacks import Linf
        >>> isinstance(Linf(), Norm)
        True
    """

    name: ClassVar[str]
    """Lower-case name, as on the command line."""
    per_value: ClassVar[bool] = False
    """Whether each value has the whole budget to itself, as in Linf; otherwise all values of an image share it."""
    sparse: ClassVar[bool] = False
    """Whether the steepest step moves a few values to 0 or 1 and leaves the others unchanged, as in L1 and L0."""
    grain: ClassVar[float] = 0.0
    """Smallest difference between two sizes: 1 in L0, which counts; 0 for continuous sizes."""
    confines: ClassVar[bool] = False
    """Whether some values must stay unchanged; see :meth:`confine`."""

    def measure(self, delta: Tensor) -> Tensor:
        """Size of each row: (N, ...) -> (N,)."""
        ...

    def dual(self, gradient: Tensor) -> Tensor:
        """Largest inner product of each row with a perturbation of size 1: (N, ...) -> (N,)."""
        ...

    def project(self, delta: Tensor, eps: float | Tensor) -> Tensor:
        """The nearest perturbation (in L2) of size at most ``eps``, shaped like ``delta``."""
        ...

    def steepest(self, gradient: Tensor, eps: float | Tensor) -> Tensor:
        """The perturbation of size ``eps`` with the largest inner product with ``gradient``."""
        ...

    def random(self, shape: Sequence[int], eps: float | Tensor, seed: int, ids: Tensor, draw: int) -> Tensor:
        """A random perturbation of size at most ``eps`` for each image: (N, *shape)."""
        ...

    def to_plane(self, x: Tensor, normal: Tensor, rise: Tensor) -> Tensor:
        """The smallest perturbation of images ``x`` (n, ...) whose inner product with ``normal`` is ``rise`` (n,).

        Images stay in [0, 1]; where the hyperplane is out of reach, the perturbation gets as close as possible.
        """
        ...

    def step(self, x: Tensor, gradient: Tensor, eps: float | Tensor) -> Tensor:
        """The step of size ``eps`` from ``x`` that lowers a linear loss with this gradient most.

        Values that would leave [0, 1] at once are skipped, so that no part of the step is wasted on them.
        """
        return self.steepest(-gradient * free(x, gradient), eps)

    def within(self, x: Tensor, x_adv: Tensor, eps: float | Tensor) -> Tensor:
        """Bring candidates ``x_adv`` back into the ball of radius ``eps`` around ``x`` and into [0, 1]."""
        # Clamping to [0, 1] brings every value nearer to x, so it never leaves the ball again.
        return self.project(x_adv - x, eps).add_(x).clamp_(0, 1)

    @property
    def inside(self) -> "Norm":
        """The norm of the changes under the patch for a patched norm; the norm itself for any other."""
        return self

    def confine(self, x: Tensor, x_adv: Tensor) -> Tensor:
        """Candidates ``x_adv`` (n, ...) with all values that must not change taken from ``x``; by default none are.

        Changes of a candidate at these values have no effect: models are queried with the confined one, and sizes
        ignore them.
        """
        return x_adv

    def masking(self, norm: "Norm") -> "Norm":
        """Apply this norm's mask to another norm; by default there is none, so that norm is returned unchanged."""
        return norm

    def ball(self, x: Tensor, eps: Tensor) -> Ball:
        """The set onto which :meth:`within` projects, for many points in turn around the same images (n, ...)."""
        return Around(self.within, x, eps)

    def round_radius(self, radius: Tensor) -> Tensor:
        """``radius`` (n,) rounded down to a radius that makes a difference; unchanged for continuous sizes."""
        return radius
