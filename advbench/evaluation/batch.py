"""Attack a batch of images and make a record of each.

Images for which the goal has no meaning are left out. If the batch fails, its images are attacked one by one, so that
only those at fault are lost. The judge measures; callers decide what to keep and show.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from advbench.config.masks import MaskSpec
from advbench.datasets.images.ids import content_ids
from advbench.datasets.labels import truth_tensor
from advbench.evaluation.evaluate import Evaluation, Instead, evaluate, evaluate_quickly
from advbench.evaluation.goals import MakeGoal, set_apart
from advbench.evaluation.masks import mask_for
from advbench.evaluation.memory import by_halves, out_of_memory
from advbench.evaluation.predictions import predicted, rank
from advbench.evaluation.recording import (
    Measurement,
    Provenance,
    Sample,
    as_record,
    failure,
    left_out,
    lost,
    measurements,
)
from advbench.models.twins import BORROW
from advbench.records.record import OK, Reason, Record
from attacks import Attack, Goal, Model, masked
from attacks.queries.answers import ask
from attacks.queries.derivatives import NoGradientError


@dataclass(frozen=True, kw_only=True)
class BatchAttack:
    """One attack on one model, with the settings that all batches share."""

    model: Model
    """Images -> logits; a :class:`attacks.Fast` model serves the attack only, and its original is judged. With
    :class:`advbench.evaluation.evaluate.Instead` the attack runs on another model."""
    attack: Attack
    """The attack, made for the norm, with images to start from if it needs any."""
    make_goal: MakeGoal
    """Makes the goal from clean logits, ids and labels."""
    source: Provenance
    """The columns that all records share; they also supply the eps and the seed of the attack."""
    keep: int
    """Number of top classes that a record keeps."""
    thresholds: tuple[float, ...] | None = None
    """The logit above which each label applies, for a multi-label model; None: one class per image."""
    mask: MaskSpec | None = None
    """What may change in the images; None: everything. Images with individual masks are attacked one by one."""
    attack_all: bool = False
    """Whether to attack even images that already have the class that the goal wants first."""
    on_pass: Callable[[], None] = lambda: None
    """Called at each forward pass of the attack."""
    on_cut: Callable[[int], None] = lambda size: None
    """Called with the smaller number of images each time a batch is halved for lack of memory."""


class Candidate(NamedTuple):
    """A valid candidate for one image, and its measurements."""

    measured: Measurement
    """The measurements as plain numbers."""
    x_adv: Tensor
    """The image as the attack returned it (C, H, W)."""
    x_8bit: Tensor
    """The image in 8 bits (C, H, W)."""
    logits: Tensor
    """The model's logits for it (classes,)."""
    allowed: Tensor | None = None
    """The pixels that were allowed to change, bool (H, W); None: all of them."""


class ImageResult(NamedTuple):
    """The result of one image of a batch."""

    record: Record
    """The row of the image in the results."""
    clean: Tensor | None
    """Logits of the clean image (classes,); None if the model failed on it."""
    candidate: Candidate | None = None
    """The valid candidate; None if the image was left out or its outcome is unknown."""
    pointless: bool = False
    """Whether the image already has the class that the goal wants first."""
    crash: Exception | None = None
    """The exception raised when the image was attacked on its own, if any."""


def attack_batch(
    setup: BatchAttack, x: Tensor, samples: Sequence[Sample], clean: Tensor | None = None
) -> list[ImageResult]:
    """Attack images together; if that fails, one by one, so that only the image at fault is lost.

    If memory runs out, the batch is halved, and each half again if necessary.

    Args:
        setup: The attack, the model and the goal.
        x: Images (N, C, H, W) in [0, 1].
        samples: Ids, names and labels of the images (N); failures are reported under the names. The goal refers to the
            labels if all of them are known.
        clean: Clean logits (N, classes), if they are known: the model is not run on the clean images again, and 8-bit
            images are rounded as in :func:`advbench.evaluation.evaluate.evaluate_quickly`. None: they are computed,
            and 8-bit images are searched for as in :func:`advbench.evaluation.evaluate.evaluate`.

    Returns:
        The results, in the order of the images. Exceptions of the attack or the model are stored there, not raised.

    Example:
        >>> import attacks
        >>> source = Provenance("r", {"model": "m", "dataset": "d", "attack": "fgsm", "eps": 0.2, "seed": 0})
        >>> setup = BatchAttack(
        ...     model=lambda x: x.flatten(1), attack=attacks.FGSM(), source=source, keep=2,
        ...     make_goal=lambda logits, ids, labels: attacks.Untargeted(logits.argmax(1), ids=ids),
        ... )
        >>> x = torch.tensor([0.6, 0.4]).reshape(1, 1, 1, 2)
        >>> [result.record.met for result in attack_batch(setup, x, [Sample("ab", "0", None)])]
        [True]
    """

    def attack(part: slice) -> list[ImageResult]:
        return _attack_part(setup, x[part], samples[part], None if clean is None else clean[part])

    return [result for part in by_halves(attack, len(x), setup.on_cut) for result in part]


