"""What is refused, what stays open, and what a proof says."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_nets import small_net
from torch import Tensor, nn

import attacks
from advbench import proofs
from advbench.evaluation.judge import judge
from advbench.models.classifier import Classifier
from attacks import LabelOutOfTopK, Untargeted

SHARED = Path(__file__).parents[3] / "shared"
X = torch.rand(2, 2, 5, 5, generator=torch.Generator().manual_seed(0))
GOAL = Untargeted(torch.tensor([0, 1]))


class Branching(nn.Module):
    """Goes another way for dark images."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :3] if x.sum() > 0 else -x.flatten(1)[:, :3]


class Silent(nn.Module):
    """Looks at the number of its images."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :3] * x.flatten(1)[:, :3]


class Reading(nn.Module):
    """Takes a number out of its images."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :3] * x.mean().item()


def test_training_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a model in eval mode, got Sequential in training mode"):
        proofs.prove(small_net("relu", 0).train(), X, GOAL, norm=attacks.Linf(), eps=0.1)


def test_half_precision_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected a model of float32 or float64, got torch.float16: call float\(\)"):
        proofs.prove(small_net("relu", 0).half(), X, GOAL, norm=attacks.Linf(), eps=0.1)
    with pytest.raises(ValueError, match=r"expected images of float32 or float64, got torch.float16"):
        proofs.prove(small_net("relu", 0), X.half(), GOAL, norm=attacks.Linf(), eps=0.1)


@pytest.mark.parametrize(("norm", "eps"), [("linf", 8.0), ("linf", -0.1), ("l2", 8.0), ("linf", float("nan"))])
def test_an_eps_of_another_scale_is_refused(norm: str, eps: float) -> None:
    with pytest.raises(ValueError, match=rf"expected eps from 0 to .* in {norm}, got .*: images are in \[0, 1\]"):
        proofs.prove(small_net("relu", 0), X, GOAL, norm=attacks.NORMS[norm](), eps=eps)


def test_half_a_value_is_refused_in_l0() -> None:
    with pytest.raises(ValueError, match=r"expected a whole number of values for eps in l0, got 1.5"):
        proofs.prove(small_net("relu", 0), X, GOAL, norm=attacks.L0(), eps=1.5)


def test_images_of_another_scale_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected images in \[0, 1\], got values from"):
        proofs.prove(small_net("relu", 0), X * 255, GOAL, norm=attacks.Linf(), eps=0.1)


def test_an_impossible_goal_is_refused() -> None:
    with pytest.raises(ValueError, match="expected k <= 2 for 3 classes, got 3"):
        proofs.prove(small_net("relu", 0), X, LabelOutOfTopK(torch.tensor([0, 1]), k=3), norm=attacks.Linf(), eps=0.1)
    with pytest.raises(ValueError, match="expected labels from 0 to 2, got 0 to 7"):
        proofs.prove(small_net("relu", 0), X, Untargeted(torch.tensor([0, 7])), norm=attacks.Linf(), eps=0.1)


def test_a_goal_for_other_images_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a goal for 2 images, got one for 1"):
        proofs.prove(small_net("relu", 0), X, GOAL.select(torch.tensor([0])), norm=attacks.Linf(), eps=0.1)


