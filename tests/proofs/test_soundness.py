"""What is proved stands: against random points, every attack here, and those of Foolbox."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from advbench import proofs
from advbench.catalog import ATTACKS
from advbench.evaluation.attack_factory import make_attack
from advbench.evaluation.judge import judge
from advbench.models import load_model
from attacks import AttackError, Linf, Untargeted

pytestmark = pytest.mark.slow
BATCH = 1_000
ZOO = {"mlp_mnist": 0.01, "lenet": 0.01, "mnist_convnet": 0.003, "mnist_convnet_robust": 0.01}
"""Network of the model zoo -> an eps at which something is proved."""
IMAGES = {"mlp_mnist": 8, "lenet": 8, "mnist_convnet": 2, "mnist_convnet_robust": 2}
"""Images of each; the convolutional ones take a hundred times as long."""
POINTS = {"mlp_mnist": 700_000, "lenet": 240_000, "mnist_convnet": 30_000, "mnist_convnet_robust": 30_000}
"""Random points of each, a million in all."""
LEFT_OUT = ("universal", "hop_skip_jump", "topk", "foolbox/hop-skip-jump", "foolbox/dataset", "foolbox/gen-attack")
"""Attacks that need a file or images to start from, or do not take an untargeted goal."""
CORRUPTIONS = "corruption/"
"""Beginning of the names of what knows no eps."""
SLOW = ("foolbox/linf-brendel-bethge", "foolbox/pointwise")
"""Attacks that take minutes."""


def proved_digits(name: str, count: int) -> tuple[object, Tensor, Untargeted, float]:
    """A network of the zoo with digits that are proved at its eps."""
    from tests.peers.victims import SHARED, mnist_images

    if not SHARED.is_dir():
        pytest.skip("needs the folder 'shared' beside the repository")
    model, eps = load_model(name), ZOO[name]
    x, y = mnist_images(count)
    proof = proofs.prove(model, x, Untargeted(y), norm=Linf(), eps=eps, domains=200)
    assert proof.reason == ""
    assert int(proof.proved.sum()) >= count // 2
    return model, x[proof.proved], Untargeted(y[proof.proved], ids=torch.arange(int(proof.proved.sum()))), eps


def points_around(x: Tensor, eps: float, count: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Random points of the ball around one image: anywhere, and in its corners."""
    for _ in range(-(-count // (2 * BATCH))):
        inside = torch.rand(BATCH, *x.shape[1:], generator=generator) * 2 - 1
        for delta in (inside, inside.sign()):
            yield (x + eps * delta).clamp(0, 1)


@pytest.mark.parametrize("name", POINTS)
def test_no_random_point_of_a_million_fools_what_is_proved(name: str) -> None:
    model, x, goal, eps = proved_digits(name, IMAGES[name])
    generator, seen = torch.Generator().manual_seed(0), 0
    for i in range(len(x)):
        for points in points_around(x[i : i + 1], eps, -(-POINTS[name] // len(x)), generator):
            with torch.no_grad():
                assert (model(points).argmax(1) == goal.labels[i]).all()
            seen += len(points)
    assert seen >= POINTS[name]


def every_attack() -> Iterator[tuple[str, Callable[..., Tensor]]]:
    """Every attack of this library and of Foolbox in Linf, with their default parameters."""
    for card in ATTACKS.values():
        fits = "linf" in card.norms and "untargeted" in card.goals and not card.name.startswith(CORRUPTIONS)
        if fits and card.name not in (*LEFT_OUT, *SLOW):
            yield card.name, make_attack(card.name, "linf", {})


@pytest.mark.parametrize("name", ZOO)
def test_no_attack_fools_what_is_proved_in_the_zoo(name: str) -> None:
    model, x, goal, eps = proved_digits(name, IMAGES[name])
    tried = 0
    for called, attack in every_attack():
        try:
            x_adv = attack(model, x, goal, eps=eps)
        except AttackError as error:  # on single images, which then say nothing
            x_adv = error.x_adv
        assert not judge(model, x, x_adv, goal, Linf(), eps).met.any(), called
        tried += 1
    assert tried > 15
