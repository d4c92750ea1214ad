"""Units of work of some seconds each, every one named by a digest of all that decides its result."""

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
"""Most images of a unit that proves, and most seconds that all of them may take together."""


class Pair(NamedTuple):
    """A model on a data set."""

    model: str
    """Label of the model."""
    dataset: str
    """Label of the data set."""
    numbers: tuple[int, ...]
    """Numbers of the images in the data set."""
    ids: tuple[str, ...]
    """Their ids, in the same order."""
    key: dict[str, Any]
    """What decides the results of all units alike."""
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
        """The unit for some of the images.

        Args:
            task: Kind of work.
            rows: Rows of the images.
            cell: Attack or proof, if any.
            form: Form of the network from which gradients may come.
            passes: Expected passes for each image.
            look: Number of the look at a growing part of the images to which it belongs; 0: there is none.
            **more: Digests of what else decides its result; an empty one is of nothing.
        """
        fields: dict[str, Any] = {"task": task, "model": self.model, "dataset": self.dataset, "form": form}
        fields |= {"samples": [self.numbers[row] for row in rows], "sample_ids": [self.ids[row] for row in rows]}
        fields |= {} if cell is None else cell._asdict()
        # Draws belong to the image, so that the seed does not depend on the batch, nor on the budget.
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
    """The units of the trust checks: of the model, and of attacks that are tried in other ways on a few images."""
    rows = few(len(pair.numbers), CHECKED)
    labelled = pair.key["labels"] is not None
    yield pair.unit("checks", rows, passes=passes_of_checks(len(rows), labelled=labelled, twin=twin))
    rows = few(len(pair.numbers), LOOKED_AT)
    for cell in tried_further(suite, cells):
        yield pair.unit("checks", rows, cell, passes=passes_of_trial(cell, len(rows)))


def runs(count: int, most: int) -> Iterator[range]:
    """The numbers below a count, in runs of at most this many and nearly equal lengths."""
    parts = -(-count // most)
    edges = [round(i * count / parts) for i in range(parts + 1)]
    return map(range, edges, edges[1:])


def attack_units(
    pair: Pair, cell: PlannedAttack, size: Footprint, made_on: StandIn, *, in_parts: bool
) -> Iterator[Unit]:
    """The units of an attack; passes of a surrogate are counted in as many of the model as take as long."""
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
    """The units of a proof, so small that one keeps to its time even if every image takes all the seconds allowed.

    What an attack fools is not proved, so that the attacks on the same threat decide its rows too.
    """
    limits = json.loads(cell.params)
    after = short_digest(*(each.unit_id for each in attacks if (each.goal, each.norm) == (cell.goal, cell.norm)))
    most = max(1, min(PROVED, int(PROOF_SECONDS / limits["seconds"])))
    for rows in runs(len(pair.numbers), most):
        yield pair.unit("prove", rows, cell, passes=float(limits["domains"]), after=after)
