"""Trackers: what each is given of a run, that none is asked without being named, and that none harms a run."""

import importlib.util
import math
import os
import re
import sys
import types
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner
from frames import images, unknown
from runs import a_run, finished
from threat_rows import foggy

from advbench.analysis.gates import evaluate
from advbench.cli.main import main
from advbench.cli.run import resume, run
from advbench.config.gates import Gates
from advbench.errors import UserError
from advbench.tracking.entry import entry_of, metrics_of
from advbench.tracking.trackers import TRACKERS, Tracker, describe_trackers, refuse_without_package, track

ROWS = [*images([0.01, None, 0.02, None] * 5), *images([None] * 20, attack="noise")]
CELL = "net/toy/untargeted/linf-8-255/worst-case"


def verdict_on(rows=ROWS, **gates):
    made = a_run(rows)
    made.manifest["classes"] = {}
    return evaluate(made, Gates(**gates)), made


class Said(list):
    """The calls of a module that stands in for a tracker, in their order."""

    def noted(self, name, answer=None):
        def call(*arguments, **options):
            self.append((name, arguments, options))
            return answer

        return call

    def of(self, name):
        return [(arguments, options) for called, arguments, options in self if called == name]


@contextmanager
def _with(thing):
    yield thing


def fake_mlflow(said):
    active = types.SimpleNamespace(info=types.SimpleNamespace(run_id="7"))
    return {
        "set_experiment": said.noted("set_experiment"),
        "start_run": lambda **options: said.noted("start_run", _with(active))(**options),
        "log_params": said.noted("log_params"),
        "log_metrics": said.noted("log_metrics"),
        "log_artifact": lambda path: said.noted("log_artifact")(Path(path).name, Path(path).read_bytes()[:1]),
        "get_tracking_uri": lambda: "https://me:secret@somewhere/x",
    }


def fake_wandb(said):
    started = types.SimpleNamespace(
        log=said.noted("log"), log_artifact=said.noted("log_artifact"), url=None, dir="wandb/offline-1"
    )
    artifact = types.SimpleNamespace(add_file=lambda path: said.noted("add_file")(Path(path).name))
    return {
        "Settings": lambda **options: options,
        "init": lambda **options: said.noted("init", _with(started))(**options),
        "Artifact": said.noted("Artifact", artifact),
    }


def fake_trackio(said):
    names = ("init", "log", "finish")
    noted = {name: said.noted(name) for name in names}
    return noted | {"log_artifact": lambda path, **options: said.noted("log_artifact")(Path(path).name, **options)}


FAKES = {"mlflow": fake_mlflow, "wandb": fake_wandb, "trackio": fake_trackio}
VARIABLES = (
    "MLFLOW_EXPERIMENT_NAME",
    "MLFLOW_EXPERIMENT_ID",
    "WANDB_PROJECT",
    "TRACKIO_SPACE_ID",
    "TRACKIO_SERVER_URL",
)


@pytest.fixture
def said(monkeypatch):
    """What was said to any tracker, of which none is the real one."""
    heard = Said()
    for name, make in FAKES.items():
        module = types.ModuleType(name)
        module.__spec__ = importlib.util.spec_from_loader(name, loader=None, origin="here")
        module.__dict__.update(make(heard))
        monkeypatch.setitem(sys.modules, name, module)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name in ("MLFLOW_DISABLE_TELEMETRY", "WANDB_ERROR_REPORTING"):  # which advbench sets, and which goes afterwards
        monkeypatch.setenv(name, "unset")
        monkeypatch.delenv(name)
    return heard


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a finished run in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    return finished(Path("run"), ROWS, gates={"min_robust_accuracy": 0.1})


def test_metrics_name_their_cell():
    found = metrics_of(verdict_on(min_robust_accuracy=0.9)[0])
    assert found[f"{CELL}/robust_accuracy"] == 0.5
    assert found[f"{CELL}/robust_low"] == pytest.approx(0.299, abs=1e-3)
    assert found[f"{CELL}/noise_accuracy"] == 1.0
    assert found["net/toy/untargeted/linf-8-255/pgd/success"] == 0.5
    assert (found["gates"], found["gates_failed"], found["flags_E"]) == (1, 1, 0)


