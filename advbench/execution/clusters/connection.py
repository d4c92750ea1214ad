"""Connects to dask clusters (extra `distributed`): by address, by file, or with workers started on this machine."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from advbench.errors import UserError, first_line, not_installed

WAIT_SECONDS = 60
"""Seconds that a run waits for a scheduler with no workers."""
CONNECT_SECONDS = 10
"""Seconds that a run waits for a scheduler to answer."""

_ADDRESS = "write tcp://HOST:PORT, tls://HOST:PORT or local:NUMBER"


@contextmanager
def connected(cluster: str | Path | Any | None) -> Iterator[Any]:
    """Connect to a cluster; its workers import what they need while the run is being planned.

    Args:
        cluster: An address such as tcp://scheduler:8786 or tls://scheduler:8786; `local:4` for a scheduler and four
            workers on this machine; the path of a scheduler file; or a client, which is left open. None: no cluster,
            and no client.

    Raises:
        UserError: The package is missing, the address is invalid, no scheduler answers, or it has no workers.
    """
    if cluster is None:
        yield None
        return
    try:
        import distributed
    except ImportError:
        raise not_installed("a cluster", "dask.distributed", "distributed") from None
    if isinstance(cluster, distributed.Client):
        _get_ready(cluster)
        yield cluster
        return
    given: dict[str, Any] = {"set_as_default": False, "timeout": CONNECT_SECONDS}
    if isinstance(cluster, Path):
        if not cluster.is_file():
            raise UserError(
                f"there is no scheduler file {cluster}", hint="`dask scheduler --scheduler-file FILE` creates one"
            )
        given["scheduler_file"] = str(cluster)
    elif cluster.startswith("local:"):
        with _local(cluster.removeprefix("local:")) as started, _client(started, **given) as client:
            _get_ready(client)
            yield client
        return
    elif "://" not in cluster:
        raise UserError(f"{cluster!r} is not a scheduler address", hint=_ADDRESS)
    else:
        given["address"] = cluster
    with _told(cluster):
        client = _client(**given)
    with client:
        _get_ready(client)
        yield client


def _client(*given: Any, **options: Any) -> Any:
    import distributed

    return distributed.Client(*given, **options)  # type: ignore[no-untyped-call]


@contextmanager
def _told(cluster: object) -> Iterator[None]:
    """Turn connection errors into clear messages."""
    try:
        yield
    except (OSError, TimeoutError) as error:
        hint = "is it running, and can this machine reach it? `dask scheduler` starts one"
        raise UserError(f"no scheduler answers at {cluster}: {first_line(error)}", hint=hint) from None
    except TypeError as error:
        hint = "set the certificates: DASK_DISTRIBUTED__COMM__TLS__CA_FILE, ...__CLIENT__CERT and ...__CLIENT__KEY"
        raise UserError(f"{cluster} cannot be reached without certificates: {first_line(error)}", hint=hint) from None
    except ValueError as error:
        raise UserError(f"{cluster!r} is not a scheduler address: {first_line(error)}", hint=_ADDRESS) from None


@contextmanager
def _local(number: str) -> Iterator[Any]:
    """A scheduler and workers on this machine, in separate processes."""
    from distributed.deploy.subprocess import SubprocessCluster

    if not number.isdecimal() or not 1 <= int(number) <= 256:
        raise UserError(f"'local:{number}' is not a valid cluster", hint="write local:N for N workers, 1 to 256")
    # Dask would sample each worker's activity a hundred times a second, for a dashboard that nobody sees here.
    os.environ.setdefault("DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED", "False")
    with SubprocessCluster(
        n_workers=int(number),
        threads_per_worker=1,
        dashboard_address=":0",
        worker_class="distributed.Worker",
        worker_kwargs={"memory_limit": 0},
    ) as cluster:
        yield cluster


def _get_ready(client: Any) -> None:
    """Wait for a worker, and have all workers import torch, which takes seconds.

    Raises:
        UserError: No worker appears within a minute.
    """
    from distributed import fire_and_forget

    from advbench.execution.clusters.remote import imported

    try:
        client.wait_for_workers(1, timeout=WAIT_SECONDS)
    except TimeoutError:
        where = client.scheduler.address if client.scheduler is not None else "it"
        hint = f"start one: dask worker {where} --nthreads 1 --memory-limit 0"
        raise UserError(f"the scheduler has had no workers for {WAIT_SECONDS} seconds", hint=hint) from None
    for address in client.scheduler_info(n_workers=-1)["workers"]:
        fire_and_forget(client.submit(imported, workers=[address], pure=False))  # type: ignore[no-untyped-call]
