"""`advbench evidence` and `advbench check`: write a run's claims to a file that others can check."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from advbench.catalog.user_models import OWN
from advbench.cli.console import Command, print_result, progress
from advbench.cli.model_options import announce, described, description
from advbench.errors import ExitCode
from advbench.sanitize import display_name

if TYPE_CHECKING:
    from advbench.config.model_description import Description
    from advbench.evidence.archive import Archive
    from advbench.evidence.build import Made
    from advbench.evidence.checking import Checked
    from advbench.evidence.claims import Claims
    from advbench.evidence.gathering import Search

_FILE = click.Path(path_type=Path)


@click.command(cls=Command)
@click.argument("folder", type=_FILE, metavar="DIR")
@click.option("-o", "--out", type=_FILE, metavar="FILE", help="Default: DIR/evidence.zip.")
@click.option("--model", metavar="LABEL", help="Which of several models the evidence is about.")
@click.option(
    "--onnx",
    type=_FILE,
    multiple=True,
    metavar="FILE",
    help="ONNX export of the model, whose digest is recorded; repeatable.",
)
@click.option(
    "--search", is_flag=True, help="Load the model, and search for 8-bit adversarial images where rounding breaks one."
)
@click.option("--plugin", "plugins", multiple=True, metavar="MODULE", help="With --search: the plugins of the run.")
@click.option("--allow-code", is_flag=True, help="With --search: allow running the code of your own models.")
@click.option("--sign", "key", type=_FILE, metavar="KEY", help="Sign with this ed25519 private key (PEM).")
def evidence(folder: Path, out: Path | None, key: Path | None, **options: Any) -> None:
    """Pack the claims of a run into one file that others can check.

    It holds the adversarial images that support the claims.

    Others check it with `advbench check`, or without advbench by the check.py inside it. The run has to have kept its
    images: save = "all" in the suite.
    """
    from advbench.evidence.build import make_archive
    from advbench.records.storage.atomic import write_atomic

    signer = _signer(key)
    made = make_archive(
        folder,
        model=options["model"],
        onnx=options["onnx"],
        search=_searcher(options["plugins"], options["allow_code"]) if options["search"] else None,
        signed=signer is not None,
    )
    content = made.content
    if signer is not None:
        from advbench.evidence.signature import signed

        content = signed(content, signer)
    place = write_atomic(out or folder / "evidence.zip", content)
    _tell_made(made, content, searched=options["search"])
    click.echo(f"written: {place} ({_size(len(content))})", err=True)


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


@click.command(cls=Command)
@click.argument("file", type=_FILE, metavar="EVIDENCE")
@click.option("--model", required=True, metavar="NAME", help=f"Name from `advbench models`, or your own: {OWN}.")
@click.option("--weights", type=_FILE, metavar="FILE", help="State dict to load: .safetensors, .pt or .pth.")
@described()
@click.option("--converted", is_flag=True, help="The model is a conversion: compare its outputs, not its digest.")
@click.option(
    "--public-key", type=_FILE, metavar="KEY", help="Ed25519 public key (PEM) that the file must be signed with."
)
@click.option("--sha256", metavar="DIGEST", help="Digest of the file, as published by its author.")
@click.option("--device", default="cpu", show_default=True, metavar="NAME", help="auto, cpu, cuda:N or mps.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.pass_context
def check(ctx: click.Context, /, file: Path, as_json: bool, **options: Any) -> None:
    """Check an evidence file with the model, without any attack.

    The exit code is 1 if a claim does not hold, 2 if the file cannot be read as evidence.
    """
    about = description(options, options["model"])
    announce(options["model"], about)
    from advbench.evidence.archive import NotIntactError, read_archive

    try:
        archive = read_archive(file)
    except NotIntactError as error:
        print_result(json.dumps({"holds": False, "problems": [error.message]}, indent=2) if as_json else error.message)
        ctx.exit(ExitCode.FAILED)
    problems = []
    if options["sha256"] and options["sha256"].strip().lower() != archive.sha256:
        problems.append("the sha256 of the file is not the one that its author published")
    if options["public_key"]:
        from advbench.evidence.signature import read_public_key, signature_problem

        problems += filter(None, [signature_problem(archive.content, read_public_key(options["public_key"]))])
    found = _checked(archive, about, options)
    problems += found.problems
    if as_json:
        told = {"holds": not problems, "problems": problems, "notes": found.notes, "sha256": archive.sha256}
        print_result(json.dumps(told | _short(archive.claims), indent=2))
    else:
        _tell_checked(archive.claims, found, problems, archive.sha256)
    ctx.exit(ExitCode.FAILED if problems else ExitCode.OK)


def _signer(key: Path | None) -> Any:
    """The private key, read before any work starts; None without one."""
    if key is None:
        return None
    from advbench.evidence.signature import read_private_key

    return read_private_key(key)


def _searcher(plugins: tuple[str, ...], allow_code: bool) -> "Search":
    from advbench.evidence.rounding import searcher

    return searcher(plugins=plugins, allow_code=allow_code)


def _checked(archive: "Archive", about: "Description", options: dict[str, Any]) -> "Checked":
    """Load the model as the run did, compare it, and check every claim with it."""
    from advbench.evidence.checking import check_archive
    from advbench.evidence.own_model import classes_of, description_in, load_own, other_model

    name, weights = options["model"], options["weights"]
    about = about.over(description_in(archive, name))
    with progress(quiet=False):
        model = load_own(archive, name, about, weights, options["device"])
    other = "" if options["converted"] else other_model(archive, model, name, about, weights)
    found = check_archive(archive, model, classes_of(archive))
    if options["converted"]:
        found.notes.append("the model was compared by its outputs only, not by its digest")
    return found._replace(problems=[*filter(None, [other]), *found.problems])


def _short(claims: "Claims") -> dict[str, Any]:
    """The claims without the details of each image."""
    told = claims.model_dump(mode="json")
    threats = [{name: each for name, each in threat.items() if name != "sizes"} for threat in told["threats"]]
    return {"model": told["model"], "data": [data["label"] for data in told["data"]], "threats": threats}


def _tell_made(made: "Made", content: bytes, *, searched: bool) -> None:
    from advbench.analysis.statistics import Proportion

    for line in made.shortfalls:
        run = Proportion(line.images - line.broken - line.unknown, line.images, line.unknown)
        archive = Proportion(line.images - line.carried, line.images)
        print_result(f"{line.where}: at most {archive} robust; the run says {run.percent}")
    missing = [line.sentence for line in made.shortfalls if line.sentence]
    for sentence in missing:
        click.echo(f"note: {sentence}", err=True)
    if not searched and any(line.lost for line in made.shortfalls):
        click.echo("to search for more with the model: advbench evidence --search", err=True)
    if any(line.not_kept for line in made.shortfalls):
        from advbench.evidence.build import AGAIN

        click.echo(f"to include all of them: {AGAIN}", err=True)
    print_result(f"sha256 {hashlib.sha256(content).hexdigest()} (publish it separately from the file)")


def _tell_checked(claims: "Claims", found: "Checked", problems: list[str], sha256: str) -> None:
    from advbench.analysis.statistics import Proportion
    from advbench.config.budgets import describe_norm

    for threat in claims.threats:
        data = claims.data[threat.data]
        for level in threat.levels:
            bound = Proportion(level.robust, level.images)
            where = f"{display_name(data.label)}, {threat.goal}, {describe_norm(threat.norm, level.eps)}"
            print_result(f"{where}: at most {bound} robust")
    for note in found.notes:
        print_result(f"note: {display_name(note, limit=300)}")
    for problem in problems:
        print_result(f"problem: {display_name(problem, limit=300)}")
    counts = f"{found.images} clean and {found.adversarials} adversarial images checked"
    print_result(f"sha256 {sha256}")
    print_result(f"{counts}: {f'{len(problems)} problems' if problems else 'every claim holds'}")
