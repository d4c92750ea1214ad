"""Nothing is lost and nothing is invented, whatever happens to a run: real kills, real limits, real damage."""

import itertools
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import accidents
import hearing
import pandas as pd
import pytest
from accidents import ONLY_LINF, SUITE, TOML, finish, slow_suite, start, wait_for
from waiting import LIMIT, ended, until

import advbench
from advbench.api import run
from advbench.errors import UserError
from advbench.records.record import UNKNOWN, Reason
from advbench.records.storage.atomic import write_atomic
from advbench.records.stored_run import StoredRun

POSIX = pytest.mark.skipif(os.name != "posix", reason="needs signals and limits of POSIX")
pytestmark = [POSIX, pytest.mark.usefixtures("plugged")]


@pytest.fixture
def copy(golden, tmp_path):
    """A copy of that run, to be damaged."""
    shutil.copytree(golden.folder, tmp_path / "run")
    return tmp_path / "run"


def same(golden: StoredRun, folder: Path) -> None:
    """The run is whole and equal to the one without accidents, to the last bit."""
    found = advbench.load_run(folder)
    assert found.complete
    assert found.manifest["status"] == "complete"
    frames = [done.frame.drop(columns="seconds") for done in (found, golden)]
    pd.testing.assert_frame_equal(*frames, check_exact=True, check_categorical=False)
    for name in ("clean", "adv"):
        files = [{path.name: path.read_bytes() for path in (f / name).iterdir()} for f in (folder, golden.folder)]
        assert files[0] == files[1]
    assert not list(folder.rglob(".*.tmp-*"))


def shards(folder: Path) -> list[Path]:
    return sorted((folder / "shards").glob("*.parquet"))


def events(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("point", accidents.POINTS)
@pytest.mark.parametrize(
    ("number", "name"),
    [
        (2, "parquet"),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in [(1, "plan"), (1, "clean"), (2, "manifest")]),
    ],
)
def test_killed_while_it_writes(golden, tmp_path, point, number, name):
    name = "safetensors" if name == "clean" else name
    out = tmp_path / "run"
    assert finish(accidents.killed, out, point, number, name) == -signal.SIGKILL
    before = {path: path.stat().st_ino for path in shards(out)} if (out / "shards").exists() else {}
    run(SUITE, out=out)
    same(golden, out)
    assert all(path.stat().st_ino == inode for path, inode in before.items()), "what was done is not done again"


@pytest.mark.slow
def test_killed_at_random_times_until_it_is_done(golden, tmp_path):
    begun = time.monotonic()
    assert finish(accidents.plain, tmp_path / "whole") == 0
    whole = time.monotonic() - begun  # on a busy machine a fixed time would fall before all work
    chance, kills, halfway = random.Random(0), 0, set()
    for lap in itertools.count():
        out = tmp_path / f"run {lap}"
        while True:  # until this lap's run is done
            process = start(accidents.plain, out)
            process.join(chance.uniform(0, whole) if kills < 20 else LIMIT)
            if process.exitcode is not None:
                break
            assert kills < 20, f"nobody disturbed it, and it did not end in {LIMIT} seconds"
            os.kill(process.pid, signal.SIGKILL)
            ended(process)
            kills += 1
            halfway.add(len(list(out.glob("shards/*.parquet"))))
        assert process.exitcode == 0
        same(golden, out)
        if kills >= 20:
            break
    assert len(halfway) > 1, "some kills came while it was at work"


@pytest.mark.parametrize("most", [9_000, 14_000])
def test_a_full_disk_stops_it_and_what_was_done_stays(golden, tmp_path, most):
    out = tmp_path / "run"
    assert finish(accidents.cramped, out, most) in (2, 3)
    assert not [path for path in out.rglob("*") if ".tmp-" in path.name]
    run(SUITE, out=out)
    same(golden, out)


FULL = pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs /dev/full")


@FULL
@pytest.mark.parametrize(("name", "code"), [("plan", 2), ("safetensors", 3), ("parquet", 3), ("flags", 3)])
def test_a_disk_that_is_full_at_some_file(golden, tmp_path, name, code):
    out = tmp_path / "run"
    assert finish(accidents.crowded, out, name) == code
    assert not [path for path in out.rglob("*") if ".tmp-" in path.name]
    run(SUITE, out=out)
    same(golden, out)


@FULL
def test_a_device_that_is_full_is_told_and_stays_a_device():
    with pytest.raises(UserError, match="cannot write /dev/full: No space left on device"):
        write_atomic(Path("/dev/full"), b"results")
    assert Path("/dev/full").is_char_device()


