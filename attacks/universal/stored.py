"""The universal perturbation of a file, as an attack."""

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from attacks.goals import Goal
from attacks.norms import NORMS, Linf, Norm
from attacks.protocols import Access, Kind, Model, Search
from attacks.universal.perturbation import Perturbation, Universal


@dataclass(frozen=True, kw_only=True)
class StoredUniversal:
    """Adds the perturbation in a file to every image, whatever the model and the goal.

    Raises:
        ValueError: No file is named, it is no perturbation, or one of another norm or another content than expected.

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
    """The file, as :meth:`attacks.Perturbation.save` writes it."""
    digest: str = ""
    """Digest of the file's content; empty: whatever it is now, which is then filled in."""

    content: Perturbation = field(init=False, repr=False, compare=False)
    """The perturbation that was read."""

    def __post_init__(self) -> None:
        if not self.perturbation:
            raise ValueError("expected the file of a universal perturbation, got none")
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

    def __call__(self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor, seed: int = 0) -> Tensor:
        """See :class:`attacks.Universal`."""
        return Universal(perturbation=self.content)(model, x, goal, eps=eps, seed=seed)
