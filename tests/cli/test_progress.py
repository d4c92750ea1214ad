"""Progress: nothing where nobody wants it, a moving bar on a terminal, a line now and then in a log."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import fakes
import pytest

from advbench.cli.progress import progress_on

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests" / "support"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_quiet_is_silent_everywhere():
    for stream in (io.StringIO(), Terminal()):
        with progress_on(stream, quiet=True) as progress:
            progress("tiger.jpg: pass 1", 0, 1)
        assert stream.getvalue() == ""


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""
    now = [0.0]
    monkeypatch.setattr("advbench.cli.progress.time.monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_line_now_and_then(clock):
    stream = io.StringIO()
    with progress_on(stream, quiet=False) as progress:
        for second in range(100):
            clock[0] = second
            progress(f"tiger.jpg: pass {second}", 3, 8)
    assert stream.getvalue().splitlines() == [
        "tiger.jpg: pass 30 (3 of 8 done)",
        "tiger.jpg: pass 60 (3 of 8 done)",
        "tiger.jpg: pass 90 (3 of 8 done)",
    ]


def test_a_short_run_logs_nothing(clock):
    stream = io.StringIO()
    with progress_on(stream, quiet=False) as progress:
        for second in range(29):
            clock[0] = second
            progress("x", 0, 1)
    assert stream.getvalue() == ""


def test_a_terminal_gets_a_bar_that_goes_away(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = Terminal()
    with progress_on(stream, quiet=False) as progress:
        progress("[red]tiger[/red].jpg: pass 1", 0, 2)
        progress("[red]tiger[/red].jpg: pass 2", 1, 2)
    shown = stream.getvalue()
    assert "[red]tiger[/red].jpg: pass 2" in shown
    assert "1/2" in shown
    assert shown.endswith("\x1b[2K"), "the line of the bar is not cleared in the end"


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_an_error_comes_through(stream):
    with pytest.raises(KeyboardInterrupt, match="Ctrl-C"), progress_on(stream(), quiet=False):
        raise KeyboardInterrupt("Ctrl-C")


def on_a_terminal(arguments, folder):
    """Run `advbench` with standard error on a pseudo-terminal; its exit code, what it wrote, what the terminal got."""
    pty = pytest.importorskip("pty", reason="needs pseudo-terminals")
    code = "import fakes, sys; from advbench.cli.main import main\nwith fakes.registered(): main(sys.argv[1:])"
    ours, theirs = pty.openpty()
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{TESTS}", "TERM": "xterm-256color", "COLUMNS": "100"}
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=theirs
    ) as process:
        os.close(theirs)
        seen = b""
        while True:
            try:
                chunk = os.read(ours, 4096)
            except OSError:  # Linux says so when the other end is closed
                break
            if not chunk:
                break
            seen += chunk
        os.close(ours)
        written = process.stdout.read()
    return process.returncode, written.decode(), seen.decode()


def test_the_bar_moves_with_every_pass(tmp_path):
    fakes.picture(tmp_path / "tiger.png")
    arguments = [
        "attack",
        "tiger.png",
        "--model",
        "sleepy",
        "--attack",
        "pgd",
        "--eps",
        "1e-6",
        "--out",
        "out",
        "--json",
    ]
    code, written, seen = on_a_terminal(arguments, tmp_path)
    assert code == 0
    assert written.startswith("[\n")
    assert "starting" in seen
    passes = [int(number) for number in re.findall(r"tiger\.png: pass (\d+)", seen)]
    assert len(set(passes)) >= 3, seen
    assert passes == sorted(passes)
    assert "0/1" in seen
