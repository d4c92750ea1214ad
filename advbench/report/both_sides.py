"""Both sides of a robust accuracy as one bar of three parts: fooled, open, proved. No torch."""

from typing import NamedTuple

from advbench.analysis.metrics import WORST_CASE, Cell
from advbench.report.columns import describe_bound

WIDTH = 40
"""Characters of a bar."""


class Sides(NamedTuple):
    """The images of one worst case, in three parts that add up to all of them."""

    bound: str
    """Budget in words."""
    proved: int
    """Number of images that are proved."""
    open: int
    """Number of images that are neither."""
    fooled: int
    """Number of images that are wrong when clean, or fooled."""

    @property
    def total(self) -> int:
        """Number of all images."""
        return self.proved + self.open + self.fooled

    @property
    def sentence(self) -> str:
        """What is known of robust accuracy.

        Example:
            >>> Sides("2/255", 95, 1, 4).sentence
            'robust accuracy lies between 95.0 and 96.0 %'
        """
        low, high = (100 * count / max(self.total, 1) for count in (self.proved, self.proved + self.open))
        return (
            f"robust accuracy lies between {low:.1f} and {high:.1f} %"
            if self.open
            else f"robust accuracy is {low:.1f} %"
        )

    def parts(self, width: int = WIDTH) -> tuple[int, int, int]:
        """The characters of each part: a part that is not empty has one at least.

        Example:
            >>> Sides("2/255", 95, 1, 4).parts(20)
            (18, 1, 1)
        """
        counts = (self.proved, self.open, self.fooled)
        found = [max(round(width * count / max(self.total, 1)), int(count > 0)) for count in counts]
        found[found.index(max(found))] += width - sum(found)
        return found[0], found[1], found[2]


def sides_of(cell: Cell) -> Sides | None:
    """Both sides of one number; None where nothing was to be proved."""
    if cell.attack != WORST_CASE or cell.proved is None or cell.open is None:
        return None
    proved, undecided = cell.proved.k, cell.open.k
    return Sides(describe_bound(cell.threat.norm, cell.eps), proved, undecided, cell.proved.n - proved - undecided)
