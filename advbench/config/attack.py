"""The options of `advbench attack`, parsed and checked before anything heavy is imported."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from advbench.catalog import ATTACKS, CORRUPTION, DEFAULT_ATTACK, DEFAULT_MODEL, UNIVERSAL, lacking
from advbench.catalog.cards import AttackCard
from advbench.catalog.parameters import Parameter, check_names, parameters_of_card, parse_parameters
from advbench.catalog.user_models import model_card
from advbench.config.budgets import DEFAULT_EPS, EXAMPLES, parse_eps
from advbench.config.data.name import ChosenImages
from advbench.config.goals import DEFAULT_GOAL, DEFAULT_LABEL_GOAL, GOAL_FORMS, GoalSpec, parse_goal
from advbench.config.masks import MaskSpec, parse_mask
from advbench.config.model_description import NOTHING, Description
from advbench.config.models.surrogate import SurrogateSpec
from advbench.config.pictures.photograph import DEFAULT_KAPPA, INPUT, SavedAs
from advbench.errors import UserError


@dataclass(frozen=True, kw_only=True)
class AttackConfig:
    """All options of `advbench attack`."""

    paths: tuple[str | Path, ...]
    """Pictures and folders of pictures, as given on the command line."""
    data: ChosenImages | None = None
    """Images of a data set, instead of paths."""
    model: str = DEFAULT_MODEL
    """A name of `advbench models`."""
    weights: Path | None = None
    """A file with the model's weights, instead of the published ones."""
    about: Description = NOTHING
    """Description of a user's own model: what its file or function does not state."""
    surrogate: SurrogateSpec | None = None
    """What attacks are made on instead of the model, which then only judges; None: the model itself."""
    attack: str = DEFAULT_ATTACK
    """A name of `advbench attacks`."""
    params: Mapping[str, Parameter] = field(default_factory=dict)
    """Parameters of the attack; the others keep the attack's defaults."""
    goal: GoalSpec = field(default_factory=lambda: parse_goal(DEFAULT_GOAL))
    """What counts as fooled."""
    goal_named: bool = True
    """Whether the user named that goal."""
    mask: MaskSpec | None = None
    """The part of the pictures that may change; None: everything."""
    norm: str = "linf"
    """Name of the norm, one of `NORMS`."""
    eps: float | None = None
    """Largest allowed size, image units; None: no bound."""
    max_passes: int | None = None
    """Maximum number of passes per picture, forward and backward; None: no limit."""
    seed: int = 0
    """Seed of all random draws."""
    precise: bool = False
    """Whether gradients come from the network as it is, rather than from its fast form."""
    prove: bool = False
    """Whether to search for the largest eps at which it can be proved that no image meets the goal."""
    device: str = "auto"
    """Device: auto, cpu, cuda, cuda:N or mps."""
    batch_size: int = 16
    """Number of images attacked together."""
    size: str = INPUT
    """Whether the model's input is attacked, or the picture at its own size: `INPUT` or `ORIGINAL`."""
    saved_as: SavedAs | None = None
    """Format in which a picture attacked at its own size is saved; None: its own format."""
    kappa: float = 0.0
    """Logit margin that the attack on such a picture aims for."""
    others: "tuple[AttackConfig, ...]" = ()
    """Configurations of further attacks on each picture; the smallest perturbation counts."""
    out: Path | None = None
    """Folder for the results; None: one folder per image, in `reports`."""

    @property
    def all(self) -> "tuple[AttackConfig, ...]":
        """This configuration and those of the further attacks, in the order in which they were named."""
        return (self, *self.others)


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
    """Check the options of `advbench attack` against the catalog and each other.

    Args:
        model: Name of a model.
        attack: Name of an attack, or several, separated by commas.
        goal: Goal, as :func:`parse_goal` accepts it; None: `DEFAULT_GOAL`, or untargeted for an attack that does not
            support that and for a model with too few classes; `DEFAULT_LABEL_GOAL` for a multi-label model.
        norm: Name of a norm; None: the first that the attack supports.
        eps: Budget, as :func:`parse_eps` accepts it; None: `DEFAULT_EPS`.
        mask: Mask, as :func:`advbench.config.masks.parse_mask` accepts it; None: everything may change.
        params: Parameters of the attack, as :func:`advbench.catalog.parameters.parse_parameters` accepts them; with
            several attacks, each gets those that it has.
        **rest: The other fields of :class:`AttackConfig`.

    Raises:
        UserError: An unknown name, including that of a parameter; a parameter without a value; a norm or a goal that
            the attack does not support; a missing package; or an eps that is missing or of the wrong scale.

    Example:
        >>> config = attack_config(model="vgg16", attack="pgd", goal="untargeted", norm=None, eps=None, paths=())
        >>> config.norm, round(config.eps * 255)
        ('linf', 2)
    """
    cards = _cards(attack)
    given = _parameters_for(cards, params)
    norm = _norm_for(cards, norm)
    network = model_card(model)
    said = _at_size(cards, mask=mask, **rest)
    first, *others = (
        AttackConfig(
            model=network.name,
            attack=card.name,
            params=own,
            goal=_goal_for(cards, norm, goal, network.classes, several=network.several),
            goal_named=goal is not None,
            mask=_mask_of(mask, prove=bool(rest.get("prove"))),
            norm=norm,
            eps=_eps_for(card, norm, eps),
            **rest | said,  # type: ignore[arg-type]
        )
        for card, own in zip(cards, given, strict=True)
    )
    return replace(first, others=tuple(others))


