"""From a suite to attacks under threats: attack x goal x norm x eps."""

import json
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import NamedTuple

from advbench.catalog import CORRUPTION, UNIVERSAL
from advbench.config.budgets import usual_budgets
from advbench.config.goals import DEFAULT_LABEL_GOAL, parse_goal
from advbench.config.models.model import ModelSpec
from advbench.config.models.surrogate import SURROGATE
from advbench.config.suite import AttackSpec, DatasetSpec, Suite
from advbench.errors import UserError
from advbench.evaluation.attack_factory import MAX_PASSES, make_attack
from advbench.evaluation.goals import goal_labels
from advbench.evaluation.recording import parameters
from advbench.models.classifier import Classifier
from advbench.planning.cost.passes import Passes, count_passes
from advbench.records.record import PROOF
from advbench.records.unit import canonical
from attacks.foolbox import FoolboxAttack
from attacks.searches.starts import takes_starts

NOISE = "noise"
"""Name of the baseline attack that is run alongside all others."""
NOISE_DRAWS = 10
"""Number of noise draws per image, for comparison."""


class PlannedAttack(NamedTuple):
    """One attack or proof under one threat: a row of a results table."""

    attack: str
    """Registry name of the attack; `proof` for a proof."""
    params: str
    """All parameters, as JSON."""
    goal: str
    """Goal, as written on the command line."""
    norm: str
    """Norm of the perturbations."""
    eps: float | None
    """Budget, image units; None for a minimum-norm attack."""

    @property
    def passes(self) -> Passes:
        """Passes that the attack takes on an image that it cannot fool."""
        return count_passes(self.attack, self.norm, self.params, parse_goal(self.goal).kind)

    @property
    def takes_fit(self) -> bool:
        """Whether it is first fitted to images of the data set."""
        return self.attack == UNIVERSAL and bool(json.loads(self.params).get("fit"))

    @property
    def surrogate(self) -> str | None:
        """Label of the surrogate that it attacks; None: the model itself."""
        found: str | None = json.loads(self.params).get(SURROGATE)
        return found

    @property
    def takes_starts(self) -> bool:
        """Whether it needs images of the data set as starting points."""
        return self.attack != PROOF and _takes_starts(self.attack, self.norm, self.params)

    @property
    def asks_starts(self) -> bool:
        """Whether evaluating the starting images takes separate passes; a limit on passes already includes them."""
        return self.takes_starts and MAX_PASSES not in json.loads(self.params)


@cache
def _takes_starts(attack: str, norm: str, params: str) -> bool:
    return takes_starts(make_attack(attack, norm, json.loads(params)))


def cells_of(suite: Suite, data: DatasetSpec) -> Iterator[PlannedAttack]:
    """Attack x goal x norm x budget on one data set, with noise at every budget for comparison.

    Raises:
        UserError: An attack has no norm, no goal or no budget in this suite, or parameters that it does not accept.
    """
    seen: dict[tuple[str, str, float], None] = {}
    for place, spec in suite.attacks_on(data):
        key = f"suite {suite.name}, attacks[{place}]"
        norms = spec.norms or tuple(norm for norm in suite.norms if norm in spec.card.norms)
        goals = spec.goals or tuple(goal for goal in suite.goals if goal.partition(":")[0] in spec.card.goals)
        if not norms or not goals:
            what, given = ("norms", suite.norms) if not norms else ("goals", suite.goals)
            raise UserError(f"{key}: {spec.name} supports none of the suite's {what}: {', '.join(given)}")
        for norm in norms:
            budgets = _budgets(suite, data, spec).get(norm, ())
            try:
                made_on = [parameters_of(spec, norm, surrogate) for surrogate in _surrogates_of(suite, spec)]
            except UserError as error:
                raise UserError(f"{key}: {error.message}", hint=error.hint) from None
            if spec.card.kind == "budget" and not budgets:
                raise UserError(f"{key}: {spec.name} needs budgets in {norm}", hint=f"add {norm} to eps")
            seen |= {(goal, norm, eps): None for goal in goals for eps in budgets}
            yield from (
                PlannedAttack(spec.name, params, goal, norm, eps)
                for params in made_on
                for goal in goals
                for eps in (budgets if spec.card.kind == "budget" else (None,))
            )
    yield from _corruptions_of(suite, data)
    if suite.noise and NOISE not in {spec.name for spec in suite.attacks}:
        noise = AttackSpec(name=NOISE, params={"draws": NOISE_DRAWS})
        yield from (PlannedAttack(NOISE, parameters_of(noise, norm), goal, norm, eps) for goal, norm, eps in seen)


def cells_for(suite: Suite, model: ModelSpec, data: DatasetSpec, *, several: bool = False) -> list[PlannedAttack]:
    """Select the cells of :func:`cells_of` to run on a model; if it names attacks, only these, noise and corruptions.

    If there are goals of both kinds, single-label and multi-label, only those of the model's kind are kept, if any.

    Args:
        suite: Suite to run.
        model: Model of the suite.
        data: Data set that it is run on.
        several: Whether the model has several labels for each image.

    Raises:
        UserError: As :func:`cells_of`.
    """
    cells = list(cells_of(suite, data))
    if model.attacks is not None:
        cells = [each for each in cells if each.attack in (NOISE, *model.attacks) or _is_corruption(each)]
    if several:
        cells = [each._replace(goal=DEFAULT_LABEL_GOAL) if _is_corruption(each) else each for each in cells]
    own = [each for each in cells if parse_goal(each.goal).several == several]
    return own if all(map(_is_corruption, cells)) or not all(map(_is_corruption, own)) else cells


