"""Robustness assertions: attack a model in a test, and assert its robustness. Used by the pytest plugin."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from advbench import __version__
from advbench.analysis.baseline import Baseline, read_baseline
from advbench.analysis.compare import compare
from advbench.analysis.metrics import WORST_CASE, Cell
from advbench.analysis.run_analysis import RunAnalysis
from advbench.config.goals import DEFAULT_LABEL_GOAL, parse_goal
from advbench.datasets.images.ids import sample_ids
from advbench.datasets.labels import labels_for, truths_of
from advbench.datasets.trained_on import trained_on
from advbench.errors import UserError, first_line
from advbench.evaluation.attack_options import AttackOptions, read_options
from advbench.evaluation.batch import BatchAttack, ImageResult, attack_batch
from advbench.evaluation.checks.data import LOOKED_AT, check_data
from advbench.evaluation.checks.model import ASKED, check_model
from advbench.evaluation.checks.sets import Shown, check_set
from advbench.evaluation.goals import MakeGoal, goal_labels, goal_maker
from advbench.evaluation.recording import Provenance, Sample, lost, parameters
from advbench.evaluation.subject import Subject, check_callable
from advbench.models.classifier import Classifier
from advbench.pictures.handed_over import HandedOver, hand_over
from advbench.planning.resources import spread
from advbench.records.flag import Flag, check_severities
from advbench.records.record import COLUMNS, Reason, Record
from advbench.sanitize import count_of, one_line
from attacks import Model
from attacks.searches.starts import with_starts

_FIRST = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """The result of an attack on a model, with assertions about it.

    `print(result)` shows the table; `result.frame` has the rows.
    """

    analysis: RunAnalysis
    """Rows, numbers and trust flags."""
    name: str
    """Name of the test; from the second call on, with the number of the call."""
    baseline: Path | None = None
    """File with the outcomes of an earlier session; None if there is none."""
    updating: bool = False
    """Whether this session writes the baseline, so there is nothing to compare with yet."""

    @property
    def frame(self) -> pd.DataFrame:
        """The results as a table with a row for each image and attack, and the columns of a run."""
        return self.analysis.frame

    @property
    def cell(self) -> Cell:
        """The numbers in the worst case over the attack and noise of the same size, at the largest eps."""
        return [cell for cell in self.analysis.cells if cell.attack == WORST_CASE][-1]

    @property
    def flags(self) -> tuple[Flag, ...]:
        """The trust flags that were raised."""
        return self.analysis.flags

    def assert_robust(self, min: float) -> None:  # noqa: A002 - it reads naturally: assert_robust(min=0.4)
        """Assert that robust accuracy is at least ``min``, from 0 to 1. Unknown images do not count as robust.

        Raises:
            AssertionError: It is lower, or a flag of severity E says that the number is meaningless.
            ValueError: ``min`` is not from 0 to 1.
        """
        __tracebackhide__ = True
        if not 0 <= min <= 1:
            raise ValueError(f"expected min from 0 to 1, got {min}")
        self.assert_trusted("E")
        if (rate := self.cell.robust.rate) is None or rate < min:
            raise AssertionError(f"robust accuracy is {self.cell.robust}, at least {100 * min:.1f} % required\n{self}")

    def assert_trusted(self, severities: str = "EF") -> None:
        """Assert that no trust flag of these severities is raised.

        Raises:
            AssertionError: There is such a flag.
            ValueError: There is no such severity; severities are letters of EFI.
        """
        __tracebackhide__ = True
        check_severities(severities)
        if found := [flag for flag in self.flags if flag.severity in severities]:
            raise AssertionError("the numbers cannot be trusted:\n" + "\n".join(map(str, found)))

    def assert_no_drop(self, max_pp: float = 0.0, alpha: float = 0.05) -> None:
        """Assert that the model is not less robust than in the baseline, image by image.

        Args:
            max_pp: Largest allowed drop of robust accuracy, in percentage points.
            alpha: Significance level at which a larger drop counts (exact McNemar test, one-sided).

        Raises:
            AssertionError: The model is less robust, or there is no baseline file.
            UserError: The baseline lacks this test, cannot be read, or was made with other images or another attack.
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

    def __repr__(self) -> str:
        where = f"{self.frame['attack'].iloc[0]} on {count_of(self.frame['sample_id'].nunique(), 'image')}"
        flags = count_of(len(self.flags), "trust flag")
        return f"Result({self.name!r}: {where}, robust {self.cell.robust}, {flags})"

    def __str__(self) -> str:
        from rich.console import Console

        from advbench.report.terminal import numbers

        console = Console(width=100, highlight=False)
        with console.capture() as capture:
            console.print(numbers(self.analysis))
        return capture.get().rstrip()

    def _repr_html_(self) -> str:
        from advbench.report.notebook import as_html

        return as_html(self.analysis)


