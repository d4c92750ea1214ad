"""From a suite to attacks under threats: attack x goal x norm x eps."""

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

from advbench.catalog import CORRUPTION
from advbench.config.goals import parse_goal
from advbench.config.models.model import ModelSpec
from advbench.config.models.surrogate import SURROGATE
from advbench.config.suite import AttackSpec, DatasetSpec, Suite
from advbench.errors import UserError
from advbench.evaluation.attack_factory import MAX_PASSES, make_attack
from advbench.evaluation.recording import parameters
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
    def surrogate(self) -> str | None:
        """Label of the surrogate that it is made on; None: the model itself."""
        found: str | None = json.loads(self.params).get(SURROGATE)
        return found

    @property
    def takes_starts(self) -> bool:
        """Whether it needs images of the data set to start from."""
        return self.attack != PROOF and _takes_starts(self.attack, self.norm, self.params)


@cache
def _takes_starts(attack: str, norm: str, params: str) -> bool:
    return takes_starts(make_attack(attack, norm, json.loads(params)))


def cells_of(suite: Suite, data: DatasetSpec) -> Iterator[PlannedAttack]:
    """Attack x goal x norm x budget on one data set, with noise of every budget beside them.

    Raises:
        UserError: An attack has no norm, no goal or no budget in this suite, or parameters that it does not take.
    """
    seen: dict[tuple[str, str, float], None] = {}
    for place, spec in enumerate(suite.attacks):
        key = f"suite {suite.name}, attacks[{place}]"
        norms = spec.norms or tuple(norm for norm in suite.norms if norm in spec.card.norms)
        goals = spec.goals or tuple(goal for goal in suite.goals if goal.partition(":")[0] in spec.card.goals)
        if not norms or not goals:
            what, given = ("norms", suite.norms) if not norms else ("goals", suite.goals)
            raise UserError(f"{key}: {spec.name} takes none of the suite's {what}: {', '.join(given)}")
        for norm in norms:
            budgets = (spec.eps or data.eps or suite.eps).get(norm, ())
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
    yield from _corruptions_of(suite)
    if suite.noise and NOISE not in {spec.name for spec in suite.attacks}:
        noise = AttackSpec(name=NOISE, params={"draws": NOISE_DRAWS})
        yield from (PlannedAttack(NOISE, parameters_of(noise, norm), goal, norm, eps) for goal, norm, eps in seen)


def cells_for(suite: Suite, model: ModelSpec, data: DatasetSpec) -> list[PlannedAttack]:
    """Those of :func:`cells_of` that are run on a model: where it names attacks these, noise and corruptions.

    Raises:
        UserError: As :func:`cells_of`.
    """
    cells = cells_of(suite, data)
    if model.attacks is None:
        return list(cells)
    return [cell for cell in cells if cell.attack in (NOISE, *model.attacks) or cell.attack.startswith(CORRUPTION)]


def _surrogates_of(suite: Suite, spec: AttackSpec) -> Sequence[str | None]:
    """Labels of what an attack is made on; None: the model itself, as for one that asks a model nothing."""
    labels = [each.label for each in suite.surrogates] if spec.surrogates is None else spec.surrogates
    return [None] if spec.card.access == "nothing" or not labels else list(labels)


def _corruptions_of(suite: Suite) -> Iterator[PlannedAttack]:
    for name in suite.corruptions:
        for severity in suite.severities:
            spec = AttackSpec(name=f"{CORRUPTION}{name}", params={"severity": severity})
            norm = spec.card.norms[0]
            yield PlannedAttack(spec.name, parameters_of(spec, norm), spec.card.goals[0], norm, None)


def proofs_of(suite: Suite, data: DatasetSpec, cells: Iterable[PlannedAttack]) -> Iterator[PlannedAttack]:
    """The proofs beside some attacks: one for each goal, norm and budget under which images are reported.

    Args:
        suite: Suite whose limits they keep; without `prove` there are none.
        data: Data set whose budgets attacks that look for the smallest perturbation are reported at.
        cells: Attacks of a model on the data set.
    """
    if suite.prove is None:
        return
    if data.mask is not None:
        raise UserError(f"{data.label}: proofs know no masks", hint="leave out either --prove or the mask")
    params = canonical(suite.prove.model_dump())
    seen: dict[tuple[str, str, float], None] = {}
    for cell in (each for each in cells if not each.attack.startswith(CORRUPTION)):
        budgets = (suite.eps | data.eps).get(cell.norm, ()) if cell.eps is None else (cell.eps,)
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
    more: dict[str, Any] = {} if spec.max_passes is None else {MAX_PASSES: spec.max_passes}
    more |= {} if surrogate is None else {SURROGATE: surrogate}
    return canonical(json.loads(text) | more) if more else text
