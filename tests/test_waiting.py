"""Tests that wait for another process end with a reason if it does not do what they wait for."""

import multiprocessing
import subprocess
import sys
import time

import clusters
import pytest
from waiting import ended, until


def test_a_process_that_died_is_not_waited_for(tmp_path):
    (tmp_path / "log").write_text("out of memory")
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(AssertionError, match=r"expected that it works; the process ended with code 3\nout of memory"):
        until(lambda: False, "it works", process, log=tmp_path / "log")
    assert until(lambda: "done", "it works", process) == "done", "it may have done so just before it ended"


def test_nothing_is_waited_for_without_a_limit():
    with pytest.raises(AssertionError, match=r"expected that it works; it did not in 0.1 seconds"):
        until(lambda: False, "it works", limit=0.1)


def test_a_process_that_does_not_end_is_killed():
    context = multiprocessing.get_context("spawn")
    hangs = [subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])]
    hangs.append(context.Process(target=time.sleep, args=(600,), daemon=True))
    hangs[1].start()
    for process in hangs:
        with pytest.raises(AssertionError, match=r"the process ends; it did not in 0.1 seconds"):
            ended(process, limit=0.1)
        assert ended(process) == -9


@pytest.mark.slow
def test_a_worker_of_dask_that_is_killed_before_it_is_ready_is_told(tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    start = clusters.Dask.worker
    monkeypatch.setattr(clusters.Dask, "worker", lambda self: start(self).kill())
    message = r"worker 0 is registered; the process ended with code -9"
    with pytest.raises(AssertionError, match=message), clusters.dask(tmp_path, workers=1):
        pass
