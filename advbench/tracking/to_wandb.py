"""A run as a run of Weights & Biases."""

import os

from advbench.sanitize import slug
from advbench.tracking.entry import PROJECT, Entry


def keep(entry: Entry) -> str:
    """Keep an entry as a run of Weights & Biases, where its environment variables say.

    The project is `advbench`, unless `WANDB_PROJECT` names another. Only the entry is sent: no code, no console output,
    no state of the repository, no use of the machine,
    no report of errors.

    Args:
        entry: The run as trackers keep it.

    Returns:
        Address of the run, or the folder that `wandb sync` sends later.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    settings = wandb.Settings(console="off", save_code=False, disable_git=True, x_disable_stats=True)
    config = entry.params | entry.tags
    project = os.environ.get("WANDB_PROJECT") or PROJECT
    with wandb.init(project=project, name=entry.name, config=config, job_type="robustness", settings=settings) as run:
        run.log(entry.metrics)
        artifact = wandb.Artifact(slug(entry.name), type="report", metadata=entry.tags)
        for file in entry.files:
            artifact.add_file(str(file))
        run.log_artifact(artifact)
        where = run.url or f"{run.dir}, to be sent with `wandb sync`"
    return str(where)