def test_metrics_are_finite_and_their_names_harmless_and_distinct():
    names = ["a/b", "a b", "=x()", "虎", "x" * 300]
    rows = [r | {"model": name} for name in names for r in [*ROWS, unknown("s20"), unknown("s20", attack="noise")]]
    found = metrics_of(verdict_on(rows, max_unknown=1)[0])
    assert all(math.isfinite(value) for value in found.values())
    assert all(re.fullmatch(r"[\w./-]{1,250}", name, re.ASCII) for name in found)
    assert sum(name.endswith("worst-case/robust_accuracy") for name in found) == len(names)


def test_metrics_hold_errors_under_corruptions():
    found = metrics_of(verdict_on([*foggy(1, {0}), *foggy(5, {0, 3}, model="a/b")])[0])
    assert found["net/toy/corruptions/fog/severity_1"] == found["net/toy/corruptions/mean_error"] == 0.25
    assert found["a-b/toy/corruptions/fog/severity_5"] == 0.5
    assert found["net/toy/corruptions/clean_error"] == 0


def test_what_has_no_number_is_left_out():
    found = metrics_of(verdict_on(images([None, None], attack="fmn", eps=None))[0])
    assert not any(name.endswith(("median_size", "proved_accuracy", "noise_accuracy")) for name in found)
    assert metrics_of(verdict_on([])[0]) == dict.fromkeys(["gates", "gates_failed", "flags_E", "flags_F", "flags_I"], 0)


def test_an_entry_holds_conditions_identity_and_reports(tmp_path):
    verdict, made = verdict_on()
    made.manifest["versions"] = {"torch": "2.14.1"}
    entry = entry_of(verdict, made, tmp_path)
    assert entry.name == "made 01234567"
    assert entry.params["attacks"] == "pgd"
    assert entry.params["version_torch"] == "2.14.1"
    assert entry.tags["advbench.run_id"] == "0123456789abcdef"
    assert entry.tags["advbench.verdict"] == "done"
    assert sorted(path.name for path in entry.files) == ["report.csv", "report.html", "report.json"]
    assert all(path.stat().st_size for path in entry.files)


def test_mlflow_is_given_parameters_metrics_tags_and_files(said):
    assert track("mlflow", *verdict_on()) == "run 7 in https://somewhere/x"
    assert said.of("set_experiment") == [(("advbench",), {})]
    ((_, options),) = said.of("start_run")
    assert options["run_name"] == "made 01234567"
    assert options["tags"]["advbench.suite"] == "made"
    assert said.of("log_params")[0][0][0]["seed"] == "0"
    assert said.of("log_metrics")[0][0][0][f"{CELL}/robust_accuracy"] == 0.5
    assert [arguments[0] for arguments, _ in said.of("log_artifact")] == ["report.html", "report.json", "report.csv"]
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_mlflow_is_given_many_metrics_in_parts(said):
    track("mlflow", *verdict_on([r | {"model": f"net{i}"} for i in range(40) for r in ROWS]))
    parts = [arguments[0] for arguments, _ in said.of("log_metrics")]
    assert len(parts) > 1
    assert max(map(len, parts)) <= 100


