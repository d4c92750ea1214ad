"""The pytest plug-in: what a test of somebody's model says when it passes, fails, and is compared with a baseline."""

import json
import os
import subprocess
import sys
from pathlib import Path

import fakes
import pytest
import torch

from advbench.errors import UserError
from advbench.testing import Bench

pytest_plugins = "pytester"
ROOT = Path(__file__).parents[1]
MODEL = """
import pytest, torch

generator = torch.Generator().manual_seed(0)
x = 0.25 + 0.5 * torch.rand(40, 3, 4, 4, generator=generator)
weight = torch.randn(5, 48, generator=generator)
labels = (x.flatten(1) @ weight.T).argmax(1)

def model(x, shift=0.0):
    return x.flatten(1) @ weight.T + shift * torch.arange(5)
"""


@pytest.fixture(scope="module", autouse=True)
def _everything_imported():
    """pytester forgets what a session imports, and numpy's parts cannot be imported twice."""
    from advbench.analysis.baseline import Baseline  # noqa: F401
    from advbench.analysis.statistics import mcnemar

    mcnemar(1, 2)
    str(bench()(lambda x: x.flatten(1)[:, :5], X[:2, :, :4, :4], attack="fmn", params={"steps": 1}))


@pytest.fixture
def session(pytester, monkeypatch):
    """Run a file of tests with the plug-in, in this process."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def run(text, *arguments, how="inprocess"):
        pytester.makepyfile(MODEL + text)
        return getattr(pytester, f"runpytest_{how}")(
            "-p", "advbench.pytest_plugin", "-p", "no:cacheprovider", *arguments
        )

    return run


def bench(**defaults):
    return Bench("test_it", None, defaults)


X = torch.rand(12, 3, fakes.SIZE, fakes.SIZE, generator=torch.Generator().manual_seed(0))


def test_a_test_passes_and_the_session_says_what_was_measured(session):
    result = session(
        """
def test_weak(advbench):
    result = advbench(model, (x, labels), attack="fgsm", eps="1/255")
    result.assert_robust(min=0.5)
    result.assert_trusted()
"""
    )
    result.assert_outcomes(passed=1)
    result.stdout.re_match_lines([r"-+ robust accuracy -+", r".*::test_weak: \d+\.\d % \(\d+/40\) \[.*\]"])


def test_a_test_fails_with_the_table(session):
    result = session(
        """
@pytest.mark.advbench(attack="fgsm", eps=0.5)
def test_strong(advbench):
    advbench(model, (x, labels)).assert_robust(min=0.4)
"""
    )
    result.assert_outcomes(failed=1)
    result.stdout.re_match_lines(
        [
            r".*AssertionError: robust accuracy is 0\.0 % \(0/40\) \[0\.0, 8\.8\], at least 40\.0 % required",
            r".*function on test · untargeted · Linf",
            r".*attack +robust % +k/n",
        ]
    )


def test_the_marker_is_known_and_its_arguments_give_way(session):
    result = session(
        """
@pytest.mark.advbench(attack="nix", eps=0.5)
def test_it(advbench):
    assert advbench(model, x, attack="noise", eps=0.01, goal="topk-exclusion:2").frame["attack"].unique() == ["noise"]
""",
        "--strict-markers",
    )
    result.assert_outcomes(passed=1)


def test_markers_add_up_and_the_nearest_counts(session):
    result = session(
        """
pytestmark = pytest.mark.advbench(attack="noise", norm="l2", eps=0.5)

@pytest.mark.advbench(eps=0.25)
class TestIt:
    @pytest.mark.advbench(norm="l1")
    @pytest.mark.parametrize("given", [{}, {"norm": "linf"}])
    def test_it(self, advbench, given):
        row = advbench(model, x[:2], **given).frame.iloc[0]
        assert (row["attack"], row["norm"], row["eps"]) == ("noise", given.get("norm", "l1"), 0.25)

@pytest.mark.advbench("fgsm")
def test_by_place(advbench):
    pass
"""
    )
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.re_match_lines([".*the marker advbench takes options by name.*got 'fgsm' in .*::test_by_place"])


def test_a_model_that_cannot_be_trusted_fails_whatever_its_accuracy(session):
    result = session(
        """
def test_it(advbench):
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(), torch.nn.Linear(48, 5))
    advbench(module, x, attack="fgsm").assert_robust(min=0)
"""
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*AssertionError: the numbers cannot be trusted:", "*M1 Sequential on test: *eval*"])


COMPARED = """
import os

