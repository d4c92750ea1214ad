"""`advbench watch`: what it says of folders in every state, and of runs in other processes while they work."""

import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys

import accidents
import hearing
import pytest
from accidents import finish, slow_suite, start, wait_for
from command import run
from run_folders import make, records, unit
from waiting import LIMIT, ended

from advbench.analysis.course import RunWatcher
from advbench.records.record import UNKNOWN

POSIX = pytest.mark.skipif(os.name != "posix", reason="needs signals of POSIX")
PGD, FMN = unit(4), unit(4, attack="fmn", eps=None)


def broken(of, count):
    """Rows of which the first are of fooled images."""
    met = [i < count for i in range(len(of.samples))]
    sizes = [0.001 if each else None for each in met]
    return records(of, met=met, flipped=met, adv_class=[int(each) for each in met], linf=sizes)


def held(folder, pid=None):
    """As if a process was running in the folder."""
    (folder / ".holder").write_text(f"{pid or os.getpid()} {platform.node()}")


def watched(folder, *options):
    result = run("watch", folder, "--once", *options)
    return result.exit_code, result.stdout.splitlines()


# --- folders in every state ---


def test_a_run_that_is_complete(tmp_path):
    make(tmp_path, {PGD: broken(PGD, 1), FMN: broken(FMN, 3)})
    code, lines = watched(tmp_path)
    assert code == 0
    assert lines[0].startswith("complete: 2 of 2 units (100 %), 0 unknown, lowest robust accuracy so far 25.0 % (1/4)")
    assert lines[2:] == [
        "  vgg16 on imagenet-samples, untargeted, linf, eps 0.007843: 25.0 % (1/4) [4.6, 69.9], 2 attacks"
    ]
    assert run("watch", tmp_path).stdout.splitlines() == lines, "it ends by itself"


def test_a_run_that_is_at_work(tmp_path):
    folder = make(tmp_path, {PGD: broken(PGD, 1)}, [FMN], status="running")
    held(tmp_path)
    folder.log("start")
    folder.log("begin", unit=PGD.unit_id, worker="1")
    folder.log("done", unit=PGD.unit_id, seconds=2.0)
    folder.log("begin", unit=FMN.unit_id, worker="1")
    code, lines = watched(tmp_path)
    assert code == 3
    assert re.match(r"running: 1 of 2 units \(50 %\), 0 unknown", lines[0])
    assert re.fullmatch(r"worker 1: fmn on vgg16, imagenet-samples, untargeted, linf, 4 images, for .* s", lines[1])
    assert lines[-1].endswith("75.0 % (3/4) [30.1, 95.4], 1 attack")


def test_images_that_the_search_for_a_proof_broke_are_not_robust(tmp_path):
    proof = unit(4, task="prove", attack="proof")
    make(tmp_path, {PGD: broken(PGD, 1), proof: broken(proof, 3)})
    (found,) = RunWatcher(tmp_path).look().robust
    assert (found.robust.k, found.robust.n, found.attacks) == (1, 4, 1)


def test_images_that_an_attack_has_not_reached_are_not_robust(tmp_path):
    first, second = unit(2, sample_ids=("a", "b")), unit(2, sample_ids=("c", "d"))
    other = unit(2, attack="fmn", eps=None, sample_ids=("a", "b"))
    make(tmp_path, {first: broken(first, 0), second: broken(second, 1), other: broken(other, 0)}, status="interrupted")
    (found,) = RunWatcher(tmp_path).look().robust
    assert (found.robust.k, found.robust.unknown, found.robust.n, found.attacks) == (2, 1, 4, 2)


def test_failures_are_unknown(tmp_path):
    lost = records(PGD, status=[UNKNOWN] * 4, met=[None] * 4, flipped=[None] * 4, adv_class=[None] * 4)
    folder = make(tmp_path, {PGD: lost}, [FMN], status="incomplete")
    folder.error(PGD.unit_id).parent.mkdir()
    folder.error(PGD.unit_id).write_text("{}")
    code, lines = watched(tmp_path)
    assert code == 3
    assert lines[0].startswith("incomplete: 1 of 2 units (50 %), 1 failed, 4 unknown, ")
    assert "0.0 to 100.0 % (0 to 4/4)" in lines[0]
    assert lines[-1] == f"to continue: advbench resume {tmp_path}"


