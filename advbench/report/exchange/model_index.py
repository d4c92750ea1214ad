"""The numbers of a run as the `model-index` of a Hugging Face model card. No torch.

Reference:
    Model card metadata, https://github.com/huggingface/hub-docs/blob/main/modelcard.md
"""

import json
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

from advbench.analysis.anytime.estimate import Estimate
from advbench.analysis.corruptions.errors import CorruptionResults, classified_right
from advbench.analysis.metrics import NOISE, WORST_CASE, Cell
from advbench.analysis.statistics import Mean, Proportion
from advbench.analysis.verdict import Verdict
from advbench.config.suite import DatasetSpec
from advbench.report.columns import describe_bound, describe_place
from advbench.report.corruptions.tables import describe_counted
from advbench.sanitize import display_name

if TYPE_CHECKING:
    from advbench.records.stored_run import StoredRun

_HUB = "hf/"


def as_model_index(verdict: Verdict, run: "StoredRun") -> str:
    """The front matter of a model card: clean accuracy, worst cases, and errors under corruptions of every model.

    A card is about one model: of a run of several, each has an entry of its own to be copied.

    Args:
        verdict: Verdict on the run.
        run: The stored run, for its id and its data sets.

    Returns:
        YAML between two lines of dashes, as `README.md` on the hub begins.
    """
    index = {"model-index": list(_models(verdict, {data.label: data for data in run.suite.datasets}))}
    comments = [f"advbench run {run.manifest['run_id']}: {verdict.headline}"]
    errors = ", and as an error" if verdict.analysis.corruptions else ""
    comments += [f"an image of which nothing is known counts as not robust{errors}"]
    lines = [*(f"# {display_name(comment, limit=200)}" for comment in comments), *_yaml(index)]
    return "\n".join(["---", *lines, "---", ""])


def _models(verdict: Verdict, data: dict[str, DatasetSpec]) -> Iterator[dict[str, Any]]:
    """An entry for each model: one result for each of its data sets."""
    numbers: dict[tuple[str, str], list[dict[str, Any]]] = {}
    worst = [cell for cell in verdict.analysis.cells if cell.attack == WORST_CASE]
    for place, cells in groupby(sorted(worst, key=_place), key=_place):
        numbers[place] = list(_metrics(list(cells), verdict))
    for found in verdict.analysis.corruptions:
        numbers.setdefault((found.model, found.dataset), list(_clean(found))).extend(_errors(found, verdict))
    for model, places in groupby(sorted(numbers), key=lambda place: place[0]):
        results = [_result(label, data.get(label), numbers[model, label]) for _, label in places]
        yield {"name": display_name(model), "results": results}


def _place(cell: Cell) -> tuple[str, str]:
    return cell.threat.model, cell.threat.dataset


def _result(label: str, data: DatasetSpec | None, metrics: list[dict[str, Any]]) -> dict[str, Any]:
    """The numbers of one model on one data set."""
    known = {name: getattr(data, name, None) for name in ("config", "split", "revision")}
    kind = display_name(data.name if data else label).removeprefix(_HUB)
    return {
        "task": {"type": "image-classification", "name": "Image Classification"},
        "dataset": {"type": kind, "name": display_name(label)}
        | {name: value for name, value in known.items() if value},
        "metrics": metrics,
    }


def _metrics(cells: list[Cell], verdict: Verdict) -> Iterator[dict[str, Any]]:
    first = cells[0]
    if not first.relative:
        yield from _metric("accuracy", "Accuracy", first.clean, {})
    for cell in cells:
        place = describe_place(cell.threat, cell.eps).partition(" · ")[2] or describe_bound(cell.threat.norm, cell.eps)
        doubt = f" (in doubt: {cell.flags})" if cell.flags else ""
        about = {"goal": cell.threat.goal, "norm": cell.threat.norm, "eps": cell.eps}
        attacks = {"attacks": ", ".join(_attacks(cell, verdict))}
        name = "Share of unchanged predictions" if cell.relative else "Robust accuracy"
        yield from _metric(
            "robust_accuracy", f"{name}, {place}, worst case over attacks{doubt}", cell.robust, about | attacks
        )
        if cell.proved:
            yield from _metric("proved_accuracy", f"Proved accuracy, {place}{doubt}", cell.proved, about)