def _cards(text: str) -> list[AttackCard]:
    """The cards of one attack, or of several whose names are separated by commas."""
    names = [name.strip() for name in text.split(",")] if "," in text else [text]
    cards = [ATTACKS[name] for name in dict.fromkeys(names)]
    for card in cards:
        if card.name == UNIVERSAL:
            hint = "advbench universal apply PERTURBATION PICTURE..."
            raise UserError("attack 'universal' needs the file of a perturbation", hint=hint)
        if command := lacking(card):
            raise UserError(
                f"attack '{card.name}' needs the package {card.needs}, which is not installed", hint=command
            )
    return cards


def _parameters_for(cards: Sequence[AttackCard], params: Sequence[str]) -> list[dict[str, Parameter]]:
    """The parameters of each attack, picked from those given for all."""
    given = parse_parameters(params)
    if len(cards) == 1:
        check_names(cards[0], given)
        return [given]
    known = [parameters_of_card(card) for card in cards]
    names = [set(given) if each is None else {parameter.name for parameter in each} for each in known]
    for name in given:
        if not any(name in each for each in names):
            check_names(cards[0], {name: given[name]})
    return [{name: value for name, value in given.items() if name in each} for each in names]


def _norm_for(cards: Sequence[AttackCard], norm: str | None) -> str:
    """The named norm, or the first that all attacks support."""
    shared = [each for each in cards[0].norms if all(each in card.norms for card in cards)]
    if norm is None and not shared:
        told = "; ".join(f"{card.name}: {', '.join(card.norms)}" for card in cards)
        raise UserError("the attacks have no norm in common, so that their sizes cannot be compared", hint=told)
    norm = norm or shared[0]
    for card in cards:
        if norm not in card.norms:
            works = ", ".join(card.norms)
            raise UserError(f"attack '{card.name}' works in {works}, not in {norm}", hint=f"for {norm}: {_able(norm)}")
    return norm


def _at_size(cards: Sequence[AttackCard], *, mask: str | None, **rest: object) -> dict[str, object]:
    """Check the options for the size at which pictures are attacked: `saved_as` and `kappa`.

    Raises:
        UserError: An option applies to the other size only.
    """
    saved_as, kappa = rest.get("saved_as"), rest.get("kappa")
    if rest.get("size", INPUT) == INPUT:
        for option, value in (("--save-as", saved_as), ("--kappa", kappa)):
            if value is not None:
                raise UserError(f"{option} is for pictures attacked at their own size", hint="add --size original")
        return {"saved_as": None, "kappa": 0.0}
    names = ("data", "prove", "max_passes")
    unable = {"--mask": mask} | {f"--{name.replace('_', '-')}": rest.get(name) for name in names}
    for option, value in unable.items():
        if value:
            raise UserError(f"{option} goes with the model's input only", hint=f"leave {option} or --size original out")
    foreign = next((card for card in cards if card.source != "advbench"), None)
    if foreign is not None and kappa:
        raise UserError(f"attack '{foreign.name}' has no logit margin", hint="leave --kappa out")
    usual = 0.0 if foreign is not None else DEFAULT_KAPPA
    return {"kappa": usual if kappa is None else kappa}


