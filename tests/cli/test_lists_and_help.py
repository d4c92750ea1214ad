"""Lists of what there is, and the help."""

import importlib.metadata
import platform
import re

import pytest
from command import rows_of, run
from rich.console import Console

from advbench import __version__
from advbench.catalog import ATTACKS, MODELS
from advbench.catalog.registry import resolve
from advbench.cli import main as cli
from advbench.cli.console import results
from advbench.records.flag import CHECKS

pytestmark = pytest.mark.usefixtures("fakes_registered", "without_panel")


COMMANDS = [[], *([name] for name in cli.COMMANDS)]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("columns", ["80", "100", "200"])
def test_help_fits_the_screen(command, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    short, long = run(*command, "-h"), run(*command, "--help")
    assert long.exit_code == 0
    assert long.stdout == short.stdout
    assert max(map(len, long.stdout.splitlines())) < 100


def test_help_states_the_defaults():
    text = " ".join(run("attack", "--help").stdout.split()).replace("- ", "-")  # some are cut at a hyphen
    for default in (
        "[default: efficientnet_lite0]",
        "[default: topk]",
        "Default: topk-exclusion:7",
        "[default: auto]",
        "[default: 0;",
        "[default: 16;",
        "Default: reports/<image>-<model>-<attack>",
        "2/255 (the default for linf)",
        "Default: the first one that the attack supports",
    ):
        assert default in text
    for option in resolve(cli.COMMANDS["attack"]).params:
        assert option.name == "paths" or option.opts[0] in text
        assert option.name == "paths" or option.help


def test_help_lists_every_command():
    text = run("--help").stdout
    assert all(re.search(rf"^  {name}  ", text, re.MULTILINE) for name in cli.COMMANDS)


def test_version():
    torch = importlib.metadata.version("torch")
    said = f"advbench, version {__version__} (torch {torch}, Python {platform.python_version()})\n"
    assert run("--version").stdout == said


@pytest.mark.parametrize(("command", "table"), [("models", MODELS), ("attacks", ATTACKS)])
def test_lists_hold_every_name(command, table):
    shown, rows = run(command), rows_of(run(command, "--json"))
    assert shown.exit_code == 0
    assert [row["name"] for row in rows] == list(table)
    lines = shown.stdout.splitlines()
    assert max(map(len, lines)) <= 100
    first = [line.split()[0] for line in lines if line.strip()]
    assert sorted(word for word in first if word in table) == sorted(table)


def test_the_list_of_attacks_tells_norms_and_kind():
    rows = {row["name"]: row for row in rows_of(run("attacks", "--json"))}
    told = {"name": "ddn", "kind": "minimum norm", "norms": ["l2"], "summary": ATTACKS["ddn"].summary}
    assert told.items() <= rows["ddn"].items()
    assert re.search(r"^pgd +budget +linf l2 l1 ", run("attacks").stdout, re.MULTILINE)


def test_the_list_of_flags_is_the_table_of_checks():
    rows = rows_of(run("flags", "--json"))
    assert {row["id"]: (row["asks"], row["severity"], row["full"]) for row in rows} == CHECKS
    shown = run("flags").stdout
    assert re.search(r"^A15\* +F +planted perturbations are found", shown, re.MULTILINE)
    assert re.search(r"^M6 +F +gradients that exist and are not zero", shown, re.MULTILINE)
    assert max(map(len, shown.splitlines())) <= 100
    assert all(f"indicator {number})" in shown for number in range(1, 7)), "all six of Pintor's"


def test_one_attack_in_full():
    (row,) = rows_of(run("attacks", "pgd", "--json"))
    assert row["faults"] == []
    assert row["parameters"][2] == {
        "name": "random_start",
        "default": True,
        "meaning": "Whether to start at a random point in the ball.",
    }
    shown = run("attacks", "pgd").stdout
    assert "norms  linf, l2, l1" in shown
    assert re.search(r"^steps +40 +Number of gradient steps\. *$", shown, re.MULTILINE)
    assert re.search(r"^random_start +true +Whether", shown, re.MULTILINE)
    assert "faults" not in shown


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_can_be_looked_at_in_80_columns(name, monkeypatch):
    monkeypatch.setattr("advbench.cli.listings.console", lambda: Console(width=80, file=results()))
    shown = run("attacks", name).stdout
    assert shown.startswith(name)
    assert max(map(len, shown.splitlines())) <= 80
    (row,) = rows_of(run("attacks", name, "--json"))
    assert all(each["name"] in shown for each in row["parameters"] or ())
    for fault in row["faults"]:
        assert fault.replace(" ", "") in re.sub(r"\s", "", shown)


def test_an_attack_that_is_not_there_has_a_near_miss():
    result = run("attacks", "foolbox/dnn")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "error: unknown attack 'foolbox/dnn'\ndid you mean foolbox/ddn" in result.stderr


def test_the_list_of_models_tells_what_is_needed():
    rows = {row["name"]: row for row in rows_of(run("models", "--json"))}
    assert rows["efficientnet_lite0"]["ready"] is True
    assert rows["efficientnet_lite0"]["input_size"] == 224
    assert set(rows["vgg16"]) == set(rows["efficientnet_lite0"])


def test_download_says_what_it_needs_and_where_the_data_set_is(monkeypatch, tmp_path):
    monkeypatch.delenv("ADVBENCH_DATA", raising=False)
    without = run("datasets", "--download", "cifar10")
    assert without.exit_code == 2
    assert "add --data-root DIR, or set the environment variable ADVBENCH_DATA" in without.stderr
    other = run("datasets", "--download", "mnist", "--data-root", tmp_path)
    assert other.exit_code == 2
    assert "data set mnist needs no download" in other.stderr
    monkeypatch.setattr("torchvision.datasets.CIFAR10", lambda *args, **kwargs: None)
    monkeypatch.setenv("ADVBENCH_DATA", str(tmp_path))
    done = run("datasets", "--download", "cifar10")
    assert (done.exit_code, done.stdout.strip()) == (0, f"cifar10 is in {tmp_path / 'cifar10'}")


def test_one_model_is_shown_alone():
    (row,) = rows_of(run("models", "lenet", "--json"))
    assert row["name"] == "lenet"
    assert "lenet" in run("models", "lenet").stdout


def test_nothing_is_listed_of_a_model_of_ones_own():
    result = run("models", "net.onnx")
    assert result.exit_code == 2
    assert "net.onnx is your own model: nothing is known about it until it is loaded" in result.stderr
