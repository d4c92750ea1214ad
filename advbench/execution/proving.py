"""Runs a proof unit: every image that no attack fooled, one after the other."""

import json
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor

from advbench import proofs
from advbench.evaluation.batch import ImageResult, attack_batch
from advbench.execution.unit_results import (
    Attacked,
    Done,
    TaskContext,
    finished,
    logits_of,
    set_up,
    unreadable_records,
)
from advbench.records.clean import CleanLogits
from advbench.records.record import FOOLED, OK, Record
from advbench.records.unit import Unit
from attacks import NORMS, Goal, Model, Norm
from attacks.protocols import Kind


def prove_unit(unit: Unit, context: TaskContext, clean: CleanLogits, fooled: frozenset[str]) -> Done:
    """Prove the images of a unit.

    Args:
        unit: The unit to run; its `params` are the limits of a suite's `prove`.
        context: The run that it belongs to.
        clean: Logits of the clean images.
        fooled: Ids of the images that need no proof.

    Raises:
        UserError: An image is missing, or has changed since the run was planned.
    """
    images, samples = context.resources.images(unit), context.resources.samples(unit)
    records = unreadable_records(unit, context, images.unreadable)
    results = list[ImageResult]()
    if images.rows:
        logits = logits_of(unit, images, clean).to(images.x.device)
        for place, row in enumerate(images.rows):
            one = slice(place, place + 1)
            search = _Search(
                network=context.resources.judged(unit.model, unit.dataset),
                norm=NORMS[unit.norm](),
                limits=json.loads(unit.params),
                needed=samples[row].sample_id not in fooled,
            )
            (result,) = attack_batch(set_up(unit, context, search), images.x[one], [samples[row]], logits[one])
            results.append(result._replace(record=_with_proof(result.record, search)))
        records |= {row: result.record for row, result in zip(images.rows, results, strict=True)}
    return finished(unit, context, Attacked(images, results, records))


@dataclass(kw_only=True)
class _Search:
    """The proof of one image in the role of an attack: its candidate is the counterexample, for the judge."""

    kind: ClassVar[Kind] = "budget"
    norms: ClassVar[tuple[str, ...]] = tuple(NORMS)
    network: Model
    """The network without the wrapper that counts its passes."""
    norm: Norm
    limits: dict[str, Any]
    needed: bool
    proof: proofs.Proof | None = None
    refused: str = ""

    def __call__(self, model: Model, x: Tensor, goal: Goal, *, eps: float | Tensor, seed: int = 0) -> Tensor:
        """The counterexample of one image (1, ...), or the image itself."""
        if not self.needed:
            return x
        try:
            self.proof = self._prove(x, goal, float(eps))
        except ValueError as error:  # such as a network in half precision
            self.refused = f"cannot be proved: {error}"
            return x
        found = self.proof.counterexample[0]
        return x if found is None else found.to(x)

    def _prove(self, x: Tensor, goal: Goal, eps: float) -> proofs.Proof:
        seconds, method = self.limits["seconds"], self.limits["method"]
        if method in ("auto", "split"):
            domains = self.limits["domains"]
            return proofs.prove(self.network, x, goal, norm=self.norm, eps=eps, domains=domains, seconds=seconds)
        return proofs.bound(self.network, x, goal, norm=self.norm, eps=eps, upto=method, seconds=seconds)


def _with_proof(record: Record, search: _Search) -> Record:
    """Return the record with the columns of the proof."""
    if record.status != OK:
        return record
    proof = search.proof
    if proof is None:
        return replace(
            record, proved=False, proof_method="none" if search.refused else FOOLED, error=search.refused or None
        )
    bound = float(proof.bound[0])
    return replace(
        record,
        proved=bool(proof.proved[0]),
        proof_bound=bound if bound > float("-inf") else None,
        proof_method=proof.method[0],
        proof_seconds=float(proof.seconds[0]),
        error=proof.reason or None,
    )
