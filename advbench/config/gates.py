"""The gates of a suite: what a run must reach to pass. Does not import torch."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, model_validator

from advbench.config.budgets import NORMS, parse_eps
from advbench.config.fields import Goal, NormName, Strict, plain
from advbench.errors import UserError


class Floor(Strict):
    """A minimum robust accuracy for the cells that it names; a field that is not set matches any.

    Example:
        >>> Floor(min_robust_accuracy=0.4, norm="linf", eps="2/255").eps == 2 / 255
        True
    """

    min_robust_accuracy: Annotated[float, Field(ge=0, le=1)]
    """Minimum robust accuracy, 0 to 1, in the worst case over the attacks."""
    model: str | None = None
    """Label of a model; None: every model."""
    dataset: str | None = None
    """Label of a data set; None: every data set."""
    goal: Goal | None = None
    """Goal that it applies to; None: every goal."""
    norm: NormName | None = None
    """Norm that it applies to; None: every norm."""
    eps: float | None = None
    """Budget that it applies to, which needs the norm; None: every budget."""

    @model_validator(mode="before")
    @classmethod
    def _number(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or values.get("eps") is None:
            return values
        if values.get("norm") not in NORMS:
            raise ValueError("eps needs a norm, such as norm = 'linf'")
        try:
            return {**values, "eps": parse_eps(values["eps"], values["norm"], option="eps")}
        except UserError as error:
            raise plain(error) from None


class Gates(Strict):
    """Gates that a run must pass. They do not affect results: a finished run can be evaluated with other gates.

    Example:
        >>> Gates(min_robust_accuracy=0.4, max_unknown=0.01).max_unknown
        0.01
    """

    min_robust_accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    """Minimum robust accuracy, 0 to 1, for every model, data set, goal, norm and eps, worst case over attacks."""
    floors: tuple[Floor, ...] = ()
    """Minimum robust accuracies for some of them."""
    min_proved_accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    """Minimum share of images, 0 to 1, that are proved: nothing within eps meets the goal; needs `prove`."""
    max_open: Annotated[float, Field(ge=0, le=1)] | None = None
    """Maximum share of images, 0 to 1, that are neither fooled nor proved; needs `prove`."""
    max_corruption_error: Annotated[float, Field(ge=0, le=1)] | None = None
    """Maximum error under corruptions, 0 to 1, averaged over all those of the suite; needs `corruptions`."""
    max_drop_pp: Annotated[float, Field(ge=0)] | None = None
    """Maximum loss of robust accuracy compared with the baseline, percentage points."""
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Significance level: a loss counts if it is significant at this level, over all comparisons."""
    max_unknown: Annotated[float, Field(ge=0, le=1)] | None = None
    """Maximum share of unknown rows, 0 to 1; with more, the run is incomplete. None: no row may be unknown, and reports
    do not list that as a gate."""
    require_flags_clear: bool = False
    """No trust flag of severity E or F may be raised."""
