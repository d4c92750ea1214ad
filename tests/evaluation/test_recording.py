"""What a row says of the first classes: ties as torch.argmax has them, and nothing where a model gave no answer."""

import math

import pytest
import torch
from accidents import SUITE
from torch import nn

from advbench.api import run
from advbench.evaluation.predictions import Ranking, rank
from advbench.records.record import OK, UNKNOWN
from advbench.testing import Bench


def voters(x):
    """Five classifiers that each have one vote, and two classes that often get as many."""
    weights = torch.randn(5, 16, 10, generator=torch.Generator().manual_seed(0))
    votes = torch.stack([(x.flatten(1) @ weight).argmax(1) for weight in weights], 1)
    return nn.functional.one_hot(votes, 10).sum(1).float() + 0.5


def coarse(x):
    """Logits of which many are equal, since they went through bfloat16."""
    weight = torch.randn(16, 10, generator=torch.Generator().manual_seed(0))
    return (x.flatten(1) @ weight).bfloat16().float()


@pytest.mark.parametrize("model", [voters, coarse])
@pytest.mark.parametrize("attack", ["square", "noise"])
def test_accuracy_is_that_of_argmax_and_successes_agree_with_it(model, attack):
    x = torch.rand(200, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    params = {"steps": 20} if attack == "square" else {}
    result = Bench("t", None)(model, (x, model(x).argmax(1)), attack=attack, params=params, eps=0.1)
    assert (result.cell.clean.k, result.cell.clean.n) == (200, 200)
    assert not {flag.id for flag in result.flags} & {"A1", "A2"}
    frame = result.frame[result.frame["attack"] == attack]
    ties = [len(set(confidences)) for confidences in model(x).tolist()]
    assert min(ties) < 10, "no two logits are equal: this shows nothing"
    assert frame["met"].any()


def test_the_first_class_is_that_of_argmax():
    logits = torch.randint(3, (50, 12), generator=torch.Generator().manual_seed(0)).float()
    assert [ranking.classes[0] for ranking in rank(logits, 5)] == logits.argmax(1).tolist()
    assert rank(torch.zeros(1, 10), 3)[0].classes == (0, 1, 2)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_without_an_answer_there_is_no_first_class(wrong):
    logits = torch.tensor([[0.0, 1.0, 2.0], [0.0, wrong, 2.0], [0.0, -math.inf, 2.0]])
    rankings = rank(logits, 2)
    assert [ranking.classes for ranking in rankings] == [(2, 1), (), (2, 0)]
    assert rankings[1] == Ranking((), ())
    assert rankings[1].columns("adv") == {}


@pytest.mark.usefixtures("plugged")
def test_an_image_without_an_answer_is_lost_alone(tmp_path):
    suite = SUITE | {"models": "partly_finite", "attacks": "fgsm", "eps": {"linf": 0.1}, "noise": False}
    frame = run(suite, out=tmp_path).frame
    lost = frame["status"] == UNKNOWN
    assert 0 < lost.sum() < len(frame)
    assert (frame.loc[~lost, "status"] == OK).all()
    assert frame.loc[lost, ["clean_class", "clean_confidence", "clean_topk"]].isna().all(axis=None)
    assert frame.loc[lost, "error"].str.contains("expected finite logits").all()
    assert frame.loc[~lost, "clean_class"].notna().all()
