"""Labels of files are understood or refused in one sentence."""

import numpy as np
import pytest

from advbench.datasets.sources.true_labels import true_labels
from advbench.errors import UserError


@pytest.mark.parametrize(
    ("given", "numbers"),
    [
        ([2, 0, 1], (2, 0, 1)),
        (np.array([[2], [0], [1]], np.uint8), (2, 0, 1)),
        (np.eye(4, dtype=np.float32)[[3, 0, 3]], (3, 0, 3)),
        (np.array([True, False, True]), (1, 0, 1)),
        (["7", "03", "1"], (7, 3, 1)),
    ],
)
def test_numbers_and_one_hot_rows(given, numbers):
    assert true_labels(given, 3, "y") == (numbers, None)


def test_names_are_numbered_in_their_order_or_in_that_of_the_file():
    assert true_labels(["cat", "ant", "cat"], 3, "y") == ((1, 0, 1), ("ant", "cat"))
    assert true_labels(np.array([b"cat", b"ant"]), 2, "y", ["cat", "ant"]) == ((0, 1), ("cat", "ant"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "there are no images"),
        ([0, 1, 2], "one label for each of 2 images, got 3 labels"),
        ([0.0, 1.0], "whole numbers or one-hot rows, got floats such as 0"),
        ([0, -1], "image 1 has the label -1"),
        ([0, None], "image 1 has no label"),
        ([None, None], "image 0 and 1 more have no label"),
        ([-1, -1], "image 0 and 1 more have the label -1"),
        ([3, 3], "all 2 images have the label 3"),
        ([0, 5], "expected labels from 0 to 4, got 5"),
        ([[0, 1, 1], [1, 0, 0]], "rows of 3 values that are not one-hot"),
        ([[0], [1, 2]], "lists of several lengths"),
        (["1.0", "2"], "got floats such as 1"),
        (["0", "-1"], "image 1 has the label -1"),
        (["cat", " "], "the label of image 1 is empty"),
        (["a", "zebra"], "'zebra' is not one of the 5 classes"),
        ([{}, {}], "expected labels as whole numbers"),
        (np.array([0, 2**64 - 1], np.uint64), "numbers of classes, got 18446744073709551615"),
        (np.zeros((2, 2, 2), int), r"one label for each image, got shape \(2, 2, 2\)"),
    ],
)
def test_what_is_refused(given, message):
    with pytest.raises(UserError, match=f"^set.npz: .*{message}"):
        true_labels(given, min(len(given), 2), "set.npz", list("abcde"))


def test_names_that_are_written_numbers():
    assert true_labels(["7", "1"], 2, "y", ["1", "7"]).numbers == (1, 0)


def test_labels_counted_from_1_are_recognised():
    with pytest.raises(UserError, match="labels - 1"):
        true_labels([1, 2, 3], 3, "y", list("abc"))