def _attack_part(setup: BatchAttack, x: Tensor, samples: Sequence[Sample], clean: Tensor | None) -> list[ImageResult]:
    """Attack images together; one by one if that fails for any reason other than lack of memory."""
    known = clean
    if len(x) > 1 and setup.mask is not None and setup.mask.per_image:
        return _one_by_one(setup, x, samples, clean)
    try:
        if known is None:
            with torch.no_grad():
                known = setup.model(x)
        return _together(setup, x, samples, known, quickly=clean is not None)
    except Exception as error:  # an attack or a network may raise anything; only its own images are affected
        if len(x) == 1:
            return [_crashed(setup, samples[0], None if known is None else known[0], error)]
        if out_of_memory(error):
            raise
    return _one_by_one(setup, x, samples, clean)


def _one_by_one(setup: BatchAttack, x: Tensor, samples: Sequence[Sample], clean: Tensor | None) -> list[ImageResult]:
    alone = [slice(i, i + 1) for i in range(len(x))]
    return [
        result
        for one in alone
        for result in _attack_part(setup, x[one], samples[one], None if clean is None else clean[one])
    ]


def unattacked(
    source: Provenance, samples: Sequence[Sample], reason: Reason, why: Sequence[str], aside: Sequence[bool]
) -> list[Record]:
    """Records of images that were never attacked, because they or their whole unit failed.

    Args:
        source: The columns that all records share.
        samples: The images (N).
        reason: The kind of failure.
        why: The explanation for each image, a sentence (N).
        aside: Whether the goal has no meaning for each image (N); such images are left out, whatever failed.
    """
    return [
        left_out(sample, source) if out else lost(sample, source, reason, sentence)
        for sample, sentence, out in zip(samples, why, aside, strict=True)
    ]


def labelled_pointless(make_goal: MakeGoal, samples: Sequence[Sample], classes: int) -> list[bool]:
    """Whether a goal has no meaning for each image (N), judged by the labels alone, without running the model.

    Args:
        make_goal: Makes the goal from clean logits, ids and labels.
        samples: The images (N); False for those without a label.
        classes: Number of classes of the model.
    """
    known = [row for row, sample in enumerate(samples) if (sample.label, sample.labels) != (None, None)]
    found = [False] * len(samples)
    nothing = torch.zeros(len(known), classes)
    labels = labels_of([samples[row] for row in known], nothing)
    if known and labels is not None:
        aside = set_apart(make_goal(nothing, torch.arange(len(known)), labels), nothing, labels)
        for row, out in zip(known, aside.tolist(), strict=True):
            found[row] = out
    return found


def labels_of(samples: Sequence[Sample], logits: Tensor) -> Tensor | None:
    """The labels of images, on the device of their logits; None unless all of them are known.

    Args:
        samples: The images (N).
        logits: Logits (N, C), or any tensor with the same number of classes and on the same device.

    Returns:
        Classes, int64 (N,), or which labels apply, bool (N, C).

    Example:
        >>> labels_of([Sample("ab", "0", None, labels=(0, 2))], torch.zeros(1, 3))
        tensor([[ True, False,  True]])
    """
    truths = (sample.label if sample.labels is None else sample.labels for sample in samples)
    known = [truth for truth in truths if truth is not None]
    return truth_tensor(known, logits.shape[1]).to(logits.device) if len(known) == len(samples) else None


