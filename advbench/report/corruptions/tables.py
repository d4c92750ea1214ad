"""A table of corruptions and severities: rows of text, and the share that colours each cell of the heat map."""

from collections.abc import Iterable
from typing import NamedTuple

from advbench.analysis.corruptions.errors import CorruptionResults
from advbench.analysis.statistics import Proportion
from advbench.sanitize import display_name

CAPTION = "Share of the images that are misclassified, in percent"
"""What the numbers of the table are."""


class HeatCell(NamedTuple):
    """One corruption at one severity."""

    text: str
    """The error in percent; empty where the run does not have it."""
    share: float
    """The error from 0 to 1, for the colour."""
    told: str
    """The error with counts and interval."""


class HeatRow(NamedTuple):
    """One corruption."""

    name: str
    """Name of the corruption."""
    cells: tuple[HeatCell, ...]
    """Its errors, by severity."""
    mean: str
    """Mean over the severities, with its interval; empty if it is unknown."""


class HeatMap(NamedTuple):
    """The errors of one model on one data set."""

    title: str
    """Model and data set in words."""
    lead: str
    """Clean error and means in one sentence."""
    severities: tuple[int, ...]
    """Severities of the columns."""
    rows: tuple[HeatRow, ...]
    """Corruptions, in the order of the run."""

    @property
    def headings(self) -> tuple[str, ...]:
        """Headings of the columns."""
        return ("corruption", *map(str, self.severities), "mean")

    @property
    def texts(self) -> tuple[tuple[str, ...], ...]:
        """The rows as plain text, under the headings."""
        return tuple((row.name, *(cell.text for cell in row.cells), row.mean) for row in self.rows)


def heat_maps(found: Iterable[CorruptionResults]) -> list[HeatMap]:
    """A heat map for each model and data set, in the order of the results."""
    return [_heat_map(each) for each in found]


def _heat_map(found: CorruptionResults) -> HeatMap:
    rows = tuple(
        HeatRow(
            name=name.replace("_", " "),
            cells=tuple(_cell(each.get(severity)) for severity in found.severities),
            mean=str(found.means[name] or ""),
        )
        for name, each in found.errors.items()
    )
    title = f"{display_name(found.model)} on {display_name(found.dataset)} · corruptions"
    return HeatMap(title, _lead(found), found.severities, rows)


def describe_counted(found: CorruptionResults) -> str:
    """Which corruptions the mean corruption errors cover, as the end of a name; empty for all of the benchmark's."""
    return "" if found.counted == 15 else f" over {found.counted} of the 15 corruptions"


def _lead(found: CorruptionResults) -> str:
    parts: list[str] = [f"clean error {found.clean}"]
    parts += [f"mean error {found.mean}"] if found.mean else []
    over = describe_counted(found)
    parts += [f"mCE {found.mce}{over}"] if found.mce else []
    parts += [f"relative mCE {found.relative_mce}{over}"] if found.relative_mce else []
    parts += ["AlexNet has 100 %"] if found.mce else []
    parts += ["without labels: an error is a class other than the clean image's"] if found.relative else []
    return "; ".join(parts)


def _cell(share: Proportion | None) -> HeatCell:
    if share is None or share.rate is None:
        return HeatCell("", 0.0, "")
    least, most = (f"{100 * rate:.1f}" for rate in (share.rate, share.most or share.rate))
    return HeatCell(least if least == most else f"{least}-{most}", share.rate, str(share))
