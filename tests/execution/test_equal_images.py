"""Equal images count each, with their own labels: in runs, in tests, in baselines, whatever batches they come in."""

from collections import Counter
from unittest.mock import patch

import fakes
import pandas as pd
import pytest
import torch

from advbench.analysis.baseline import Baseline
from advbench.analysis.run_analysis import RunAnalysis
from advbench.api import run
from advbench.datasets.dataset import Dataset
from advbench.testing import Bench

MODEL = fakes.classifier()
FOUR = torch.rand(4, 3, fakes.SIZE, fakes.SIZE, generator=torch.Generator().manual_seed(0))
CLASSES = MODEL(FOUR).argmax(1)
FIRST = FOUR[:1].expand(6, -1, -1, -1)

CASES = {
    "repeats of a right one, labelled wrongly": (torch.cat([FOUR, FIRST]), [*CLASSES.tolist(), *[19] * 6]),
    "repeats of a right one among wrong ones": (
        torch.cat([FOUR, FIRST]),
        [int(CLASSES[0]), 19, 19, 19, *[CLASSES[0]] * 6],
    ),
    "blank ones of several classes": (torch.zeros(5, 3, fakes.SIZE, fakes.SIZE), [0, 1, 2, 3, 4]),
    "all the same": (FIRST, [int(CLASSES[0])] * 6),
}


def accuracy(x, labels):
    return int((MODEL(x).argmax(1) == labels).sum())


@pytest.mark.parametrize(("x", "labels"), CASES.values(), ids=CASES)
def test_a_test_counts_each_with_its_own_label(x, labels):
    labels = torch.tensor(labels)
    result = Bench("test_it", None)(MODEL, (x, labels), attack="fgsm", eps=1e-6)
    assert (result.cell.clean.k, result.cell.clean.n) == (accuracy(x, labels), len(x))
    assert (result.cell.robust.k, result.cell.robust.n) == (accuracy(x, labels), len(x))
    assert result.frame["label"].tolist() == [*labels.tolist(), *labels.tolist()]
    result.assert_robust(min=accuracy(x, labels) / len(x))
    if accuracy(x, labels) < len(x):
        with pytest.raises(AssertionError, match="robust accuracy is"):
            result.assert_robust(min=accuracy(x, labels) / len(x) + 0.01)


@pytest.mark.parametrize(("x", "labels"), CASES.values(), ids=CASES)
def test_a_run_says_the_same(x, labels, tmp_path):
    labels = torch.tensor(labels)
    names = tuple(map(str, range(len(x))))
    data = Dataset(name="d", images=names, labels=tuple(labels.tolist()), read=lambda i: x[i])
    suite = {"name": "x", "models": "m", "datasets": "d", "attacks": "fgsm", "eps": {"linf": 1e-6}}
    done = run(suite, out=tmp_path / "run", models={"m": MODEL}, datasets={"d": data})
    (cell,) = [cell for cell in RunAnalysis.of(done).cells if cell.attack == "fgsm"]
    assert (cell.clean.k, cell.robust.k, cell.robust.n) == (accuracy(x, labels), accuracy(x, labels), len(x))
    tested = Bench("test_it", None)(MODEL, (x, labels), attack="fgsm", eps=1e-6).frame
    assert done.frame["sample_id"].tolist() == tested["sample_id"].tolist()


DRAWN = ["sample_id", "adv_class", "met", "forwards", "backwards", "adv_confidence"]
"""What rows say that depends on random draws."""


def test_what_is_drawn_for_a_repeat_does_not_depend_on_the_batch():
    labels = torch.tensor([int(CLASSES[0])] * 6)
    options = {"attack": "pgd", "eps": "8/255", "params": {"steps": 1}}
    one, *others = (Bench("test_it", None)(MODEL, (FIRST, labels), batch_size=n, **options).frame for n in (1, 4, 64))
    for other in others:
        pd.testing.assert_frame_equal(other[DRAWN], one[DRAWN], rtol=1e-4)
    assert len(set(one.loc[one["attack"] == "pgd", "adv_confidence"])) > 1, "each has draws of its own"


def test_what_is_drawn_for_a_repeat_does_not_depend_on_the_units_of_a_run(tmp_path):
    data = Dataset(name="d", images=tuple("abcdef"), labels=None, read=lambda i: FIRST[i])
    attack = {"name": "pgd", "params": {"steps": 1}}
    suite = {"name": "x", "models": "m", "datasets": "d", "attacks": attack, "eps": {"linf": "8/255"}}
    frames = []
    for most in (1, 4, 64):
        with patch("advbench.planning.cost.batches.LARGEST_BATCH", most):
            out = tmp_path / str(most)
            frames.append(run(suite, out=out, models={"m": MODEL}, datasets={"d": data}).frame)
    for other in frames[1:]:
        pd.testing.assert_frame_equal(other[DRAWN], frames[0][DRAWN], rtol=1e-4, check_categorical=False)
    assert len(set(frames[0].loc[frames[0]["attack"] == "pgd", "adv_confidence"])) > 1


def test_the_passes_of_each_are_counted():
    labels = torch.tensor([int(CLASSES[0])] * 6)
    options = {"attack": "fgsm", "eps": 1e-6}
    frame = Bench("test_it", None)(MODEL, (FIRST, labels), **options).frame
    assert frame.loc[frame["attack"] == "fgsm", "forwards"].tolist() == [1.0] * 6


def test_a_baseline_holds_an_outcome_for_each(tmp_path):
    x, labels = CASES["repeats of a right one, labelled wrongly"]
    file = tmp_path / "b.json"
    data = (x, torch.tensor(labels))
    made = Bench("test_it", None)(MODEL, data, attack="fgsm", eps=1e-6).as_baseline()
    made.write(file)
    (images,), letters = made.images, {cell.attack: cell.outcomes for cell in made.cells}
    assert len(images.samples) == len(set(images.samples)) == 10
    assert Counter(letters["clean"]) == {"1": 4, "0": 6}
    Bench("test_it", file)(MODEL, data, attack="fgsm", eps=1e-6).assert_no_drop()
    worse = Bench("test_it", file)(lambda x: MODEL(x).roll(1, 1), data, attack="fgsm", eps=1e-6)
    assert isinstance(worse.as_baseline(), Baseline)
    with pytest.raises(AssertionError, match=r"robust accuracy is \d+\.0 points lower"):
        worse.assert_no_drop(alpha=0.5)
