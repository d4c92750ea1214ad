"""A run as a run of MLflow."""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from advbench.tracking.entry import PROJECT, Entry

_AT_ONCE = 100
"""Most values that one request may carry."""


def keep(entry: Entry) -> str:
    """Keep an entry as a run of MLflow, where its environment variables say.

    The experiment is `advbench`, unless `MLFLOW_EXPERIMENT_NAME` or `MLFLOW_EXPERIMENT_ID` names another. Only the
    entry is sent: MLflow's own report of how it is used is switched off, unless the environment switches it on.

    Args:
        entry: The run as trackers keep it.

    Returns:
        Id of MLflow's run, and the store that has it.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow

    if not {"MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"} & set(os.environ):
        mlflow.set_experiment(PROJECT)
    with mlflow.start_run(run_name=entry.name, tags=entry.tags) as active:
        for some in _parts(entry.params):
            mlflow.log_params(some)
        for some in _parts(entry.metrics):
            mlflow.log_metrics(some)
        for file in entry.files:
            mlflow.log_artifact(str(file))
    return f"run {active.info.run_id} in {re.sub('//[^/@]*@', '//', mlflow.get_tracking_uri())}"  # without a password


def _parts(values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    items = list(values.items())
    for start in range(0, len(items), _AT_ONCE):
        yield dict(items[start : start + _AT_ONCE])
