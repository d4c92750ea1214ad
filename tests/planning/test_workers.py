"""The number of processes that a run gets, and the device of each."""

import json

import pytest
import torch

from advbench.errors import UserError
from advbench.planning import workers
from advbench.planning.cost.footprint import Footprint
from advbench.planning.plan import Plan
from advbench.planning.workers import choose_workers, devices_of, free_memory
from advbench.records.unit import Unit


def plan(units=50, passes=1000.0, kept=10**6, weights=10**6):
    made = [
        Unit(unit_id=f"{i}", task="attack", model="m", dataset="d", samples=(i,), sample_ids=(f"{i}",), passes=passes)
        for i in range(units)
    ]
    return Plan(tuple(made), {}, {}, {("m", "d"): Footprint(2e10, kept, weights)})


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    monkeypatch.setattr(workers, "usable_cores", lambda: 8)
    monkeypatch.setattr(workers, "free_memory", lambda: 64 * 2**30)


def test_as_many_as_there_are_cores():
    assert choose_workers(plan(), "cpu") == (8, "8 cores", ("cpu",) * 8)


def test_as_many_as_fit_into_memory():
    chosen = choose_workers(plan(kept=20 * 2**30), "cpu")
    assert (chosen.number, chosen.why) == (3, "64.0 GiB of memory, and 20.6 GiB for each")


def test_as_many_as_there_are_units():
    assert choose_workers(plan(units=3), "cpu").number == 3


def test_little_work_is_not_worth_a_process():
    assert choose_workers(plan(units=20, passes=1.0), "cpu").number == 1
    assert choose_workers(plan(units=0), "cpu").number == 1


PROOFS = {"domains": 2000, "seconds": 60.0, "method": "auto"}


def with_proofs(attacks, proofs, images=8, **limits):
    """A plan of little attacks, followed by proofs."""
    made = plan(units=attacks, passes=1.0)
    names = tuple(map(str, range(images)))
    params = json.dumps(PROOFS | limits)
    more = [
        Unit(
            unit_id=f"p{i}",
            task="prove",
            model="m",
            dataset="d",
            samples=(0,) * images,
            sample_ids=names,
            params=params,
        )
        for i in range(proofs)
    ]
    return made._replace(units=(*made.units, *more))


def test_proofs_are_worth_processes():
    """Two units of eight images, 5 seconds each: they used to count as nothing, after one unit of an attack."""
    assert choose_workers(with_proofs(1, 2), "cpu")[:2] == (3, "3 units of attacks and proofs")
    assert choose_workers(with_proofs(1, 40), "cpu").number == 8


@pytest.mark.parametrize("limits", [{"domains": 100}, {"seconds": 0.25}, {"method": "crown"}])
def test_proofs_that_may_take_little_are_not(limits):
    assert choose_workers(with_proofs(1, 4, **limits), "cpu").number == 1


def test_proofs_need_memory(monkeypatch):
    monkeypatch.setattr(workers, "free_memory", lambda: 8 * 2**30)
    assert choose_workers(plan(), "cpu").number == 8
    assert choose_workers(with_proofs(1, 40), "cpu")[:2] == (2, "8.0 GiB of memory, and 2.8 GiB for each")


def test_a_number_that_is_asked_for_is_taken():
    assert choose_workers(plan(units=1), "cpu", 5) == (5, "as requested", ("cpu",) * 5)
    with pytest.raises(UserError, match="there cannot be 0 workers"):
        choose_workers(plan(), "cpu", 0)


def test_where_memory_is_not_known_it_is_no_limit(monkeypatch):
    monkeypatch.setattr(workers, "free_memory", lambda: None)
    assert choose_workers(plan(kept=2**60), "cpu").number == 8


class TestGPUs:
    @pytest.fixture(autouse=True)
    def three(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
        monkeypatch.setattr(workers, "usable_device", torch.device)

    def test_one_process_for_each(self):
        assert choose_workers(plan(), "cuda") == (3, "one for each of 3 GPUs", ("cuda:0", "cuda:1", "cuda:2"))
        assert choose_workers(plan(), "cuda:0,2") == (2, "one for each of 2 GPUs", ("cuda:0", "cuda:2"))
        assert choose_workers(plan(), "cuda:1") == (1, "one for cuda:1", ("cuda:1",))

    def test_more_processes_than_gpus_share_them(self):
        assert choose_workers(plan(), "cuda:0,2", 4).devices == ("cuda:0", "cuda:2", "cuda:0", "cuda:2")

    @pytest.mark.parametrize("name", ["cuda:3", "cuda:0,7", "cuda:-1", "cuda:0,"])
    def test_one_that_is_not_there(self, name):
        with pytest.raises(UserError, match="only 3 of them, counted from 0"):
            devices_of(name)

    def test_one_that_is_named_twice(self):
        with pytest.raises(UserError, match="names a GPU twice"):
            devices_of("cuda:1,1")


def test_a_container_decides_what_is_free(tmp_path, monkeypatch):
    limits = {
        "memory.max": "4000000000",
        "memory.current": "3500000000",
        "memory.stat": "anon 1\ninactive_file 500000000",
    }
    monkeypatch.undo()
    monkeypatch.setattr(workers, "_control_group", lambda name: limits.get(name, ""))
    assert free_memory() == 1_000_000_000
    monkeypatch.setattr(workers, "_control_group", {"cpu.max": "100000 100000"}.get)
    assert workers.usable_cores() == 1
