"""The gates of a suite: what a run must hold for CI to let it pass. Plain data; no torch, no pandas."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
"""A part of a whole, 0 to 1."""


class Gates(BaseModel):
    """What a run is held to; without any of these it is only reported.

    Example:
        >>> Gates(min_robust_accuracy={"linf 8/255": 0.4}, max_drop_pp=2).alpha
        0.05
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_robust_accuracy: Share | dict[str, Share] | None = None
    """Floor of the worst-case robust accuracy: of every model, data set, goal, norm and eps, or only of those that a
    key names. A key is one or more of these names, as the tables print them: `resnet20`, `linf 8/255`,
    `resnet20 linf 8/255`."""
    max_drop_pp: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None = None
    """How many percentage points a number may lie below its baseline; a larger drop fails if it is significant."""
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Level of significance of a drop: one-sided exact McNemar test, Holm-corrected over all numbers."""
    max_unknown: Share = 0.0
    """Largest share of results that may be unknown; more of them make the run incomplete."""
    require_flags_clear: bool = False
    """Fail on every trust flag of severity F too; one of severity E fails every gate that it touches anyway."""