@dataclass
class Bench:
    """Attacks models for one test; the pytest fixture `advbench` is one.

    Example:
        >>> import torch
        >>> bench = Bench("test_it", None)
        >>> x = torch.rand(20, 3, 4, 4)
        >>> result = bench(lambda x: x.flatten(1)[:, :5], x, attack="fgsm", eps="8/255")
        >>> result.cell.relative  # without labels, correct means as when clean
        True
    """

    test: str
    """Name of the test."""
    baseline: Path | None
    """File with the outcomes of an earlier session; None if there is none."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Options for calls that do not set them."""
    updating: bool = False
    """Whether this session writes the baseline."""
    results: list[Result] = field(default_factory=list)
    """Results of the calls so far."""

    def __repr__(self) -> str:
        return one_line(self)

    def __call__(self, model: Model, data: Any, **options: Any) -> Result:
        """Attack a model on some images.

        Args:
            model: Images (N, C, H, W) in [0, 1] -> logits (N, classes), or an output that contains them: a tuple with
                the logits first, a mapping or an object with `logits`. It is checked for trust flags first.
            data: A data set in one word or a path, as for `advbench run --data`: "folder:val/,images=200"; an
                `advbench.Dataset`, or one of the package datasets. Or images; or (images, labels), as a tuple, a list
                or a mapping; or an iterable of such batches or of single images, such as a `DataLoader` or a data set;
                all images are then held in memory. Images are a tensor, an array or a list: floats in [0, 1], of the
                type that the model accepts, or 8-bit values, which are divided by 255. Labels are integers of any
                type, (N,) or (N, 1), or one-hot rows (N, classes); for a multi-label model, which has `thresholds`,
                rows of 0 and 1 (N, labels). Without labels, correct means classified as when clean.
            **options: `attack` (a name of `advbench attacks`; default pgd), `norm` (default: the attack's first), `eps`
                (a number of any kind or a string such as "8/255"; default 2/255 in Linf), `goal` (default untargeted;
                for several labels any-label-flips), `seed` (default 0), `params` (of the attack), `batch_size`
                (default 64). The marker `advbench` sets other defaults.

        Raises:
            UserError: An unknown name, a data set that cannot be opened or does not match the model, a parameter that
                the attack does not support, or an eps on the wrong scale.
            ValueError: An option that does not exist; images, labels or a model that are not as described above, or do
                not match each other; or a model that fails on the images.
        """
        job = read_options(dict(self.defaults) | options)
        check_callable(model)
        handed = hand_over(model, data, job.seed)
        subject = Subject(handed.model, handed.inputs.x, handed.inputs.dtypes)
        handed = handed._replace(inputs=handed.inputs._replace(x=handed.inputs.x.to(subject.working)))
        if (y := handed.inputs.y) is not None:
            y = labels_for(y, subject.num_classes, subject.name, several=subject.thresholds is not None)
            handed = handed._replace(inputs=handed.inputs._replace(y=y))
        if subject.thresholds is not None and "goal" not in {*self.defaults, *options}:
            job = replace(job, goal=DEFAULT_LABEL_GOAL)
        make_goal = goal_maker(parse_goal(job.goal), subject)  # type: ignore[arg-type]
        name = self.test + (f"[{len(self.results) + 1}]" if self.results else "")
        flags = _flags(subject, handed)
        frame = pd.DataFrame(list(map(asdict, _records(subject, handed, job, make_goal))), columns=list(COLUMNS))
        analysis = RunAnalysis(frame=frame, model_flags=tuple(flags))
        result = Result(analysis=analysis, name=name, baseline=self.baseline, updating=self.updating)
        self.results.append(result)
        return result


