"""Runs on a real scheduler of dask with real workers: the same rows, whatever happens to any of them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import accidents
import hearing
import pandas as pd
import pytest
from accidents import ONLY_LINF, SUITE, TOML
from clusters import dask
from hosts import hosts
from tables import tables_restored
from waiting import LIMIT, ended, until

import advbench
from advbench.api import run
from advbench.catalog.plugins import load_plugins
from advbench.config.suite_files import load_suite
from advbench.errors import UserError
from advbench.execution.clusters import connection as module
from advbench.execution.runner import StoppedError

pytest.importorskip("distributed")
POSIX = pytest.mark.skipif(os.name != "posix", reason="kills processes")
CARRIED = """
from advbench.catalog.cards import AttackCard

made = {"target": "attacks:FGSM", "kind": "budget", "norms": ("linf", "l2")}
ATTACKS = {"carried": AttackCard(name="carried", summary="one that only the run has", **made)}
"""
"""A plugin that lies where only the run finds it."""
pytestmark = [POSIX, pytest.mark.usefixtures("plugged")]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A scheduler with two workers that nothing happens to."""
    with dask(tmp_path_factory.mktemp("dask"), workers=2) as found:
        yield found


def same(golden, done):
    assert done.manifest["status"] == "complete"
    frames = [each.frame.drop(columns="seconds") for each in (golden, done)]
    pd.testing.assert_frame_equal(*frames, check_exact=True, check_categorical=False)


def test_it_does_what_one_process_does(golden, two, tmp_path):
    done = run(SUITE, out=tmp_path, cluster=two.file)
    same(golden, done)
    assert done.manifest["workers"] == 2
    assert done.manifest["workers_why"] == f"those of the cluster {two.address}"
    for folder in ("clean", "adv"):
        files = [{p.name: p.read_bytes() for p in (f / folder).iterdir()} for f in (tmp_path, golden.folder)]
        assert files[0] == files[1]


