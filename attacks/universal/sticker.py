"""A finished patch: its printable picture, and its placement in images."""

import hashlib
import io
import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from attacks.geometry.outline import outline
from attacks.goals import Goal
from attacks.norms import L0, Norm
from attacks.protocols import Access, Kind, Model, Search
from attacks.queries.inputs import check_call, check_planes
from attacks.searches.track import Survivors
from attacks.universal.clean import content_ids
from attacks.universal.placing import Placing, Windows

_ENTRY = "patch"
_PRINTED = 600
"""Smallest side of a printed patch in pixels; patches themselves have few."""
_QUIET = 0.1
"""Width of the quiet zone around a printed patch, as a fraction of its side."""
_MOST = 4096
"""Largest side of a patch's picture in pixels: a larger one cannot be ours, and would take much memory."""
_DPI = 300


@dataclass(frozen=True, kw_only=True, eq=False)
class Sticker:
    """A finished patch, to put into images of any size or to print.

    Values are rounded to whole steps of 1/255, and the area outside a circle is white, as in its picture.

    Args:
        content: Pixel values, float (C, S, S) in [0, 1], grey or RGB.
        placing: Placement it was made for.
        card: Further facts about it that JSON can hold: the model, the goal, how often it fools.

    Raises:
        ValueError: If the content is not as above.

    Example:
        >>> black = Sticker(content=torch.zeros(1, 4, 4), placing=Placing(share=0.25, max_rotation=0, min_scale=1))
        >>> x = torch.ones(2, 1, 8, 8)
        >>> x_adv = black.apply(x, torch.arange(2))
        >>> (x_adv == 0).sum((1, 2, 3))
        tensor([16, 16])
    """

    content: Tensor
    """Pixel values (C, S, S), image units."""
    placing: Placing
    """Placement the patch was made for."""
    card: Mapping[str, Any] = field(default_factory=dict)
    """Further facts about it."""

    def __post_init__(self) -> None:
        content: object = self.content
        if not isinstance(content, Tensor) or not content.dtype.is_floating_point or content.ndim != 3:
            raise ValueError(f"expected what is on a patch as floats (C, S, S), got {_described(content)}")
        channels, height, width = content.shape
        if channels not in (1, 3) or height != width or not height:
            raise ValueError(f"expected a patch of 1 or 3 colours, as high as wide, got {_described(content)}")
        low, high = (float(bound) for bound in content.detach().aminmax())
        if not (low >= 0 and high <= 1):  # NaN is neither
            raise ValueError(f"expected values of a patch in [0, 1], got {low:g} to {high:g}")
        levels = (content.detach().cpu().float() * 255).round() / 255
        inside = outline(self.placing.shape, height)
        object.__setattr__(self, "content", torch.where(inside, levels, torch.ones_like(levels)))

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.content.shape))
        return f"Sticker({shape}, {self.placing.shape}, share={self.placing.share:.4g}, sha256={self.digest})"

    @property
    def digest(self) -> str:
        """16 hexadecimal digits of the hash of its content, placing and card."""
        return hashlib.sha256(self._about().encode()).hexdigest()[:16]

    def apply(self, x: Tensor, ids: Tensor | None = None, *, seed: int = 0, draw: int = 0) -> Tensor:
        """Put it into images at random positions, rotations and scales; nothing else changes.

        Args:
            x: Images (n, C, H, W) in [0, 1].
            ids: Ids of the images (n,), which determine the placement; None: hashes of their content.
            seed: Seed of the draws.
            draw: Number of the draw: another one gives different placements.

        Raises:
            ValueError: If the images have different channels, or the patch does not fit.
        """
        if x.ndim != 4 or x.shape[1] != len(self.content):
            wanted = f"(n, {len(self.content)}, H, W), as the patch has colours"
            raise ValueError(f"expected images {wanted}, got shape {tuple(x.shape)}")
        spots = self.placing.spots(x, content_ids(x) if ids is None else ids, seed=seed, draw=draw)
        return Windows.of(x, spots, self.placing.shape).put(self.content, x)

    def save(self, path: str | Path) -> None:
        """Write a PNG for printing: enlarged, with a white margin, and with placing and card as text.

        Needs the package Pillow.
        """
        Path(path).write_bytes(self.as_bytes())

    def as_bytes(self) -> bytes:
        """The bytes of the file that :meth:`save` writes."""
        from PIL import Image, PngImagePlugin

        side = self.content.shape[1]
        factor, quiet = math.ceil(_PRINTED / side), math.ceil(_QUIET * side)
        framed = torch.nn.functional.pad(self.content, (quiet,) * 4, value=1.0)
        levels = (framed * 255).round().byte().repeat_interleave(factor, 1).repeat_interleave(factor, 2)
        values = levels.permute(1, 2, 0).contiguous().numpy()
        picture = Image.fromarray(values[:, :, 0] if len(levels) == 1 else values)
        text = PngImagePlugin.PngInfo()
        text.add_text(_ENTRY, self._about() + json.dumps({"factor": factor, "quiet": quiet, "digest": self.digest}))
        file = io.BytesIO()
        picture.save(file, format="PNG", pnginfo=text, dpi=(_DPI, _DPI))
        return file.getvalue()

    def _about(self) -> str:
        content = hashlib.sha256((self.content * 255).round().byte().contiguous().numpy().tobytes()).hexdigest()
        about = {"content": content, "placing": asdict(self.placing), "card": dict(self.card)}
        return json.dumps(about, allow_nan=False)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file written by :meth:`save`.

        Raises:
            OSError: If the file does not exist or cannot be read.
            ValueError: If the file is damaged, is not a patch, or was changed since, as by an image editor.
        """
        data = Path(path).read_bytes()
        try:
            values, told = _read(data)
            about, end = json.JSONDecoder().raw_decode(told)
            frame = json.loads(told[end:])
            factor, quiet = (int(frame[name]) for name in ("factor", "quiet"))
            if not (factor > 0 and quiet >= 0):
                raise ValueError(f"a factor of {factor} and a margin of {quiet}")
            inner = values[:, factor // 2 :: factor, factor // 2 :: factor]
            side = inner.shape[1] - 2 * quiet
            inner = inner[:, quiet : quiet + side, quiet : quiet + side]
            sticker = cls(content=inner, placing=Placing(**about["placing"]), card=dict(about["card"]))
            unchanged = frame["digest"] == sticker.digest
        except KeyError as error:
            raise ValueError(f"expected a patch in {path}, got a picture without {error}") from None
        except (TypeError, ValueError, OverflowError, RecursionError, SyntaxError, OSError, Warning) as error:
            raise ValueError(f"expected a patch in {path}: {error}") from None
        if not unchanged:
            raise ValueError(f"expected a patch in {path}, got one that was changed since it was made")
        return sticker


def _read(data: bytes) -> tuple[Tensor, str]:
    """The values (C, H, W) of a PNG file, and its text about the patch."""
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            opened = Image.open(io.BytesIO(data), formats=("PNG",))
        except UnidentifiedImageError:
            raise ValueError("it is not a PNG") from None
        with opened as picture:
            if max(picture.size) > _MOST:
                raise ValueError(f"expected a picture of at most {_MOST} pixels a side, got {picture.size}")
            told = picture.info[_ENTRY]
            if picture.mode not in ("L", "RGB"):
                raise ValueError(f"expected a grey or RGB picture, got {picture.mode}")
            values = np.asarray(picture)
    levels = torch.from_numpy(values.copy()).float() / 255
    return (levels.unsqueeze(0) if levels.ndim == 2 else levels.permute(2, 0, 1)).contiguous(), told


def _described(content: object) -> str:
    return f"{content.dtype} {tuple(content.shape)}" if isinstance(content, Tensor) else type(content).__name__


@dataclass(frozen=True, kw_only=True)
class Stuck:
    """A finished patch as an attack: put into every image at a random place, whatever the model and the goal.

    Example:
        >>> from attacks import Untargeted
        >>> white = Sticker(content=torch.ones(1, 2, 2), placing=Placing(share=0.25))
        >>> model = lambda x: torch.stack([x.new_full((len(x),), 1.0), x.sum((1, 2, 3))], 1)
        >>> model(Stuck(sticker=white)(model, torch.zeros(1, 1, 8, 8), Untargeted(torch.tensor([0])))).argmax(1)
        tensor([1])
    """

    kind: ClassVar[Kind] = "minimum norm"
    access: ClassVar[Access] = "nothing"
    search: ClassVar[Search] = "blind"
    norms: ClassVar[tuple[str, ...]] = ("l0",)

    sticker: Sticker
    """The patch to put into images."""
    norm: Norm = L0()
    """The norm in which the change is measured."""

    def __call__(
        self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """See :class:`attacks.protocols.MinNormAttack`; the place depends on the image's id, and ``eps`` is None."""
        check_call(self, eps, seed)
        if eps is not None:
            raise ValueError(f"expected no eps for a patch that exists already, got {eps}")
        check_planes(self, x)
        active = Survivors.of(self, model, x, goal, eps, seed)
        return active.finish(self.sticker.apply(active.x, active.goal.ids, seed=seed)) if len(active) else active.found
