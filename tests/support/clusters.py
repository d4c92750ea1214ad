"""Real dask schedulers and workers, in processes of their own on this machine."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

from hosts import Host
from waiting import ended, until

HERE = Path(__file__).parent
QUICK = {
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "120s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s",
}


class Dask:
    """A scheduler and its workers.

    Args:
        folder: Folder for the scheduler's file and the logs.
        protocol: "tcp" or "tls".
        options: Options that scheduler and workers share.
        hosts: Where the scheduler runs, and where each worker does; None: all of them on this host.
    """

    def __init__(
        self, folder: Path, protocol: str = "tcp", options: tuple[str, ...] = (), hosts: Sequence[Host] | None = None
    ) -> None:
        self.folder, self.options, self._hosts = folder, options, hosts
        self.file = folder / "scheduler.json"
        self.workers: list[subprocess.Popen] = []
        where = ["--host", hosts[0].address if hosts else "127.0.0.1", "--protocol", protocol, "--port", "0"]
        self.scheduler = self._start("scheduler", *where, "--no-dashboard", *options, host=hosts and hosts[0])
        until(self._is_there, "the scheduler writes its file", self.scheduler, log=folder / "scheduler.log")
        self.address = json.loads(self.file.read_text())["address"]

    def worker(self, *options: str, **environment: str) -> subprocess.Popen:
        """Start one more worker."""
        log = f"worker {len(self.workers)}"
        given = ["--nthreads", "1", "--memory-limit", "0", "--no-dashboard", *self.options, *options]
        host = self._hosts[1 + len(self.workers)] if self._hosts else None
        found = self._start("worker", *given, log=log, environment=environment, host=host)
        self.workers.append(found)
        return found

    def end(self) -> None:
        """End everything."""
        for process in [*self.workers, self.scheduler]:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            ended(process)

    def registered(self, number: int) -> None:
        """Wait until a worker is registered.

        Args:
            number: The number of the worker, in the order in which they were started.
        """
        log = self.folder / f"worker {number}.log"
        what = f"worker {number} is registered"
        until(lambda: "Registered to" in log.read_text(), what, self.workers[number], self.scheduler, log=log)

    def _is_there(self) -> bool:
        return self.file.exists() and bool(self.file.read_text())

    def _start(self, what, *arguments, log="", environment=None, host=None):
        paths = [str(HERE), str(HERE.parent), str(HERE.parents[1])]
        around = os.environ | QUICK | {"PYTHONPATH": os.pathsep.join(paths)} | (environment or {})
        dask = [sys.executable, "-m", "dask", what, "--scheduler-file", str(self.file), *arguments]
        command = [*host.prefix, *dask] if host else dask
        with (self.folder / f"{log or what}.log").open("wb") as file:
            return subprocess.Popen(
                command, stdout=file, stderr=file, env=around, cwd=self.folder, start_new_session=True
            )


@contextmanager
def dask(folder: Path, workers: int = 0, **options):
    """A scheduler with some workers, for as long as the context lasts."""
    found = Dask(folder, **options)
    try:
        for _ in range(workers):
            found.worker()
        for number in range(workers):
            found.registered(number)
        yield found
    finally:
        found.end()
