"""Stores a run as a Weights & Biases run."""

import os

from advbench.sanitize import slug
from advbench.tracking.entry import PROJECT, Entry


def keep(entry: Entry) -> str:
    """Store an entry as a Weights & Biases run, at the place that its environment variables set.

    The project is `advbench`, unless `WANDB_PROJECT` names another. Only the entry is sent: no code, no console output,
    no repository state, no system metrics, and no error reports.

    Args:
        entry: Entry of the run.

    Returns:
        URL of the run, or the folder to send later with `wandb sync`.
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