def test_it(advbench):
    shift = float(os.environ.get("SHIFT", "0"))
    advbench(lambda x: model(x, shift), (x, labels), attack="fgsm", eps="2/255").assert_no_drop(max_pp=1)

def test_other(advbench):
    advbench(model, (x, labels), attack="fgsm", eps="2/255").assert_no_drop()
"""


def test_a_baseline_is_written_and_then_held(session, pytester, monkeypatch):
    file = pytester.path / "robust.json"
    options = ("--advbench-baseline", file)
    written = session(COMPARED, *options, "--advbench-update")
    written.assert_outcomes(passed=2)
    written.stdout.fnmatch_lines([f"baseline written: {file}; commit it"])
    assert [i["model"].rpartition("::")[2] for i in json.loads(file.read_text())["images"]] == ["test_it", "test_other"]
    session(COMPARED, *options).assert_outcomes(passed=2)
    monkeypatch.setenv("SHIFT", "9")
    worse = session(COMPARED, *options)
    worse.assert_outcomes(passed=1, failed=1)
    worse.stdout.re_match_lines([r".*points lower than in the baseline, at most 1 allowed \(p = .*newly broken: .*"])
    before = json.loads(file.read_text())
    session(COMPARED, *options, "--advbench-update", "-k", "test_it").assert_outcomes(passed=1, deselected=1)
    after = json.loads(file.read_text())
    assert [i["model"] for i in after["images"]] == [i["model"] for i in before["images"]]
    assert after["cells"] != before["cells"]
    session(COMPARED, *options).assert_outcomes(passed=2)


def test_the_baseline_may_stand_in_the_settings(session, pytester):
    pytester.makeini("[pytest]\nadvbench_baseline = kept/robust.json\n")
    session(COMPARED, "--advbench-update").assert_outcomes(passed=2)
    assert (pytester.path / "kept" / "robust.json").is_file()
    session(COMPARED).assert_outcomes(passed=2)


def test_without_a_baseline_a_comparison_fails(session, pytester):
    result = session(COMPARED)
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*assert_no_drop needs a baseline: pytest --advbench-baseline FILE"])
    missing = session(COMPARED, "--advbench-baseline", "none.json")
    missing.assert_outcomes(failed=2)
    missing.stdout.fnmatch_lines(["*there is no baseline at none.json"])
    usage = session(COMPARED, "--advbench-update")
    assert usage.ret == pytest.ExitCode.USAGE_ERROR
    usage.stderr.fnmatch_lines(["*--advbench-update needs --advbench-baseline FILE*"])


@pytest.mark.parametrize(
    ("file", "message"),
    [("broken/b.json", "*choose another file with --advbench-baseline*"), ("broken", "*is not a baseline*")],
)
def test_a_baseline_that_cannot_be_updated_is_refused_before_any_test(session, pytester, file, message):
    pytester.path.joinpath("broken").write_text("no JSON")
    result = session(COMPARED, "--advbench-baseline", file, "--advbench-update")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
    assert "test session starts" not in result.stdout.str()


def test_a_baseline_of_other_images_is_refused(session, pytester):
    session(COMPARED, "--advbench-baseline", "b.json", "--advbench-update").assert_outcomes(passed=2)
    result = session(COMPARED.replace("(x, labels)", "(x[:9], labels[:9])"), "--advbench-baseline", "b.json")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*the baseline has other images or labels*"])


def test_a_session_that_does_not_use_it_sees_nothing_of_it(session):
    result = session("def test_it():\n    pass\n")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*robust accuracy*")


def test_it_is_in_junit_xml(session, pytester):
    session("def test_it(advbench):\n    advbench(model, x, attack='noise')\n", "--junit-xml=j.xml")
    assert '<property name="advbench" value="' in (pytester.path / "j.xml").read_text()


@pytest.mark.slow
def test_with_xdist(session, pytester):
    written = session(COMPARED, "-n", "2", "--advbench-baseline", "b.json", "--advbench-update", how="subprocess")
    written.assert_outcomes(passed=2)
    written.stdout.fnmatch_lines(["*::test_it: *", "*::test_other: *", "baseline written: b.json; commit it"])
    assert len(json.loads((pytester.path / "b.json").read_text())["images"]) == 2
    session(COMPARED, "-n", "2", "--advbench-baseline", "b.json", how="subprocess").assert_outcomes(passed=2)


def test_loading_it_imports_nothing_heavy():
    script = "import sys, advbench.pytest_plugin; print(*sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert not {"torch", "pandas", "numpy", "pydantic", "click"} & set(done.stdout.split())


def test_the_entry_point_is_named_like_the_module():
    """Else `-p advbench.pytest_plugin` beside an installed advbench would register the plug-in twice, which fails."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"advbench.pytest_plugin": "advbench.pytest_plugin"}