@pytest.mark.slow
class TestAccidents:
    def test_a_client_is_taken_and_left_open(self, golden, two, tmp_path):
        from distributed import Client

        with Client(two.address, set_as_default=False) as client:
            same(golden, run(SUITE, out=tmp_path, cluster=client))
            assert client.status == "running"
            assert client.submit(int, 1).result(timeout=LIMIT) == 1

    def test_code_that_only_the_run_has_goes_with_it(self, two, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(tmp_path)
        Path("nets.py").write_text("import fakes\n\ndef net():\n    return fakes.classifier()\n")
        Path("carried.py").write_text(CARRIED)
        wanted = ONLY_LINF | {"models": {"name": "nets.py:net", "label": "mine"}, "attacks": "carried", "noise": False}
        with tables_restored():
            load_plugins(["carried"])
            suite = load_suite(wanted, allow_code=True)
            rows, sent = run(suite, out="here").frame, run(suite, out="there", cluster=two.file).frame
        pd.testing.assert_frame_equal(*(each.drop(columns="seconds") for each in (rows, sent)), check_exact=True)
        assert (sent["status"] == "ok").all()

    def test_local_workers(self, golden, tmp_path):
        same(golden, run(SUITE, out=tmp_path, cluster="local:2"))

    def test_workers_on_other_hosts(self, golden, tmp_path):
        paths = [str(Path(accidents.__file__).parent), str(Path(accidents.__file__).parents[2])]
        with hosts(3) as (first, *others), dask(tmp_path, workers=2, hosts=(first, *others)) as found:
            code = f"import accidents, pathlib; accidents.plain(pathlib.Path('run'), cluster='{found.address}')"
            command = [*first.prefix, sys.executable, "-c", code]
            around = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
            subprocess.run(command, cwd=tmp_path, env=around, check=True, timeout=2 * LIMIT)
        same(golden, advbench.load_run(tmp_path / "run"))
        assert found.address.startswith(f"tcp://{first.address}:")
        for number, host in enumerate(others):
            assert f"tcp://{host.address}:" in (tmp_path / f"worker {number}.log").read_text()

    def test_a_worker_that_is_killed(self, golden, tmp_path):
        with dask(tmp_path, workers=2) as found:
            once = []

            def kill(what, done, total):
                if done >= 2 and not once:
                    once.append(os.killpg(found.workers[0].pid, signal.SIGKILL))

            done = run(SUITE, out=tmp_path / "run", cluster=found.file, progress=kill)
        assert once
        same(golden, done)

    def test_a_unit_that_kills_its_process_costs_nobody_else(self, two, tmp_path):
        suite = ONLY_LINF | {"attacks": ["always_suicide", {"name": "pgd", "params": {"steps": 2}}], "noise": False}
        done = run(suite | {"images": 5}, out=tmp_path, cluster=two.file)
        lost = done.frame["attack"] == "always_suicide"
        assert (done.frame.loc[lost, "status"] == "unknown").all()
        assert done.frame.loc[lost, "error"].str.contains("its process ended with code -9, 3 times").all()
        assert (done.frame.loc[~lost, "status"] == "ok").all()

    def test_a_unit_that_hangs_is_ended(self, two, tmp_path):
        suite = ONLY_LINF | {"attacks": ["hang", {"name": "pgd", "params": {"steps": 2}}], "noise": False}
        done = run(suite | {"time_limit": 20, "images": 4}, out=tmp_path, cluster=two.file)
        hung = done.frame["attack"] == "hang"
        assert (done.frame.loc[hung, "status"] == "unknown").all()
        assert (done.frame.loc[~hung, "status"] == "ok").all()

    def test_the_scheduler_goes_and_the_run_is_resumed_without_it(self, golden, tmp_path):
        with dask(tmp_path, workers=1) as found:

            def kill(what, done, total):
                if done == 3:
                    found.scheduler.kill()

            with pytest.raises(StoppedError, match="the scheduler of the cluster is gone") as stopped:
                run(SUITE, out=tmp_path / "run", cluster=found.file, progress=kill)
        assert stopped.value.exit_code == 3
        assert advbench.load_run(tmp_path / "run").manifest["status"] == "stopped"
        same(golden, run(SUITE, out=tmp_path / "run"))

    def test_a_worker_that_joins_late_is_used(self, golden, tmp_path):
        with dask(tmp_path, workers=1) as found:
            late = []

            def join(what, done, total):
                if done == 1:
                    late.append(found.worker("--name", "late"))

            suite = SUITE | {"attacks": [{"name": "pgd", "params": {"steps": 300}}], "eps": {"linf": [1e-4, 2e-4]}}
            run(suite, out=tmp_path / "run", cluster=found.file, progress=join)
            used = (tmp_path / "worker 1.log").read_text()
        assert late
        assert "Registered to" in used

    def test_no_task_is_left_when_the_run_is_interrupted(self, two, tmp_path):
        from distributed import Client

        suite = tmp_path / "suite.toml"
        suite.write_text(TOML.format(model="tiny").replace('"pgd"', '"hang"').replace(", params = { steps = 3 }", ""))
        options = ["--plugin", "fake_plugin", "--allow-code", "--cluster-file", two.file, "--out", tmp_path / "run"]
        around = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, [*Path(__file__).parents[1:2], *sys.path]))}
        command = [sys.executable, "-m", "advbench", "run", suite, *options]
        process = hearing.start(command, env=around, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with Client(two.address, set_as_default=False) as client:
            until(lambda: _at_work(client), "workers do units", process)
            time.sleep(3)
            process.send_signal(signal.SIGINT)
            assert ended(process) == 130
            until(lambda: not any(client.processing().values()), "no task is left")

    def test_tls(self, golden, tmp_path, monkeypatch):
        run_openssl(tmp_path)
        names = {"ca-file": "ca.pem", "cert": "node.pem", "key": "node.key"}
        options = tuple(word for name, file in names.items() for word in (f"--tls-{name}", str(tmp_path / file)))
        with dask(tmp_path, workers=1, protocol="tls", options=options) as found:
            with pytest.raises(UserError, match="cannot be reached without certificates"):
                run(SUITE, out=tmp_path / "run", cluster=found.address)
            import dask as package

            names = {"ca-file": "ca.pem", "client.cert": "node.pem", "client.key": "node.key"}
            own = {f"distributed.comm.tls.{name}": str(tmp_path / file) for name, file in names.items()}
            with package.config.set(own):
                same(golden, run(SUITE, out=tmp_path / "run", cluster=found.address))

    def test_a_worker_with_another_version_is_refused_by_name(self, tmp_path):
        with dask(tmp_path) as found:
            found.worker("--preload", "other_version", "--name", "old")
            with pytest.raises(UserError, match=r"worker tcp://.* cannot do this work: it has torch 1.0 instead of"):
                run(SUITE, out=tmp_path / "run", cluster=found.file)

    def test_a_worker_of_another_version_that_joins_late_is_not_used(self, golden, tmp_path):
        with dask(tmp_path, workers=1) as found:
            joined = []

            def join(what, done, total):
                if done >= 1 and not joined:
                    joined.append(found.worker("--preload", "other_version"))
                    found.registered(1)

            done = run(SUITE, out=tmp_path / "run", cluster=found.file, progress=join)
        assert joined
        same(golden, done)

    def test_a_worker_that_lacks_a_file_says_so(self, tmp_path):
        path = tmp_path / "numbers"
        path.write_text("3")
        with dask(tmp_path) as found:
            found.worker("--preload", "other_version", ADVBENCH_TEST_LACKS=str(path))
            with pytest.raises(UserError, match=r"cannot do this work: .*numbers"):
                run(SUITE | {"datasets": {"name": "broken", "path": path}}, out=tmp_path / "run", cluster=found.file)


def _at_work(client) -> bool:
    """Whether workers do units, and not only look whether they can."""
    keys = [str(key) for some in client.processing().values() for key in some]
    return any(key.startswith("advbench-") and "-fit-" not in key for key in keys)


def run_openssl(folder: Path) -> None:
    """Make a certificate authority and a certificate for the nodes."""
    key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    for command in (
        f"req -x509 {key} -keyout ca.key -out ca.pem -days 30 -subj /CN=ca",
        f"req {key} -keyout node.key -out node.csr -subj /CN=node",
        "x509 -req -in node.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -out node.pem",
    ):
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)