def test_a_unit_that_failed_and_is_done_later_is_read_again(tmp_path):
    lost = records(PGD, status=[UNKNOWN] * 4, met=[None] * 4, flipped=[None] * 4, adv_class=[None] * 4)
    folder = make(tmp_path, {PGD: lost}, status="running")
    held(tmp_path)
    folder.error(PGD.unit_id).parent.mkdir()
    folder.error(PGD.unit_id).write_text("{}")
    watcher = RunWatcher(tmp_path)
    assert watcher.look().unknown == 4
    make(tmp_path, {PGD: broken(PGD, 1)}, status="running")
    folder.error(PGD.unit_id).unlink()
    course = watcher.look()
    assert (course.unknown, course.failed, course.done) == (0, 0, 1)


def test_a_process_that_was_killed(tmp_path):
    make(tmp_path, {PGD: broken(PGD, 1)}, [FMN], status="running")
    process = subprocess.Popen([sys.executable, "-c", ""])
    ended(process)
    held(tmp_path, process.pid)
    code, lines = watched(tmp_path)
    assert code == 3
    assert lines[0].startswith("killed: 1 of 2 units")
    assert lines[-1] == f"to continue: advbench resume {tmp_path}"


def test_before_there_is_a_plan(tmp_path):
    held(tmp_path)
    assert watched(tmp_path) == (3, ["planning"])


def test_a_run_that_is_resumed_has_not_ended(tmp_path):
    make(tmp_path, {PGD: broken(PGD, 1)}, [FMN], status="interrupted")
    held(tmp_path)
    assert watched(tmp_path) == (3, ["planning"])


def test_the_folder_is_left_as_it_was(tmp_path):
    make(tmp_path, {PGD: broken(PGD, 1)})
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    watched(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


# --- what is damaged, and what is no run ---


@pytest.mark.parametrize("content", [b"\x00\xff\n{\n[]\n", b"no line ends", b""])
def test_a_damaged_log_of_events(tmp_path, content):
    make(tmp_path, {PGD: broken(PGD, 1)}).events.write_bytes(content)
    code, lines = watched(tmp_path)
    assert code == 0
    notes = [line for line in lines if line.startswith("note: ")]
    damaged = "note: events.jsonl has 3 damaged lines: rate and workers may be wrong"
    assert notes == ([damaged] if content.count(b"\n") else [])


def test_events_of_unknown_units_and_odd_values_do_no_harm(tmp_path):
    folder = make(tmp_path, {PGD: broken(PGD, 1)}, [FMN], status="running")
    held(tmp_path)
    for event in ({"unit": "?", "worker": 3}, {"unit": None}, {"unit": [1], "worker": "\x1b[31m"}, {}):
        folder.log("begin", **event)
        folder.log("done", **event, seconds="long")
    folder.log("begin", unit=FMN.unit_id, worker="\x1b[31mred")
    code, lines = watched(tmp_path)
    assert code == 3
    assert lines[1].startswith(r"worker \x1b[31mred: fmn on vgg16")


def test_a_damaged_shard_is_noted(tmp_path):
    folder = make(tmp_path, {PGD: broken(PGD, 1), FMN: broken(FMN, 1)})
    folder.shard(FMN.unit_id).write_bytes(b"PAR1")
    assert "note: 1 shards cannot be read: the file was truncated or changed" in watched(tmp_path)[1]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: shutil.rmtree(path), r"is not the folder of a run: it has no manifest\.json"),
        (lambda path: (path / "manifest.json").unlink(), r"is not the folder of a run: it has no manifest\.json"),
        (lambda path: (path / "manifest.json").write_text("{"), r"cannot read .*manifest\.json"),
        (lambda path: (path / "manifest.json").write_text('{"format": 99}'), r"has format 99\b.*\nupgrade advbench"),
        (lambda path: (path / "plan.jsonl").write_text("{"), r"cannot read .*plan\.jsonl"),
        (lambda path: (path / "plan.jsonl").unlink(), r"cannot read .*plan\.jsonl"),
    ],
    ids=["no folder", "no manifest", "half a manifest", "a later version", "half a plan", "no plan"],
)
@pytest.mark.parametrize("options", [["--once"], []], ids=["once", "on and on"])
def test_a_folder_that_is_no_run(tmp_path, spoil, message, options):
    folder = tmp_path / "run"
    make(folder, {PGD: broken(PGD, 1)})
    spoil(folder)
    result = run("watch", folder, *options)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert re.match(f"error: .*{message}", result.stderr)


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "run").write_text("")
    result = run("watch", tmp_path / "run")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "is not the folder of a run" in result.stderr


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "soon", "1e9"])
def test_an_interval_that_is_none(tmp_path, value):
    result = run("watch", tmp_path, "--interval", value)
    assert result.exit_code == 2
    assert "Invalid value for '--interval'" in result.stderr


