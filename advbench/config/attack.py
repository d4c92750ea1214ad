"""What a person asks for, checked and understood before anything heavy is imported."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from advbench.catalog import ATTACKS, CORRUPTION, DEFAULT_ATTACK, DEFAULT_MODEL, UNIVERSAL, lacking
from advbench.catalog.cards import AttackCard
from advbench.catalog.parameters import Parameter, check_names, parse_parameters
from advbench.catalog.user_models import model_card
from advbench.config.budgets import DEFAULT_EPS, EXAMPLES, parse_eps
from advbench.config.data.name import ChosenImages
from advbench.config.goals import DEFAULT_GOAL, DEFAULT_LABEL_GOAL, GOAL_FORMS, GoalSpec, parse_goal
from advbench.config.masks import MaskSpec, parse_mask
from advbench.config.model_description import NOTHING, Description
from advbench.errors import UserError


@dataclass(frozen=True, kw_only=True)
class AttackConfig:
    """All that `advbench attack` is asked for."""

    paths: tuple[str | Path, ...]
    """Pictures and folders of pictures, as given on the command line."""
    data: ChosenImages | None = None
    """Images of a data set, in place of such paths."""
    model: str = DEFAULT_MODEL
    """A name of `advbench models`."""
    weights: Path | None = None
    """A file with the model's weights, in place of the published ones."""
    about: Description = NOTHING
    """What is said of a model of the user's own that its file or function does not."""
    attack: str = DEFAULT_ATTACK
    """A name of `advbench attacks`."""
    params: Mapping[str, Parameter] = field(default_factory=dict)
    """Parameters of the attack; those not given have the attack's defaults."""
    goal: GoalSpec = field(default_factory=lambda: parse_goal(DEFAULT_GOAL))
    """What counts as fooled."""
    goal_named: bool = True
    """Whether the user asked for that goal."""
    mask: MaskSpec | None = None
    """What may change in the pictures; None: everything."""
    norm: str = "linf"
    """Name of the norm, one of `NORMS`."""
    eps: float | None = None
    """Largest allowed size, image units; None: no bound."""
    max_passes: int | None = None
    """Most passes on each picture, forward and backward; None: as many as the attack takes."""
    seed: int = 0
    """Seed of all random draws."""
    precise: bool = False
    """Whether gradients come from the network as it is, rather than from the form of it that is fastest here."""
    prove: bool = False
    """Whether to look for the largest eps at which it can be proved that nothing meets the goal."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    batch_size: int = 16
    """Number of images attacked together."""
    out: Path | None = None
    """Folder for the results; None: a folder in `reports` for each image."""


def attack_config(
    *,
    model: str,
    attack: str,
    goal: str | None,
    norm: str | None,
    eps: str | None,
    params: Sequence[str] = (),
    mask: str | None = None,
    **rest: object,
) -> AttackConfig:
    """Check the options of `advbench attack` against the tables and each other.

    Args:
        model: Name of a model.
        attack: Name of an attack.
        goal: As :func:`parse_goal` takes it; None: `DEFAULT_GOAL`, or untargeted for an attack that cannot take that
            and for a model with too few classes; `DEFAULT_LABEL_GOAL` for a model with several labels.
        norm: Name of a norm; None: the first that the attack supports.
        eps: As :func:`parse_eps` takes it; None: `DEFAULT_EPS`.
        mask: As :func:`advbench.config.masks.parse_mask` takes it; None: everything may change.
        params: Parameters of the attack, as :func:`advbench.catalog.parameters.parse_parameters` takes them.
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
    text = _eps_for(card, norm, eps)
    if text is None and card.kind == "budget":
        raise UserError(f"attack '{attack}' needs a budget in {norm}", hint=f"give one, such as --eps {EXAMPLES[norm]}")
    network = model_card(model)
    return AttackConfig(
        model=network.name,
        attack=card.name,
        params=given,
        goal=_goal_for(card, norm, goal, network.classes, several=network.several),
        goal_named=goal is not None,
        mask=_mask_of(mask, prove=bool(rest.get("prove"))),
        norm=norm,
        eps=None if text is None else parse_eps(text, norm),
        **rest,  # type: ignore[arg-type]
    )


def _eps_for(card: AttackCard, norm: str, eps: str | None) -> str | None:
    """The eps as it was written, or the default for this attack and norm; None: no bound."""
    if not card.name.startswith(CORRUPTION):
        return eps if eps is not None else DEFAULT_EPS.get(norm)
    if eps is not None:
        hint = "leave --eps out, and say how strong it should be with --param severity=1 to 5"
        raise UserError(f"attack '{card.name}' takes no eps", hint=hint)
    return None


def _mask_of(text: str | None, *, prove: bool) -> MaskSpec | None:
    if text is not None and prove:
        raise UserError("proofs know no masks", hint="leave out either --prove or --mask")
    mask = None if text is None else parse_mask(text)
    if mask is not None:
        mask.digest()  # a missing file is an error before the model is loaded
    return mask


def suited(config: AttackConfig, classes: int, *, several: bool = False) -> AttackConfig:
    """The configuration with the default goal for that number of classes, unless the user named a goal.

    Args:
        config: Options of the command.
        classes: Number of classes of the model.
        several: Whether the model tells of each class by itself whether it applies.

    Example:
        >>> config = attack_config(model="net.onnx", attack="pgd", goal=None, norm=None, eps=None, paths=())
        >>> str(config.goal), str(suited(config, classes=2).goal)
        ('topk-exclusion:7', 'untargeted')
    """
    if config.goal_named:
        return config
    goal = _goal_for(ATTACKS[config.attack], config.norm, None, classes, several=several)
    return replace(config, goal=goal)


def _goal_for(card: AttackCard, norm: str, text: str | None, classes: int, *, several: bool) -> GoalSpec:
    """The goal as it was written, or the default for this attack and model; 0 classes: the number is unknown."""
    takes = " or ".join(GOAL_FORMS[kind] for kind in card.goals)
    if text is None:
        first = DEFAULT_GOAL if not 0 < classes < 2 * parse_goal(DEFAULT_GOAL).k else "untargeted"
        defaults = (DEFAULT_LABEL_GOAL,) if several else (first, "untargeted")
        usual = [each for each in defaults if each.partition(":")[0] in card.goals]
        if not usual and several:
            able = _able(norm, card.kind)
            raise UserError(
                f"attack '{card.name}' takes no goal for several labels", hint=f"any goal is taken by {able}"
            )
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
