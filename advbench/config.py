"""What a person asks for, checked and understood before anything heavy is imported."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from advbench.cards import AttackCard
from advbench.catalog import ATTACKS, DEFAULT_ATTACK, DEFAULT_MODEL, UNIVERSAL, lacking
from advbench.errors import UserError
from advbench.own_models import model_card
from advbench.parameters import Parameter, check_names, parse_parameters
from advbench.registry import near_misses

NORMS = ("linf", "l2", "l1", "l0")
"""Names of the norms."""
DEFAULT_EPS = {"linf": "2/255"}
"""Where no eps is given: an invisible change in Linf; in the other norms no bound."""
DEFAULT_GOAL = "topk-exclusion:7"
"""The goal where none is named."""

_GOALS = {
    "untargeted": "untargeted",
    "targeted": "targeted:CLASS",
    "topk-exclusion": "topk-exclusion:K",
    "label-out-of-topk": "label-out-of-topk:K",
    "ordered-topk": "ordered-topk:A,B,C",
}


@dataclass(frozen=True)
class GoalSpec:
    """A goal as a person writes it, before the model's classes are known."""

    kind: str
    """One of untargeted, targeted, topk-exclusion, label-out-of-topk, ordered-topk."""
    k: int = 1
    """Of topk-exclusion and label-out-of-topk."""
    classes: tuple[str, ...] = ()
    """Of targeted and ordered-topk: names or indices, in order."""

    def __str__(self) -> str:
        if self.classes:
            return f"{self.kind}:{','.join(self.classes)}"
        return self.kind if self.kind == "untargeted" else f"{self.kind}:{self.k}"