def test_mlflow_keeps_the_experiment_of_its_user(said, monkeypatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    track("mlflow", *verdict_on())
    assert said.of("set_experiment") == []


def test_wandb_is_given_the_same_and_nothing_of_the_machine(said, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    assert track("wandb", *verdict_on()) == "wandb/offline-1, to be sent with `wandb sync`"
    ((_, options),) = said.of("init")
    assert (options["project"], options["name"], options["config"]["seed"]) == ("mine", "made 01234567", "0")
    assert options["settings"] == {
        "console": "off",
        "save_code": False,
        "disable_git": True,
        "x_disable_stats": True,
    }
    assert said.of("log")[0][0][0][f"{CELL}/robust_accuracy"] == 0.5
    assert [arguments[0] for arguments, _ in said.of("add_file")] == ["report.html", "report.json", "report.csv"]
    assert len(said.of("log_artifact")) == 1


def test_trackio_is_given_the_same(said):
    assert track("trackio", *verdict_on()) == 'this machine; `trackio show --project "advbench"` shows it'
    ((_, options),) = said.of("init")
    assert (options["project"], options["name"], options["config"]["seed"]) == ("advbench", "made 01234567", "0")
    assert not options["auto_log_cpu"]
    assert not options["auto_log_gpu"]
    assert said.of("log")[0][0][0][f"{CELL}/robust_accuracy"] == 0.5
    assert [arguments[0] for arguments, _ in said.of("log_artifact")] == ["report.html", "report.json", "report.csv"]
    assert said[-1][0] == "finish"


def test_trackio_is_closed_if_it_fails(said, monkeypatch):
    def refused(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr(sys.modules["trackio"], "log", refused)
    with pytest.raises(UserError, match="could not be sent to trackio: ConnectionError: no route"):
        track("trackio", *verdict_on())
    assert said[-1][0] == "finish"


@pytest.mark.parametrize("name", TRACKERS)
def test_a_finished_run_is_handed_over_when_it_is_asked_for(name, said, folder):
    result = CliRunner().invoke(main, ["resume", "run", "--track", name, "--json"])
    assert result.exit_code == 0
    assert result.stdout.startswith("{")
    assert f"handed over to {name}: " in result.stderr
    assert said


def test_no_tracker_hears_of_a_run_that_names_none(said, folder):
    assert CliRunner().invoke(main, ["resume", "run"]).exit_code == 0
    assert CliRunner().invoke(main, ["report", "run"]).exit_code == 0
    assert said == []


@pytest.mark.parametrize(("floor", "code"), [(0.1, 0), (0.9, 1)])
@pytest.mark.parametrize("how", [RuntimeError("no server"), SystemExit(3), KeyError("x")])
def test_a_tracker_that_fails_is_a_warning(floor, code, how, said, folder, monkeypatch):
    def refused(**_):
        raise how

    monkeypatch.setattr(sys.modules["mlflow"], "start_run", refused)
    result = CliRunner().invoke(main, ["resume", "run", "--track", "mlflow", "--fail-under", str(floor)])
    assert result.exit_code == code
    assert "warning: the run could not be sent to mlflow: " in result.stderr
    assert "to try again: advbench resume run --track mlflow" in result.stderr
    assert "net on toy" in result.stdout


@pytest.mark.parametrize("arguments", [["run", "smoke"], ["resume", "run"], ["run", "smoke", "--dry-run"]])
def test_a_missing_package_is_told_before_any_work(arguments, folder, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = CliRunner().invoke(main, [*arguments, "--track", "mlflow"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        'error: --track mlflow needs the package mlflow, which is not installed\npip install "advbench[mlflow]"\n'
    )
    assert not Path("reports").exists()


def test_every_tracker_has_its_extra_and_its_help():
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for name, tracker in TRACKERS.items():
        assert project["optional-dependencies"][name][0].startswith(f"{tracker.package}>=")
        assert f"{name}: {tracker.help}" in describe_trackers()
    for command in (run, resume):
        option = next(each for each in command.params if each.name == "track")
        assert describe_trackers() in option.help


def test_a_folder_of_that_name_is_no_package(tmp_path, monkeypatch):
    (tmp_path / "left_by_a_tracker").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(TRACKERS, "mine", Tracker("nothing:at_all", "left_by_a_tracker", ""))
    with pytest.raises(UserError, match="--track mine needs the package left_by_a_tracker, which is not installed"):
        refuse_without_package("mine")


def test_a_package_that_is_there_is_not_refused(said):
    for name in TRACKERS:
        refuse_without_package(name)
