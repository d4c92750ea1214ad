"""Universal perturbations as an attack: read from a file, or fitted to other images."""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from attacks.geometry.ball import radii
from attacks.goals import Goal
from attacks.norms import NORMS, Linf, Norm
from attacks.protocols import Access, Kind, Model, Search
from attacks.queries.inputs import check_arguments, check_call
from attacks.universal.clean import content_ids
from attacks.universal.perturbation import Perturbation, Universal
from attacks.universal.universal import UniversalPerturbation

BATCH = 16
"""Number of images in each step of a fit."""


@dataclass(frozen=True, kw_only=True)
class StoredUniversal:
    """Adds the perturbation from a file to every image, whatever the model and the goal.

    Alternatively, :meth:`fitted` makes two perturbations from given images, one from each half, and every image gets
    the one made without it.

    Raises:
        ValueError: If neither a file nor a fit is given, or both are; or if the file is not a perturbation, or has
            another norm or content than expected.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import torch
        >>> file = str(Path(tempfile.mkdtemp()) / "u.safetensors")
        >>> Perturbation(delta=torch.tensor([-0.1, 0.1]), norm=Linf(), eps=0.1).save(file)
        >>> attack = StoredUniversal(perturbation=file)
        >>> len(attack.digest), StoredUniversal(perturbation=file, digest=attack.digest) == attack
        (16, True)
    """

    kind: ClassVar[Kind] = "budget"
    access: ClassVar[Access] = "nothing"
    search: ClassVar[Search] = "blind"
    norms: ClassVar[tuple[str, ...]] = tuple(NORMS)

    norm: Norm = Linf()
    """The norm of the perturbation."""
    perturbation: str = ""
    """The file, as written by :meth:`attacks.Perturbation.save`."""
    digest: str = ""
    """Digest of the file's content; if empty, the current one is accepted and filled in."""
    fit: int = 0
    """Number of steps of a fit to each half of a run's images, instead of a file; 0: no fit. In Linf and L2."""

    content: Perturbation | None = field(init=False, repr=False, compare=False, default=None)
    """The perturbation read from the file."""
    halves: tuple[Perturbation, Perturbation] | None = field(init=False, repr=False, compare=False, default=None)
    """The perturbations for images with even and with odd content ids, each made from the others."""

    def __post_init__(self) -> None:
        if self.fit:
            return self._check_fit()
        if not self.perturbation:
            raise ValueError(
                "expected the file of a universal perturbation, or fit, the steps to make one; got neither"
            )
        try:
            content = Perturbation.load(self.perturbation)
        except OSError as error:
            raise ValueError(f"expected a perturbation in {self.perturbation}: {error.strerror}") from None
        if content.norm != self.norm:
            raise ValueError(f"expected a perturbation in {self.norm.name}, got one in {content.norm.name}")
        if self.digest not in ("", content.digest):
            raise ValueError(f"expected {self.perturbation} with digest {self.digest}, got {content.digest}")
        object.__setattr__(self, "content", content)
        object.__setattr__(self, "digest", content.digest)
        return None

    def _check_fit(self) -> None:
        if self.perturbation:
            raise ValueError(f"expected either a file or a fit of {self.fit} steps, got both")
        if self.fit < 0:
            raise ValueError(f"expected fit >= 0, got {self.fit}")
        if self.norm.name not in UniversalPerturbation.norms:
            raise ValueError(f"expected a fit in {' or '.join(UniversalPerturbation.norms)}, got {self.norm.name}")

    def fitted(self, model: Model, x: Tensor, *, eps: float, seed: int = 0) -> Self:
        """This attack with a perturbation from each half of some images, split by content.

        Args:
            model: Images in [0, 1] -> logits.
            x: Images (N, ...) in [0, 1], from both halves.
            eps: Largest allowed size, image units.
            seed: Seed of all random draws.

        Raises:
            ValueError: If all images fall into one half, or ``fit`` is 0.

        Example:
            >>> import torch
            >>> from attacks import Untargeted
            >>> x = torch.tensor([[0.61, 0.5], [0.62, 0.5], [0.63, 0.5], [0.64, 0.5]])
            >>> attack = StoredUniversal(fit=10).fitted(lambda x: x, x, eps=0.2)
            >>> attack(lambda x: x, x, Untargeted(torch.zeros(4, dtype=torch.long)), eps=0.2).argmax(1)
            tensor([1, 1, 1, 1])
        """
        if not self.fit:
            raise ValueError("expected fit, the steps to make a perturbation, got 0")
        odd = content_ids(x) % 2 == 1
        if odd.all() or not odd.any():
            raise ValueError(f"expected images of both halves to fit to, got {len(x)} of one")
        method = UniversalPerturbation(norm=self.norm, eps=eps, steps=self.fit)
        halves = tuple(method.fit(model, torch.split(part, BATCH), seed=seed) for part in (x[odd], x[~odd]))
        changed = replace(self)
        object.__setattr__(changed, "halves", halves)
        return changed

    def __call__(self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor, seed: int = 0) -> Tensor:
        """See :class:`attacks.Universal`."""
        if self.content is not None:
            return Universal(perturbation=self.content)(model, x, goal, eps=eps, seed=seed)
        if self.halves is None:
            raise ValueError("expected images to fit a universal perturbation to, got none; see fitted")
        check_call(self, eps, seed)
        check_arguments(model, x, goal, self.norm, eps)
        x, budget = x.detach(), radii(eps, x)
        x_adv, odd = x.clone(), content_ids(x) % 2 == 1
        for perturbation, rows in zip(self.halves, (~odd, odd), strict=True):
            if rows.any():
                attack = Universal(perturbation=perturbation)
                x_adv[rows] = attack(model, x[rows], goal.select(rows), eps=budget[rows], seed=seed)
        return x_adv
