"""`advbench run` and `advbench resume`: run suites and write folders of results."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from advbench.cli.console import Command, console, progress
from advbench.cli.data_options import data_option
from advbench.cli.imports import first_imports
from advbench.cli.model_options import described, plugin_option, with_options
from advbench.cli.suite_options import limited, with_adaptive, with_models, with_proofs, with_surrogates
from advbench.config.data.paths import paths_from_elsewhere
from advbench.config.fields import AS_IT_WAS
from advbench.config.suite import DatasetSpec, Suite, Trust
from advbench.config.suite_files import load_suite, on_other_data, refuse_code
from advbench.errors import ExitCode, UserError
from advbench.records.run_folder import RunFolder
from advbench.tracking.trackers import TRACKERS, describe_trackers, refuse_without_package

if TYPE_CHECKING:
    from collections.abc import Callable

    from advbench.analysis.baseline import Baseline
    from advbench.config.gates import Gates
    from advbench.planning.workers import Wanted
    from advbench.records.stored_run import StoredRun


def _number(ctx: click.Context, param: click.Parameter, value: str) -> "Wanted":
    """A number of processes from 1 to 256, or "auto"."""
    if value == "auto":
        return "auto"
    number: int = click.IntRange(1, 256)(value, param, ctx)
    return number


def _tracker(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    """Check that the tracker's package is installed now, not after hours of work."""
    if value is not None:
        refuse_without_package(value)
    return value


def _shared(command: "Callable[..., Any]") -> "Callable[..., Any]":
    """The options shared by `run` and `resume`."""
    options = (
        click.option(
            "--workers", callback=_number, default="auto", show_default=True, metavar="N", help="Processes, or auto."
        ),
        click.option("--cluster", metavar="ADDRESS", help="dask scheduler to run on: tcp://HOST:PORT, or local:N."),
        click.option(
            "--cluster-file", type=click.Path(path_type=Path), metavar="FILE", help="Scheduler file of a dask cluster."
        ),
        plugin_option(kept=True),
        click.option("--allow-code", is_flag=True, help="Allow running the code of the suite's own models."),
        click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON."),
        click.option("--junit-xml", type=click.Path(path_type=Path), metavar="FILE", help="Write a JUnit report."),
        click.option("--github/--no-github", default=None, help="Write GitHub's job summary. Default: in Actions."),
        click.option("--fail-under", type=click.FloatRange(0, 1), metavar="SHARE", help="Minimum robust accuracy."),
        click.option("--baseline", type=click.Path(path_type=Path), metavar="FILE", help="Baseline to compare with."),
        click.option(
            "--track",
            type=click.Choice(list(TRACKERS)),
            callback=_tracker,
            help=f"Log the finished run, with its report and pictures, to a tracker. {describe_trackers()}",
        ),
        click.option("--quiet", is_flag=True, help="Show no progress and no table."),
    )
    return with_options(options)(command)


@click.command(cls=Command)
@click.argument("suite")
@click.option("--out", type=click.Path(path_type=Path), metavar="FOLDER", help="Default: reports/<name of the suite>.")
@click.option("--model", "models", multiple=True, metavar="NAME", help="Replaces the suite's models; repeatable.")
@described()
@data_option("Replaces the suite's data sets; repeatable", multiple=True)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N images of each data set.")
@click.option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:0,2 or mps, instead of the suite's.")
@click.option("--precise", is_flag=True, help="Attack the networks themselves, not their faster forms.")
@click.option("--adaptive", is_flag=True, help="Also run the attack adaptive, which works around defences.")
@click.option("--trust", type=click.Choice(get_args(Trust)), help="Trust checks: full also runs each attack longer.")
@click.option(
    "--surrogate",
    "surrogates",
    multiple=True,
    metavar="NAME",
    help="Craft attacks on this model and transfer them to the suite's; repeatable. NAME+NAME is an ensemble.",
)
@click.option("--prove", is_flag=True, help="Where no attack succeeds, try to prove that nothing within eps can.")
@click.option("--until-decided", is_flag=True, help="Stop as soon as a random part of the images decides every gate.")
@click.option("--dry-run", is_flag=True, help="Print what would be run and what it would cost, without running it.")
@_shared
@click.pass_context
def run(
    ctx: click.Context, /, suite: str, out: Path | None, data: tuple[DatasetSpec, ...], dry_run: bool, **options: Any
) -> None:
    """Run a suite of attacks.

    SUITE is a built-in one (smoke, ci, profile, full, imagenet-sample) or a TOML file. If the folder already holds the
    same run, it is resumed; if that run is finished, only the gates are evaluated.
    """
    models = options.pop("models")
    wanted = load_suite(suite, allow_code=options["allow_code"] or bool(models))
    if models and not options["allow_code"]:  # of the suite's models, only those that attacks are made on remain
        refuse_code(wanted.model_copy(update={"models": ()}))
    wanted = with_models(wanted, models, options)
    wanted = on_other_data(wanted, data) if data else wanted
    wanted = with_surrogates(wanted, options.pop("surrogates"), allow_code=options["allow_code"])
    wanted = with_adaptive(wanted) if options.pop("adaptive") else wanted
    given = {name: options.pop(name) for name in ("device", "precise", "trust")}
    wanted = limited(wanted, options.pop("limit"), **given)
    wanted = with_proofs(wanted) if options.pop("prove") else wanted
    wanted = wanted.model_copy(update={"stop": "decided"}) if options.pop("until_decided") else wanted
    if dry_run:
        _print_forecast(wanted, options["workers"])
        return
    _run(ctx, wanted, out or Path("reports") / wanted.name, options)