@dataclass(frozen=True, kw_only=True)
class AttackConfig:
    """All that `advbench attack` is asked for."""

    paths: tuple[str | Path, ...]
    """Pictures and folders of pictures, as they were named."""
    model: str = DEFAULT_MODEL
    """A name of `advbench models`."""
    weights: Path | None = None
    """A file with the model's weights, in place of the published ones."""
    attack: str = DEFAULT_ATTACK
    """A name of `advbench attacks`."""
    params: Mapping[str, Parameter] = field(default_factory=dict)
    """Its parameters; what is not given has the attack's default."""
    goal: GoalSpec = GoalSpec("topk-exclusion", k=7)
    """What counts as fooled."""
    goal_named: bool = True
    """Whether somebody asked for that goal."""
    norm: str = "linf"
    """One of `NORMS`."""
    eps: float | None = None
    """Largest allowed size, image units; None: as far as it takes."""
    budget: int | None = None
    """Most passes on each picture, forward and backward; None: as many as the attack takes."""
    seed: int = 0
    """Of all random draws."""
    precise: bool = False
    """Whether gradients come from the network as it is, rather than from the form of it that is fastest here."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    batch_size: int = 16
    """Images that are attacked together."""
    out: Path | None = None
    """Folder for the results; None: one folder an image in `reports`."""


def attack_config(
    *,
    model: str,
    attack: str,
    goal: str | None,
    norm: str | None,
    eps: str | None,
    params: Sequence[str] = (),
    **rest: object,
) -> AttackConfig:
    """Check the options of `advbench attack` against the tables and each other.

    Args:
        model: Name of a model.
        attack: Name of an attack.
        goal: As :func:`parse_goal` takes it; None: `DEFAULT_GOAL`, or untargeted for an attack that cannot take that
            and for a model with too few classes.
        norm: Name of a norm; None: the first that the attack supports.
        eps: As :func:`parse_eps` takes it; None: `DEFAULT_EPS`.
        params: Of the attack, as :func:`advbench.parameters.parse_parameters` takes them.
        **rest: The other fields of :class:`AttackConfig`.

    Raises:
        UserError: An unknown name, also of a parameter, a parameter without a value, a norm or a goal the attack cannot
            take, a package it needs that is missing, an eps of the wrong scale or missing.

    Example:
        >>> config = attack_config(model="vgg16", attack="pgd", goal="untargeted", norm=None, eps=None, paths=())
        >>> config.norm, round(config.eps * 255)
        ('linf', 2)
    """
    card = ATTACKS[attack]
    if card.name == UNIVERSAL:
        hint = "advbench universal apply PERTURBATION PICTURE..."
        raise UserError("attack 'universal' needs the file of a perturbation", hint=hint)
    if command := lacking(card):
        raise UserError(f"attack '{attack}' needs the package {card.needs}, which is not installed", hint=command)
    given = parse_parameters(params)
    check_names(card, given)
    norm = norm or card.norms[0]
    if norm not in card.norms:
        raise UserError(
            f"attack '{attack}' works in {', '.join(card.norms)}, not in {norm}", hint=f"for {norm}: {_able(norm)}"
        )
    text = eps if eps is not None else DEFAULT_EPS.get(norm)
    if text is None and card.kind == "budget":
        raise UserError(
            f"attack '{attack}' needs a budget in {norm}", hint=f"give one, such as --eps {_EXAMPLES[norm]}"
        )
    network = model_card(model)
    return AttackConfig(
        model=network.name,
        attack=card.name,
        params=given,
        goal=_goal_for(card, norm, goal, network.classes),
        goal_named=goal is not None,
        norm=norm,
        eps=None if text is None else parse_eps(text, norm),
        **rest,  # type: ignore[arg-type]
    )


def suited(config: AttackConfig, classes: int) -> AttackConfig:
    """The configuration with the default goal for so many classes, unless a goal was named.

    Example:
        >>> config = attack_config(model="net.onnx", attack="pgd", goal=None, norm=None, eps=None, paths=())
        >>> str(config.goal), str(suited(config, classes=2).goal)
        ('topk-exclusion:7', 'untargeted')
    """
    if config.goal_named:
        return config
    return replace(config, goal=_goal_for(ATTACKS[config.attack], config.norm, None, classes))


def _goal_for(card: AttackCard, norm: str, text: str | None, classes: int) -> GoalSpec:
    """The goal as it was written, or the default for this attack and as many classes; 0: nobody knows how many."""
    takes = " or ".join(_GOALS[kind] for kind in card.goals)
    if text is None:
        first = DEFAULT_GOAL if not 0 < classes < 2 * parse_goal(DEFAULT_GOAL).k else "untargeted"
        usual = [each for each in (first, "untargeted") if each.partition(":")[0] in card.goals]
        if not usual:
            raise UserError(f"attack '{card.name}' needs a goal", hint=f"give one: --goal {takes}")
        text = usual[0]
    goal = parse_goal(text)
    if goal.kind not in card.goals:
        raise UserError(
            f"attack '{card.name}' takes the goal {takes}, not {goal.kind}",
            hint=f"for any goal in {norm}: {_able(norm, card.kind)}",
        )
    return goal


def _able(norm: str, kind: str | None = None) -> str:
    """Names of the attacks that take any goal in a norm, without those of other libraries."""
    own = [card for card in ATTACKS.values() if card.source == "advbench" and norm in card.norms]
    return ", ".join(card.name for card in own if kind in (None, card.kind))


def _number(given: object) -> float:
    """What a text or a number says, or NaN."""
    try:
        if isinstance(given, str):
            top, slash, bottom = given.partition("/")
            return float(top) / (float(bottom) if slash else 1)
        return math.nan if isinstance(given, bool) else float(given)  # type: ignore[arg-type]
    except (ValueError, ZeroDivisionError, TypeError, OverflowError, RuntimeError):  # torch's, of several values
        return math.nan


_EXAMPLES = {"linf": "2/255", "l2": "0.5", "l1": "12", "l0": "50"}


def parse_eps(given: object, norm: str, *, option: str = "--eps") -> float:
    """An eps as a person writes it: `2/255`, `0.5`, `1e-2`, or any kind of number in Python.

    Args:
        given: A text with a decimal number or a fraction; or a number: a `Fraction`, a `Decimal`, one of numpy's, a
            tensor without dimensions.
        norm: Name of the norm it is meant in: Linf of more than 1 is a whole image.
        option: What it is called in messages.

    Returns:
        The number, in image units ([0, 1] is black to white; for L0 a count of values).

    Raises:
        UserError: Not a number, not positive, or of the wrong scale.

    Example:
        >>> from fractions import Fraction
        >>> parse_eps("2/255", "linf") == parse_eps(Fraction(2, 255), "linf") == 2 / 255
        True
        >>> parse_eps("2", "linf")
        Traceback (most recent call last):
        advbench.errors.UserError: --eps 2 is more than the whole range of a pixel, which is 0 to 1
        did you mean --eps 2/255?
    """
    example = f"{option} {_EXAMPLES[norm]}"
    eps = _number(given)
    text, slash = str(given) if isinstance(given, str) or math.isnan(eps) else f"{eps:g}", "/" in str(given)
    if not math.isfinite(eps):
        raise UserError(f"{option} '{text}' is not a number", hint=f"write it like {example}")
    if eps <= 0:
        raise UserError(f"{option} {text} is not above zero", hint=f"write it like {example}")
    if norm == "linf" and eps > 1:
        raise UserError(
            f"{option} {text} is more than the whole range of a pixel, which is 0 to 1",
            hint=f"did you mean {option} {text}/255?" if not slash and eps <= 255 else f"write it like {example}",
        )
    if norm == "l0" and eps < 1:
        raise UserError(f"{option} {text} changes no value: l0 counts changed values", hint=f"such as {example}")
    return eps


def goal_with_k(goal: str | None, k: int | None) -> str | None:
    """A goal whose k is said apart; top-k exclusion, if no other is named.

    Raises:
        UserError: A goal that has a k already, or takes none.

    Example:
        >>> goal_with_k(None, 7), goal_with_k("label-out-of-topk", 5), goal_with_k("untargeted", None)
        ('topk-exclusion:7', 'label-out-of-topk:5', 'untargeted')
    """
    if k is None:
        return goal
    if goal not in (None, "topk-exclusion", "label-out-of-topk"):
        raise UserError(f"--k {k} does not go with --goal {goal}", hint="leave one of them out")
    return f"{goal or 'topk-exclusion'}:{k}"


def parse_goal(text: str) -> GoalSpec:
    """A goal as a person writes it; classes stay as written until the model is loaded.

    Raises:
        UserError: Another form, or a k that is not a positive whole number.

    Example:
        >>> parse_goal("topk-exclusion:7")
        GoalSpec(kind='topk-exclusion', k=7, classes=())
        >>> parse_goal("ordered-topk:tiger, 12").classes
        ('tiger', '12')
    """
    kind, _, argument = text.strip().partition(":")
    kind, argument = kind.strip().lower(), argument.strip()
    if kind not in _GOALS:
        close = near_misses(kind, _GOALS)
        guess = f"did you mean {_GOALS[close[0]]}? " if close else ""
        raise UserError(f"unknown goal '{text}'", hint=f"{guess}goals: {', '.join(_GOALS.values())}")
    if kind == "untargeted":
        if argument:
            raise UserError(f"goal 'untargeted' takes no argument, got '{argument}'")
        return GoalSpec(kind)
    if not argument:
        raise UserError(f"goal '{kind}' lacks its argument", hint=f"write it as {_GOALS[kind]}")
    if kind in ("targeted", "ordered-topk"):
        # A class name may hold a comma, so a single target is taken whole.
        parts = [argument] if kind == "targeted" else [part.strip() for part in argument.split(",")]
        if not all(parts):
            raise UserError(f"goal '{text}' has an empty class name", hint=f"write it as {_GOALS[kind]}")
        return GoalSpec(kind, classes=tuple(parts))
    if not re.fullmatch("0*[1-9][0-9]{0,8}", argument):
        raise UserError(f"goal '{kind}': K is a whole number from 1, got '{argument}'", hint="such as topk-exclusion:7")
    return GoalSpec(kind, k=int(argument))
