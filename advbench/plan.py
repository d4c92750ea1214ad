"""From a suite to units of work of some seconds each, every one named by a digest of all that decides its result."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from itertools import pairwise
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor

from advbench.catalog import UNIVERSAL
from advbench.config import parse_goal
from advbench.cost import (
    LARGEST_BATCH,
    LONGER_SECONDS,
    MEMORY,
    PASS_SECONDS,
    SPEED,
    TARGET_SECONDS,
    Footprint,
    Passes,
    count_passes,
    footprint,
)
from advbench.datasets.batch import sample_id
from advbench.errors import UserError
from advbench.evaluate import goal_maker
from advbench.forms import AS_IT_IS, PLAIN, Choice, choose_form
from advbench.identity import suite_identity, surroundings
from advbench.pairing import fitting_pairs
from advbench.rows import parameters, short_digest
from advbench.suite import AttackSpec, DatasetSpec, Suite
from advbench.units import FORMAT, Task, Unit, canonical, digest
from advbench.work import CHECKED
from advbench.workbench import PASSES, Workbench, make_attack, spread
from attacks.folding import milder
from attacks.foolbox import FoolboxAttack
from attacks.starts import takes_starts

NOISE = "noise"
"""The attack that is run beside all others."""
NOISE_DRAWS = 10
"""How often the noise that is run for comparison is drawn for each image."""


class Plan(NamedTuple):
    """All that is to be done."""

    units: tuple[Unit, ...]
    """In the order in which they are listed; those of the tasks "clean" and "checks" come first."""
    identity: dict[str, Any]
    """What decides the results; a run can only be resumed with the same."""
    classes: dict[str, list[str]]
    """Label of a data set -> names of its classes."""
    footprints: dict[tuple[str, str], Footprint]
    """Model and data set -> what one image costs."""

    @property
    def run_id(self) -> str:
        """Digest of the identity."""
        return digest(self.identity, digits=16)


class Cell(NamedTuple):
    """One attack under one threat: a line of a table of results."""

    attack: str
    """Registry name."""
    params: str
    """All parameters, as JSON."""
    goal: str
    """As on the command line."""
    norm: str
    """Of the perturbations."""
    eps: float | None
    """Budget; None for an attack that looks for the smallest perturbation."""

    @property
    def passes(self) -> Passes:
        """What it takes on an image that withstands."""
        return count_passes(self.attack, self.norm, self.params, parse_goal(self.goal).kind)

    @property
    def takes_starts(self) -> bool:
        """Whether it is given images of the data set to start from."""
        return _takes_starts(self.attack, self.norm, self.params)


@cache
def _takes_starts(attack: str, norm: str, params: str) -> bool:
    return takes_starts(make_attack(attack, norm, json.loads(params)))


def make_plan(suite: Suite, bench: Workbench, forms: Mapping[str, Choice] = MappingProxyType({})) -> Plan:
    """Plan a run: look at every model and every image, and cut the work into units.

    Args:
        suite: What to run.
        bench: Where models and images come from.
        forms: The identity's forms of an earlier plan, to be kept; what it does not name is chosen for this machine.

    Raises:
        UserError: Something cannot be loaded, a model has no data set or the reverse, or parameters or budgets of an
            attack are wrong or missing.
    """
    around = surroundings(bench.device.type)
    pairs = fitting_pairs(suite, bench)
    digests = {model.label: bench.digest(model.label) for model, _ in pairs}
    first: list[Unit] = []
    rest: list[Unit] = []
    images, footprints, stored, found = {}, {}, set[str](), dict[str, Choice]()
    for model, data in pairs:
        numbers = chosen(suite, data, len(bench.dataset(data.label)))
        ids = _ids(bench, model.label, data.label, numbers)
        _check_labels(bench, model.label, data.label)
        cells = [cell for cell in cells_of(suite, data) if cell.attack in (NOISE, *(model.attacks or (cell.attack,)))]
        for goal in {cell.goal for cell in cells}:
            goal_maker(parse_goal(goal), bench.model(model.label))
        key = around | {
            "format": FORMAT,
            "model_digest": digests[model.label],
            "labels": bench.dataset(data.label).labels,
        }
        pair = _Pair(model.label, data.label, numbers, ids, key, suite.seed)
        name = f"{model.label} on {data.label}"
        images[name] = short_digest(ids)
        if not numbers:
            continue
        stored |= {cell.params for cell in cells if cell.attack == UNIVERSAL}
        image = _first_image(bench, model.label, data.label, numbers)
        size = footprints[model.label, data.label] = _footprint(bench, model.label, data.label, image)
        first += [pair.unit("clean", range(len(numbers))), pair.unit("checks", range(min(CHECKED, len(numbers))))]
        if not suite.precise and any(cell.passes.bears != PLAIN for cell in cells):
            found[name] = forms.get(name) or choose_form(bench.model(model.label), image, size)
        rest += [unit for cell in cells for unit in _units(pair, cell, size, found.get(name, AS_IT_IS))]
    identity = {"suite": suite_identity(suite), **around, "models": digests, "images": images}
    identity |= {"perturbations": sorted(stored)} if stored else {}
    identity["forms"] = {name: choice._asdict() for name, choice in found.items()}
    classes = {data.label: list(bench.model(model.label).classes) for model, data in reversed(pairs)}
    return Plan((*first, *rest), identity, classes, footprints)


def chosen(suite: Suite, data: DatasetSpec, size: int) -> tuple[int, ...]:
    """Numbers of the images that are used: always the same for the same seed, fewer of them a part of more.

    Example:
        >>> suite = Suite(name="x", models="vgg16", datasets="mnist-samples", attacks="pgd", images=3)
        >>> chosen(suite, suite.datasets[0], size=20)
        (8, 9, 14)
    """
    count = data.images or suite.images or size
    shuffled = sorted(range(size), key=lambda number: short_digest(suite.seed, number))
    return tuple(sorted(shuffled[:count]))


def cells_of(suite: Suite, data: DatasetSpec) -> Iterator[Cell]:
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
                params = parameters_of(spec, norm)
            except UserError as error:
                raise UserError(f"{key}: {error.message}", hint=error.hint) from None
            if spec.card.kind == "budget" and not budgets:
                raise UserError(f"{key}: {spec.name} needs budgets in {norm}", hint=f"add {norm} to eps")
            seen |= {(goal, norm, eps): None for goal in goals for eps in budgets}
            yield from (
                Cell(spec.name, params, goal, norm, eps)
                for goal in goals
                for eps in (budgets if spec.card.kind == "budget" else (None,))
            )
    if suite.noise and NOISE not in {spec.name for spec in suite.attacks}:
        noise = AttackSpec(name=NOISE, params={"draws": NOISE_DRAWS})
        yield from (Cell(NOISE, parameters_of(noise, norm), goal, norm, eps) for goal, norm, eps in seen)


def parameters_of(spec: AttackSpec, norm: str) -> str:
    """All parameters of an attack of the suite, as JSON from which `make_attack` makes it again."""
    attack = make_attack(spec.name, norm, spec.params)
    if isinstance(attack, FoolboxAttack):
        text = canonical(attack.parameters | {"time_limit": attack.time_limit})
    else:
        text = parameters(attack)
    return text if spec.budget is None else canonical(json.loads(text) | {PASSES: spec.budget})


def batch_size(size: Footprint, passes: Passes, least: int = 1) -> int:
    """How many images are attacked together: what takes about `TARGET_SECONDS` and fits into `MEMORY`.

    Args:
        size: What an image costs.
        passes: Of the attack.
        least: Fewer would cost more each; so many are together if that takes at most `LONGER_SECONDS`.

    Example:
        >>> size, passes = Footprint(flops=4e8, kept=50_000_000, weights=0), Passes(41, 40)
        >>> batch_size(size, passes), batch_size(size, passes, least=16)
        (8, 16)
    """
    seconds = passes.total * (size.flops / SPEED + PASS_SECONDS)
    wanted = max(int(TARGET_SECONDS / seconds), min(least, int(LONGER_SECONDS / seconds)))
    return max(1, min(LARGEST_BATCH, wanted, MEMORY // max(1, size.kept)))


class _Pair(NamedTuple):
    """A model on a data set."""

    model: str
    dataset: str
    numbers: tuple[int, ...]
    ids: tuple[str, ...]
    key: dict[str, Any]
    seed: int

    def unit(
        self, task: Task, rows: range, cell: Cell | None = None, *, form: str = PLAIN, passes: float = 1.0
    ) -> Unit:
        """The unit for some of the images."""
        fields: dict[str, Any] = {"task": task, "model": self.model, "dataset": self.dataset, "form": form}
        fields |= {"samples": [self.numbers[row] for row in rows], "sample_ids": [self.ids[row] for row in rows]}
        fields |= {} if cell is None else cell._asdict()
        # Draws belong to the image, so that the seed does not depend on the batch, nor on the budget.
        drawn = [self.seed, *((cell.attack, cell.params, cell.goal, cell.norm) if cell else (task,))]
        fields["seed"] = int(short_digest(*drawn)[:8], 16)
        labels = self.key["labels"]
        known = None if labels is None else [labels[number] for number in fields["samples"]]
        begins = {"starts": short_digest(spread(self.ids))} if cell and cell.takes_starts else {}
        unit_id = digest(self.key | fields | {"labels": known} | begins)
        fields |= {name: tuple(fields[name]) for name in ("samples", "sample_ids")}
        return Unit(unit_id=unit_id, passes=passes, **fields)


def _units(pair: _Pair, cell: Cell, size: Footprint, choice: Choice) -> Iterator[Unit]:
    passes = cell.passes
    form = milder(choice.form, passes.bears)
    count = -(-len(pair.numbers) // batch_size(size, passes, choice.batch))
    edges = [round(i * len(pair.numbers) / count) for i in range(count + 1)]
    # At most every image to start from is asked about too; a budget of passes includes that.
    asked = len(spread(pair.numbers)) if cell.takes_starts and PASSES not in json.loads(cell.params) else 0
    for start, end in pairwise(edges):
        yield pair.unit("attack", range(start, end), cell, form=form, passes=passes.total + asked)


def _ids(bench: Workbench, model: str, dataset: str, numbers: tuple[int, ...]) -> tuple[str, ...]:
    """The ids of the images: of their content, with a number behind it where one repeats another."""
    found: list[str] = []
    times: Counter[str] = Counter()
    for number in numbers:
        try:
            name = sample_id(bench.image(model, dataset, number))
        except UserError:
            name = short_digest("unreadable", bench.dataset(dataset).images[number])
        times[name] += 1
        found.append(name if times[name] == 1 else f"{name}-{times[name]}")
    return tuple(found)


def _first_image(bench: Workbench, model: str, dataset: str, numbers: tuple[int, ...]) -> Tensor:
    """The first image that can be read (C, H, W), on the device."""
    for number in numbers:
        with suppress(UserError):
            return bench.image(model, dataset, number).to(bench.device)
    raise UserError(f"none of the {len(numbers)} images of {dataset} can be read")


def _footprint(bench: Workbench, model: str, dataset: str, image: Tensor) -> Footprint:
    """What an image costs the model."""
    try:
        return footprint(bench.model(model), image)
    except (RuntimeError, ValueError) as error:  # it takes images of another size or number of channels
        why = str(error).strip().partition("\n")[0]
        raise UserError(f"model {model} cannot be run on the images of {dataset}: {why}") from error


def _check_labels(bench: Workbench, model: str, dataset: str) -> None:
    labels, classes = bench.dataset(dataset).labels, bench.model(model).num_classes
    if labels and not 0 <= min(labels) <= max(labels) < classes:
        got = f"labels from {min(labels)} to {max(labels)}"
        raise UserError(f"data set {dataset} has {got}, and model {model} has {classes} classes")
