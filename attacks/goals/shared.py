"""What goals share."""

from dataclasses import dataclass, field, fields, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from attacks.goals.protocol import Exclusion, Goal
from attacks.objectives.gaps import exclusion_gaps, order_gaps

_WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


@dataclass(frozen=True, eq=False, kw_only=True)
class BaseGoal:
    """What goals share: image ids, selection of rows, and defaults that are valid for any goal.

    A goal is a frozen dataclass that derives from this and has at least a ``margin``, a ``cross_entropy`` and a
    ``check``. Its fields are tensors with one row per image, or values that apply to all images.

    Example:
        >>> @dataclass(frozen=True, eq=False)
        ... class Even(BaseGoal):
        ...     def margin(self, logits):
        ...         return logits[:, 1::2].amax(1) - logits[:, ::2].amax(1)
        >>> Even(ids=torch.arange(1)).gaps(torch.tensor([[3.0, 1.0, 2.0]]))
        tensor([[-2.]])
    """

    name: ClassVar[str] = ""
    orders: ClassVar[bool] = False
    overturns: ClassVar[bool] = False
    contested: ClassVar[int] = 3

    ids: Tensor = field(default_factory=lambda: torch.arange(0))
    """Identity of each image, int64 (N,); empty: its position in the batch."""

    def __init_subclass__(cls) -> None:
        # A goal derived from another one is a different goal, and must not be mistaken for it.
        cls.name = cls.__dict__.get("name", "")

    @property
    def exclusion(self) -> Exclusion | None:
        """None: it is unknown which classes should fall."""
        return None

    @property
    def order(self) -> Tensor | None:
        """None: it is unknown which classes should be at the top."""
        return None

    def granted(self, classes: Tensor) -> Tensor:
        """Where the class wanted first is the image's own; nowhere if there is no such class."""
        if self.order is None:
            return torch.zeros(len(classes), dtype=torch.bool, device=classes.device)
        return self.order[:, 0] == classes

    def spared(self, way: Goal) -> Goal:
        """The way itself: no safety margin is required."""
        return way

    def margin(self, logits: Tensor) -> Tensor:
        """Logits (N, C) -> (N,): positive while the goal is not met, negative once it is."""
        raise NotImplementedError(f"expected {type(self).__name__} to have a margin, got none")

    def choices(self, logits: Tensor) -> Tensor | None:
        """None: there is only one way."""
        return None

    def choice(self, which: Tensor) -> Goal:
        """Not available: a goal that has choices defines each of them."""
        raise NotImplementedError(f"expected {type(self).__name__} to have choices, got none")

    def gaps(self, logits: Tensor) -> Tensor:
        """The gaps of the exclusion or the order; a single one, the margin, if there is neither."""
        if self.exclusion is not None:
            return exclusion_gaps(logits, *self.exclusion)
        if self.order is not None:
            return order_gaps(logits, self.order)
        return self.margin(logits).unsqueeze(1)

    def select(self, index: Tensor) -> Self:
        """The goal for some of the images: a mask, or positions, which may repeat."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: t[index] for name, t in tensors.items() if isinstance(t, Tensor)})

    def check_rows(self, what: str, classes: Tensor, ndim: int) -> None:
        """Check the classes of the goal, called ``what`` in messages, and fill in the ids.

        Raises:
            ValueError: If they are not an int64 tensor with ``ndim`` dimensions, their number differs from that of the
                ids, or the ids are not a tensor of integers.
        """
        check_tensor(what, classes, f"an int64 tensor with {ndim} dimension(s)")
        check_tensor("ids", self.ids, "an int64 tensor")
        if classes.dtype != torch.int64 or classes.ndim != ndim or 0 in classes.shape[1:]:
            got = f"{classes.dtype} with shape {tuple(classes.shape)}"
            raise ValueError(f"expected {what} as an int64 tensor with {ndim} dimension(s), got {got}")
        if not self.ids.numel():
            object.__setattr__(self, "ids", torch.arange(len(classes), device=classes.device))
        if self.ids.shape != classes.shape[:1]:
            raise ValueError(f"expected {len(classes)} ids, got shape {tuple(self.ids.shape)}")
        if self.ids.dtype not in _WHOLE:
            raise ValueError(f"expected ids as an int64 tensor, got {self.ids.dtype}")
        object.__setattr__(self, "ids", self.ids.long())


def check_tensor(what: str, value: object, wanted: str) -> None:
    """Check that a value is a tensor.

    Args:
        what: Name of the value in the message.
        value: Object that should be a tensor.
        wanted: Description of the expected tensor in the message.

    Raises:
        ValueError: ``expected ..., got ...`` if it is anything else, such as a list or an array.

    Example:
        >>> check_tensor("labels", [3], "an int64 tensor")
        Traceback (most recent call last):
        ValueError: expected labels as an int64 tensor, got list: torch.as_tensor makes one of it
    """
    if not isinstance(value, Tensor):
        can_be_one = isinstance(value, list | tuple) or hasattr(value, "__array__")
        way = ": torch.as_tensor makes one of it" if can_be_one else ""
        raise ValueError(f"expected {what} as {wanted}, got {type(value).__name__}{way}")


def check_logits_of(value: Tensor) -> None:
    """Check the logits from which a goal is made.

    Raises:
        ValueError: ``expected ..., got ...`` if they are not a float tensor (N, C), or not finite.

    Example:
        >>> check_logits_of(torch.tensor([1.0, 2.0]))
        Traceback (most recent call last):
        ValueError: expected logits (N, C), got torch.float32 with shape (2,)
    """
    check_tensor("logits", value, "a tensor (N, C)")
    if value.ndim != 2 or not value.is_floating_point():
        raise ValueError(f"expected logits (N, C), got {value.dtype} with shape {tuple(value.shape)}")
    if not bool(value.isfinite().all()):
        raise ValueError("expected finite logits, got NaN or infinity")


def check_range(what: str, classes: Tensor, num_classes: int) -> None:
    """Check that classes are numbered from 0 to ``num_classes - 1``.

    Raises:
        ValueError: If one is not; ``what`` names them in the message.

    Example:
        >>> check_range("labels", torch.tensor([3]), num_classes=3)
        Traceback (most recent call last):
        ValueError: expected labels from 0 to 2, got 3 to 3
    """
    if len(classes) and not (int(classes.min()) >= 0 and int(classes.max()) < num_classes):
        raise ValueError(
            f"expected {what} from 0 to {num_classes - 1}, got {int(classes.min())} to {int(classes.max())}"
        )


def check_goal(given: object, x: Tensor) -> None:
    """Check that something is a goal for some images (N, ...).

    Raises:
        ValueError: ``expected ..., got ...`` if it is no goal, or for other images, or on another device than these.

    Example:
        >>> check_goal("untargeted", torch.rand(1, 3))
        Traceback (most recent call last):
        ValueError: expected a goal such as Untargeted(labels), or one derived from attacks.goals.BaseGoal, got str
    """
    if not isinstance(given, Goal) or not isinstance(given.ids, Tensor):
        wanted = "a goal such as Untargeted(labels), or one derived from attacks.goals.BaseGoal"
        raise ValueError(f"expected {wanted}, got {type(given).__name__}")
    if len(given.ids) != len(x):
        raise ValueError(f"expected a goal for {len(x)} images, got one for {len(given.ids)}")
    if given.ids.device != x.device:
        way = "make it of labels on the device of the images, such as labels.to(x.device)"
        raise ValueError(f"expected a goal on {x.device}, as the images are, got one on {given.ids.device}: {way}")
