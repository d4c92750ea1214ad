"""`advbench prove`: exports open images to external verifiers, and imports their results."""

from pathlib import Path

import click

from advbench.cli.console import Command, print_result
from advbench.errors import UserError
from advbench.sanitize import count_of


@click.command(cls=Command)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--export",
    "out",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Write VNN-LIB and ONNX files to this folder.",
)
@click.option(
    "--import", "results", type=click.Path(path_type=Path), metavar="FILE", help="Read a verifier's results.csv."
)
@click.option("--by", "verifier", metavar="NAME", help="Name of the verifier that produced the results.")
@click.option("--plugin", "plugins", multiple=True, metavar="MODULE", help="Plugin module of the run; repeatable.")
@click.option(
    "--allow-code", is_flag=True, help="Allow running the code of your own models that the run was made with."
)
def prove(
    folder: Path,
    out: Path | None,
    results: Path | None,
    verifier: str | None,
    plugins: tuple[str, ...],
    allow_code: bool,
) -> None:
    """Export open images to external verifiers, or import results.

    Open are the images of a run that no attack broke and no proof covers.

    For proofs within the run itself, use `advbench run --prove`.
    """
    if (out is None) == (results is None):
        raise UserError("give --export FOLDER or --import FILE", hint="`advbench run SUITE --prove` makes the proofs")
    from advbench.execution.exchange import export_open, import_results

    if out is not None:
        found = export_open(folder, out, plugins, allow_code=allow_code)
        print_result(f"{count_of(found.properties, 'open image')} written to {out}, listed in instances.csv")
        for why, count in found.left_out.items():
            print_result(f"{count} left out: {why}")
        return
    if not verifier or results is None:
        raise UserError("--import needs the name of the verifier", hint="--by NAME")
    taken = import_results(folder, results, verifier)
    told = f"; {taken.broken} can be fooled, according to it: attack them" if taken.broken else ""
    print_result(
        f"{count_of(taken.proved, 'image')} proved by {verifier}{told}; {count_of(taken.others, 'other line')}"
    )
