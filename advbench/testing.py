"""Robustness as an assertion: attack a model in a test, and say what must hold. The pytest plug-in hands this out."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from advbench import __version__
from advbench.baseline import Baseline, read_baseline
from advbench.catalog import ATTACKS
from advbench.checks import check_model
from advbench.compare import compare
from advbench.config import DEFAULT_EPS, parse_eps, parse_goal
from advbench.datasets.batch import content_ids, sample_id
from advbench.evaluate import Evaluation, MakeGoal, evaluate, goal_maker, set_apart
from advbench.findings import Findings
from advbench.flags import Flag
from advbench.metrics import WORST_CASE, Cell
from advbench.models.classifier import Classifier
from advbench.records import COLUMNS, Record
from advbench.rows import Provenance, Sample, as_record, failure, left_out, lost, measurements, parameters, rank
from advbench.workbench import make_attack, spread
from attacks import Attack, Model
from attacks.starts import with_starts

_FIRST = 5
_CHECKED = 32
_NOISE_DRAWS = 20


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """What an attack did to a model, to be asserted about.

    `print(result)` gives the table, `result.frame` the rows.
    """

    findings: Findings
    """Rows, numbers and trust flags."""
    name: str
    """The test, and which of its calls."""
    baseline: Path | None = None
    """Where outcomes of an earlier session lie."""
    updating: bool = False
    """This session writes the baseline, so that there is nothing to compare with yet."""

    @property
    def frame(self) -> pd.DataFrame:
        """A row for each image and attack; the columns are those of a run."""
        return self.findings.frame

    @property
    def cell(self) -> Cell:
        """The numbers in the worst case over the attack and as much noise, at the largest eps."""
        return [cell for cell in self.findings.cells if cell.attack == WORST_CASE][-1]

    @property
    def flags(self) -> tuple[Flag, ...]:
        """Trust flags."""
        return self.findings.flags

    def assert_robust(self, min: float) -> None:  # noqa: A002 - it reads as it is meant: assert_robust(min=0.4)
        """Assert a least robust accuracy, 0 to 1. Unknown images do not count as robust.

        Raises:
            AssertionError: It is lower, or a flag of severity E says that the number means nothing.
            ValueError: ``min`` is no share.
        """
        __tracebackhide__ = True
        if not 0 <= min <= 1:
            raise ValueError(f"expected min from 0 to 1, got {min}")
        self.assert_trusted("E")
        rate = self.cell.robust.rate
        if rate is None or rate < min:
            raise AssertionError(f"robust accuracy is {self.cell.robust}, at least {100 * min:.1f} % wanted\n{self}")

    def assert_trusted(self, severities: str = "EF") -> None:
        """Assert that no trust flag of these severities is raised.

        Raises:
            AssertionError: One is.
        """
        __tracebackhide__ = True
        found = [flag for flag in self.flags if flag.severity in severities]
        if found:
            raise AssertionError("the numbers are not to be trusted:\n" + "\n".join(map(str, found)))

    def assert_no_drop(self, max_pp: float = 0.0, alpha: float = 0.05) -> None:
        """Assert that the model is not less robust than in the baseline, image by image.

        Args:
            max_pp: Percentage points by which it may be lower.
            alpha: A larger drop counts if it is significant at this level (exact McNemar test, one-sided).

        Raises:
            AssertionError: It is less robust.
            UserError: There is no baseline, or it is of other images or another attack.
        """
        __tracebackhide__ = True
        if self.updating:
            return
        if self.baseline is None:
            raise AssertionError("assert_no_drop needs a baseline: pytest --advbench-baseline FILE")
        old, new = read_baseline(self.baseline).of_model(self.name), self.as_baseline()
        old.refuse_others(new)
        pairs = compare(old.outcomes(), new.outcomes()).changes
        for change in (pair for pair in pairs if pair.after.key.attack == WORST_CASE):
            if change.drop_pp > max_pp and change.p_worse < alpha:
                raise AssertionError(
                    f"robust accuracy is {change.drop_pp:.1f} points lower than in the baseline, at most {max_pp:g} "
                    f"allowed (p = {change.p_worse:.2g}); newly broken: {', '.join(change.broken[:8])}\n{self}"
                )

    def as_baseline(self) -> Baseline:
        """The outcomes of all images, under the name of the test."""
        return Baseline.of(self.frame.assign(model=self.name), run_id=self.name, version=__version__)

    def __str__(self) -> str:
        from rich.console import Console

        from advbench.report.summary import numbers

        console = Console(width=100, highlight=False)
        with console.capture() as capture:
            console.print(numbers(self.findings))
        return capture.get().rstrip()

    def _repr_html_(self) -> str:
        from advbench.report.notebook import as_html

        return as_html(self.findings)


@dataclass
class Bench:
    """Attacks models for one test; pytest's fixture `advbench` is one.

    Example:
        >>> bench = Bench("test_it", None)
        >>> x = torch.rand(20, 3, 4, 4)
        >>> result = bench(lambda x: x.flatten(1)[:, :5], x, attack="fgsm", eps="8/255")
        >>> result.cell.relative  # without labels, correct means as when clean
        True
    """

    test: str
    """Name of the test."""
    baseline: Path | None
    """Outcomes of an earlier session."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the calls that leave them out."""
    updating: bool = False
    """This session writes the baseline."""
    results: list[Result] = field(default_factory=list)
    """Of the calls so far."""

    def __call__(self, model: Model, data: Tensor | tuple[Tensor, Tensor], **options: Any) -> Result:
        """Attack a model on some images.

        Args:
            model: Images (N, C, H, W) in [0, 1] -> logits (N, classes). Looked at for reasons to distrust it first.
            data: Images, or images and their labels (N,). Without labels, correct means: as when clean.
            **options: `attack` (a name of `advbench attacks`; default pgd), `norm` (default: the attack's first), `eps`
                (a number or a text such as "8/255"; default 2/255 in Linf), `goal` (default untargeted), `seed`
                (default 0), `params` (of the attack), `batch_size` (default 64); in place of those, the defaults of
                the marker `advbench`.

        Raises:
            UserError: An unknown name, a parameter that the attack does not take, or an eps of the wrong scale.
            ValueError: An option that there is not, or images that are none.
        """
        job = _job(dict(self.defaults) | options)
        x, labels = data if isinstance(data, tuple) else (data, None)
        named = model if isinstance(model, Classifier) else _Named(model, x)
        name = self.test + (f"[{len(self.results) + 1}]" if self.results else "")
        flags = check_model(model, x[:_CHECKED], None if labels is None else labels[:_CHECKED], dataset="test")
        make_goal = goal_maker(parse_goal(job.goal), named)  # type: ignore[arg-type]
        records = [record for attack in _attacks(job, x) for record in _records(named, (x, labels), attack, make_goal)]
        frame = pd.DataFrame(list(map(asdict, records)), columns=list(COLUMNS))
        findings = Findings(frame=frame, model_flags=tuple(flags))
        result = Result(findings=findings, name=name, baseline=self.baseline, updating=self.updating)
        self.results.append(result)
        return result