def refuse_idle(suite: Suite, data: DatasetSpec, kinds: Container[bool]) -> None:
    """Reject goals that fit no model of a suite.

    Args:
        suite: Suite to run.
        data: Data set of the suite.
        kinds: Whether its models have several labels for each image: True, False, or both.

    Raises:
        UserError: There is such a goal.
    """
    for cell in cells_of(suite, data):
        if (several := parse_goal(cell.goal).several) not in kinds and not _is_corruption(cell):
            what = "several labels" if several else "one class of each image"
            message = f"suite {suite.name}: goal '{cell.goal}' is for {what}, and no model of the suite is"
            raise UserError(message, hint="remove the goal, or add such a model")


def refuse_granted(cells: Iterable[PlannedAttack], truths: Sequence[tuple[int, ...]], model: Classifier) -> None:
    """Reject multi-label goals that have no meaning for any image.

    Args:
        cells: Attacks of a model on a data set.
        truths: Labels of each image that is used.
        model: Model that is attacked.

    Raises:
        UserError: There is such a goal; for example, no image has the label that is to be removed.
    """
    for goal in dict.fromkeys(cell.goal for cell in cells):
        spec = parse_goal(goal)
        named = goal_labels(spec, model)
        kept = {
            "label-off": any(set(named or ()) <= set(labels) for labels in truths),
            "label-on": any(not set(named or ()) & set(labels) for labels in truths),
            "labels-equal": any(named != labels for labels in truths),
        }
        if not kept.get(spec.kind, True):
            have = {"label-off": "has that label", "label-on": "lacks that label", "labels-equal": "has other labels"}
            message = f"goal '{goal}' has no meaning here: none of the {len(truths)} images {have[spec.kind]}"
            raise UserError(message, hint="use more images, or remove the goal")


def _is_corruption(cell: PlannedAttack) -> bool:
    return cell.attack.startswith(CORRUPTION)


def last_of(suite: Suite, model: ModelSpec, data: DatasetSpec) -> frozenset[PlannedAttack]:
    """The suite's last attack on a model, which processes the images in parts if the run stops once it is decided.

    Raises:
        UserError: As :func:`cells_of`.
    """
    if suite.stop != "decided":
        return frozenset()
    own = [spec for spec in suite.attacks if model.attacks is None or spec.name in model.attacks]
    alone = suite.model_copy(update={"attacks": tuple(own[-1:]), "corruptions": (), "noise": False})
    return frozenset(cells_of(alone, data))


def _budgets(suite: Suite, data: DatasetSpec, spec: AttackSpec) -> Mapping[str, tuple[float, ...]]:
    """The budgets of an attack in every norm; a data set's own budgets replace all others."""
    if spec.budgets:
        return usual_budgets(data.name, spec.budgets)
    return spec.eps or data.eps or suite.budgets_on(data)


def _surrogates_of(suite: Suite, spec: AttackSpec) -> Sequence[str | None]:
    """Labels of the surrogates that an attack runs on; None: the model itself, also for attacks that query no model."""
    labels = [each.label for each in suite.surrogates] if spec.surrogates is None else spec.surrogates
    if spec.transfer:
        return list(labels)
    return [None] if spec.card.access == "nothing" or not labels else list(labels)


def _corruptions_of(suite: Suite, data: DatasetSpec) -> Iterator[PlannedAttack]:
    """The corruptions, except on data with a mask, which is there for the attacks."""
    if any(spec.mask is not None for _, spec in suite.attacks_on(data)):
        return
    for name in suite.corruptions:
        for severity in suite.severities:
            spec = AttackSpec(name=f"{CORRUPTION}{name}", params={"severity": severity})
            norm = spec.card.norms[0]
            yield PlannedAttack(spec.name, parameters_of(spec, norm), spec.card.goals[0], norm, None)


def proofs_of(suite: Suite, data: DatasetSpec, cells: Sequence[PlannedAttack]) -> Iterator[PlannedAttack]:
    """The proofs that go with some attacks: one for each goal, norm and budget under which images are reported.

    Args:
        suite: Suite whose limits apply to them; without `prove` there are none.
        data: Data set at whose budgets minimum-norm attacks are reported.
        cells: Attacks of a model on the data set.

    Raises:
        UserError: There is a mask or a multi-label goal, which proofs do not support.
    """
    if suite.prove is None:
        return
    if data.mask is not None:
        raise UserError(f"{data.label}: proofs do not support masks", hint="leave out either --prove or the mask")
    if known := next((cell.goal for cell in cells if parse_goal(cell.goal).several), None):
        raise UserError(f"goal '{known}': proofs do not support goals for several labels", hint="leave out --prove")
    params = canonical(suite.prove.model_dump())
    seen: dict[tuple[str, str, float], None] = {}
    for cell in (each for each in cells if not each.attack.startswith(CORRUPTION)):
        budgets = suite.budgets_on(data).get(cell.norm, ()) if cell.eps is None else (cell.eps,)
        seen |= {(cell.goal, cell.norm, eps): None for eps in budgets}
    yield from (PlannedAttack(PROOF, params, goal, norm, eps) for goal, norm, eps in seen)


def parameters_of(spec: AttackSpec, norm: str, surrogate: str | None = None) -> str:
    """All parameters of an attack of the suite, as JSON from which `make_attack` can recreate it.

    Args:
        spec: Attack of the suite.
        norm: Norm in which it works.
        surrogate: Label of the surrogate, which is one of the parameters; None: the model itself.
    """
    attack = make_attack(spec.name, norm, spec.params)
    if isinstance(attack, FoolboxAttack):
        text = canonical(attack.parameters | {"time_limit": attack.time_limit})
    else:
        text = parameters(attack)
    more: dict[str, int | str] = {} if spec.max_passes is None else {MAX_PASSES: spec.max_passes}
    more |= {} if surrogate is None else {SURROGATE: surrogate}
    return canonical(json.loads(text) | more) if more else text
