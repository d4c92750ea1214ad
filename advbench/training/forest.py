"""Grow a random forest with scikit-learn, and convert its trees to tensors."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from advbench.errors import UserError
from advbench.models.networks.forest import Forest
from advbench.training.data.sets import Images
from advbench.training.measure import Score, score
from advbench.training.recipes import ForestRecipe


def grow(recipe: ForestRecipe, forest: Forest, train: Images, mean: float, std: float, seed: int) -> Forest:
    """Grow the trees of a forest.

    Args:
        recipe: Recipe of the training.
        forest: Forest to fill; its size determines the number of trees and leaves.
        train: Grey images with labels.
        mean: Mean subtracted from the images passed to the forest, image units.
        std: Standard deviation to divide by after that.
        seed: Seed of samples and splits.

    Returns:
        The forest.

    Raises:
        UserError: scikit-learn is not installed.

    References:
        Breiman, Random forests, 2001; trees grow best first, as in Shi, Best-first decision tree learning, 2007.
    """
    trees, nodes = forest.left.shape
    grown = _grown(recipe, trees, (nodes + 1) // 2, train, seed)
    for number, tree in enumerate(grown.estimators_):
        _take(forest, number, tree.tree_, mean, std, [int(label) for label in grown.classes_])
    return forest


def grown_out(recipe: ForestRecipe, trees: int, train: Images, test: Images, seed: int) -> Score:
    """Accuracy of the same scikit-learn forest with no limit on its leaves, which is not saved.

    Args:
        recipe: Recipe of the training.
        trees: Number of trees.
        train: Grey images with labels.
        test: Test images with labels.
        seed: Seed of samples and splits.

    Raises:
        UserError: scikit-learn is not installed.
    """
    grown = _grown(recipe, trees, None, train, seed)
    return score(int((grown.predict(_rows(test)) == test.y.numpy()).sum()), len(test.y))


def _grown(recipe: ForestRecipe, trees: int, leaves: int | None, train: Images, seed: int) -> Any:
    try:
        from sklearn.ensemble import RandomForestClassifier
    except ImportError:
        raise UserError(
            "a forest needs scikit-learn, which is not installed", hint='pip install "advbench[train]"'
        ) from None
    forest = RandomForestClassifier(trees, max_leaf_nodes=leaves, max_samples=recipe.share, random_state=seed, n_jobs=1)
    return forest.fit(_rows(train), train.y.numpy())


def _rows(images: Images) -> NDArray[np.uint8]:
    """Images (N, C, H, W) as (N, pixels)."""
    pixels: NDArray[np.uint8] = images.x[torch.arange(len(images.y))].flatten(1).numpy()
    return pixels


def _take(forest: Forest, number: int, tree: Any, mean: float, std: float, labels: list[int]) -> None:
    """Copy one of scikit-learn's trees; the two children of a node are put side by side."""
    places, queue = {0: 0}, [0]
    for node in queue:  # grows while it is read: breadth first
        if tree.children_left[node] < 0:
            continue
        forest.left[number, places[node]] = len(places)
        for child in (int(tree.children_left[node]), int(tree.children_right[node])):
            places[child] = len(places)
            queue.append(child)
    order = torch.tensor(list(places))
    leaf = torch.from_numpy(tree.children_left)[order] < 0
    # Between two grey levels, because a threshold on one of them would depend on rounding.
    threshold = ((torch.from_numpy(tree.threshold)[order].floor() + 0.5) / 255 - mean) / std
    forest.threshold[number, : len(order)] = torch.where(leaf, 0.0, threshold).float()
    row = leaf.cumsum(0) - 1
    forest.pixel[number, : len(order)] = torch.where(leaf, row, torch.from_numpy(tree.feature)[order]).short()
    values = torch.from_numpy(tree.value)[order[leaf], 0].float()
    forest.frequency[number, : len(values), labels] = values / values.sum(1, keepdim=True)