def _print_forecast(suite: Suite, workers: "Wanted") -> None:
    """Print the forecast of a suite."""
    from advbench.planning.forecast import HEADINGS, forecast
    from advbench.report.terminal import print_table

    out, expected = console(), forecast(suite, workers)
    for table in expected.tables:
        print_table(out, table.title, HEADINGS, table.rows)
        out.print()
    for sentence in expected.not_run:
        out.print(sentence, markup=False)
    out.print(expected.total)


@click.command(cls=Command)
@click.argument("folder", type=click.Path(path_type=Path))
@_shared
@click.pass_context
def resume(ctx: click.Context, /, folder: Path, **options: Any) -> None:
    """Finish an interrupted run, and retry what failed."""
    files = RunFolder(folder)
    manifest = files.read_manifest()
    wanted = Suite.model_validate(manifest["suite"], context=AS_IT_WAS)
    needed = set(manifest.get("identity", {}).get("plugins", {})) - set(options["plugins"])
    if needed:
        hint = " ".join(f"--plugin {name}" for name in sorted(needed))
        raise UserError(f"{folder} was run with plugins that were not given", hint=hint)
    if not options["allow_code"]:
        refuse_code(wanted)
    if manifest.get("status") == "complete":
        from advbench.records.stored_run import read_run

        if (found := read_run(folder)).complete and not found.spared:  # else other gates may need more images
            _end(ctx, found, wanted, options)
    with paths_from_elsewhere(wanted, folder):
        _run(ctx, wanted, folder, options)


def _run(ctx: click.Context, suite: Suite, out: Path, options: dict[str, Any]) -> None:
    cluster = _cluster(options)
    baseline, gates = _needed_in_the_end(suite, options)
    with progress(options["quiet"]) as told:
        with first_imports():
            from advbench.analysis.anytime.decision import Undecided
            from advbench.analysis.gates import refuse_in_advance
            from advbench.execution.clusters.connection import connected
            from advbench.execution.runner import run_plan
            from advbench.planning.prepare import Terminated, prepared
            from advbench.records.stored_run import read_run

        try:
            with connected(cluster) as client, prepared(suite, out, progress=told) as ready:
                refuse_in_advance(ready.plan.units, suite, gates, baseline)
                undecided = Undecided(ready.folder, ready.plan.units, suite, gates)
                run_plan(ready, workers=options["workers"], client=client, progress=told, undecided=undecided)
        except (KeyboardInterrupt, Terminated) as stop:
            files = RunFolder(out)
            begun = files.manifest.is_file()  # there is none while the run is planned
            saved = f"what was finished is saved: {files.resuming}" if begun else "nothing was computed yet"
            click.echo(f"interrupted; {saved}", err=True)
            ctx.exit(ExitCode.INTERRUPTED if isinstance(stop, KeyboardInterrupt) else ExitCode.TERMINATED)
    _end(ctx, read_run(out), suite, options)


def _cluster(options: dict[str, Any]) -> str | Path | None:
    """The cluster to work on, if any."""
    address: str | None = options["cluster"]
    file: Path | None = options["cluster_file"]
    if address and file:
        raise UserError("--cluster and --cluster-file both name a cluster", hint="give one of them")
    if (address or file) and options["plugins"] and not options["allow_code"]:
        raise UserError("workers would run the code of plugins", hint="add --allow-code if they may")
    return file or address


def _needed_in_the_end(suite: Suite, options: dict[str, Any]) -> "tuple[Baseline | None, Gates]":
    """Check the baseline and the gates before any work, so that a mistake shows now, not after hours."""
    from advbench.analysis.anytime.decision import refuse_undecidable
    from advbench.analysis.baseline import read_baseline
    from advbench.analysis.corruptions.gate import refuse_without_attacks
    from advbench.cli.verdict import ANOTHER_REPORT
    from advbench.records.storage.atomic import folder_for_results

    gates = _gates(suite, options)
    refuse_without_attacks(gates, bool(suite.attacks))  # here max_drop_pp is known even if there is no baseline yet
    refuse_undecidable(suite, gates, baseline=options["baseline"] is not None)
    baseline = read_baseline(options["baseline"]) if options["baseline"] else None
    if baseline is None and gates.max_drop_pp is not None:  # the first run of all, from which the baseline is made
        click.echo("note: without --baseline the gate max_drop_pp cannot be evaluated in the end", err=True)
        gates = gates.model_copy(update={"max_drop_pp": None})
    report = options["junit_xml"]
    if report and (report.is_file() or not report.exists()):  # else it is a device or a pipe
        with folder_for_results(report.absolute().parent, hint=ANOTHER_REPORT):
            pass
    return baseline, gates


def _gates(suite: Suite, options: dict[str, Any]) -> "Gates":
    """The gates of the suite, or of the command line."""
    least = options["fail_under"]
    return suite.gates if least is None else suite.gates.model_copy(update={"min_robust_accuracy": least})


def _end(ctx: click.Context, done: "StoredRun", suite: Suite, options: dict[str, Any]) -> None:
    """Print the verdict and exit with its code."""
    if not any(unit.task == "attack" for unit in done.plan):
        click.echo(f"nothing was run: the suite {suite.name} has no images", err=True)
        ctx.exit(ExitCode.NOTHING)
    from advbench.cli.verdict import conclude

    code = conclude(
        done,
        gates=_gates(suite, options),
        baseline_path=options["baseline"],
        as_json=options["as_json"],
        quiet=options["quiet"],
        junit_xml=options["junit_xml"],
        github=options["github"],
        tracker=options["track"],
    )
    ctx.exit(code if code or done.complete else ExitCode.INCOMPLETE)