@dataclass(frozen=True, kw_only=True)
class _Job:
    attack: Attack
    name: str
    norm: str
    eps: float | None
    goal: str
    seed: int
    batch_size: int


def _job(options: dict[str, Any]) -> _Job:
    """The options of a call, understood."""
    known: dict[str, Any] = {
        "attack": "pgd",
        "norm": None,
        "eps": None,
        "goal": "untargeted",
        "seed": 0,
        "params": {},
        "batch_size": 64,
    }
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(f"expected the options {', '.join(known)}, got {', '.join(unknown)}")
    asked = known | options
    card = ATTACKS[asked["attack"]]
    norm = asked["norm"] or card.norms[0]
    text = DEFAULT_EPS.get(norm) if asked["eps"] is None and card.kind == "budget" else asked["eps"]
    if text is None and card.kind == "budget":
        raise ValueError(f"expected an eps for {card.name} in {norm}, got none")
    return _Job(
        attack=make_attack(card.name, norm, asked["params"]),
        name=card.name,
        norm=norm,
        eps=None if text is None else parse_eps(str(text), norm, option="eps"),
        goal=asked["goal"],
        seed=int(asked["seed"]),
        batch_size=int(asked["batch_size"]),
    )


def _attacks(job: _Job, x: Tensor) -> Iterator[_Job]:
    """The attack, with images of the test to start from if it needs any, and as much noise where it is given an eps."""
    yield replace(job, attack=with_starts(job.attack, spread(x)))  # type: ignore[arg-type]
    if job.eps is not None and job.name != "noise":
        noise = make_attack("noise", job.norm, {"draws": _NOISE_DRAWS})
        yield replace(job, name="noise", attack=noise)


def _records(
    model: "Classifier | _Named", data: tuple[Tensor, Tensor | None], job: _Job, make_goal: MakeGoal
) -> Iterator[Record]:
    """A row for each image under an attack."""
    columns = {
        "model": model.name, "dataset": "test", "attack": job.name, "params": parameters(job.attack), "goal": job.goal,
        "norm": job.norm, "eps": job.eps, "seed": job.seed,
    }  # fmt: skip
    source, (x, labels) = Provenance("test", columns), data
    for start in range(0, len(x), job.batch_size):
        batch = x[start : start + job.batch_size]
        truth = None if labels is None else labels[start : start + job.batch_size]
        known: list[int | None] = [None] * len(batch) if truth is None else truth.tolist()
        samples = [Sample(sample_id(image), str(start + i), known[i]) for i, image in enumerate(batch)]
        with torch.no_grad():
            logits = model(batch)
        goal = make_goal(logits, content_ids(batch), truth)
        places = (~set_apart(goal, logits, truth)).nonzero().squeeze(1)
        found: dict[int, Record] = {}
        if len(places):
            result = evaluate(model, job.attack, batch[places], goal.select(places), eps=job.eps, seed=job.seed)
            found = dict(zip(places.tolist(), _judged(source, [samples[i] for i in places], result), strict=True))
        before = rank(logits, _FIRST)
        yield from (found[i] if i in found else left_out(samples[i], source, before[i]) for i in range(len(batch)))


def _judged(source: Provenance, samples: list[Sample], result: Evaluation) -> Iterator[Record]:
    """A row for each image that was attacked; where the attack failed, one that says why nothing is known."""
    before, after = (rank(z, _FIRST) for z in (result.verdicts.clean_logits, result.verdicts.adv_logits))
    for i, row in enumerate(measurements(result)):
        if i in result.errors:
            why = failure(samples[i].sample_name, source.columns["attack"], result.errors[i])
            yield lost(samples[i], source, why, before[i])
        else:
            yield as_record(source, samples[i], row, (before[i], after[i]))


class _Named:
    """A model that is no classifier of advbench's, with what goals need of one: classes are called by their indices."""

    def __init__(self, model: Model, x: Tensor) -> None:
        with torch.no_grad():
            self.num_classes = int(model(x[:1]).shape[1])
        self.name = str(getattr(model, "name", type(model).__name__))
        self._model = model

    def __call__(self, x: Tensor, /) -> Tensor:
        """Logits."""
        return self._model(x)

    def class_index(self, name: str) -> int:
        """The index that a class is called by."""
        if not name.isdecimal() or int(name) >= self.num_classes:
            raise ValueError(f"expected a class from 0 to {self.num_classes - 1}, got {name}")
        return int(name)
