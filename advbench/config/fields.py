"""The types of values in a suite, and how each is parsed. Does not import torch."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PositiveInt, ValidationInfo

from advbench.catalog.attacks import CORRUPTION, corruptions
from advbench.catalog.registry import did_you_mean
from advbench.config.budgets import NORMS, parse_eps
from advbench.config.data.word import at_home, parted
from advbench.config.goals import parse_goal
from advbench.config.masks import parse_mask
from advbench.errors import UserError

if TYPE_CHECKING:
    NormName = str
else:
    # Built from the table, which a type checker cannot follow.
    NormName = Literal[NORMS]
"""One of `advbench.config.budgets.NORMS`."""


def plain(error: UserError) -> ValueError:
    """A user's mistake, in the form that pydantic collects."""
    return ValueError(f"{error.message}; {error.hint}" if error.hint else error.message)


def known(card_of: Callable[[str], object]) -> BeforeValidator:
    """A name that has a card, or one that the validation context allows; see `AS_IT_WAS`.

    Args:
        card_of: Name -> card; raises a `UserError` if there is none.
    """

    def check(name: Any, info: ValidationInfo) -> Any:
        if not isinstance(name, str) or waived(info, name):
            return name
        try:
            card_of(name)
        except UserError as error:
            raise plain(error) from None
        return name

    return BeforeValidator(check)


AS_IT_WAS = {"any name": True}
"""Validation context that accepts every name, for the suite in a manifest, which may name a plugin's cards."""


def waived(info: ValidationInfo, name: str) -> bool:
    """Whether the validation context allows a name that is in no table."""
    return "any name" in (info.context or ()) or name in (info.context or {}).get("names", ())


def _goal(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return str(parse_goal(text))
    except UserError as error:
        raise plain(error) from None


def _eps_of_each_norm(table: Any) -> Any:
    """`{linf = ["2/255", 0.1], l2 = 0.5}` with every eps as a number."""
    if not isinstance(table, Mapping):
        return table
    try:
        return {
            norm: sorted({parse_eps(eps, norm, option="eps") for eps in listed(several)}) if norm in NORMS else several
            for norm, several in table.items()
        }
    except UserError as error:
        raise plain(error) from None


def listed(value: Any) -> Any:
    """A list; a single value becomes a list of one, and an array or tensor of several counts as a list."""
    value = value.tolist() if getattr(value, "ndim", 0) else value
    return list(value) if isinstance(value, list | tuple) else [value]


def named(value: Any) -> Any:
    """Expand `"pgd"` to `{name = "pgd"}`."""
    return {"name": value} if isinstance(value, str) else value


def _corruptions(value: Any) -> Any:
    """Names of corruptions; `all` means all nineteen, `imagenet-c` the fifteen that the benchmark counts."""
    sets = {"all": corruptions(), "imagenet-c": corruptions(every=False)}
    found: dict[str, None] = {}
    for name in listed(value):
        if not isinstance(name, str):
            raise ValueError(f"expected the name of a corruption, got {name!r}")
        plain_name = name.removeprefix(CORRUPTION)
        if plain_name not in (*sets, *sets["all"]):
            rest = f"there are {', '.join(sets['all'])}, all, imagenet-c"
            meant = did_you_mean(plain_name, (*sets, *sets["all"]), rest)
            raise ValueError(f"unknown corruption {name!r}; {meant}")
        found |= dict.fromkeys(sets.get(plain_name, (plain_name,)))
    return tuple(found)


Corruptions = Annotated[tuple[str, ...], BeforeValidator(_corruptions)]
"""Names of corruptions, without their prefix in the table of attacks."""
Severities = Annotated[
    tuple[Annotated[int, Field(ge=1, le=5)], ...],
    AfterValidator(lambda value: tuple(sorted(set(value)))),
    BeforeValidator(listed),
    Field(min_length=1),
]
"""Severities of corruptions, without repeats."""
Goal = Annotated[str, BeforeValidator(_goal)]
"""A goal, as `advbench.config.goals.parse_goal` accepts it."""
Goals = Annotated[tuple[Goal, ...], BeforeValidator(listed), Field(min_length=1)]
"""One goal or several."""
NormNames = Annotated[tuple[NormName, ...], BeforeValidator(listed), Field(min_length=1)]
"""One norm or several."""
EpsTable = Annotated[
    dict[NormName, Annotated[tuple[float, ...], Field(min_length=1)]], BeforeValidator(_eps_of_each_norm)
]
"""Norm -> budgets, in image units; written as numbers of any kind or as strings such as "2/255"."""


class Strict(BaseModel):
    """Base of all tables of a suite: unknown keys are refused, values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def _mask(text: Any) -> Any:
    try:
        return parse_mask(text, option="mask").text if isinstance(text, str) else text
    except UserError as error:
        raise plain(error) from None


Mask = Annotated[str, BeforeValidator(_mask)] | None
"""The part that attacks may change, as `advbench attack --mask` accepts it; None: everything."""


def in_a_word(value: Any) -> Any:
    """The fields of a data set written as one word; anything else unchanged."""
    if not isinstance(value, str):
        return value
    try:
        name, fields = parted(value)
    except UserError as error:
        raise plain(error) from None
    return {"name": name, **at_home(fields)}


def with_label(values: Any) -> Any:
    """The fields of a table, with its name as the label if it has none."""
    if isinstance(values, Mapping) and not values.get("label") and "name" in values:
        return {**values, "label": values["name"]}
    return values


ProofMethod = Literal["auto", "interval", "crown-ibp", "crown", "alpha-crown", "split"]
"""The last method that a proof may try."""


class Prove(Strict):
    """What a proof may cost for each image; proofs are tried on the images that no attack fools.

    Example:
        >>> Prove(seconds=10).domains
        2000
    """

    domains: PositiveInt = 2000
    """Maximum number of branch-and-bound domains; 2,000 take about five seconds of CPU time."""
    seconds: Annotated[float, Field(gt=0)] = 60.0
    """Seconds after which nothing new is started: a safety limit, since the outcome should depend only on `domains`."""
    method: ProofMethod = "auto"
    """Last method to try: interval, crown-ibp, crown, alpha-crown or split; auto: as far as necessary."""
