"""What the README tells people to type works: every command and every Python block, each in an empty folder.

A command runs in this process with a small model in place of the real one, so that names, options and
redirections are checked in no time; with ``-m slow`` it also runs for real, in a process of its own.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

import fakes
import pytest
from click.testing import CliRunner

from advbench.catalog import DEFAULT_MODEL
from advbench.cli.main import main
from advbench.config.gates import Gates
from advbench.config.suite_files import load_suite
from advbench.datasets.samples import samples

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NOT_OURS = ("make", "git", "pip", "python", "cd", "source")
"""First words of commands that install or build, which CI does by itself."""


NETS = """
from torch import nn

def net():
    return nn.Sequential(nn.AdaptiveAvgPool2d(8), nn.Flatten(), nn.Linear(3 * 64, 10))

def int8():
    network = net().eval()
    return lambda x: (network(x.detach()) * 64).round() / 64
"""
"""A user's own networks."""


class Block(NamedTuple):
    """A fenced block of the README."""

    kind: str
    """console, python, toml or yaml."""
    line: int
    """Of its first line in the README."""
    text: str

    @property
    def commands(self) -> list[str]:
        """What stands behind `$ `, continuation lines joined."""
        joined = self.text.replace("\\\n", " ")
        return [line[2:].strip() for line in joined.splitlines() if line.startswith("$ ")]


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page that are to be run, in order."""
    found = re.finditer(r"^```(console|python|toml|yaml)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(match[1], text[: match.start(2)].count("\n") + 1, match[2]) for match in found]


BLOCKS = blocks(README)


def each(kind: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("block", [pytest.param(b, id=f"line {b.line}") for b in BLOCKS if b.kind == kind])


class Command(NamedTuple):
    """A command line, taken apart."""

    words: list[str]
    output: str | None
    """The file that standard output goes to."""


def parsed(command: str) -> Command:
    words = shlex.split(command, comments=True)
    if ">" in words:
        at = words.index(">")
        return Command(words[:at], words[at + 1])
    return Command(words, None)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with photographs in it, and the files that the README writes down with their names."""
    shutil.copy(samples("imagenet")[0].path, tmp_path / "tiger.jpg")
    for name, some in (("photographs", samples("imagenet")[1:4]), ("other-photographs", samples("imagenet")[4:6])):
        (tmp_path / name).mkdir()
        for picture in some:
            shutil.copy(picture.path, tmp_path / name)
    (tmp_path / "nets.py").write_text(NETS)
    (tmp_path / "names.txt").write_text("\n".join("abcdefghij"))
    for name, some in (("cat", samples("imagenet")[6:9]), ("dog", samples("imagenet")[9:12])):
        (tmp_path / "val" / name).mkdir(parents=True)
        for picture in some:
            shutil.copy(picture.path, tmp_path / "val" / name)
    for block in BLOCKS:
        if named := re.match(r"# ([a-z]+\.(?:py|toml))\n", block.text):
            (tmp_path / named[1]).write_text(block.text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def expected_code(command: str) -> int:
    """The code that a command ends with: 0, unless a comment behind it says another."""
    told = re.search(r"# ends with (\d)", command)
    return int(told[1]) if told else 0


def run_here(command: str) -> None:
    """Run one of our commands in this process, with the small model."""
    words, output = parsed(command)
    assert words[0] == "advbench", f"do not know how to run {command!r}"
    with fakes.registered(DEFAULT_MODEL):
        result = CliRunner().invoke(main, words[1:])
    assert result.exit_code == expected_code(command), f"{command}\n{result.output}"
    if output:
        Path(output).write_text(result.stdout, encoding="utf-8")


def ours(block: Block) -> list[str]:
    """The commands of a block that are run here; skips if there is none."""
    commands = [command for command in block.commands if shlex.split(command)[0] not in NOT_OURS]
    if not commands:
        pytest.skip(f"installs or builds: {', '.join(block.commands)}")
    return commands


@each("console")
def test_commands_are_understood(block, folder, monkeypatch):
    monkeypatch.setattr("advbench.pictures.files.draw_panel", lambda *_: b"panel")
    for command in ours(block):
        run_here(command)


@pytest.mark.slow
@each("console")
def test_commands_work(block, folder):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for command in ours(block):
        words, output = parsed(command)
        done = subprocess.run(
            [sys.executable, "-m", *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == expected_code(command), f"{command}\n{done.stderr}"
        if output:
            (folder / output).write_text(done.stdout, encoding="utf-8")


@each("python")
def test_python_blocks_run_as_they_are(block, folder, monkeypatch):
    monkeypatch.setattr("advbench.pictures.files.draw_panel", lambda *_: b"panel")
    for earlier in BLOCKS[: BLOCKS.index(block)]:
        for command in earlier.commands:
            if (output := parsed(command).output) and output in block.text:
                run_here(command)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an example may leave a file to be closed by Python
        exec(compile(block.text, f"README.md:{block.line}", "exec"), {"__name__": "__main__"})


def test_there_is_something_to_run():
    kinds = [block.kind for block in BLOCKS]
    assert kinds.count("console") >= 1
    assert kinds.count("python") >= 1
    assert len(re.findall(r"^```\w", README, re.MULTILINE)) == len(BLOCKS), "a block of another kind is not run"


def test_every_line_of_a_console_block_is_a_command_or_its_output():
    for block in BLOCKS:
        if block.kind == "console":
            assert block.text.startswith("$ "), f"README.md:{block.line}: begin commands with '$ '"


def test_links_lead_somewhere():
    targets = re.findall(r"\]\((?!https?://|#|mailto:)([^)\s#]+)", README)
    missing = [target for target in targets if not (ROOT / target).exists()]
    assert not missing


def test_blocks_are_found_and_taken_apart():
    page = "# x\n```console\n$ a b \\\n  c > out.json\n$ d\noutput\n```\ntext\n```python\nx = 1\n```\n```toml\n```\n"
    console, python, toml = blocks(page)
    assert (console.line, console.commands) == (3, ["a b    c > out.json", "d"])
    assert parsed(console.commands[0]) == Command(["a", "b", "c"], "out.json")
    assert (python.kind, python.line, python.text) == ("python", 10, "x = 1\n")
    assert (toml.kind, toml.text) == ("toml", "")


@each("toml")
def test_suites_are_in_order(block, folder):
    (folder / "suite.toml").write_text(block.text)
    suite = load_suite("suite.toml", allow_code=True)
    assert suite.gates != Gates()


@each("yaml")
def test_commands_of_a_workflow_are_understood(block):
    commands = re.findall(r"^- run: (advbench .*)$", block.text, re.MULTILINE)
    assert commands
    for command in commands:
        _, name, *arguments = shlex.split(command)
        main.get_command(None, name).make_context(name, arguments)
