"""`advbench compare A B`: what changed from one run to another, image by image."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from advbench.cli.console import Command, console, print_result

if TYPE_CHECKING:
    from advbench.analysis.compare import Change, Comparison, Outcomes

_PLACE = click.Path(path_type=Path)


@click.command(cls=Command)
@click.argument("before", type=_PLACE, metavar="A")
@click.argument("after", type=_PLACE, metavar="B")
@click.option(
    "--format", "form", type=click.Choice(["text", "markdown", "json"]), default="text", show_default=True,
    help="json lists every image that changed.",
)  # fmt: skip
def compare(before: Path, after: Path, form: str) -> None:
    """Compare two runs, or a baseline and a run, image by image.

    Numbers are paired where data set, goal, norm, eps and the attack's parameters are the same; models are matched by
    name, or as they are if each run has one.
    """
    from advbench.analysis import compare as pairs
    from advbench.errors import UserError

    found = pairs.compare(outcomes_at(before), outcomes_at(after))
    if not found.changes:
        raise UserError(f"{before} and {after} have no numbers in common", hint=_unlike(found))
    if form == "json":
        print_result(json.dumps(_as_dict(found), indent=2, allow_nan=False))
    elif form == "markdown":
        from advbench.report.markdown import compared_markdown

        print_result(compared_markdown(found))
    else:
        from advbench.report.terminal import compared

        console().print(compared(found))


def outcomes_at(place: Path) -> "list[Outcomes]":
    """The outcome of each image, from the folder of a run or from a baseline file.

    Raises:
        UserError: It is neither, or a run that stopped when it was decided.
    """
    from advbench.analysis.baseline import read_baseline

    if place.is_file():
        return read_baseline(place).outcomes()
    from advbench.analysis.compare import outcomes
    from advbench.analysis.run_analysis import RunAnalysis
    from advbench.records.stored_run import read_run, refuse_part

    run = read_run(place)
    refuse_part(run, "a comparison image by image")
    analysis = RunAnalysis.of(run)
    return outcomes(analysis.frame, analysis.budgets or {})


def _unlike(found: "Comparison") -> str:
    from advbench.report.columns import describe_outcomes

    sides = [
        ("the first has", found.only_before),
        ("the second has", found.only_after),
    ]
    return "\n".join(f"{words} {describe_outcomes(cells[-1])}" for words, cells in sides if cells)


def _as_dict(found: "Comparison") -> dict[str, Any]:
    return {
        "changes": [_change(change) for change in found.changes],
        "only_before": [{"model": cell.model, **cell.key._asdict()} for cell in found.only_before],
        "only_after": [{"model": cell.model, **cell.key._asdict()} for cell in found.only_after],
    }


def _change(change: "Change") -> dict[str, Any]:
    return {
        "model_before": change.before.model,
        "model_after": change.after.model,
        **change.after.key._asdict(),
        "form_before": change.before.form,
        "form_after": change.after.form,
        "pairs": change.pairs,
        "robust_before": change.before.share.rate,
        "robust_after": change.after.share.rate,
        "drop_pp": change.drop_pp,
        "half_width_pp": change.half_width_pp,
        "p_value": change.p_value,
        "p_adjusted": change.p_adjusted,
        "broken": list(change.broken),
        "mended": list(change.mended),
    }
