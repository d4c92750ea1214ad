"""Probabilities in place of logits are refused in whatever precision they come, and logits never."""

import pytest
import torch

from attacks import PGD, Untargeted
from attacks.queries.answers import are_probabilities


def logits(rows, classes, seed=0):
    return 4 * torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("classes", [2, 10, 1000, 21_000])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_probabilities_are_told_in_every_precision(dtype, classes):
    answers = logits(8, classes).to(dtype).softmax(1)
    for later in (dtype, torch.float32, torch.float64):
        assert are_probabilities(answers.to(later))
    assert are_probabilities(logits(8, classes).softmax(1).to(dtype)), "rounded afterwards"


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_logits_are_none(dtype):
    z = logits(8, 10).to(dtype)
    for answers in (z, z.abs(), z.sigmoid(), z.log_softmax(1), 2 * z.softmax(1), z.softmax(1) - 0.1, z * torch.nan):
        assert not are_probabilities(answers)


def test_a_row_that_looks_like_it_by_accident_proves_nothing():
    for row in ([0.5, 0.5], [0.25, 0.75], [1.0, 0.0], [0.2, 0.3, 0.5], [0.5, 0.25, 0.25]):
        assert not are_probabilities(torch.tensor([row]))
        assert not are_probabilities(torch.tensor([row, [1.0, 2.0, 3.0][: len(row)]]))
        assert are_probabilities(torch.tensor([row] * 4))
    assert are_probabilities(logits(1, 1000).softmax(1)), "no thousand numbers do by accident"
    assert are_probabilities(logits(1, 10).softmax(1))


def test_the_wider_tolerance_is_for_values_that_fit_the_coarser_type():
    p = logits(8, 10).softmax(1)
    near = p * 1.002
    assert are_probabilities(near.bfloat16())
    assert not are_probabilities(near.float())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_attacks_refuse_them(dtype):
    x = torch.rand(3, 4, generator=torch.Generator().manual_seed(0))
    goal = Untargeted(x.argmax(1))
    with pytest.raises(ValueError, match="expected logits, got probabilities"):
        PGD(steps=2)(lambda x: (5 * x).to(dtype).softmax(1).float(), x, goal, eps=0.1)