def test_a_scheduler_that_does_not_answer(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CONNECT_SECONDS", 1)
    with pytest.raises(UserError, match=r"no scheduler answers at tcp://127.0.0.1:9"):
        run(SUITE, out=tmp_path, cluster="tcp://127.0.0.1:9")


@pytest.mark.parametrize("address", ["nonsense", "ftp://host:8786", "local:0", "local:many", ""])
def test_an_address_that_is_none(tmp_path, monkeypatch, address):
    monkeypatch.setattr(module, "CONNECT_SECONDS", 1)
    with pytest.raises(UserError, match=r"is not a (scheduler address|valid cluster)"):
        run(SUITE, out=tmp_path, cluster=address)


def test_a_scheduler_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="there is no scheduler file"):
        run(SUITE, out=tmp_path, cluster=tmp_path / "none.json")


def test_a_scheduler_without_workers(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "WAIT_SECONDS", 1)
    with dask(tmp_path) as found, pytest.raises(UserError, match="has had no workers for 1 seconds"):
        run(SUITE, out=tmp_path / "run", cluster=found.file)


def test_models_given_as_objects(two, tmp_path):
    model = advbench.load_model("tiny")
    with pytest.raises(UserError, match="given as objects cannot be sent to other processes"):
        run(SUITE, out=tmp_path, cluster=two.file, models={"tiny": model})
