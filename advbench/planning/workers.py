"""The number of processes for a run: as many as cores, memory and the amount of work allow, or one for each GPU."""

import json
import multiprocessing
import os
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from advbench.errors import UserError
from advbench.models import usable_device
from advbench.planning.cost.footprint import PASS_SECONDS, SPEED, Footprint
from advbench.planning.plan import Plan
from advbench.records.unit import Unit

PROCESS_BYTES = 600 * 2**20
"""Memory of a worker before it loads a model, bytes."""
WORTH_SECONDS = 15
"""Smallest amount of work, in expected seconds, for which starting another process pays off."""

DOMAIN_SECONDS = 2.5e-3
"""Time of a proof for each domain that it may take, seconds: a small network that nothing is proved of takes all."""
PROOF_BYTES = 9 * 2**28
"""Memory that a proof takes in addition to the network, bytes: 0.4 to 2.2 GiB for networks with convolutions."""
_WITHOUT_DOMAINS = ("interval", "crown-ibp", "crown")
"""Last methods with which a proof takes a few passes and no domains."""

Wanted = int | Literal["auto"]
"""The number of processes as a user specifies it."""


class Workers(NamedTuple):
    """The processes of a run."""

    number: int
    """Number of processes; 1: the process of the run does the work itself."""
    why: str
    """The reason for this number."""
    devices: tuple[str, ...]
    """The device of each process."""


def choose_workers(plan: Plan, device: str, wanted: Wanted = "auto") -> Workers:
    """Choose the number of processes, and the device of each.

    Args:
        plan: The plan of the run.
        device: The device or devices, as written in the suite; see :func:`devices_of`.
        wanted: A number; or "auto": one process for each GPU, or, on the CPU, as many as there are cores, fit into
            free memory, and have at least `WORTH_SECONDS` of work each.

    Raises:
        UserError: A number below 1, or a device that does not exist.
    """
    if wanted != "auto" and wanted < 1:
        raise UserError(f"there cannot be {wanted} workers", hint='give a number from 1, or "auto"')
    places = devices_of(device)
    if wanted != "auto":
        count, why = wanted, "as requested"
    elif places == ("cpu",):
        count, why = _on_cores(plan)
    else:
        count, why = len(places), f"one for each of {len(places)} GPUs" if len(places) > 1 else f"one for {places[0]}"
    return Workers(count, why, tuple(places[i % len(places)] for i in range(count)))


def devices_of(name: str) -> tuple[str, ...]:
    """The devices that a name stands for: `cuda` for all GPUs that are visible, `cuda:0,2` for two of them.

    Raises:
        UserError: There is no such device here.

    Example:
        >>> devices_of("cpu")
        ('cpu',)
    """
    kind, _, numbers = name.partition(":")
    if kind == "auto":
        kind = usable_device("auto").type
    if kind != "cuda":
        return (str(usable_device(kind)),)
    there = torch.cuda.device_count()
    wanted = numbers.split(",") if numbers else [str(number) for number in range(there)] or ["0"]
    if len(set(wanted)) < len(wanted):
        raise UserError(f"device {name!r} names a GPU twice", hint='write "cuda", or "cuda:0,2" for some')
    if there and (wrong := [each for each in wanted if not each.isdecimal() or int(each) >= there]):
        raise UserError(f"device {name!r}: there is no GPU {wrong[0]!r}, only {there} of them, counted from 0")
    return tuple(str(usable_device(f"cuda:{number}")) for number in wanted)


def _on_cores(plan: Plan) -> tuple[int, str]:
    """The best number of processes on CPU cores, and the reason why it is not larger."""
    units = [unit for unit in plan.units if unit.has_rows]
    seconds = sum(expected_seconds(unit, plan.footprints) for unit in units)
    proofs = " and proofs" if any(unit.task == "prove" for unit in units) else ""
    cores, memory = usable_cores(), free_memory()
    limits = [
        (cores, f"{cores} cores" if cores > 1 else "one core"),
        (len(units), f"{len(units)} units of attacks{proofs}"),
        (int(seconds / WORTH_SECONDS), f"about {seconds:.0f} s of work, and a process pays off from {WORTH_SECONDS} s"),
    ]
    if multiprocessing.current_process().daemon:
        limits.append((1, "this process may not start others"))
    if memory is not None:
        one = PROCESS_BYTES + largest_bytes(plan)
        limits.append((memory // one, f"{memory / 2**30:.1f} GiB of memory, and {one / 2**30:.1f} GiB for each"))
    count, why = min(limits, key=lambda limit: limit[0])
    return max(1, int(count)), why


def expected_seconds(unit: Unit, footprints: dict[tuple[str, str], Footprint]) -> float:
    """Expected time of a unit on one core of an ordinary machine, from its operations: roughly an upper bound.

    That of a proof comes from the domains and seconds that it is allowed; images that are easy to prove, or that an
    attack fools, take less.
    """
    if unit.task == "prove":
        limits = json.loads(unit.params)
        domains = 0 if limits["method"] in _WITHOUT_DOMAINS else limits["domains"]
        return len(unit.samples) * float(min(limits["seconds"], domains * DOMAIN_SECONDS))
    size = footprints[unit.model, unit.dataset]
    return unit.passes * len(unit.samples) * (size.flops / SPEED + PASS_SECONDS)


def largest_bytes(plan: Plan) -> int:
    """Memory that the largest unit of a plan needs in a process, bytes."""

    def needed(unit: Unit) -> int:
        size = plan.footprints[unit.model, unit.dataset]
        return size.weights + (PROOF_BYTES if unit.task == "prove" else size.memory * len(unit.samples))

    return max((needed(unit) for unit in plan.units if unit.has_rows), default=0)


def usable_cores() -> int:
    """Number of cores that this process may use, given its CPU affinity and the limits of its container.

    Example:
        >>> usable_cores() >= 1
        True
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _control_group("cpu.max").partition(" ")
    allowed = int(quota) // int(period) if quota.isdecimal() and period.isdecimal() else bound
    return max(1, min(bound, allowed))


def free_memory() -> int | None:
    """Bytes of memory available on the machine and in its container; None if unknown."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    free = next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)
    most, used = _control_group("memory.max"), _control_group("memory.current")
    if most.isdecimal() and used.isdecimal():
        counted = dict(line.split() for line in _control_group("memory.stat").splitlines())
        left = int(most) - int(used) + int(counted.get("inactive_file", 0))  # file caches are evicted when needed
        return left if free is None else min(left, free)
    return free


def _control_group(name: str) -> str:
    """A limit of the container, from version 2 of Linux control groups; empty if there is none."""
    try:
        return (Path("/sys/fs/cgroup") / name).read_text(encoding="ascii").strip()
    except OSError:
        return ""
