"""Answers that are no logits, in whatever form and precision, and logits that only look like it."""

import re

import pytest
import torch
from torch import nn

from advbench.evaluation.checks.squashed import why_no_logits

X = torch.rand(24, 1, 6, 6, generator=torch.Generator().manual_seed(0))
WEIGHT = 4 * torch.randn(10, 36, generator=torch.Generator().manual_seed(1))


def sure(x):
    """A linear model with the logits of a trained network, up to 30 either way."""
    return (x.flatten(1) - 0.5) @ WEIGHT.T


def why(squash, model=sure, x=X):
    def squashed(x):
        return squash(model(x))

    return why_no_logits(squashed, x, squashed(x))


@pytest.mark.parametrize(
    ("squash", "reason"),
    [
        (lambda z: z.softmax(1), "are probabilities, not logits"),
        (lambda z: z.half().softmax(1).float(), "are probabilities, not logits"),
        (lambda z: z.bfloat16().softmax(1).float(), "are probabilities, not logits"),
        (lambda z: (z.half().softmax(1).float() + (z / 2).half().softmax(1).float()) / 2, "are shares of 1,"),
        (lambda z: 100 * z.softmax(1), "are shares of 100,"),
        (lambda z: (255 * z.softmax(1)).half().float(), "are shares of 255,"),
        (torch.sigmoid, "as those of a sigmoid do"),
        (lambda z: z.half().sigmoid().float(), "as those of a sigmoid do"),
        (lambda z: 100 * z.sigmoid(), "as those of percentages do"),
        (torch.tanh, "as those of a tanh do"),
        (nn.functional.hardsigmoid, "as those of a sigmoid do"),
        (nn.functional.softsign, "as those of a tanh do"),
        (lambda z: 5 * z.sigmoid() - 2, r"stay within \[-2, 3\] for any image"),
        (lambda z: 4 * z.softmax(1) - 1, r"stay within \[-1, 3\] for any image"),
        (lambda z: 20 * (z / 4).tanh(), r"stay within \[-20, 20\] for any image"),
        (lambda z: z.clamp(-5, 5), r"stay within \[-5, 5\] for any image"),
        (lambda z: z.clamp_max(8), "that of the first class is exactly 8 on "),
        (lambda z: z.clamp_min(12), "that of the second class is exactly 12 on "),
    ],
)
def test_squashed_answers_are_told(squash, reason):
    assert re.search(reason, why(squash))


@pytest.mark.parametrize(
    "harmless",
    [
        lambda z: z,
        lambda z: z.half().float(),
        lambda z: z.log_softmax(1),
        lambda z: (z.softmax(1) + 1e-12).log(),
        lambda z: z - z.min(1, keepdim=True).values,
        lambda z: z - z.mean(1, keepdim=True),
        lambda z: z.clamp(-60, 60),
        lambda z: 100 * (z / 100).tanh(),
        lambda z: z / 1000,
        lambda z: 0.5 + z / 1000,
        lambda z: nn.functional.softplus(z),
        lambda z: nn.functional.layer_norm(z, (10,)),
        lambda z: nn.functional.normalize(z),
        lambda z: torch.stack([z[:, 0], torch.zeros(len(z))], 1),
        lambda z: torch.stack([z[:, 0], -z[:, 0]], 1),
        lambda z: torch.zeros_like(z) + torch.arange(10),
        lambda z: z * torch.inf,
    ],
)
@pytest.mark.parametrize("count", [1, 2, 24])
def test_logits_are_logits(harmless, count):
    assert why(harmless, x=X[:count]) == ""


def test_votes_have_no_gradient_and_that_is_told_elsewhere():
    assert "clipped" not in why(lambda z: z.round().clamp(-3, 3))


def test_logits_that_sum_to_one_on_one_image_are_logits():
    def shifted(x):
        z = sure(x)
        return torch.where(x.flatten(1).sum(1, keepdim=True) == X[0].sum(), z.softmax(1), z)

    assert why(lambda z: z, shifted) == ""


def test_a_model_that_refuses_other_images_is_judged_by_these():
    def strict(x):
        if x.min() < 0 or x.max() > 1:
            raise RuntimeError("images are in [0, 1]")
        return sure(x)

    assert why(lambda z: z, strict) == ""
    assert "a sigmoid" in why(torch.sigmoid, strict)
    assert "exactly 8" in why(lambda z: z.clamp_max(8), strict)
    assert "shares of 100" in why(lambda z: 100 * z.softmax(1), strict)
