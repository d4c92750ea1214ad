"""Output that nobody can read: a full disk, a pipe that is closed, no output at all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from frames import images
from runs import write_run

COMMANDS = [
    ["--help"],
    pytest.param(["--version"], marks=pytest.mark.slow),
    ["models"],
    pytest.param(["run", "--help"], marks=pytest.mark.slow),
    pytest.param(["report", "run"], marks=pytest.mark.slow),
    ["report", "run", "--format=json"],
]
WRONG = [["run", "--nope"], ["run", "nope.toml"]]
FULL = pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs /dev/full")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("output")
    write_run(folder / "run", images([0.01, None]))
    return folder


def ended(folder, arguments, **streams):
    """How a command of its own process ends, and what it says on standard error if that is not given away."""
    command = [sys.executable, "-m", "advbench", *arguments]
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE} | streams
    result = subprocess.run(command, cwd=folder, text=True, check=False, **streams)
    return result.returncode, result.stderr


@FULL
@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_an_output_without_room_is_told_in_a_sentence(folder, arguments):
    with Path("/dev/full").open("wb") as full:
        assert ended(folder, arguments, stdout=full) == (
            2,
            "error: cannot write the output: No space left on device\n",
        )


@FULL
@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_bad_usage_is_no_failed_gate_where_it_cannot_be_told(folder, arguments):
    with Path("/dev/full").open("wb") as full:
        assert ended(folder, arguments, stderr=full)[0] == 2


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_closed_pipe_ends_it_quietly_as_the_shell_has_it(folder, arguments):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert ended(folder, arguments, stdout=writer) == (141, "")
    finally:
        os.close(writer)


@pytest.mark.parametrize("arguments", [*COMMANDS, *WRONG], ids=" ".join)
def test_whoever_closes_both_outputs_wants_none(folder, arguments):
    command = [sys.executable, "-m", "advbench", *arguments]
    closed = ["sh", "-c", '"$@" >&- 2>&-', "sh", *command]
    assert subprocess.run(closed, cwd=folder, check=False).returncode == (2 if arguments in WRONG else 0)
