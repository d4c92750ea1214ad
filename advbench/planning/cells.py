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
"""Name of the attack that is run beside all others."""
NOISE_DRAWS = 10
"""Number of draws, for each image, of the noise that is run for comparison."""


class PlannedAttack(NamedTuple):
    """One attack or proof under one threat: a line of a table of results."""

    attack: str
    """Registry name of the attack; `proof` for a proof."""
    params: str
    """All parameters, as JSON."""
    goal: str
    """Goal, as written on the command line."""
    norm: str
    """Norm of the perturbations."""
    eps: float | None
    """Budget, image units; None for an attack that looks for the smallest perturbation."""

    @property
    def passes(self) -> Passes:
        """Passes that it takes on an image that it cannot fool."""
        return count_passes(self.attack, self.norm, self.params, parse_goal(self.goal).kind)

    @property
    def takes_fit(self) -> bool:
        """Whether it is fitted to images of the data set first."""
        return self.attack == UNIVERSAL and bool(json.loads(self.params).get("fit"))

    @property
    def surrogate(self) -> str | None:
        """Label of the surrogate that it is made on; None: the model itself."""
        found: str | None = json.loads(self.params).get(SURROGATE)
        return found

    @property
    def takes_starts(self) -> bool:
        """Whether it needs images of the data set to start from."""
        return self.attack != PROOF and _takes_starts(self.attack, self.norm, self.params)

    @property
    def asks_starts(self) -> bool:
        """Whether the model is asked about those images in passes of their own; a limit of passes includes them."""
        return self.takes_starts and MAX_PASSES not in json.loads(self.params)


@cache
def _takes_starts(attack: str, norm: str, params: str) -> bool:
    return takes_starts(make_attack(attack, norm, json.loads(params)))


def cells_of(suite: Suite, data: DatasetSpec) -> Iterator[PlannedAttack]:
    """Attack x goal x norm x budget on one data set, with noise of every budget beside them.

    Raises:
        UserError: An attack has no norm, no goal or no budget in this suite, or parameters that it does not take.
    """
    seen: dict[tuple[str, str, float], None] = {}
    for place, spec in suite.attacks_on(data):
        key = f"suite {suite.name}, attacks[{place}]"
        norms = spec.norms or tuple(norm for norm in suite.norms if norm in spec.card.norms)
        goals = spec.goals or tuple(goal for goal in suite.goals if goal.partition(":")[0] in spec.card.goals)
        if not norms or not goals:
            what, given = ("norms", suite.norms) if not norms else ("goals", suite.goals)
            raise UserError(f"{key}: {spec.name} takes none of the suite's {what}: {', '.join(given)}")
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
    """Those of :func:`cells_of` that are run on a model: where it names attacks these, noise and corruptions.

    Of goals for one class of each image and for several labels only those of the model's kind are left, if there are
    any.

    Args:
        suite: Suite to run.
        model: Model of the suite.
        data: Data set that it is run on.
        several: Whether it has several labels for each image.

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
    """Refuse goals that no model of a suite can be attacked with.

    Args:
        suite: Suite to run.
        data: Data set of the suite.
        kinds: Whether its models have several labels for each image: one answer or both.

    Raises:
        UserError: There is such a goal.
    """
    for cell in cells_of(suite, data):
        if (several := parse_goal(cell.goal).several) not in kinds and not _is_corruption(cell):
            what = "several labels" if several else "one class of each image"
            message = f"suite {suite.name}: goal '{cell.goal}' is for {what}, and no model of the suite is"
            raise UserError(message, hint="leave the goal out, or name such a model")


def refuse_granted(cells: Iterable[PlannedAttack], truths: Sequence[tuple[int, ...]], model: Classifier) -> None:
    """Refuse goals for several labels that no image has a meaning for.

    Args:
        cells: Attacks of a model on a data set.
        truths: Labels of each image that is used.
        model: Model that is attacked.

    Raises:
        UserError: There is such a goal: no image has the label that is to vanish, say.
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
            raise UserError(message, hint="take more images, or leave the goal out")


def _is_corruption(cell: PlannedAttack) -> bool:
    return cell.attack.startswith(CORRUPTION)


