"""A perturbation shared by all images, and its file."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional

from attacks.geometry.ball import keeps_to
from attacks.goals import Goal
from attacks.norms import NORMS, Norm
from attacks.protocols import Access, Kind, Model, Search
from attacks.queries.inputs import check_call
from attacks.queries.plain import plain_number
from attacks.searches.track import Survivors

ENTRY = "universal perturbation"
"""Entry in the metadata of a file that :meth:`Perturbation.save` writes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Perturbation:
    """One perturbation for all images of one size.

    Args:
        delta: The perturbation to add, float (C, H, W) or any other shape of one image, image units.
        norm: The norm in which it is bounded.
        eps: Largest size allowed.
        card: Further facts about it that JSON can hold: the model, the images used, how often it fools.

    Raises:
        ValueError: If it is not finite, or is larger than ``eps``.

    Example:
        >>> from attacks import Linf
        >>> grey = Perturbation(delta=torch.full((1, 2, 2), 0.1), norm=Linf(), eps=0.1)
        >>> grey.apply(torch.tensor([0.5, 0.95]).view(2, 1, 1, 1).expand(2, 1, 2, 2))[:, 0, 0, 0]
        tensor([0.6000, 1.0000])
    """

    delta: Tensor
    norm: Norm
    eps: float
    card: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.delta.dtype.is_floating_point or not self.delta.ndim or not bool(self.delta.isfinite().all()):
            got = f"{self.delta.dtype} with shape {tuple(self.delta.shape)}"
            raise ValueError(f"expected a perturbation of finite floats, got {got}")
        object.__setattr__(self, "eps", plain_number(self.eps))
        if isinstance(self.eps, bool) or not isinstance(self.eps, int | float):
            raise ValueError(f"expected eps of a perturbation as a number, got {self.eps!r}")
        if not (0 < self.eps < math.inf and self._fits(self.delta)):
            size = self.norm.measure(self.delta.unsqueeze(0))
            raise ValueError(
                f"expected a perturbation within eps {self.eps:g} in {self.norm.name}, got {float(size):g}"
            )

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.delta.shape))
        return f"Perturbation({shape}, {self.norm.name}, eps={self.eps:.4g}, sha256={self.digest})"

    @property
    def digest(self) -> str:
        """16 hexadecimal digits of the hash of its file."""
        return hashlib.sha256(self.as_bytes()).hexdigest()[:16]

    def apply(self, x: Tensor) -> Tensor:
        """Add it to images (N, ...) in [0, 1], clipping to [0, 1].

        Raises:
            ValueError: If the images have another size; :meth:`resized` makes it fit.
        """
        if x.shape[1:] != self.delta.shape:
            wanted, got = (" x ".join(map(str, shape)) for shape in (self.delta.shape, x.shape[1:]))
            raise ValueError(f"expected images of {wanted}, as the perturbation is, got {got}")
        return (x + self.delta.to(x)).clamp_(0, 1)

    def resized(self, height: int, width: int) -> Self:
        """Resize the perturbation to another height and width: bilinear, then projected back to within ``eps``.

        The size in the norm is kept: an L2 or L1 perturbation is scaled to its former length.

        Raises:
            ValueError: If it is not (C, H, W).

        Example:
            >>> from attacks import Linf
            >>> small = Perturbation(delta=torch.full((1, 2, 2), 0.1), norm=Linf(), eps=0.1)
            >>> small.resized(3, 4).delta.shape
            torch.Size([1, 3, 4])
        """
        if self.delta.ndim != 3:
            raise ValueError(f"expected a perturbation (C, H, W) to resize, got shape {tuple(self.delta.shape)}")
        if self.delta.shape[1:] == (height, width):
            return self
        rows = self.delta.unsqueeze(0)
        other = functional.interpolate(rows, size=(height, width), mode="bilinear", antialias=True)
        # A sum over all values changes with their number, a bound on each does not, and scaling never changes a count.
        if not self.norm.per_value and not self.norm.grain:
            other = other * (self.norm.measure(rows) / self.norm.measure(other).clamp_min(1e-12))
        return replace(self, delta=self.norm.project(other, self.eps)[0])

    def on_grid(self) -> Self:
        """Round to whole steps of 1/255, within ``eps``, so that adding it to an 8-bit image gives an 8-bit one.

        Example:
            >>> from attacks import Linf
            >>> fine = Perturbation(delta=torch.full((1, 2, 2), 0.011), norm=Linf(), eps=0.011)
            >>> (fine.on_grid().delta * 255).round()[0, 0]
            tensor([2., 2.])
        """
        levels = self.delta * 255
        inner = levels.trunc()
        rest = (levels - inner).abs()
        # Fractions of one half or more are rounded outwards; if that makes it too long, only fractions above a higher
        # threshold. Rounding nothing outwards always fits, and no value moves by a whole step.
        rounded = ((inner + levels.sign() * (rest >= least)) / 255 for least in (*torch.linspace(0.5, 1, 501), 2))
        return replace(self, delta=next(delta for delta in rounded if self._fits(delta)))

    def _fits(self, delta: Tensor) -> bool:
        return bool(keeps_to(self.norm.measure(delta.unsqueeze(0)), torch.tensor([self.eps])).all())

    def save(self, path: str | Path) -> None:
        """Write a safetensors file: the tensor ``delta``, and norm, eps and card as JSON in its metadata.

        Needs the package safetensors.
        """
        Path(path).write_bytes(self.as_bytes())

    def as_bytes(self) -> bytes:
        """The bytes of the file that :meth:`save` writes."""
        from safetensors.torch import save

        about = {"norm": self.norm.name, "eps": self.eps, "card": dict(self.card)}
        content: bytes = save(
            {"delta": self.delta.detach().cpu().contiguous()}, {ENTRY: json.dumps(about, allow_nan=False)}
        )
        return content

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file written by :meth:`save`.

        Raises:
            OSError: If the file does not exist or cannot be read.
            ValueError: If the file is damaged or is not a perturbation.
        """
        from safetensors import SafetensorError, safe_open

        with Path(path).open("rb"):  # safetensors has no specific error for a missing file
            pass
        try:
            with safe_open(path, "pt") as file:
                about = json.loads((file.metadata() or {})[ENTRY])
                delta = file.get_tensor("delta")
            return cls(delta=delta, norm=NORMS[about["norm"]](), eps=float(about["eps"]), card=about["card"])
        except KeyError as error:
            raise ValueError(f"expected a universal perturbation in {path}, got a file without {error}") from None
        except (SafetensorError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"expected a universal perturbation in {path}: {error}") from None


@dataclass(frozen=True, kw_only=True)
class Universal:
    """A universal perturbation as an attack: the same for every image, model and goal.

    Example:
        >>> from attacks import Linf, Untargeted
        >>> found = Perturbation(delta=torch.tensor([-0.1, 0.1]), norm=Linf(), eps=0.1)
        >>> x, goal = torch.tensor([[0.6, 0.5]]), Untargeted(torch.tensor([0]))
        >>> Universal(perturbation=found)(lambda x: x, x, goal, eps=0.1)
        tensor([[0.5000, 0.6000]])
    """

    kind: ClassVar[Kind] = "budget"
    access: ClassVar[Access] = "nothing"
    search: ClassVar[Search] = "blind"
    norms: ClassVar[tuple[str, ...]] = tuple(NORMS)

    perturbation: Perturbation
    """The perturbation to add."""

    @property
    def norm(self) -> Norm:
        """The norm of the perturbation."""
        return self.perturbation.norm

    def __call__(self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor, seed: int = 0) -> Tensor:
        """See :class:`attacks.protocols.BudgetAttack`; a smaller ``eps`` shortens it; no random numbers are used."""
        check_call(self, eps, seed)
        active = Survivors.of(self, model, x, goal, eps, seed)
        return active.finish(self.norm.within(active.x, self.perturbation.apply(active.x), active.eps))
