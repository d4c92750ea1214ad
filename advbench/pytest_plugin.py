"""The pytest plugin: robustness as a test. It is loaded in every pytest session, so it imports nothing heavy.

A test requests the fixture `advbench`, attacks its model, and asserts a robust accuracy::

    def test_my_model_is_robust(advbench):
        result = advbench(model, (images, labels), attack="pgd", eps="8/255")
        result.assert_robust(min=0.4)

Images are a tensor, an array or a list, floats in [0, 1] or 8-bit values; labels are integers or one-hot rows. A
`DataLoader`, a data set or any other iterable of such batches works as well. Every option can also be set in the marker
of a test, class or module instead of the call::

    @pytest.mark.advbench(attack="apgd", norm="l2", eps=0.5, params={"steps": 100})

Markers are combined: an option in one marker applies unless a marker closer to the test, or the call, overrides it.

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
"""Attribute of a test report that carries the results from pytest-xdist's workers to the session's summary."""

_ANOTHER_FILE = "choose another file with --advbench-baseline"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the command-line options."""
    group = parser.getgroup("advbench", "adversarial robustness")
    group.addoption(
        "--advbench-baseline",
        type=Path,
        metavar="FILE",
        help="outcomes of an earlier session, image by image, for comparison by result.assert_no_drop()",
    )
    group.addoption("--advbench-update", action="store_true", help="write the outcomes of this session to the baseline")
    parser.addini("advbench_baseline", "default for --advbench-baseline", default="")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and check the options before any test runs."""
    config.addinivalue_line(
        "markers",
        'advbench(attack="pgd", norm="linf", eps="8/255", goal="untargeted", seed=0, params={}, batch_size=64): '
        "default options of the fixture advbench in this test; eps is a number of any kind or a text",
    )
    if config.getoption("--advbench-update") and baseline_file(config) is None:
        raise pytest.UsageError("--advbench-update needs --advbench-baseline FILE, or the setting advbench_baseline")
    file = baseline_file(config)
    if config.getoption("--advbench-update") and file is not None and not hasattr(config, "workerinput"):
        _refuse_no_place(file)


def _refuse_no_place(file: Path) -> None:
    """Refuse a baseline that cannot be written or updated now, not after the last test."""
    from advbench.analysis.baseline import read_baseline
    from advbench.errors import UserError
    from advbench.records.storage.atomic import folder_for_results

    try:
        with folder_for_results(file.absolute().parent, hint=_ANOTHER_FILE):
            pass
        if file.exists():
            read_baseline(file)
    except UserError as error:
        raise pytest.UsageError(str(error)) from None


def baseline_file(config: pytest.Config) -> Path | None:
    """The baseline of this session; a path in the settings is relative to the folder of the settings file."""
    named: Path | None = config.getoption("--advbench-baseline")
    if named is None and (setting := config.getini("advbench_baseline")):
        return config.rootpath / str(setting)
    return named


@pytest.fixture
def advbench(request: pytest.FixtureRequest) -> "Bench":
    """Attack models and assert their robustness: `advbench(model, (images, labels), attack="pgd", eps="8/255")`.

    See :class:`advbench.testing.Bench` for the accepted models, images, labels and options.
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
    """The options set by a test's markers: its own, then those of its class and module."""
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
    """Add the measurements of a test to its report."""
    report = yield
    bench = item.stash.get(_BENCH, None)
    if bench is not None and call.when == "call":
        results = [{"text": _measured(each), "baseline": _outcomes(each)} for each in bench.results]
        setattr(report, _MEASURED, results)
        item.user_properties += [("advbench", each["text"]) for each in results]
    return report


def _measured(result: Any) -> str:
    """The measurement of a call, in one line."""
    from advbench.report.columns import describe_left_out

    return f"{result.name}: {result.cell.robust}{describe_left_out(result.cell)}"


def _outcomes(result: Any) -> str | None:
    """The outcomes as text, if this session writes them."""
    return result.as_baseline().model_dump_json() if result.updating else None


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the measurements, including those of pytest-xdist workers, and write the baseline if requested."""
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
        from advbench.errors import UserError

        found = [Baseline.model_validate_json(each["baseline"]) for each in measured if each["baseline"]]
        nothing = Baseline(run_id="pytest", advbench=__version__, images=(), cells=())
        try:
            (read_baseline(file) if file.exists() else nothing).replaced(found).write(file, hint=_ANOTHER_FILE)
        except UserError as error:  # what could be known before the tests was checked then
            pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)
        terminalreporter.write_line(f"baseline written: {file}; commit it")
