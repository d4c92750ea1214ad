"""Several hosts with addresses of their own on this machine: network namespaces of Linux on one bridge."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest

NETWORK = "10.203.77"
"""First three numbers of the addresses."""


class Host(NamedTuple):
    """A host that shares nothing with the others but its files."""

    name: str
    """Name of its namespace."""
    address: str
    """Its address on the bridge."""

    @property
    def prefix(self) -> tuple[str, ...]:
        """Words to put before a command that is to run on it."""
        return ("ip", "netns", "exec", self.name)


@contextmanager
def hosts(count: int) -> Iterator[list[Host]]:
    """Some hosts that reach each other; the test is skipped where the machine does not allow it."""
    if shutil.which("ip") is None:
        pytest.skip("needs the command ip (iproute2)")
    made = [Host(f"advbench-{os.getpid()}-{n}", f"{NETWORK}.{n}") for n in range(1, count + 1)]
    hub = made[0].name
    try:
        for host in made:
            if (failed := _ip("netns", "add", host.name)).returncode:
                pytest.skip(f"needs network namespaces: {failed.stderr.strip()}")
            _ip("-n", host.name, "link", "set", "lo", "up")
        _ip("-n", hub, "link", "add", "hub", "type", "bridge")
        _up(made[0], "hub")
        for number, host in enumerate(made[1:]):
            _ip("-n", hub, "link", "add", f"port{number}", "type", "veth", "peer", "name", "eth0", "netns", host.name)
            _ip("-n", hub, "link", "set", f"port{number}", "master", "hub", "up")
            _up(host, "eth0")
        yield made
    finally:
        for host in made:
            _ip("netns", "del", host.name)


def _up(host: Host, link: str) -> None:
    _ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", link)
    if (failed := _ip("-n", host.name, "link", "set", link, "up")).returncode:
        pytest.skip(f"needs bridges between network namespaces: {failed.stderr.strip()}")


def _ip(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["ip", *words], capture_output=True, text=True)