def _eps_for(card: AttackCard, norm: str, eps: str | None) -> float | None:
    """The given eps, or the default for this attack and norm; None: no bound."""
    if not card.name.startswith(CORRUPTION):
        text = eps if eps is not None else DEFAULT_EPS.get(norm)
        if text is None and card.kind == "budget":
            hint = f"give one, such as --eps {EXAMPLES[norm]}"
            raise UserError(f"attack '{card.name}' needs a budget in {norm}", hint=hint)
        return None if text is None else parse_eps(text, norm)
    if eps is not None:
        hint = "leave --eps out, and set the strength with --param severity=1 to 5"
        raise UserError(f"attack '{card.name}' takes no eps", hint=hint)
    return None


def _mask_of(text: str | None, *, prove: bool) -> MaskSpec | None:
    if text is not None and prove:
        raise UserError("proofs do not support masks", hint="leave out either --prove or --mask")
    mask = None if text is None else parse_mask(text)
    if mask is not None:
        mask.digest()  # reports a missing file before the model is loaded
    return mask


def suited(config: AttackConfig, classes: int, *, several: bool = False) -> AttackConfig:
    """The configuration, with the default goal for that number of classes unless the user named a goal.

    Args:
        config: Options of the command.
        classes: Number of classes of the model.
        several: Whether the model is multi-label.

    Example:
        >>> config = attack_config(model="net.onnx", attack="pgd", goal=None, norm=None, eps=None, paths=())
        >>> str(config.goal), str(suited(config, classes=2).goal)
        ('topk-exclusion:7', 'untargeted')
    """
    if config.goal_named:
        return config
    cards = [ATTACKS[each.attack] for each in config.all]
    return replace(config, goal=_goal_for(cards, config.norm, None, classes, several=several))


def _goal_for(cards: Sequence[AttackCard], norm: str, text: str | None, classes: int, *, several: bool) -> GoalSpec:
    """The given goal, or the default for these attacks and this model; 0 classes: the number is unknown."""
    # With several attacks, the one that supports the fewest goals decides.
    card = min(cards, key=lambda card: len(card.goals))
    takes = " or ".join(GOAL_FORMS[kind] for kind in card.goals)
    if text is None:
        first = DEFAULT_GOAL if not 0 < classes < 2 * parse_goal(DEFAULT_GOAL).k else "untargeted"
        defaults = (DEFAULT_LABEL_GOAL,) if several else (first, "untargeted")
        usual = [each for each in defaults if all(each.partition(":")[0] in every.goals for every in cards)]
        if not usual and several:
            able = _able(norm, card.kind)
            raise UserError(
                f"attack '{card.name}' supports no multi-label goal", hint=f"any goal is supported by {able}"
            )
        if not usual:
            raise UserError(f"attack '{card.name}' needs a goal", hint=f"give one: --goal {takes}")
        text = usual[0]
    goal = parse_goal(text)
    card = next((each for each in cards if goal.kind not in each.goals), card)
    takes = " or ".join(GOAL_FORMS[kind] for kind in card.goals)
    if goal.kind not in card.goals:
        raise UserError(
            f"attack '{card.name}' takes the goal {takes}, not {goal.kind}",
            hint=f"for any goal in {norm}: {_able(norm, card.kind)}",
        )
    return goal


def _able(norm: str, kind: str | None = None) -> str:
    """Names of the attacks that support any goal in a norm, without those of other libraries."""
    own = [card for card in ATTACKS.values() if card.source == "advbench" and norm in card.norms]
    return ", ".join(card.name for card in own if kind in (None, card.kind))
