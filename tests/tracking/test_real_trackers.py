"""The trackers themselves, on this machine alone: what they kept is read back. Skips those that are not installed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from frames import images
from runs import finished

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
ROWS = [*images([0.01, None, 0.02, None] * 5), *images([None] * 20, attack="noise")]
CELL = "net/toy/untargeted/linf-8-255/worst-case/robust_accuracy"
MLFLOW = """
import json, mlflow
(run,) = mlflow.search_runs(experiment_names=["advbench"], output_format="list")
files = sorted(file.path for file in mlflow.MlflowClient().list_artifacts(run.info.run_id))
print(json.dumps([run.data.metrics, run.data.params, run.data.tags, files]))
"""


def needs(package):
    pytest.importorskip(package, reason=f"needs the package {package}: make test-exchange")


def python(folder, *arguments, **variables):
    """Run Python in a folder, where it finds this tree and keeps to itself."""
    import os

    environment = os.environ | {"PYTHONPATH": str(ROOT), "HOME": str(folder)} | variables
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def resumed(folder, tracker, **variables):
    """A finished run handed over to a tracker."""
    finished(folder / "run", ROWS)
    done = python(folder, "-m", "advbench", "resume", "run", "--track", tracker, "--quiet", **variables)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "warning" not in done.stderr, done.stderr
    return done


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("store", ["mlruns", "sqlite:///mlflow.db"])
def test_mlflow_keeps_it_in_a_local_store(store, tmp_path):
    needs("mlflow")
    where = {"MLFLOW_TRACKING_URI": store, "MLFLOW_ALLOW_FILE_STORE": "true"}
    resumed(tmp_path, "mlflow", **where)
    done = python(tmp_path, "-c", MLFLOW, **where)
    assert done.returncode == 0, done.stderr
    metrics, params, tags, files = json.loads(done.stdout.splitlines()[-1])
    assert metrics[CELL] == 0.5
    assert params["attacks"] == "pgd"
    assert tags["advbench.run_id"] == "0123456789abcdef"
    assert files == ["report.csv", "report.html", "report.json"]


@pytest.mark.filterwarnings("ignore")
def test_wandb_keeps_it_offline(tmp_path):
    needs("wandb")
    resumed(tmp_path, "wandb", WANDB_MODE="offline", WANDB_API_KEY="")
    (log,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    content = log.read_bytes()
    assert CELL.encode() in content
    assert b"report.html" in content


@pytest.mark.filterwarnings("ignore")
def test_trackio_keeps_it_on_this_machine(tmp_path):
    needs("trackio")
    resumed(tmp_path, "trackio", TRACKIO_DIR=str(tmp_path / "trackio"))
    stored = b"".join(path.read_bytes() for path in (tmp_path / "trackio").rglob("*") if path.is_file())
    assert CELL.encode() in stored
