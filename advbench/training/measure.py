"""Measurements of a trained classifier: accuracy with its interval, confusion, and accuracy under attack."""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import attacks
from advbench.config.budgets import parse_eps
from advbench.evaluation.evaluate import evaluate
from advbench.intervals import wilson
from advbench.models.classifier import Classifier
from advbench.training.data.sets import Images, in_parts, units
from advbench.training.fit import right

QUERIES = 5000
"""Number of queries of the attack on models without a gradient."""
PRECISIONS = (0.9, 0.95, 0.98, 0.99)
"""Precisions for which a threshold is computed for models with two classes."""
_BATCH = 250


class Score(NamedTuple):
    """A fraction of images, with its 95 % Wilson interval."""

    accuracy: float
    """Fraction of the images classified correctly."""
    n: int
    """Number of images."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""


class Robustness(NamedTuple):
    """Accuracy under attack."""

    score: Score
    """Fraction of images classified correctly whose class no attack changed; a crashed attack counts as a change."""
    norm: str
    """Name of the norm."""
    eps: str
    """Budget as text, such as `8/255`."""
    attack: str
    """Description of the attack."""


def score(right: int, n: int) -> Score:
    """The fraction ``right / n`` with its confidence interval.

    Example:
        >>> score(9, 10).low < 0.6 < 0.98 < score(9, 10).high
        True
    """
    low, high = wilson(right, n)
    return Score(right / n, n, float(low), float(high))


@torch.no_grad()
def answers(model: Classifier, images: Images) -> Tensor:
    """The logits of each image (N, classes), on the CPU."""
    device = next(model.buffers()).device
    return torch.cat([model(units(x.to(device))).cpu() for x, _ in in_parts(images, _BATCH)])


def confusion(truth: Tensor, found: Tensor, classes: tuple[str, ...]) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """The confusion matrix of the classes.

    Args:
        truth: True labels (N,), or which labels apply (N, C).
        found: Predicted classes (N,), or labels (N, C).
        classes: Names of the classes.

    Returns:
        Counts (true class, predicted class), empty for several labels; and precision, recall, F1 and support by class
        name.
    """
    from sklearn.metrics import classification_report, confusion_matrix

    if truth.ndim == 2:
        report = classification_report(
            truth.numpy(), found.numpy(), target_names=classes, output_dict=True, zero_division=0.0
        )
        return np.empty((0, 0), np.int64), {name: report[name] for name in (*classes, "macro avg")}
    indices = list(range(len(classes)))
    counts: NDArray[np.int64] = confusion_matrix(truth.numpy(), found.numpy(), labels=indices)
    report = classification_report(
        truth.numpy(), found.numpy(), labels=indices, target_names=classes, output_dict=True, zero_division=0.0
    )
    return counts, {name: report[name] for name in (*classes, "macro avg")}


def robustness(model: Classifier, images: Images, eps: str, *, first: int, gradients: bool) -> Robustness:
    """Measure accuracy under the strongest available attack; success is decided by the judge.

    Args:
        model: Classifier to evaluate.
        images: Images with labels, of which some are attacked.
        eps: Maximum Linf change, as text.
        first: Maximum number of images to attack.
        gradients: Whether the model has gradients.
    """
    attack = attacks.Standard() if gradients else attacks.Square(steps=QUERIES)
    device = next(model.buffers()).device
    stood = tried = 0
    for x, y in in_parts(images, _BATCH, first=first):
        batch, labels = units(x.to(device)), y.to(device)
        tried += len(y)
        correct = right(model(batch), labels)
        if correct.any():
            goal = _mistake(model, labels[correct])
            result = evaluate(model, attack, batch[correct], goal, eps=parse_eps(eps, "linf"), seed=0)
            held = ~result.verdicts.met & result.verdicts.valid & result.answered
            stood += int(held.sum()) - sum(bool(held[i]) for i in result.errors)
    return Robustness(score(stood, tried), "linf", eps, "standard" if gradients else f"square, {QUERIES:,} queries")


def _mistake(model: Classifier, labels: Tensor) -> attacks.Goal:
    """The goal that the model is wrong: another class, or any wrong label."""
    if model.thresholds is None:
        return attacks.Untargeted(labels)
    return attacks.AnyLabelFlips(labels.bool(), thresholds=model.thresholds)


def measured(model: Classifier, test: Images, eps: str, *, attacked: int, gradients: bool) -> dict[str, Any]:
    """All measurements on the card of a classifier.

    Args:
        model: Classifier to evaluate.
        test: Test images with labels.
        eps: Maximum Linf change, as text.
        attacked: Number of test images to attack; 0: none.
        gradients: Whether the model has gradients.

    Returns:
        `clean`: accuracy; `robust`: accuracy under attack, None if nothing was attacked; `classes`: precision, recall
        and F1 of each class; `confusion`; and `at_precision`, for models with two classes.
    """
    logits = answers(model, test)
    found = (logits > 0).float() if model.several else logits.argmax(1)
    counts, classes = confusion(test.y, found, model.classes)
    robust = None
    if attacked:
        tried = robustness(model, test, eps, first=attacked, gradients=gradients)
        robust = {**tried.score._asdict(), "norm": tried.norm, "eps": tried.eps, "attack": tried.attack}
    return {
        "clean": score(int(right(logits, test.y).sum()), len(test.y))._asdict(),
        "robust": robust,
        "classes": classes,
        "confusion": counts.tolist(),
        **({"at_precision": at_precision(test.y, logits[:, 1] - logits[:, 0])} if model.num_classes == 2 else {}),
    }


def at_precision(truth: Tensor, scores: Tensor) -> dict[str, dict[str, float]]:
    """The cost of a threshold that reaches a precision: recall and accuracy for the second of two classes.

    Args:
        truth: True labels (N,), 0 or 1.
        scores: Scores for class 1 (N,).

    Returns:
        Precision as text -> the highest recall that any threshold reaches with it, and the accuracy there.

    Example:
        >>> at_precision(torch.tensor([1, 1, 0, 1]), torch.tensor([3.0, 2.0, 1.0, 0.0]))["0.98"]
        {'recall': 0.6666666666666666, 'accuracy': 0.75}
    """
    from sklearn.metrics import precision_recall_curve

    precision, recall, thresholds = precision_recall_curve(truth.numpy(), scores.numpy())
    thresholds = np.append(thresholds, np.inf)
    points = {}
    for wanted in PRECISIONS:
        best = int(np.argmax(np.where(precision >= wanted, recall, -1.0)))
        right = (scores.numpy() >= thresholds[best]) == truth.numpy()
        points[str(wanted)] = {"recall": float(recall[best]), "accuracy": float(right.mean())}
    return points
