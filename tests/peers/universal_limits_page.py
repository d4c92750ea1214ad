"""The page `reports/universal/limits.md`, generated from `limits.json`."""

from collections.abc import Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]

_HEAD = """# What limits universal perturbations

Made by `python -m tests.peers.universal_limits`; the numbers are in `limits.json`.

Each fit differs from the default in one thing. The CIFAR-10 images, from its training set, and the network for the
photographs are not among those of the [table of rates](README.md). Repeated fits differ in their seed and, on
photographs, in the split. **Fitted to** and **others**: the share of images fooled among those fitted to (the first 500
of them), and among the rest. **Favourite**: the share of the others that end in the most frequent class. **Already in
it**: how many of the others that were in this class when clean are fooled. **Seconds** are processor time on a machine
with other work, averaged over the fits.

"""
_TOLD = """
- **The number of images is not the limit.** About as many of the images fitted to are fooled as of the others, and
  three times as many images to fit to fool hardly more.
- **Nor are the views**: without enlarging or mirroring images, or with less enlarging, the rates are about the same.
- **With ten classes, the limit is that one class takes nearly all images.** Those already in this class, a tenth of
  all, stay in it. A perturbation with one favourite class fools at most 90 %, and only if it fails nowhere else. Aimed
  at each class in turn, it fools no more than without a target.
- **Two favourites fool fewer.** If the images of the favourite class are aimed at a second one, hardly any of them are
  fooled; if they also get six times the weight, more of them are, but far fewer of all. Without a target, the greater
  weight of the two usual favourites changes nothing.
- **The loss matters little**: the margin does as well as the clipped likelihood, and so does a sigmoid of it, which
  counts clearly fooled images less. Clipped earlier, the likelihood spreads the images over more classes, and fewer of
  them are fooled.
- **More gradients help a little**, at many times the cost. The same number in smaller batches does not.
- **Views that get part of the perturbation** help on photographs, where most images are fooled. At budgets too small to
  fool most images they would do harm, so views are weakened only as long as four fifths of them are still fooled.
- **More weight on photographs that are not fooled yet** makes no clear difference: about half a per cent, which is less
  than the splits differ.
"""


def page(found: Mapping[str, Sequence[Record]]) -> str:
    """The page, from the rows by the names of their fits."""
    lines = ["| Fit | Model | Images | Steps | Fitted to | Others | Favourite | Already in it | Seconds |"]
    lines += ["|---|---|--:|--:|--:|--:|--:|--:|--:|"]
    lines += [_line(name, rows) for name, rows in found.items()]
    return _HEAD + "\n".join(lines) + "\n" + _TOLD


def _line(name: str, rows: Sequence[Record]) -> str:
    one = rows[0]
    cells = [
        name,
        one["net"],
        f"{one['images']:,}",
        f"{one['steps']:,} of {one['batch']}",
        ", ".join(_share(row["fitted"], "fooled") for row in rows),
        ", ".join(_share(row["others"], "fooled") for row in rows),
        ", ".join(_share(row["others"], "put into it") for row in rows),
        ", ".join(f"{row['others']['of these fooled']} of {row['others']['of it already']}" for row in rows),
        f"{sum(row['seconds'] for row in rows) / len(rows):.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def _share(counts: Record, name: str) -> str:
    return f"{counts[name] / counts['images']:.1%}"