# the fixture's value, without pytest


def test_what_a_result_holds():
    result = bench()(fakes.classifier(), X, attack="fgsm", eps="8/255")
    assert result.frame["attack"].tolist() == ["fgsm"] * 12 + ["noise"] * 12
    assert result.cell.robust.n == 12
    assert result.cell.noise is not None
    assert [flag.id for flag in result.flags if flag.severity in "EF"] == []
    assert result.cell.relative
    assert "tiny on test · untargeted · Linf" in str(result)
    assert repr(result).startswith("Result('test_it': fgsm on 12 images, robust ")
    assert "\n" not in repr(result)
    assert "<table>" in result._repr_html_()


def test_batches_and_labels():
    labels = fakes.classifier()(X).argmax(1).roll(1)
    one, many = (bench(batch_size=n)(fakes.classifier(), (X, labels), attack="fgsm", eps="8/255") for n in (5, 64))
    assert one.frame["met"].tolist() == many.frame["met"].tolist()
    assert one.cell.clean.k == int((fakes.classifier()(X).argmax(1) == labels).sum())


def test_minimum_norm_attacks_need_no_eps():
    result = bench()(fakes.classifier(), X[:3], attack="fmn", norm="l2", params={"steps": 5})
    assert result.frame["attack"].unique().tolist() == ["fmn"]
    assert result.cell.eps is None


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"attack": "pdg"}, UserError, "unknown attack 'pdg'"),
        ({"eps": "8"}, UserError, "eps 8 is more than the whole range"),
        ({"norm": "l2"}, ValueError, "expected an eps for pgd in l2, got none"),
        ({"epsilon": 0.1}, ValueError, "expected the options attack, norm, .*, got epsilon"),
        ({"params": {"stepps": 1}}, UserError, "attack pgd cannot be made with"),
        ({"goal": "targeted:77"}, (UserError, ValueError), "77"),
    ],
)
def test_mistakes_are_said(options, error, match):
    with pytest.raises(error, match=match):
        bench()(lambda x: x.flatten(1)[:, :5], X, **options)


def test_an_image_on_which_the_attack_fails_is_unknown_and_not_robust():
    x = torch.cat([X[:3], torch.ones_like(X[:2])])
    with fakes.registered():
        result = bench()(fakes.classifier(), x, attack="fails", eps=0.1)
    rows = result.frame[result.frame["attack"] == "fails"]
    assert rows["status"].tolist() == ["ok"] * 3 + ["unknown"] * 2
    assert "attack 'fails' failed on '3': TimeoutError: the white one took too long" in rows["error"].iloc[3]
    assert rows["reason"].fillna("").tolist() == [""] * 3 + ["crashed"] * 2
    assert result.cell.robust.unknown == 2
    with pytest.raises(AssertionError, match="robust accuracy is"):
        result.assert_robust(min=0.7)


@pytest.mark.parametrize("batch_size", [2, 64])
def test_an_image_that_crashes_the_attack_is_lost_alone_as_in_a_run(batch_size):
    x = torch.cat([X[:3], torch.ones_like(X[:1])])
    with fakes.registered():
        result = bench()(fakes.classifier(), x, attack="crash", eps=0.1, batch_size=batch_size)
    rows = result.frame[result.frame["attack"] == "crash"]
    assert rows["status"].tolist() == ["ok"] * 3 + ["unknown"]
    assert rows["reason"].fillna("").tolist() == [""] * 3 + ["crashed"]


def test_an_attack_that_crashes_on_every_image_is_an_error():
    with (
        fakes.registered(),
        pytest.raises(ValueError, match=r"expected to attack the model .* with crash on images .*, got RuntimeError: "),
    ):
        bench()(fakes.classifier(), torch.cat([torch.ones_like(X[:1])] * 2), attack="crash", eps=0.1)


def test_min_is_a_share():
    result = bench()(lambda x: x.flatten(1)[:, :5], X, attack="noise")
    with pytest.raises(ValueError, match="expected min from 0 to 1, got 40"):
        result.assert_robust(min=40)


def test_names_in_a_notebook_are_escaped():
    model = fakes.classifier()
    model.name = "<script>alert(1)</script>"
    shown = bench()(model, X[:2], attack="noise")._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
