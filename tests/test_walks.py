"""The walks of CONTRIBUTING.md are the ways that the commands take."""

import fakes
import pytest
from click.testing import CliRunner
from tables import tables_restored
from walks import ROOT, Hop, Trace, functions_of, lacking, trace_of, walks_in

from advbench.catalog import plugins
from advbench.cli.main import main

WALKS = walks_in((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
MOST_HOPS = 14
"""Hops from the command to the record, at most."""
ORDER = ["config", "planning", "execution", "evaluation", "records", "analysis", "report"]
"""Packages in the order in which a run passes through them."""
SUITE = """
name = "small"
models = "tiny"
datasets = "smooth"
images = 4
attacks = [{ name = "pgd", params = { steps = 2 } }]
eps = { linf = 0.05 }
"""


def command(*arguments: str) -> Trace:
    """What a command calls that ends well."""

    def run() -> None:
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output

    return trace_of(run)


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trace]:
    """Both commands, on a tiny network and a few images."""
    folder = tmp_path_factory.mktemp("walks")
    fakes.picture(folder / "tiger.png")
    (folder / "small.toml").write_text(SUITE)
    with fakes.registered():
        options = ("--model", "tiny", "--attack", "pgd", "--goal", "untargeted", "--device", "cpu")
        attack = command("attack", str(folder / "tiger.png"), *options, "--out", str(folder / "attack"))
    with tables_restored():
        plugins.load_plugins(["fake_plugin"])
        run = command("run", str(folder / "small.toml"), "--out", str(folder / "run"))
    return {"attack": attack, "run": run}


def test_both_walks_are_shown_and_short() -> None:
    assert list(WALKS) == ["attack", "run"]
    assert 0 < len(WALKS["attack"]) <= MOST_HOPS
    assert 0 < len(WALKS["run"]) <= MOST_HOPS


@pytest.mark.parametrize("name", WALKS)
def test_every_hop_exists(name: str) -> None:
    assert lacking(WALKS[name]) == []


@pytest.mark.parametrize("name", WALKS)
def test_hops_are_first_called_in_the_order_shown(name: str, traces: dict[str, Trace]) -> None:
    assert traces[name].in_order(WALKS[name]) == WALKS[name]


def test_a_run_passes_through_the_packages_in_their_order_once() -> None:
    packages = [hop.package for hop in WALKS["run"] if hop.package != "cli"]
    entered = [package for i, package in enumerate(packages) if i == 0 or package != packages[i - 1]]
    assert entered == ORDER


@pytest.mark.parametrize("name", WALKS)
def test_nothing_that_executes_calls_back_into_the_analysis(name: str, traces: dict[str, Trace]) -> None:
    assert traces[name].callbacks == []


# --- each of these tests can fail ---


def test_a_walk_with_hops_that_are_not_there_is_noticed() -> None:
    text = "### `advbench attack x`\n\n1. `advbench/no.py: f` is not\n2. `attacks/pgd.py: PGD.fly` neither\n3. none\n"
    (hops,) = walks_in(f"{text}\n## Next\n\n1. `attacks/pgd.py: PGD.__call__`\n").values()
    assert hops == lacking(hops) == [Hop("advbench/no.py", "f"), Hop("attacks/pgd.py", "PGD.fly")]
    assert functions_of("def f(): ...\nclass A:\n    def g(self): ...") == {"f", "A.g"}


def test_a_callback_from_execution_is_noticed() -> None:
    inside, analysis = ROOT / "advbench" / "execution" / "x.py", ROOT / "advbench" / "analysis" / "x.py"
    names: dict[str, object] = {}
    for path, source in ((analysis, "def late(): pass"), (inside, "def early(): late()")):
        exec(compile(source, path, "exec"), names)
    trace = trace_of(names["early"])
    assert trace.callbacks == ["advbench/analysis/x.py: late"]
    assert [hop.function for hop in trace.first] == ["early", "late"]
