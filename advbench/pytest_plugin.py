"""The pytest plug-in: robustness as a test. It is loaded in every pytest session, so it imports nothing heavy.

A test asks for the fixture `advbench`, attacks a model of its own, and says what must hold::

    def test_my_model_is_robust(advbench):
        result = advbench(model, (images, labels), attack="pgd", eps="8/255")
        result.assert_robust(min=0.4)

Images are a tensor, an array or a list, floats in [0, 1] or 8-bit values; labels are whole numbers or one-hot rows. A
`DataLoader`, a data set or any other iterable of such batches does as well. Every option may stand in the marker of a
test, of a class or of a module in place of the call::

    @pytest.mark.advbench(attack="apgd", norm="l2", eps=0.5, params={"steps": 100})

Markers add up: what one says of an option holds unless one nearer to the test, or the call, says otherwise.

With `--advbench-baseline FILE`, `result.assert_no_drop()` compares with the outcomes of an earlier session, which
`--advbench-update` writes.
"""

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from advbench.testing import Bench

_BENCH: "pytest.StashKey[Bench]" = pytest.StashKey()
_MEASURED = "advbench_measured"
"""Attribute of a report that takes the results of a test from pytest-xdist's workers to where they are summed up."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("advbench", "adversarial robustness")
    group.addoption(
        "--advbench-baseline",
        type=Path,
        metavar="FILE",
        help="outcomes of an earlier session, image by image, which result.assert_no_drop() compares with",
    )
    group.addoption("--advbench-update", action="store_true", help="write the outcomes of this session to the baseline")
    parser.addini("advbench_baseline", "the file for --advbench-baseline where that is not given", default="")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and check the options before any test runs."""
    config.addinivalue_line(
        "markers",
        'advbench(attack="pgd", norm="linf", eps="8/255", goal="untargeted", seed=0, params={}, batch_size=64): what '
        "the fixture advbench does in this test by default; eps is a number of any kind or a text",
    )
    if config.getoption("--advbench-update") and baseline_file(config) is None:
        raise pytest.UsageError("--advbench-update needs --advbench-baseline FILE, or the setting advbench_baseline")


def baseline_file(config: pytest.Config) -> Path | None:
    """The baseline of this session; a path in the settings starts at the folder they stand in."""
    named: Path | None = config.getoption("--advbench-baseline")
    if named is None and (setting := config.getini("advbench_baseline")):
        return config.rootpath / str(setting)
    return named


@pytest.fixture
def advbench(request: pytest.FixtureRequest) -> "Bench":
    """Attack models and say what must hold: `advbench(model, (images, labels), attack="pgd", eps="8/255")`.

    What models, images, labels and options may be, says :class:`advbench.testing.Bench`.
    """
    from advbench.testing import Bench

    bench = Bench(
        test=request.node.nodeid,
        baseline=baseline_file(request.config),
        defaults=_marked(request.node),
        updating=bool(request.config.getoption("--advbench-update")),
    )
    request.node.stash[_BENCH] = bench
    return bench


def _marked(test: pytest.Item) -> dict[str, Any]:
    """The options that a test's markers set: its own, then those of its class and of its module."""
    options: dict[str, Any] = {}
    for marker in test.iter_markers("advbench"):
        if marker.args:
            raise pytest.UsageError(
                f'the marker advbench takes options by name, such as attack="pgd", got {marker.args[0]!r} in '
                f"{test.nodeid}"
            )
        options = {**marker.kwargs, **options}
    return options


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: "pytest.CallInfo[None]") -> Generator[None, Any, Any]:
    """Put what a test measured into its report."""
    report = yield
    bench = item.stash.get(_BENCH, None)
    if bench is not None and call.when == "call":
        results = [{"text": _measured(each), "baseline": _outcomes(each)} for each in bench.results]
        setattr(report, _MEASURED, results)
        item.user_properties += [("advbench", each["text"]) for each in results]
    return report


def _measured(result: Any) -> str:
    """What a call measured, in a line."""
    from advbench.report.columns import describe_left_out

    return f"{result.name}: {result.cell.robust}{describe_left_out(result.cell)}"


def _outcomes(result: Any) -> str | None:
    """The outcomes as text, if this session writes them."""
    return result.as_baseline().model_dump_json() if result.updating else None


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print what was measured, also by the workers of pytest-xdist, and write the baseline if that was asked for."""
    reports = [report for group in terminalreporter.stats.values() for report in group if hasattr(report, _MEASURED)]
    measured = [each for report in reports for each in getattr(report, _MEASURED)]
    if not measured:
        return
    terminalreporter.section("robust accuracy", sep="-")
    for each in sorted(measured, key=lambda each: str(each["text"])):
        terminalreporter.write_line(each["text"])
    file = baseline_file(config)
    if config.getoption("--advbench-update") and file is not None:
        from advbench import __version__
        from advbench.analysis.baseline import Baseline, read_baseline

        found = [Baseline.model_validate_json(each["baseline"]) for each in measured if each["baseline"]]
        nothing = Baseline(run_id="pytest", advbench=__version__, images=(), cells=())
        (read_baseline(file) if file.exists() else nothing).replaced(found).write(file)
        terminalreporter.write_line(f"baseline written: {file}; commit it")