def _clean(found: CorruptionResults) -> Iterator[dict[str, Any]]:
    """Clean accuracy, where no attack was run; none without labels."""
    if not found.relative:
        yield from _metric("accuracy", "Accuracy", classified_right(found.clean), {})


def _errors(found: CorruptionResults, verdict: Verdict) -> Iterator[dict[str, Any]]:
    """Errors under corruptions: their mean, that of ImageNet-C, and each corruption, averaged over the severities."""
    doubts = (flag for flag in verdict.analysis.flags if flag.forbids_numbers)
    place = (found.model, found.dataset)
    ids = ", ".join(dict.fromkeys(flag.id for flag in doubts if (flag.model, flag.dataset) == place))
    doubt = f" (in doubt: {ids})" if ids else ""
    what = "share of changed predictions" if found.relative else "error"
    every = [share for shares in found.errors.values() for share in shares.values()]
    about = {"corruptions": ", ".join(map(display_name, found.errors))}
    about |= {"severities": ", ".join(map(str, found.severities))}
    yield from _mean("corruption_error", f"Mean {what} under corruptions{doubt}", every, found.mean, about)
    over = f"{describe_counted(found)}; AlexNet has 1"
    for kind, name, mean in (("mce", "mCE", found.mce), ("relative_mce", "Relative mCE", found.relative_mce)):
        if mean is not None:
            yield from _mean(kind, f"{name}{over}{doubt}", every, mean, {})
    for corruption, shares in found.errors.items():
        each: dict[str, Any] = {"corruption": display_name(corruption)}
        each |= {f"severity_{severity}": share.most for severity, share in shares.items()}
        name = f"{what[0].upper()}{what[1:]} under {corruption.replace('_', ' ')}, mean over severities{doubt}"
        yield from _mean("corruption_error", name, [*shares.values()], found.means[corruption], each)


def _mean(
    kind: str, name: str, shares: list[Proportion], mean: Mean | None, about: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """One mean with its interval, or, where some image is unknown, as if that were an error and without interval."""
    rates = [share.most for share in shares if share.most is not None]
    if rates:
        value = sum(rates) / len(rates) if mean is None else mean.value
        counts: dict[str, Any] = {"images": shares[0].n, "unknown": sum(share.unknown for share in shares)}
        counts |= {} if mean is None else {"low": mean.low, "high": mean.high}
        args = {key: number for key, number in (about | counts).items() if number is not None}
        yield {"type": kind, "value": value, "name": display_name(name, limit=300), "args": args}


def _attacks(worst: Cell, verdict: Verdict) -> Iterator[str]:
    """The attacks that a worst case is made of."""
    for cell in verdict.analysis.cells:
        if (cell.threat, cell.eps) == (worst.threat, worst.eps) and cell.attack not in (WORST_CASE, NOISE):
            yield display_name(cell.attack)


def _metric(kind: str, name: str, share: Proportion | Estimate, about: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One number with its counts and interval; none if there were no images."""
    if share.rate is None:
        return
    counts = {"correct": share.k, "images": share.n, "unknown": share.unknown, "low": share.low, "high": share.high}
    args = {key: value for key, value in (about | counts).items() if value is not None}
    yield {"type": kind, "value": share.rate, "name": display_name(name, limit=300), "args": args}


def _yaml(value: Any, depth: int = 0) -> Iterator[str]:
    """Lines of YAML for mappings, lists and scalars; a scalar is written as JSON, which YAML reads too."""
    pad = "  " * depth
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, dict | list) and inner:
                yield f"{pad}{key}:"
                yield from _yaml(inner, depth + isinstance(inner, dict))
            else:
                yield f"{pad}{key}: {_scalar(inner)}"
    else:
        yield from _items(value, pad, depth)


def _items(values: Iterable[Any], pad: str, depth: int) -> Iterator[str]:
    for item in values:
        first, *rest = _yaml(item, depth + 1)
        yield f"{pad}- {first.lstrip()}"
        yield from rest


def _scalar(value: Any) -> str:
    if isinstance(value, float):  # without an exponent, which YAML 1.1 takes for a text
        text = f"{value:.9f}".rstrip("0")
        return f"{text}0" if text.endswith(".") else text
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
