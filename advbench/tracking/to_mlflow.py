"""Stores a run as an MLflow run."""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from advbench.tracking.entry import PROJECT, Entry

_AT_ONCE = 100
"""Largest number of values per request."""


def keep(entry: Entry) -> str:
    """Store an entry as an MLflow run, at the place that MLflow's environment variables set.

    The experiment is `advbench`, unless `MLFLOW_EXPERIMENT_NAME` or `MLFLOW_EXPERIMENT_ID` names another. Only the
    entry is sent: MLflow's usage reporting is switched off, unless the environment switches it on.

    Args:
        entry: Entry of the run.

    Returns:
        Id of the MLflow run, and its store.
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