def _flags(subject: Subject, handed: HandedOver) -> list[Flag]:
    """Trust flags of the model, and of the model on these images if their labels are known."""
    x, y, dataset = handed.inputs.x, handed.inputs.y, handed.dataset
    flags = check_model(subject, x[:ASKED], None if y is None else y[:ASKED], dataset=dataset)
    if y is not None and not any(flag.severity == "E" for flag in flags):
        step = -(-len(x) // LOOKED_AT)  # evenly spaced: a data set may be sorted by class
        flags += check_data(subject, x[::step], y[::step], dataset=dataset, within=handed.model)
    return flags + check_set(_prepares(subject, handed), _shown(handed), dataset=dataset)


def _shown(handed: HandedOver) -> Shown:
    """The images that were passed in, and what is known about them."""
    x, y = handed.inputs.x, handed.inputs.y
    return Shown(
        ids=sample_ids(x),
        labels=None if y is None else truths_of(y),
        pictures=handed.pictures,
        trained_on=trained_on(getattr(handed.model, "loaded_from", None)),
        train_split=handed.train_split,
    )


def _prepares(subject: Subject, handed: HandedOver) -> Classifier:
    """The classifier that preprocesses pictures; for any other callable, one that leaves them unchanged."""
    if isinstance(handed.model, Classifier):
        return handed.model
    return Classifier(torch.nn.Identity(), num_classes=max(subject.num_classes, 2), name=subject.name)


def _records(model: Subject, handed: HandedOver, job: AttackOptions, make_goal: MakeGoal) -> Iterator[Record]:
    """A row for each image under the attack, and under noise of the same size if there is an eps."""
    inputs = handed.inputs
    known = [None] * len(inputs.x) if inputs.y is None else truths_of(inputs.y)
    names = handed.names or tuple(map(str, range(len(inputs.x))))
    samples = list(map(Sample.of, sample_ids(inputs.x), names, known))
    pool = inputs.x[list(spread(range(len(inputs.x))))]
    for name, attack in job.attacks():
        columns = {
            "model": model.name, "dataset": handed.dataset, "attack": name, "params": parameters(attack),
            "goal": job.goal, "norm": job.norm, "eps": job.eps, "seed": job.seed,
            "goal_labels": goal_labels(parse_goal(job.goal), model),  # type: ignore[arg-type]
        }  # fmt: skip
        source = Provenance("test", columns)
        setup = BatchAttack(
            model=model,
            attack=with_starts(attack, pool),
            make_goal=make_goal,
            source=source,
            keep=_FIRST,
            thresholds=model.thresholds,
        )
        for start in range(0, len(samples), job.batch_size):
            rows = slice(start, start + job.batch_size)
            results = attack_batch(setup, inputs.x[rows], samples[rows])
            _check_attacked(results, model, inputs.x[rows], name)
            yield from (result.record for result in results)
        for called, why in handed.unreadable.items():
            yield lost(Sample(called, called, None), source, Reason.UNREADABLE, f"{called}: {why}")


def _check_attacked(results: Sequence[ImageResult], model: Subject, x: Tensor, attack: str) -> None:
    """Check that at least one image of a batch could be attacked; images that are left out do not count.

    Raises:
        UserError, ValueError: The attack or the model raised an exception on every image; the message reports the
            first.
    """
    crashes = [result.crash for result in results if not result.pointless]
    error = crashes[0] if crashes and all(crashes) else None
    if error is None:
        return
    if isinstance(error, UserError | ValueError):
        raise error
    why = first_line(error)
    took = f"images {tuple(x.shape)} of {x.dtype} on {x.device}"
    raise ValueError(
        f"expected to attack the model {model.name} with {attack} on {took}, got {type(error).__name__}: {why}"
    ) from error