def last_of(suite: Suite, model: ModelSpec, data: DatasetSpec) -> frozenset[PlannedAttack]:
    """The last of the suite's attacks on a model, which takes the images in parts if the run stops when it is decided.

    Raises:
        UserError: As :func:`cells_of`.
    """
    if suite.stop != "decided":
        return frozenset()
    own = [spec for spec in suite.attacks if model.attacks is None or spec.name in model.attacks]
    alone = suite.model_copy(update={"attacks": tuple(own[-1:]), "corruptions": (), "noise": False})
    return frozenset(cells_of(alone, data))


def _budgets(suite: Suite, data: DatasetSpec, spec: AttackSpec) -> Mapping[str, tuple[float, ...]]:
    """The budgets of an attack in every norm; where a data set has some of its own, it has no others."""
    if spec.budgets:
        return usual_budgets(data.name, spec.budgets)
    return spec.eps or data.eps or suite.budgets_on(data)


def _surrogates_of(suite: Suite, spec: AttackSpec) -> Sequence[str | None]:
    """Labels of what an attack is made on; None: the model itself, as for one that asks a model nothing."""
    labels = [each.label for each in suite.surrogates] if spec.surrogates is None else spec.surrogates
    if spec.transfer:
        return list(labels)
    return [None] if spec.card.access == "nothing" or not labels else list(labels)


def _corruptions_of(suite: Suite, data: DatasetSpec) -> Iterator[PlannedAttack]:
    """The corruptions, but not on images that are there for the attacks under a mask."""
    if any(spec.mask is not None for _, spec in suite.attacks_on(data)):
        return
    for name in suite.corruptions:
        for severity in suite.severities:
            spec = AttackSpec(name=f"{CORRUPTION}{name}", params={"severity": severity})
            norm = spec.card.norms[0]
            yield PlannedAttack(spec.name, parameters_of(spec, norm), spec.card.goals[0], norm, None)


def proofs_of(suite: Suite, data: DatasetSpec, cells: Sequence[PlannedAttack]) -> Iterator[PlannedAttack]:
    """The proofs beside some attacks: one for each goal, norm and budget under which images are reported.

    Args:
        suite: Suite whose limits they keep; without `prove` there are none.
        data: Data set whose budgets attacks that look for the smallest perturbation are reported at.
        cells: Attacks of a model on the data set.

    Raises:
        UserError: There is a mask, or a goal for several labels, which proofs do not know.
    """
    if suite.prove is None:
        return
    if data.mask is not None:
        raise UserError(f"{data.label}: proofs do not support masks", hint="leave out either --prove or the mask")
    if known := next((cell.goal for cell in cells if parse_goal(cell.goal).several), None):
        raise UserError(f"goal '{known}': proofs know no goals for several labels", hint="leave out --prove")
    params = canonical(suite.prove.model_dump())
    seen: dict[tuple[str, str, float], None] = {}
    for cell in (each for each in cells if not each.attack.startswith(CORRUPTION)):
        budgets = suite.budgets_on(data).get(cell.norm, ()) if cell.eps is None else (cell.eps,)
        seen |= {(cell.goal, cell.norm, eps): None for eps in budgets}
    yield from (PlannedAttack(PROOF, params, goal, norm, eps) for goal, norm, eps in seen)


def parameters_of(spec: AttackSpec, norm: str, surrogate: str | None = None) -> str:
    """All parameters of an attack of the suite, as JSON from which `make_attack` makes it again.

    Args:
        spec: Attack of the suite.
        norm: Norm in which it works.
        surrogate: Label of what it is made on, which is among them; None: the model itself.
    """
    attack = make_attack(spec.name, norm, spec.params)
    if isinstance(attack, FoolboxAttack):
        text = canonical(attack.parameters | {"time_limit": attack.time_limit})
    else:
        text = parameters(attack)
    more: dict[str, int | str] = {} if spec.max_passes is None else {MAX_PASSES: spec.max_passes}
    more |= {} if surrogate is None else {SURROGATE: surrogate}
    return canonical(json.loads(text) | more) if more else text