def _together(
    setup: BatchAttack, x: Tensor, samples: Sequence[Sample], clean: Tensor, *, quickly: bool
) -> list[ImageResult]:
    """Attack images together, except those for which the goal has no meaning."""
    labels = labels_of(samples, clean)
    goal = setup.make_goal(clean, content_ids(x, [sample.sample_id for sample in samples]), labels)
    aside = set_apart(goal, clean, labels)
    pointless, before = aside.tolist(), predicted(clean, setup.keep, setup.thresholds)
    chosen = torch.ones_like(aside) if setup.attack_all else ~aside
    results = {
        row: ImageResult(left_out(samples[row], setup.source, before[row]), clean[row], pointless=True)
        for row, attacked in enumerate(chosen.tolist())
        if not attacked
    }
    if len(places := chosen.nonzero().squeeze(1)):
        own = goal.select(places)
        allowed = None if setup.mask is None else mask_for(setup.mask, setup.model, x[places], own)
        attack = setup.attack if allowed is None else masked(setup.attack, allowed)
        seen = _evaluate(setup, attack, x[places], own, clean[places] if quickly else None)
        told = surrogate_classes(setup.model, x[places])
        some = _results(setup, [samples[place] for place in places.tolist()], seen, allowed, told)
        results |= {
            place: result._replace(pointless=pointless[place])
            for place, result in zip(places.tolist(), some, strict=True)
        }
    return [results[row] for row in range(len(x))]


def surrogate_classes(model: Model, x: Tensor) -> list[int | None]:
    """The class that the surrogate predicts for each image (N, ...); None where there is no surrogate or no class.

    Example:
        >>> model, x = Instead(lambda x: x, attacked=lambda x: -x), torch.tensor([[0.25, 0.75]])
        >>> surrogate_classes(model, x), surrogate_classes(lambda x: x, x)
        ([0], [None])
    """
    if not isinstance(model, Instead):
        return [None] * len(x)
    with torch.no_grad():
        ranked = rank(ask(model.attacked, x), 1)
    return [each.answer for each in ranked]


def _evaluate(setup: BatchAttack, attack: Attack, x: Tensor, goal: Goal, clean: Tensor | None) -> Evaluation:
    eps, seed = setup.source.columns["eps"], setup.source.columns["seed"]
    if clean is None:
        return evaluate(setup.model, attack, x, goal, eps=eps, seed=seed, on_pass=setup.on_pass)
    return evaluate_quickly(setup.model, attack, x, clean, goal, eps=eps, seed=seed)


def _results(
    setup: BatchAttack,
    samples: Sequence[Sample],
    seen: Evaluation,
    allowed: Tensor | None,
    told: Sequence[int | None],
) -> list[ImageResult]:
    """Results of images that were attacked together; ``told`` are the classes that a surrogate predicts."""
    clean, adv = seen.verdicts.clean_logits, seen.verdicts.adv_logits
    before, after = (predicted(logits, setup.keep, setup.thresholds) for logits in (clean, adv))
    results = []
    for i, (sample, measured) in enumerate(zip(samples, measurements(seen), strict=True)):
        if i in seen.errors:
            why = failure(sample.sample_name, setup.source.columns["attack"], seen.errors[i])
            results.append(ImageResult(lost(sample, setup.source, Reason.CRASHED, why, before[i]), clean[i]))
            continue
        source = setup.source if told[i] is None else setup.source.with_columns(surrogate_class=told[i])
        record = as_record(source, sample, measured, (before[i], after[i]))
        candidate = Candidate(measured, seen.x_adv[i], seen.x_8bit[i], adv[i], allowed) if record.status == OK else None
        results.append(ImageResult(record, clean[i], candidate))
    return results


def _crashed(setup: BatchAttack, sample: Sample, clean: Tensor | None, error: Exception) -> ImageResult:
    """The result of an image on which the attack or the model raised an exception."""
    told = f"{type(error).__name__}: {error}".rstrip(": ")
    told += f"; or {BORROW}" if isinstance(error, NoGradientError) else ""
    why = failure(sample.sample_name, setup.source.columns["attack"], told)
    silent = clean is not None and not bool(clean.isfinite().all())
    reason = Reason.NO_ANSWER if silent else Reason.CRASHED
    before = None if clean is None else predicted(clean.unsqueeze(0), setup.keep, setup.thresholds)[0]
    return ImageResult(lost(sample, setup.source, reason, why, before), clean, crash=error)