@pytest.mark.parametrize("limits", [{"domains": -1}, {"seconds": -1.0}, {"seconds": float("nan")}])
def test_limits_below_zero_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"expected limits of at least 0, got .* domains and .* seconds"):
        proofs.prove(small_net("relu", 0), X, GOAL, norm=attacks.Linf(), eps=0.1, **limits)


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected a method of interval, crown-ibp, .*, got magic"):
        proofs.bound(small_net("relu", 0), X, GOAL, norm=attacks.Linf(), eps=0.1, upto="magic")


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (nn.GELU(), "cannot be proved: layer GELU"),
        (nn.Softmax(1), "cannot be proved: layer Softmax"),
        (nn.MaxPool2d((2, 3)), "cannot be proved: layer MaxPool2d with windows of unequal sides, 2 x 3"),
        (nn.MaxPool2d(2, padding=1), "cannot be proved: layer MaxPool2d with padding, dilation or windows of unequal"),
        (nn.MaxPool2d(2, ceil_mode=True), "cannot be proved: layer MaxPool2d with padding, dilation or windows of"),
        (nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"), "cannot be proved: layer Conv2d with padding"),
        (nn.LeakyReLU(1.5), "cannot be proved: layer LeakyReLU with slope 1.5, not from 0 to 1"),
        (nn.InstanceNorm2d(2), "cannot be proved: layer InstanceNorm2d"),
        (Branching(), "cannot be proved: Sequential: its code looks at values or shapes"),
        (Reading(), "cannot be proved: "),
        (Silent(), "cannot be proved: a product of two values that depend on the image"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_followed_stays_open(layer: nn.Module, reason: str) -> None:
    net = nn.Sequential(layer, nn.Flatten(), nn.LazyLinear(3)).eval()
    with torch.no_grad():
        net(X)
    proof = proofs.prove(net, X, GOAL, norm=attacks.Linf(), eps=0.1)
    assert proof.reason.startswith(reason)
    assert proof.proved.tolist() == [False, False]
    assert proof.method == ("none", "none")
    assert proof.bound.tolist() == [-torch.inf, -torch.inf]


class Weighted(nn.Module):
    """Adds two layers, or a layer and a constant, by functions that weigh the second."""

    def __init__(self, together: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.together = nn.Linear(50, 3), nn.Linear(50, 3), together

    def forward(self, x: Tensor) -> Tensor:
        return self.together(self.first(x.flatten(1)), self.second(x.flatten(1)))


@pytest.mark.parametrize(
    "together",
    [
        lambda one, other: torch.add(one, other, alpha=2),
        lambda one, other: one.sub(other, alpha=0.5),
        lambda one, other: torch.add(one, torch.ones(3), alpha=2) + other,
        lambda one, other: torch.sub(torch.ones(3), one, alpha=2) + other,
    ],
)
def test_weights_of_a_sum_are_followed(together: Callable[[Tensor, Tensor], Tensor]) -> None:
    model = Weighted(together).eval()
    proof = proofs.prove(model, X, Untargeted(model(X).argmax(1)), norm=attacks.Linf(), eps=1e-6)
    assert proof.reason == ""
    assert proof.proved.all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eps": "2/255"}, "expected eps as one number, the same for all images, got '2/255'"),
        ({"eps": None}, "expected eps as one number, the same for all images, got None"),
        ({"eps": True}, "expected eps as one number, the same for all images, got True"),
        ({"eps": torch.tensor([0.1, 0.2])}, "expected eps as one number, the same for all images, got tensor"),
        ({"eps": float("nan")}, "expected eps from 0 to 1 in linf, got nan"),
        ({"norm": "linf"}, "expected norm of a proof to be a norm such as Linf"),
        ({"norm": attacks.Linf}, "expected norm of a proof to be a norm such as Linf"),
        ({"x": X.tolist()}, r"expected float images \(N, ...\) as a tensor, got list"),
        ({"x": X.numpy()}, r"expected float images \(N, ...\) as a tensor, got ndarray"),
        ({"x": X.mul(255).byte()}, r"expected float images \(N, ...\), got torch.uint8"),
        ({"goal": torch.tensor([0, 1])}, "expected a goal such as Untargeted.* got Tensor"),
        ({"goal": None}, "expected a goal such as Untargeted.* got NoneType"),
        ({"model": "lenet"}, "expected a model, images -> logits, got str"),
    ],
)
def test_what_cannot_be_meant_is_told_in_a_sentence(change: dict[str, Any], message: str) -> None:
    given = {"model": small_net("relu", 0), "x": X, "goal": GOAL, "norm": attacks.Linf(), "eps": 0.1} | change
    with pytest.raises(ValueError, match=message):
        proofs.prove(given.pop("model"), given.pop("x"), given.pop("goal"), **given)


def test_images_that_the_model_does_not_take_are_no_obstacle_to_a_proof() -> None:
    model = Classifier(small_net("relu", 0), num_classes=3, mean=[0.4, 0.5], std=[0.2, 0.3])
    with pytest.raises(ValueError, match=r"expected images of shape \(N, 2, H, W\)"):
        proofs.prove(model, X[0], GOAL, norm=attacks.Linf(), eps=0.1)
    with pytest.raises(RuntimeError, match=r"type"):  # as the model says it
        proofs.prove(small_net("relu", 0), X.double(), GOAL, norm=attacks.Linf(), eps=0.1)


def test_numbers_and_images_of_other_kinds_prove_as_much() -> None:
    net = small_net("relu", 0)
    plain = proofs.prove(net, X, GOAL, norm=attacks.Linf(), eps=0.25)
    turned = X.transpose(2, 3).contiguous().transpose(2, 3)
    for x, eps in ((X, torch.tensor(0.25)), (X, np.float32(0.25)), (turned, 0.25), (X.clone().requires_grad_(), 0.25)):
        assert proofs.prove(net, x, GOAL, norm=attacks.Linf(), eps=eps).bound.equal(plain.bound)


def test_a_function_stays_open() -> None:
    proof = proofs.prove(lambda x: x.flatten(1), X, GOAL, norm=attacks.Linf(), eps=0.1)
    assert proof.reason == "cannot be proved: function is not a torch module"


def test_hooks_that_change_answers_are_noticed() -> None:
    net = small_net("relu", 0)
    net.register_forward_hook(lambda module, args, output: output.flip(1))
    proof = proofs.prove(net, X, GOAL, norm=attacks.Linf(), eps=0.0)
    assert proof.reason == "cannot be proved: the network that was read does not give the model's answers"


def test_a_classifier_is_read_with_its_normalisation() -> None:
    model = Classifier(small_net("max pool", 0), num_classes=3, mean=[0.4, 0.5], std=[0.2, 0.3])
    goal = Untargeted(model(X).argmax(1))
    proof = proofs.prove(model, X, goal, norm=attacks.Linf(), eps=0.0)
    assert proof.reason == ""
    torch.testing.assert_close(proof.bound.float(), goal.margin(model(X)), atol=1e-3, rtol=1e-3)


def test_no_images_are_no_proofs() -> None:
    proof = proofs.prove(
        small_net("relu", 0), X[:0], Untargeted(torch.zeros(0, dtype=torch.int64)), norm=attacks.Linf(), eps=0.1
    )
    assert proof.proved.shape == (0,)
    assert proof.reason == ""


def test_a_counterexample_convinces_the_judge() -> None:
    net = small_net("relu", 1)
    goal = Untargeted(net(X).argmax(1))
    proof = proofs.prove(net, X, goal, norm=attacks.Linf(), eps=0.5)
    found = [i for i, each in enumerate(proof.counterexample) if each is not None]
    assert found
    for i in found:
        one = goal.select(torch.tensor([i]))
        assert judge(net, X[i : i + 1], proof.counterexample[i], one, attacks.Linf(), 0.5).met.all()
        assert not proof.proved[i]


def test_verdicts_depend_on_domains_not_on_the_batch() -> None:
    net = small_net("residual", 2)
    goal = Untargeted(net(X).argmax(1))
    both = proofs.prove(net, X, goal, norm=attacks.Linf(), eps=0.05, domains=40)
    alone = proofs.prove(net, X[1:], goal.select(torch.tensor([1])), norm=attacks.Linf(), eps=0.05, domains=40)
    assert alone.bound[0] == both.bound[1]
    assert alone.nodes[0] == both.nodes[1] <= 40 + 128


def test_no_time_leaves_bounds_of_the_cheapest_method() -> None:
    net = small_net("relu", 2)
    proof = proofs.prove(net, X, Untargeted(net(X).argmax(1)), norm=attacks.Linf(), eps=0.2, seconds=0.0)
    assert proof.method == ("interval", "interval")
    assert (proof.bound > -torch.inf).all()


@pytest.mark.slow
def test_no_digit_that_can_be_broken_is_proved() -> None:
    if not (SHARED / "models/hard.json").exists():
        pytest.skip("no networks beside the repository: ../shared/models is missing")
    from tests.peers.victims import mnist

    entry = json.loads((SHARED / "models/hard.json").read_text(encoding="utf-8"))["mnist-cnn-a-adv"]
    target = mnist("mnist-cnn-a-adv", max(entry["indices"]) + 1)()
    rows = torch.tensor(entry["indices"])
    proof = proofs.prove(
        target.model,
        target.x[rows],
        Untargeted(target.y[rows]),
        norm=attacks.Linf(),
        eps=entry["eps"],
        domains=300,
        seconds=20.0,
    )
    assert proof.reason == ""
    assert not proof.proved.any()
