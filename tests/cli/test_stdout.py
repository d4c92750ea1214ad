"""Standard output holds the result of a command and nothing else, whatever models and libraries print, and however."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from PIL import Image

import advbench.cli
from advbench.catalog.registry import resolve
from advbench.cli.console import Command
from advbench.cli.main import COMMANDS, main

NETS = """
import torch
from torch import nn
import advbench

class Noisy(nn.Linear):
    def forward(self, x):
        print("NOISE by print")
        return super().forward(x.flatten(1))

def noisy(weights=None):
    print("NOISE while it is made")
    torch.manual_seed(0)
    return advbench.Classifier(Noisy(784, 10), num_classes=10, mean=[0.5], std=[0.5], input_size=28)
"""
EVERY_WAY = """
import atexit, ctypes, logging, os, subprocess, sys

held = sys.stdout
logging.basicConfig(stream=sys.stdout, level=logging.INFO)
logging.info("NOISE by logging")
print("NOISE by the first stream", file=sys.__stdout__)
held.write("NOISE by a stream that was kept\\n")
os.write(1, b"NOISE by descriptor\\n")
subprocess.run(["echo", "NOISE by a process"])
ctypes.CDLL(None).puts(b"NOISE by C")
atexit.register(print, "NOISE at the end")
"""
SUITE = """
models = "nets.py:noisy"
datasets = "mnist"
images = 2
noise = false
attacks = [{ name = "fgsm" }]
eps = { linf = [0.1, 0.3] }
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a model that prints, a suite with it and two pictures."""
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(NETS)
    Path("noisy.toml").write_text(SUITE)
    for number, shade in enumerate((60, 200)):
        Image.new("L", (28, 28), shade).save(f"{number}.png")
    return tmp_path


ATTACK = ["attack", "--model", "nets.py:noisy", "--attack", "fgsm", "--goal", "untargeted", "--device", "cpu"]
RUN = ["run", "noisy.toml", "--allow-code", "--out", "run", "--json", "--quiet"]


@pytest.mark.parametrize("arguments", [[*ATTACK, "--json", "0.png"], [*RUN, "--workers", "2"]], ids=["attack", "run"])
def test_only_the_result_is_printed(folder: Path, arguments: list[str]) -> None:
    Path("nets.py").write_text(NETS + EVERY_WAY)
    done = subprocess.run([sys.executable, "-m", "advbench", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)
    for way in (
        "while it is made",
        "by print",
        "by the first stream",
        "by a stream that was kept",
        "by logging",
        "by descriptor",
        "by a process",
        "by C",
        "at the end",
    ):
        assert f"NOISE {way}" in done.stderr


def test_every_result_by_itself(folder: Path) -> None:
    def printed(*arguments: str) -> str:
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 0, done.output
        return done.stdout

    assert "NOISE" not in printed(*ATTACK, "0.png")
    universal = ("--device", "cpu", "--json", "--quiet", "0.png", "1.png")
    json.loads(printed("universal", "fit", "--model", "nets.py:noisy", "--steps", "2", "--out", "fit", *universal))
    for command in ("eval", "apply"):
        json.loads(printed("universal", command, "fit/perturbation.safetensors", *universal))
    what = ("--what", "predictions", "--json", "--quiet", "--device", "cpu")
    json.loads(printed("explain", "0.png", "--model", "nets.py:noisy", *what))
    json.loads(printed(*RUN))
    json.loads(printed("verify", "run", "--allow-code", "--json"))
    assert printed("report", "run", "--format", "csv").startswith("model,")


def leaves(command: click.Command) -> Iterator[click.Command]:
    if isinstance(command, click.Group):
        for each in command.commands.values():
            yield from leaves(each)
    else:
        yield command


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_keeps_standard_output_for_its_results(name: str) -> None:
    for command in leaves(resolve(COMMANDS[name])):
        assert isinstance(command, Command), f"{command.name}: @click.command(cls=Command)"


SOURCES = [path for path in Path(advbench.cli.__path__[0]).glob("*.py") if path.stem != "console"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_results_are_printed_by_print_result(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("click.echo", "print"):
            assert "err=True" in ast.unparse(node), f"line {node.lineno}: print_result, or err=True"
