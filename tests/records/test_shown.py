"""A result is one line at a prompt, however much it holds."""

import dataclasses

import fakes
import pytest
import torch

import advbench
from advbench.analysis.compare import compare, outcomes
from advbench.analysis.run_analysis import RunAnalysis
from advbench.api import run
from advbench.datasets.dataset import Dataset
from advbench.explain import Painted, Plane, Subject
from advbench.sanitize import one_line
from advbench.testing import Bench
from attacks import Linf, Perturbation, UniversalPerturbation

X = torch.rand(12, 3, fakes.SIZE, fakes.SIZE, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Name -> what somebody gets hold of who works in Python."""
    model = fakes.classifier()
    data = Dataset(name="d", images=tuple("abcdefghijkl"), labels=(0,) * 12, read=lambda i: X[i])
    suite = {"name": "x", "models": "m", "datasets": "d", "attacks": "fgsm"}
    done = run(suite, out=tmp_path_factory.mktemp("run"), models={"m": model}, datasets={"d": data})
    analysis = RunAnalysis.of(done)
    bench = Bench("test_it", None)
    tested = bench(model, X, attack="fgsm")
    numbers = outcomes(done.frame)
    states = []
    found = UniversalPerturbation(steps=2).fit(model, [X], on_step=states.append)
    grid = Plane(torch.zeros(9), torch.zeros(9), torch.zeros(9, 9, 20))
    return {
        "run": done, "suite": done.suite, "unit": done.plan[-1], "analysis": analysis, "cell": analysis.cells[0],
        "evidence": analysis.evidence[0], "trial": analysis.evidence[0].trials[0], "data set": data,
        "outcomes": numbers[0], "change": compare(numbers, numbers).changes[0], "test": tested, "bench": bench,
        "baseline": tested.as_baseline(), "fit": states[0], "perturbation": found,
        "painted": Painted(X, X.amax((1, 2, 3))),
        "plane": grid, "subject": Subject("a", X[:1], X[:1]), "built in": advbench.load_suite("full"),
    }  # fmt: skip


def test_each_is_one_line(results):
    for name, result in results.items():
        shown = repr(result)
        assert "\n" not in shown, name
        assert len(shown) < 700, name
        if name != "test":
            assert str(result) == shown, name
    assert len(str(results["test"]).splitlines()) > 5, "print(result) of a test is its table"


def test_it_says_what_matters(results):
    lines = {name: repr(result) for name, result in results.items()}
    assert lines["run"].startswith("Run('x': 4 of 4 units, 24 rows, in ")
    assert lines["suite"] == "Suite('x': 1 models, 1 data sets, 1 attacks, goals untargeted, norms linf)"
    assert lines["data set"].startswith("Dataset(name='d', images=<tuple of 12>, labels=<tuple of 12>, read=")
    assert lines["painted"] == "Painted(images=<Tensor (12, 3, 32, 32)>, excitement=<Tensor (12,)>)"
    assert lines["fit"].startswith("FitState(step=1, epoch=0, batch=1, best_rate=-1, loss=")
    assert "frame=<DataFrame (24, " in lines["analysis"]


def test_an_unfinished_run_is_shown_too(results):
    unfinished = dataclasses.replace(results["run"], manifest={}, missing={"a": "not done yet"})
    assert repr(unfinished).startswith("Run('run': 3 of 4 units, 24 rows, in ")


def test_long_values_are_told_by_their_kind():
    @dataclasses.dataclass
    class Found:
        text: str
        few: tuple[int, ...]
        many: list[int]
        none: None
        inner: object
        hidden: int = dataclasses.field(default=0, repr=False)

    shown = one_line(Found("a" * 100, (1, 2), list(range(99)), None, Perturbation(delta=X[0] / 9, norm=Linf(), eps=1)))
    assert shown.startswith(
        f"Found(text='{'a' * 60}'..., few=(1, 2), many=<list of 99>, none=None, inner=<Perturbation>)"
    )