def damage(how: str, path: Path, other: Path) -> None:
    content = path.read_bytes()
    match how:
        case "emptied":
            path.write_bytes(b"")
        case "one byte left":
            path.write_bytes(content[:1])
        case "half":
            path.write_bytes(content[: len(content) // 2])
        case "all but one byte":
            path.write_bytes(content[:-1])
        case "one bit":
            place = random.Random(path.name).randrange(len(content))
            path.write_bytes(content[:place] + bytes([content[place] ^ 8]) + content[place + 1 :])
        case "swapped":
            path.write_bytes(other.read_bytes())
            other.write_bytes(content)
        case "deleted":
            path.unlink()


@pytest.mark.parametrize(
    "how", ["emptied", "one byte left", "half", "all but one byte", "one bit", "swapped", "deleted"]
)
def test_every_damaged_shard_is_found_set_aside_and_done_again(golden, copy, how):
    files = shards(copy)
    for path, other in zip(files[::2], files[1::2], strict=False):
        damage(how, path, other)
    hurt = len(files) // 2 * (2 if how == "swapped" else 1)
    assert len(advbench.load_run(copy).missing) == hurt
    run(SUITE, out=copy)
    same(golden, copy)
    aside = list((copy / "corrupt").iterdir()) if (copy / "corrupt").exists() else []
    assert len(aside) == (0 if how == "deleted" else hurt)
    assert sum(event["event"] == "set aside" for event in events(copy)) == len(aside)


@pytest.mark.parametrize("folder", ["clean", "checks"])
def test_what_attacks_build_on_is_found_damaged_too(golden, copy, folder):
    (path,) = (copy / folder).iterdir()
    damage("one bit", path, path)
    run(SUITE, out=copy)
    same(golden, copy)


def test_events_cut_short_do_no_harm(golden, copy):
    (copy / "events.jsonl").write_bytes((copy / "events.jsonl").read_bytes()[:-7])
    shards(copy)[0].unlink()
    run(SUITE, out=copy)
    same(golden, copy)


@pytest.mark.parametrize("content", [b"", b"{", b"[]"])
def test_a_damaged_manifest_is_told(copy, content):
    (copy / "manifest.json").write_bytes(content)
    with pytest.raises(UserError, match=r"cannot read .*manifest\.json"):
        run(SUITE, out=copy)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_and_it_is_resumed(tmp_path, number, code):
    out = tmp_path / "run"
    arguments = ["run", str(slow_suite(tmp_path)), "--plugin", "fake_plugin", "--out", str(out)]
    process = start(accidents.command, arguments)
    wait_for(out / "shards", process)
    os.kill(process.pid, number)
    assert ended(process) == code
    assert json.loads((out / "manifest.json").read_text())["status"] == "interrupted"
    there = {path: path.stat().st_ino for path in shards(out)}
    assert finish(accidents.command, ["resume", str(out), "--plugin", "fake_plugin"]) == 0
    assert advbench.load_run(out).complete
    assert all(path.stat().st_ino == inode for path, inode in there.items())


def test_two_processes_on_one_folder(tmp_path):
    out = tmp_path / "run"
    arguments = ["run", str(slow_suite(tmp_path)), "--plugin", "fake_plugin", "--out", str(out)]
    process = start(accidents.command, arguments)
    wait_for(out / "shards", process)
    with pytest.raises(UserError, match=rf"another process \(pid {process.pid}\) is running in .*\nwait for it"):
        run(SUITE, out=out)
    os.kill(process.pid, signal.SIGKILL)
    ended(process)
    with pytest.raises(UserError, match="holds another run"):  # its lock went with it
        run(SUITE, out=out)


@contextmanager
def nobody():
    """Do without the rights of root, who may write anywhere."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_a_folder_that_cannot_be_written_to(golden, tmp_path):
    tmp_path.chmod(0o500)
    with nobody(), pytest.raises(UserError, match=r"cannot write to the folder .*: Permission denied\nchoose another"):
        run(SUITE, out=tmp_path / "run")


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(UserError, match="cannot write to the folder"):
        run(SUITE, out=tmp_path / "run")


def test_an_attack_that_never_comes_back_is_unknown_and_tried_again_on_resuming(tmp_path, monkeypatch):
    suite = ONLY_LINF | {"attacks": "hang", "noise": False, "time_limit": 0.3, "images": 2}
    done = run(suite, out=tmp_path)
    assert (done.frame["status"] == UNKNOWN).all()
    assert done.frame["error"].str.contains("it took longer than the time limit of 0.3 seconds").all()
    assert set(done.frame["reason"]) == {Reason.TIME_LIMIT}
    assert done.manifest["status"] == "incomplete"
    assert len(list((tmp_path / "errors").iterdir())) == 1
    monkeypatch.setattr("fake_plugin.Hang.cheat", lambda self, x, eps: x.clone())
    again = run(suite, out=tmp_path)
    assert (again.frame["status"] == "ok").all()
    assert again.manifest["status"] == "complete"
    assert list((tmp_path / "errors").iterdir()) == []


@pytest.mark.slow
class TestWorkers:
    """Processes beside the run; each takes seconds to import torch."""

    @pytest.fixture(autouse=True)
    def path(self, monkeypatch):
        here = Path(__file__).parents[1] / "support"
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(here), str(here.parent), str(here.parents[1])]))

    def test_they_do_what_one_process_does(self, golden, tmp_path):
        run(SUITE, out=tmp_path, workers=2)
        same(golden, tmp_path)

    def test_one_that_is_killed_is_replaced(self, golden, tmp_path):
        killed = []

        def kill(what, done, total):
            if not killed and (running := multiprocessing.active_children()):
                killed.append(running[0].pid)
                os.kill(killed[0], signal.SIGKILL)

        run(SUITE, out=tmp_path, workers=2, progress=kill)
        assert killed
        same(golden, tmp_path)

    def test_a_unit_that_kills_its_worker_once_is_done_again(self, tmp_path, monkeypatch):
        monkeypatch.setenv("ADVBENCH_TEST_MARK", str(tmp_path / "mark"))
        suite = ONLY_LINF | {"attacks": ["suicide", {"name": "pgd", "params": {"steps": 2}}]}
        done = run(suite, out=tmp_path / "run", workers=2)
        assert (done.frame["status"] == "ok").all()
        assert max(event.get("attempts", 0) for event in events(tmp_path / "run")) == 2

    def test_a_unit_that_always_kills_its_worker_is_unknown(self, tmp_path):
        done = run(ONLY_LINF | {"attacks": "always_suicide", "images": 5, "noise": False}, out=tmp_path, workers=2)
        assert (done.frame["status"] == UNKNOWN).all()
        assert done.frame["error"].str.contains("its process ended with code -9, 3 times").all()
        assert set(done.frame["reason"]) == {Reason.CRASHED}
        assert done.manifest["status"] == "incomplete"

    def test_one_that_hangs_is_ended(self, tmp_path):
        suite = ONLY_LINF | {"attacks": ["hang", {"name": "pgd", "params": {"steps": 2}}], "noise": False}
        done = run(suite | {"time_limit": 15, "images": 4}, out=tmp_path, workers=2)
        hung = done.frame["attack"] == "hang"
        assert (done.frame.loc[hung, "status"] == UNKNOWN).all()
        assert (done.frame.loc[~hung, "status"] == "ok").all()

    def test_a_script_without_a_guard_is_not_run_again_in_them(self, golden, tmp_path):
        script = tmp_path / "script.py"
        given = f"{SUITE!r}, out={str(tmp_path / 'run')!r}, plugins=['fake_plugin'], workers=2"
        script.write_text(f"import advbench\nprint('once')\nadvbench.run({given})\n")
        said = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
        assert (said.stdout, said.stderr) == ("once\n", "")

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
    def test_no_process_outlives_the_run(self, tmp_path, number):
        suite = tmp_path / "suite.toml"
        suite.write_text(TOML.format(model="tiny").replace('"pgd"', '"hang"').replace(", params = { steps = 3 }", ""))
        options = ["--plugin", "fake_plugin", "--workers", "2", "--out", tmp_path / "run"]
        command = [sys.executable, "-m", "advbench", "run", suite, *options]
        process = hearing.start(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        workers = until(lambda: _at_work(process.pid), "both workers begin", process)
        process.send_signal(number)
        ended(process)
        until(lambda: not any(map(_is_alive, workers)), "no worker is left")


def _at_work(run: int) -> list[int]:
    """Ids of the workers of a run, once there are two and both have begun to work."""
    found = subprocess.run(["ps", "-ww", "-o", "pid=,time=,args=", "--ppid", str(run)], capture_output=True, text=True)
    lines = [line.split(maxsplit=2) for line in found.stdout.splitlines() if "spawn_main" in line]
    if len(lines) < 2 or any(used == "00:00:00" for _, used, _ in lines):
        return []
    return [int(pid) for pid, _, _ in lines]


def _is_alive(process: int) -> bool:
    """Whether a process runs; one that nobody has buried yet does not."""
    said = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True).stdout
    return said.strip()[:1] not in ("", "Z")
