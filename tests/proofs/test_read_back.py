"""What is written as VNN-LIB says what was meant: read back by a parser of its own, and by the package vnnlib."""

import re
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from advbench.proofs.bounding.balls import BallInBox
from advbench.proofs.bounding.specifications import specification
from advbench.proofs.exchange.vnnlib import as_vnnlib
from attacks import Goal, LabelOutOfTopK, Linf, OrderedTopK, Targeted, TopKExclusion, Untargeted

CLASSES = 4
X = torch.rand(1, 2, 3, 3, generator=torch.Generator().manual_seed(0))
BALL = BallInBox.around(X.double(), Linf(), 0.1)
GOALS = {
    "untargeted": Untargeted(torch.tensor([1])),
    "targeted": Targeted(torch.tensor([2])),
    "exclusion": TopKExclusion(torch.tensor([[0, 3]])),
    "out of top": LabelOutOfTopK(torch.tensor([0]), k=2),
    "ordered": OrderedTopK(torch.tensor([[2, 0]])),
}


def parsed(text: str) -> list:
    """The expressions of a file, as nested lists of words."""
    found: list = [[]]
    for word in re.findall(r"[()]|[^\s()]+", text):
        if word == "(":
            found.append([])
        elif word == ")":
            done = found.pop()
            found[-1].append(done)
        else:
            found[-1].append(word)
    assert len(found) == 1
    return found[0]


def holds(expression: list | str, values: dict[str, float]) -> bool:
    """Whether an expression is true for values of the variables."""
    operator, *parts = expression
    if operator in ("and", "or"):
        return (all if operator == "and" else any)(holds(part, values) for part in parts)
    left, right = (values[part] if part in values else float(part) for part in parts)
    return left <= right if operator == "<=" else left >= right


def satisfied(text: str, image: torch.Tensor, logits: torch.Tensor) -> bool:
    """Whether an image and its logits are a counterexample, by what the file says."""
    values = {f"X_{i}": value for i, value in enumerate(image.flatten().tolist())}
    values |= {f"Y_{i}": value for i, value in enumerate(logits.flatten().tolist())}
    expressions = parsed(text)
    declared = {words[1] for words in expressions if words[0] == "declare-const"}
    assert declared == set(values)
    return all(holds(words[1], values) for words in expressions if words[0] == "assert")


def images() -> Iterator[tuple[torch.Tensor, bool]]:
    """Images, and whether they lie in the ball."""
    yield X.double(), True
    yield BALL.lower, True
    yield BALL.upper, True
    for i in (0, 17):
        outside = X.double().clone()
        outside.flatten()[i] = BALL.upper.flatten()[i] + 1e-6
        yield outside, False
        outside = X.double().clone()
        outside.flatten()[i] = BALL.lower.flatten()[i] - 1e-6
        yield outside, False


@pytest.mark.parametrize("name", GOALS)
def test_a_counterexample_is_an_image_of_the_ball_that_meets_the_goal(name: str) -> None:
    goal: Goal = GOALS[name]
    text = as_vnnlib(BALL, specification(goal, CLASSES), CLASSES)
    table = torch.randn(40, CLASSES, generator=torch.Generator().manual_seed(1))
    met = (goal.select(torch.zeros(len(table), dtype=torch.int64)).margin(table) < 0).tolist()
    assert 2 < sum(met) < 38
    assert [satisfied(text, X.double(), logits) for logits in table] == met
    for image, inside in images():
        assert satisfied(text, image, table[met.index(True)]) == inside


@pytest.mark.parametrize("name", GOALS)
def test_the_package_vnnlib_reads_the_same(name: str, tmp_path) -> None:
    compat = pytest.importorskip("vnnlib.compat", reason="needs vnnlib 0.0.1, which reads version 1 of the format")
    if not hasattr(compat, "read_vnnlib_simple"):
        pytest.skip("this vnnlib reads version 2 of the format alone")
    goal: Goal = GOALS[name]
    text = as_vnnlib(BALL, specification(goal, CLASSES), CLASSES)
    (tmp_path / "one.vnnlib").write_text(text)
    ((box, polytopes),) = compat.read_vnnlib_simple(str(tmp_path / "one.vnnlib"), X.numel(), CLASSES)
    np.testing.assert_allclose(box, torch.stack([BALL.lower.flatten(), BALL.upper.flatten()], 1).numpy(), atol=1e-15)
    for logits in torch.randn(40, CLASSES, generator=torch.Generator().manual_seed(1), dtype=torch.float64):
        inside = any((a @ logits.numpy() <= b.flatten()).all() for a, b in polytopes)
        assert inside == satisfied(text, X.double(), logits)
