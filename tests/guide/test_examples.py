"""What README and guide tell people to type works: every command and every Python block, each in an empty folder.

A command runs in this process with a small model in place of the real one, so that names, options and
redirections are checked in no time; with ``-m slow`` it also runs for real, in a process of its own. Of a block under
`<!-- not run: WHY -->` the options are checked.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import click
import fakes
import pytest
from click.testing import CliRunner
from pages import (
    EXAMPLES,
    GUIDE,
    KINDS,
    NOT_OURS,
    PAGES,
    ROOT,
    Block,
    Command,
    Example,
    blocks,
    check_options,
    expected_code,
    parsed,
)

from advbench.catalog import DEFAULT_MODEL
from advbench.cli.main import main
from advbench.config.suite_files import load_suite
from advbench.datasets.samples import samples

NETS = """
from torch import nn

def net():
    return nn.Sequential(nn.AdaptiveAvgPool2d(8), nn.Flatten(), nn.Linear(3 * 64, 10))

def int8():
    network = net().eval()
    return lambda x: (network(x.detach()) * 64).round() / 64
"""
"""A user's own networks."""


def each(kind: str, *, run: bool = True) -> pytest.MarkDecorator:
    """The blocks of a kind, those that are run or those that are not."""
    found = [one for one in EXAMPLES if one.block.kind == kind and run is not bool(one.block.not_run)]
    return pytest.mark.parametrize("example", [pytest.param(one, id=one.place) for one in found])


@pytest.fixture
def folder(tmp_path, monkeypatch, example):
    """The current folder, with photographs in it, and the files that the page writes down with their names."""
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
    for block in example.page.blocks:
        if block.file:
            (tmp_path / block.file).write_text(block.text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:  # the files of the next page may have the same names
        if str(tmp_path) in (getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]


def run_here(command: str) -> None:
    """Run one of our commands in this process, with the small model."""
    words, output = parsed(command)
    assert words[0] == "advbench", f"do not know how to run {command!r}"
    with fakes.registered(DEFAULT_MODEL):
        result = CliRunner().invoke(main, words[1:])
    assert result.exit_code == expected_code(command), f"{command}\n{result.output}"
    if output:
        Path(output).write_text(result.stdout, encoding="utf-8")


def ours(block: Block, *others: str) -> list[str]:
    """The commands of a block that are run here; skips if there is none."""
    left_out = (*NOT_OURS, *others)
    commands = [command for command in block.commands if shlex.split(command)[0] not in left_out]
    if not commands:
        pytest.skip(f"installs, builds or tests: {', '.join(block.commands)}")
    return commands


@each("console")
def test_commands_are_understood(example, folder, monkeypatch):
    monkeypatch.setattr("advbench.pictures.files.draw_panel", lambda *_: b"panel")
    for command in ours(example.block, "pytest"):
        run_here(command)


@each("console", run=False)
def test_options_of_commands_that_are_not_run(example):
    for command in example.block.commands:
        if command.startswith("advbench "):
            check_options(command)


@pytest.mark.slow
@each("console")
def test_commands_work(example, folder):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for command in ours(example.block):
        words, output = parsed(command)
        done = subprocess.run(
            [sys.executable, "-m", *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == expected_code(command), f"{command}\n{done.stdout}{done.stderr}"
        if output:
            (folder / output).write_text(done.stdout, encoding="utf-8")


@each("python")
def test_python_blocks_run_as_they_are(example, folder, monkeypatch):
    monkeypatch.setattr("advbench.pictures.files.draw_panel", lambda *_: b"panel")
    own = example.page.blocks
    for earlier in own[: own.index(example.block)]:
        for command in earlier.commands:
            if (output := parsed(command).output) and output in example.block.text:
                run_here(command)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an example may leave a file to be closed by Python
        exec(compile(example.block.text, example.place, "exec"), {"__name__": "__main__"})


@each("toml")
def test_suites_are_in_order(example, folder):
    (folder / "suite.toml").write_text(example.block.text)
    suite = load_suite("suite.toml", allow_code=True)
    assert suite.gates.model_fields_set, "a suite on a page shows its gates"


@each("yaml")
def test_commands_of_a_workflow_are_understood(example):
    commands = re.findall(r"(?:run: |- )(advbench .*)$", example.block.text, re.MULTILINE)
    assert commands
    for command in commands:
        check_options(command)
    baseline = {part for command in commands for part in re.findall(r"--baseline \S+", command)}
    reports = [command for command in commands if command.startswith("advbench report")]
    assert [command for command in reports if not baseline <= {*re.findall(r"--baseline \S+", command)}] == [], (
        "without the baseline of its run, a report says NO BASELINE where the job passed"
    )


def test_there_is_something_to_run():
    for kind in KINDS:
        assert [one for one in EXAMPLES if one.block.kind == kind and not one.block.not_run], kind
    for page in PAGES:
        fences = re.findall(r"^```\w.*", page.text, re.MULTILINE)
        assert len(fences) - fences.count("```text") == len(page.blocks), f"{page.name}: a block that is not run"


def test_every_block_of_the_start_pages_is_run():
    started = [one for one in EXAMPLES if one.page.name.startswith("start/")]
    assert len(started) > 15
    assert [one.place for one in started if one.block.not_run] == []


def test_every_line_of_a_console_block_is_a_command_or_its_output():
    for one in EXAMPLES:
        if one.block.kind == "console":
            assert one.block.text.startswith("$ "), f"{one.place}: begin commands with '$ '"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\((?!https?://|#|mailto:)([^)\s#]+)", page.text)
    missing = [target for target in targets if not (page.path.parent / target).exists()]
    assert not missing
    inside = [target for target in targets if (page.path.parent / target).resolve().is_relative_to(GUIDE)]
    assert page.name == "README.md" or inside == targets, "the guide is shipped without the rest of the repository"


def test_blocks_are_found_and_taken_apart():
    page = "# x\n```console\n$ a b \\\n  c > out.json\n$ d\noutput\n```\ntext\n```python\nx = 1\n```\n"
    page += "<!-- not run: no time -->\n```toml\n# a.toml\n```\n"
    console, python, toml = blocks(page)
    assert (console.line, console.commands, console.not_run) == (3, ["a b    c > out.json", "d"], "")
    assert parsed(console.commands[0]) == Command(["a", "b", "c"], "out.json")
    assert (python.kind, python.line, python.text, python.file) == ("python", 10, "x = 1\n", "")
    assert (toml.kind, toml.file, toml.not_run) == ("toml", "a.toml", "no time")
    assert Example(PAGES[0], toml).place == "README.md:14"


def test_options_that_do_not_exist_are_found():
    with pytest.raises(click.UsageError, match="No such option"):
        check_options("advbench baseline write run --basline x.json")
    with pytest.raises(AssertionError, match="there is no command 'wrote'"):
        check_options("advbench baseline wrote run")
