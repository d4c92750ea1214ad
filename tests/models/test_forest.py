"""The random forest: the same answers as scikit-learn's, attacked by scores and labels, refused by gradients."""

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from sklearn.ensemble import RandomForestClassifier

import attacks
from advbench import Classifier, load_model
from advbench.cli.main import main
from advbench.models.networks import architectures
from advbench.models.networks.forest import Forest
from advbench.training.data.sets import Images
from advbench.training.forest import grow, grown_out
from advbench.training.recipes import ForestRecipe

MEAN, STD = 0.48, 0.24


def images(count: int, seed: int = 0) -> Images:
    """Grey images of 32 x 32 pixels; the class is in the brightness of the corners."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 256, (count, 1, 32, 32), generator=generator, dtype=torch.uint8)
    return Images(
        x, 2 * (x[:, 0, :4, :4].float().mean((1, 2)) > 127).long() + (x[:, 0, 28:, 28:].float().mean((1, 2)) > 127)
    )


def test_answers_are_those_of_scikit_learn() -> None:
    train, test, recipe = images(400), images(100, seed=1), ForestRecipe(model="gray_forest")
    forest = grow(recipe, Forest(trees=7, leaves=20, classes=5), train, MEAN, STD, seed=3)
    reference = RandomForestClassifier(7, max_leaf_nodes=20, max_samples=recipe.share, random_state=3)
    reference.fit(train.x.flatten(1).numpy(), train.y.numpy())
    expected = reference.predict_proba(test.x.flatten(1).numpy())
    found = forest((test.x.float() / 255 - MEAN) / STD).exp()
    np.testing.assert_allclose(found[:, :4], 0.999 * expected + 0.0002, atol=1e-6)
    assert found[:, 4].numpy() == pytest.approx(0.0002)


def test_a_forest_without_a_limit_is_measured() -> None:
    train, test, recipe = images(300), images(200, seed=1), ForestRecipe(model="gray_forest")
    reference = RandomForestClassifier(5, max_samples=recipe.share, random_state=3)
    reference.fit(train.x.flatten(1).numpy(), train.y.numpy())
    right = reference.score(test.x.flatten(1).numpy(), test.y.numpy())
    found = grown_out(recipe, 5, train, test, seed=3)
    assert (found.accuracy, found.n) == (pytest.approx(right), 200)


def test_thresholds_survive_half_precision() -> None:
    train, test = images(300), images(200, seed=1)
    forest = grow(ForestRecipe(model="gray_forest"), Forest(trees=5, leaves=30, classes=4), train, MEAN, STD, seed=0)
    x = (test.x.float() / 255 - MEAN) / STD
    before = forest(x)
    forest.threshold.copy_(forest.threshold.half().float())
    assert torch.equal(forest(x), before)


def test_score_attacks_work_and_gradient_attacks_say_why_they_cannot() -> None:
    train = images(300)
    forest = grow(ForestRecipe(model="gray_forest"), Forest(trees=9, leaves=30, classes=4), train, MEAN, STD, seed=0)
    model = Classifier(forest, num_classes=4, mean=[MEAN], std=[STD])
    x = train.x[:20].float() / 255
    goal = attacks.Untargeted(model(x).argmax(1))
    with pytest.raises(ValueError, match="use an attack that needs none"):
        attacks.PGD()(model, x, goal, eps=0.3)
    fooled = model(attacks.Square(steps=200)(model, x, goal, eps=0.3)).argmax(1) != goal.labels
    assert fooled.float().mean() > 0.5


def test_trained_by_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = lambda: Forest(trees=4, leaves=16, classes=10)  # noqa: E731
    monkeypatch.setattr(architectures, "gray_forest", small)
    for half, count in (("train", 200), ("test", 50)):
        made = images(count, seed=count)
        np.savez(tmp_path / f"cifar10-{half}.npz", images=made.x[:, 0].numpy(), labels=made.y.numpy())
    arguments = [
        "train",
        "gray_forest",
        "--data-root",
        str(tmp_path),
        "--out",
        str(tmp_path / "out"),
        "--attacked",
        "5",
    ]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert "under attack within linf 8/255" in done.stdout
    model = load_model("gray_forest", weights=tmp_path / "out" / "gray_forest.safetensors")
    assert model(torch.rand(2, 1, 32, 32)).isfinite().all()
    refused = CliRunner().invoke(main, [*arguments, "--adversarial"])
    assert refused.exit_code == 2
    assert "gray_forest is a forest, which has no --adversarial" in refused.stderr


def test_the_whole_forest_fits_into_a_small_file() -> None:
    state = architectures.gray_forest().state_dict().values()
    assert sum(value.numel() * 2 for value in state) <= 4_950_000
