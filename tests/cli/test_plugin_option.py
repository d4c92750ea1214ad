"""`--plugin`: every command that names models, attacks or data sets knows those of the user's modules."""

import pytest
from command import advb
from tables import tables_restored


@pytest.fixture(autouse=True)
def restored(monkeypatch, tmp_path):
    """An empty folder, and tables that are as they were afterwards."""
    with tables_restored():
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("advbench.pictures.files.draw_panel", lambda *_: b"panel")
        yield


@pytest.mark.parametrize(
    "command",
    [
        "attack --data smooth --plugin fake_plugin --model tiny --attack hungry --limit 1 --eps 0.1 --out out",
        "attack --plugin fake_plugin --data smooth --model tiny --attack fgsm --limit 1 --goal untargeted --out out",
        "explain --data smooth --model tiny --what predictions --out out --plugin fake_plugin",
        "universal fit --data smooth --model tiny --steps 1 --out out --plugin fake_plugin",
        "patch fit --data smooth --model tiny --steps 1 --out out --plugin fake_plugin",
        "attacks hungry --plugin fake_plugin",
        "models --plugin fake_plugin",
        "datasets smooth --plugin fake_plugin",
        "run smoke --model tiny --data smooth --dry-run --plugin fake_plugin",
    ],
)
def test_commands_know_what_a_plugin_brings(command):
    """Whatever the order of the options."""
    without = command.replace("--plugin fake_plugin", "").split()
    if command != "models --plugin fake_plugin":
        assert "error: unknown" in advb(*without, code=2).stderr
    advb(*command.split())


def test_a_plugin_that_is_not_there_is_named():
    result = advb("attack", "x.png", "--plugin", "no_such", code=2)
    assert result.stderr.startswith("error: cannot import the plugin 'no_such'")