def test_it_imports_no_torch(tmp_path):
    make(tmp_path, {PGD: broken(PGD, 1)})
    code = (
        "import sys\nfrom advbench.cli.main import main\n"
        f"main(['watch', {str(tmp_path)!r}], standalone_mode=False)\nprint('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


# --- runs in other processes ---


def watching(folder):
    """`advbench watch` in a process of its own."""
    command = [sys.executable, "-m", "advbench", "watch", str(folder), "--interval", "0.1"]
    return hearing.start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@POSIX
def test_a_run_is_watched_killed_resumed_and_watched_again(tmp_path):
    out = tmp_path / "run"
    process = start(accidents.command, ["run", str(slow_suite(tmp_path)), "--plugin", "fake_plugin", "--out", str(out)])
    wait_for(out / "shards", process)
    watcher = watching(out)
    first = watcher.stdout.readline()
    assert re.match(r"running: \d+ of \d+ units \(\d+ %\), 0 unknown, .* units a (second|minute), .* left", first)
    os.kill(process.pid, signal.SIGKILL)
    ended(process)
    rest, errors = watcher.communicate(timeout=LIMIT)
    assert (watcher.returncode, errors) == (3, "")
    assert f"to continue: advbench resume {out}" in rest
    assert "killed: " in rest

    resumed = start(accidents.command, ["resume", str(out), "--plugin", "fake_plugin"])
    seen = set()
    look = RunWatcher(out)
    while resumed.exitcode is None:
        course = look.look()
        seen |= {busy.worker for busy in course.workers}
        resumed.join(0.02)
    assert resumed.exitcode == 0
    assert seen == {"1"}
    assert look.look().status == "complete"
    watcher = watching(out)
    said, errors = watcher.communicate(timeout=LIMIT)
    assert (watcher.returncode, errors) == (0, "")
    units = json.loads((out / "manifest.json").read_text())["units"]
    assert said.startswith(f"complete: {units} of {units} units (100 %), 0 unknown")


@POSIX
def test_watching_does_not_keep_a_run_from_its_folder(tmp_path):
    out = tmp_path / "run"
    assert finish(accidents.killed, out, "before_replace", 2, "parquet") == -signal.SIGKILL
    held(out)  # as if it was alive, so that the watcher stays
    watcher = watching(out)
    assert watcher.stdout.readline().startswith("running: ")
    assert finish(accidents.plain, out) == 0
    said, errors = watcher.communicate(timeout=LIMIT)
    assert (watcher.returncode, errors) == (0, "")
    assert "complete: " in said


@POSIX
def test_a_terminal_gets_one_report_that_is_kept_up_to_date(tmp_path):
    pty = pytest.importorskip("pty", reason="needs pseudo-terminals")
    make(tmp_path, {PGD: broken(PGD, 1)})
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "120"}
    command = [sys.executable, "-m", "advbench", "watch", str(tmp_path)]
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE, env=environment) as process:
        os.close(theirs)
        seen = b""
        while chunk := _read(ours):
            seen += chunk
        os.close(ours)
        assert process.stderr.read() == b""
    assert process.returncode == 0
    assert b"complete: 1 of 1 units (100 %)" in seen


def _read(descriptor):
    try:
        return os.read(descriptor, 4096)
    except OSError:  # Linux says so when the other end is closed
        return b""


@POSIX
def test_ctrl_c_ends_the_watching_alone(tmp_path):
    make(tmp_path, {PGD: broken(PGD, 1)}, [FMN], status="running")
    held(tmp_path)
    watcher = watching(tmp_path)
    watcher.stdout.readline()
    watcher.send_signal(signal.SIGINT)
    watcher.communicate(timeout=LIMIT)
    assert watcher.returncode == 130
