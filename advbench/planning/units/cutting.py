"""Units of work of a few seconds each, named by a digest of everything that decides their results."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from advbench.config.suite import Suite
from advbench.evaluation.checks.attack import LOOKED_AT
from advbench.evaluation.recording import short_digest
from advbench.planning.cells import PlannedAttack
from advbench.planning.cost.batches import batch_size
from advbench.planning.cost.footprint import Footprint
from advbench.planning.cost.universal import passes_of_fit
from advbench.planning.forms.fast_forms import PLAIN
from advbench.planning.forms.surrogates import StandIn
from advbench.planning.resources import spread
from advbench.planning.units.looks import parts
from advbench.planning.units.trust import CHECKED, few, passes_of_checks, passes_of_trial, tried_further
from advbench.records.unit import Task, Unit, digest
from attacks.speed.folding import milder

PROVED, PROOF_SECONDS = 8, 600
"""Largest number of images in a proof unit, and most seconds that all of them may take together."""


class Pair(NamedTuple):
    """A model on a data set."""

    model: str
    """Label of the model."""
    dataset: str
    """Label of the data set."""
    numbers: tuple[int, ...]
    """Numbers of the images in the data set."""
    ids: tuple[str, ...]
    """Ids of these images, in the same order."""
    key: dict[str, Any]
    """Values that decide the results of all units alike."""
    seed: int
    """Seed of the suite."""

    def unit(
        self,
        task: Task,
        rows: Sequence[int],
        cell: PlannedAttack | None = None,
        *,
        form: str = PLAIN,
        passes: float = 1.0,
        look: int = 0,
        **more: str,
    ) -> Unit:
        """Create the unit for some of the images.

        Args:
            task: Kind of work.
            rows: Rows of the images.
            cell: Attack or proof, if any.
            form: Form of the network for computing gradients.
            passes: Expected passes for each image.
            look: Number of the look that it belongs to, in a run that stops once it is decided; 0: none.
            **more: Digests of anything else that decides its result; empty ones are ignored.
        """
        fields: dict[str, Any] = {"task": task, "model": self.model, "dataset": self.dataset, "form": form}
        fields |= {"samples": [self.numbers[row] for row in rows], "sample_ids": [self.ids[row] for row in rows]}
        fields |= {} if cell is None else cell._asdict()
        # Random draws belong to the image, so the seed depends neither on the batch nor on the budget.
        drawn = [self.seed, *((cell.attack, cell.params, cell.goal, cell.norm) if cell else (task,))]
        fields["seed"] = int(short_digest(*drawn)[:8], 16)
        labels = self.key["labels"]
        known = None if labels is None else [labels[number] for number in fields["samples"]]
        others = cell is not None and (cell.takes_starts or cell.takes_fit)
        begins = {"starts": short_digest(spread(self.ids))} if others else {}
        begins |= {name: each for name, each in more.items() if each}
        unit_id = digest(self.key | fields | {"labels": known} | begins)
        fields |= {name: tuple(fields[name]) for name in ("samples", "sample_ids")}
        return Unit(unit_id=unit_id, passes=passes, look=look, **fields)


def check_units(suite: Suite, pair: Pair, cells: Sequence[PlannedAttack], *, twin: bool) -> Iterator[Unit]:
    """The units of the trust checks: for the model, and for attacks that are tried in other ways on a few images."""
    rows = few(len(pair.numbers), CHECKED)
    labelled = pair.key["labels"] is not None
    yield pair.unit("checks", rows, passes=passes_of_checks(len(rows), labelled=labelled, twin=twin))
    rows = few(len(pair.numbers), LOOKED_AT)
    for cell in tried_further(suite, cells):
        yield pair.unit("checks", rows, cell, passes=passes_of_trial(cell, len(rows)))


def runs(count: int, most: int) -> Iterator[range]:
    """Split the numbers below a count into runs of nearly equal lengths, at most this long."""
    parts = -(-count // most)
    edges = [round(i * count / parts) for i in range(parts + 1)]
    return map(range, edges, edges[1:])


def attack_units(
    pair: Pair, cell: PlannedAttack, size: Footprint, made_on: StandIn, *, in_parts: bool
) -> Iterator[Unit]:
    """The units of an attack; passes of a surrogate are converted to passes of the model that take as long."""
    passes = cell.passes
    form = milder(made_on.choice.form, passes.form)
    slower = made_on.size.flops / size.flops if size.flops else 1.0
    asked = float(len(spread(pair.numbers)) if cell.asks_starts else 0)
    asked += passes_of_fit(cell.params, len(pair.numbers)) if cell.takes_fit else 0
    taken = slower * (passes.total + asked)
    most = batch_size(made_on.size, passes, made_on.choice.batch)
    cut = parts(pair.ids, pair.seed, most) if in_parts else ((0, rows) for rows in runs(len(pair.numbers), most))
    for look, rows in cut:
        yield pair.unit("attack", rows, cell, form=form, passes=taken, look=look, surrogate=made_on.digest)


def proof_units(pair: Pair, cell: PlannedAttack, attacks: Sequence[Unit]) -> Iterator[Unit]:
    """The units of a proof, small enough to stay within the time limit even if every image takes all its seconds.

    Images that an attack fools are not proved, so the attacks on the same threat also decide the rows.
    """
    limits = json.loads(cell.params)
    after = short_digest(*(each.unit_id for each in attacks if (each.goal, each.norm) == (cell.goal, cell.norm)))
    most = max(1, min(PROVED, int(PROOF_SECONDS / limits["seconds"])))
    for rows in runs(len(pair.numbers), most):
        yield pair.unit("prove", rows, cell, passes=float(limits["domains"]), after=after)
