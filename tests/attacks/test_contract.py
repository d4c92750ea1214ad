"""What every attack in the table promises, for every norm, goal, batch size and shape.

With `ADVBENCH_TEST_DEVICE=cuda` the models and images are on a GPU, as `make gpu` has them.
"""

import copy
import dataclasses
import os
import sys

import oracles
import pytest
import torch
from attack_table import NEED_PLANES, build, each_attack, each_entry
from goal_kinds import KINDS, each_kind, fulfilled
from norm_rows import EPS
from oracles import Constant, Quantised, RowByRow, convnet, goals
from pairwise import each_once
from torch import nn

from attacks import ATTACKS, NORMS, TopKExclusion, Untargeted

DEVICE = torch.device(os.environ.get("ADVBENCH_TEST_DEVICE", "cpu"))
STEPS = 4
SMALL = (3, 2, 2)
"""So that with the model below some images are fooled and others are not."""


def images(*arguments, **given):
    return oracles.images(*arguments, **given).to(DEVICE)


def mlp(*arguments, **given):
    return oracles.mlp(*arguments, **given).to(DEVICE)


def tensor(values):
    return torch.tensor(values, device=DEVICE)


def network(shape, dtype=torch.float64):
    model = mlp(torch.Size(shape).numel(), seed=1)
    with torch.no_grad():
        model[1].weight.mul_(4)
    return model.to(dtype)


def met_goal(kind, logits):
    """A goal of this kind that ``logits`` (N, 5) do meet."""
    return fulfilled(kind, logits.detach().argsort(dim=1, descending=True), 2)


def mixed(kind, logits, met):
    """The goal of this kind that the images in ``met`` (bool (N,)) meet and the others do not."""
    unmet, done = goals(logits)[kind], met_goal(kind, logits)
    names = [f.name for f in dataclasses.fields(unmet) if f.name not in ("ids", "k")]
    rows = met.unsqueeze(1) if getattr(unmet, names[0]).ndim == 2 else met
    return dataclasses.replace(
        unmet, **{name: torch.where(rows, getattr(done, name), getattr(unmet, name)) for name in names}
    )


def check_candidates(x, x_adv, norm, eps):
    """Shape, type, box and budget."""
    assert (x_adv.shape, x_adv.dtype, x_adv.device) == (x.shape, x.dtype, x.device)
    assert x_adv.isfinite().all()
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1
    assert not x_adv.requires_grad
    if eps is not None:
        assert (NORMS[norm]().measure(x_adv - x) <= eps * (1 + 1e-5) + 1e-6).all()


# --- candidates ---


@pytest.mark.parametrize(
    ("count", "shape", "kind"),
    list(zip([8, 3, 1, 1, 8], [(3, 8, 8), (1, 6, 6), (12,), (3, 8, 8), (12,)], KINDS, strict=True)),
    ids=str,
)
@each_entry
def test_candidates_keep_to_box_budget_and_shape(name, norm, count, shape, kind):
    model, x = network(shape), images(count, shape, low=0, high=1)
    attack, before = build(name, norm, STEPS), x.clone()
    if name in NEED_PLANES and len(shape) < 3:
        with pytest.raises(ValueError, match=r"expected images \(N, C, H, W\)"):
            attack(model, x, goals(model(x))["untargeted"], eps=EPS[norm])
        return
    check_candidates(x, attack(model, x, goals(model(x))[kind], eps=EPS[norm]), norm, EPS[norm])
    assert torch.equal(x, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@each_entry
def test_candidates_have_the_dtype_of_the_images(name, norm, dtype):
    model, x = network((3, 8, 8), dtype), images(4, (3, 8, 8), low=0, high=1).to(dtype)
    goal = goals(model(x))["untargeted"]
    for eps in (EPS[norm], torch.full((4,), EPS[norm], dtype=torch.float64, device=DEVICE)):
        check_candidates(x, build(name, norm, STEPS)(model, x, goal, eps=eps), norm, EPS[norm])


@each_entry
def test_each_image_may_have_its_own_budget(name, norm):
    model, x = network(SMALL), images(6, SMALL, low=0, high=1)
    goal = goals(model(x))["untargeted"]
    eps = EPS[norm] * torch.arange(1.0, 7.0, device=DEVICE) / 2
    x_adv = build(name, norm, STEPS)(RowByRow(model), x, goal, eps=eps)
    check_candidates(x, x_adv, norm, eps)
    for i in (0, 5):
        row = tensor([i])
        alone = build(name, norm, STEPS)(RowByRow(model), x[row], goal.select(row), eps=float(eps[i]))
        assert torch.equal(alone, x_adv[row])


@each_entry
def test_a_minimum_norm_attack_needs_no_eps(name, norm):
    attack = build(name, norm, STEPS)
    if attack.kind == "budget":
        with pytest.raises(TypeError, match="eps"):
            attack(network(SMALL), images(1, SMALL), Untargeted(tensor([0])))
        return
    model, x = network(SMALL), images(4, SMALL, low=0, high=1)
    for goal in goals(model(x)).values():
        x_adv = attack(model, x, goal)
        check_candidates(x, x_adv, norm, None)
        found = goal.margin(model(x_adv)) < 0
        assert torch.equal(x_adv[~found], x[~found])


@each_entry
def test_memory_layout_does_not_matter(name, norm):
    x = images(3, (3, 8, 8), low=0, high=1)
    model = network((3, 8, 8))
    goal = goals(model(x))["untargeted"]
    plain = build(name, norm, STEPS)(model, x, goal, eps=EPS[norm])
    strided = torch.stack([x, x], -1)[..., 0]
    for other in (x.to(memory_format=torch.channels_last), strided, x.transpose(2, 3).contiguous().transpose(2, 3)):
        torch.testing.assert_close(build(name, norm, STEPS)(model, other, goal, eps=EPS[norm]), plain)


# --- images do not influence each other ---


@each_kind
@each_entry
def test_neither_batch_nor_order_nor_neighbours_matter(name, norm, kind):
    # Row by row: a model's sums may be rounded differently in a batch of another size, whatever the attack does.
    model, attack = RowByRow(network((3, 8, 8))), build(name, norm, STEPS)
    x, ids = images(8, (3, 8, 8), low=0, high=1), torch.arange(8, device=DEVICE) * 7 + 100
    met = tensor([False, False, True, False, False, False, True, False])
    goal = dataclasses.replace(mixed(kind, model(x), met), ids=ids)

    def run(rows):
        return attack(model, x[rows], goal.select(rows), eps=EPS[norm], seed=3)

    whole, backwards = run(torch.arange(8)), torch.arange(7, -1, -1)
    assert torch.equal(run(backwards), whole[backwards])
    for rows in (tensor([4]), tensor([2, 7, 0])):
        assert torch.equal(run(rows), whole[rows])


@each_entry
def test_the_same_image_twice_is_the_same_twice(name, norm):
    model, attack = RowByRow(network(SMALL)), build(name, norm, STEPS)
    x = images(2, SMALL, low=0, high=1)[[0, 1, 0]]
    goal = dataclasses.replace(goals(model(x))["untargeted"], ids=tensor([5, 6, 5]))
    x_adv = attack(model, x, goal, eps=EPS[norm])
    assert torch.equal(x_adv[0], x_adv[2])


# --- seeds ---


@each_entry
def test_a_seed_fixes_the_result_and_nothing_else_does(name, norm):
    model, attack, x = network((1, 6, 6)), build(name, norm, STEPS), images(8, (1, 6, 6), low=0, high=1)
    goal = goals(model(x))["untargeted"]
    state = torch.random.get_rng_state()
    first = attack(model, x, goal, eps=EPS[norm], seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        assert torch.equal(attack(model, x, goal, eps=EPS[norm], seed=1), first)
    other = attack(model, x, goal, eps=EPS[norm], seed=2)
    if name in ("noise", "pgd", "apgd"):
        assert not torch.equal(other, first)
        shifted = dataclasses.replace(goal, ids=goal.ids + 1)
        assert not torch.equal(attack(model, x, shifted, eps=EPS[norm], seed=1), first)


@each_once("name, seed", list(ATTACKS), [-1, 2**64 - 1, 10**30])
def test_any_integer_is_a_seed(name, seed):
    model, x = network(SMALL), images(2, SMALL)
    norm = ATTACKS[name].norms[0]
    x_adv = build(name, norm, STEPS)(model, x, goals(model(x))["untargeted"], eps=EPS[norm], seed=seed)
    check_candidates(x, x_adv, norm, EPS[norm])


# --- the model ---


def footprint(model):
    """Everything of a model that an attack might change."""
    return [
        (
            name,
            module.training,
            [len(hooks) for key, hooks in vars(module).items() if key.endswith("hooks")],
            [(parameter.requires_grad, parameter.grad is None) for parameter in module.parameters(recurse=False)],
        )
        for name, module in model.named_modules()
    ]


@pytest.mark.parametrize("requires_grad", [True, False])
@each_entry
def test_the_model_is_left_as_it_was(name, norm, requires_grad):
    model = convnet().to(DEVICE).requires_grad_(requires_grad)
    x = images(3, (3, 8, 8)).float()
    before, weights = footprint(model), copy.deepcopy(model.state_dict())
    build(name, norm, STEPS)(model, x, goals(model(x))["untargeted"], eps=EPS[norm])
    assert footprint(model) == before
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())


@each_attack
def test_a_model_in_training_mode_stays_in_it(name):
    model, x = network(SMALL).train(), images(2, SMALL)
    norm = ATTACKS[name].norms[0]
    build(name, norm, STEPS)(model, x, goals(model(x))["untargeted"], eps=EPS[norm])
    assert all(module.training for module in model.modules())


@each_attack
def test_gradients_that_were_there_before_stay(name):
    model, x = network(SMALL), images(2, SMALL)
    model(x).sum().backward()
    before = [parameter.grad.clone() for parameter in model.parameters()]
    norm = ATTACKS[name].norms[0]
    build(name, norm, STEPS)(model, x, goals(model(x))["untargeted"], eps=EPS[norm])
    assert all(torch.equal(p.grad, grad) for p, grad in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@each_entry
def test_works_within_the_callers_grad_mode(name, norm, mode):
    model, x = network(SMALL), images(3, SMALL, low=0, high=1)
    attack = build(name, norm, STEPS)
    expected = attack(model, x, goals(model(x))["topk-exclusion"], eps=EPS[norm])
    with mode():
        inside = attack(model, x, goals(model(x))["topk-exclusion"], eps=EPS[norm])
        made_inside, goal = x.clone(), goals(model(x))["topk-exclusion"]
    assert torch.equal(inside, expected)
    assert torch.equal(attack(model, made_inside, goal, eps=EPS[norm]), expected)


@each_entry
def test_images_with_a_graph_of_their_own_get_no_gradient(name, norm):
    model, x = network(SMALL), images(2, SMALL).requires_grad_()
    x_adv = build(name, norm, STEPS)(model, x, goals(model(x))["untargeted"], eps=EPS[norm])
    assert not x_adv.requires_grad
    assert x.grad is None


# --- images that are fooled already ---


@each_kind
@each_entry
def test_images_that_are_fooled_already_come_back_as_they_are(name, norm, kind):
    model, x = network(SMALL), images(5, SMALL, low=0, high=1)
    attack = build(name, norm, STEPS)
    met = tensor([True, False, False, True, False])
    goal = mixed(kind, model(x), met)
    assert torch.equal(goal.margin(model(x)) < 0, met)
    x_adv = attack(model, x, goal, eps=EPS[norm])
    assert torch.equal(x_adv[met], x[met])
    everyone = met_goal(kind, model(x))
    x_adv = attack(model, x, everyone, eps=EPS[norm])
    assert torch.equal(x_adv, x)
    x_adv[0] = 0.5
    assert not torch.equal(x_adv, x), "the result must not be the images themselves"


# --- models that say little ---


@each_entry
def test_a_class_that_is_ruled_out_changes_nothing(name, norm):
    # A wrapper for fewer classes than the network has: the others get a huge negative logit.
    net, x = network(SMALL), images(6, SMALL)

    def ruled_out(x):
        logits = net(x)
        return torch.cat([logits, torch.full_like(logits[:, :1], -1e9)], 1)

    attack, goal = build(name, norm, most=20), goals(net(x))["untargeted"]
    eps = EPS[norm] if attack.kind == "budget" else None
    x_adv, other = attack(net, x, goal, eps=eps), attack(ruled_out, x, goal, eps=eps)
    assert ((goal.margin(net(other)) < 0) >= (goal.margin(net(x_adv)) < 0)).all()


@each_entry
def test_a_model_that_cannot_be_fooled_is_not(name, norm):
    model, x = Constant(tensor([1.0, 0.5, 0.2, 0.1, 0.0])), images(3, SMALL, low=0, high=1)
    for goal in goals(model(x)).values():
        x_adv = build(name, norm, STEPS)(model, x, goal, eps=EPS[norm])
        check_candidates(x, x_adv, norm, EPS[norm])
        if ATTACKS[name].kind == "minimum norm":
            assert torch.equal(x_adv, x)


class SquareRoot(nn.Module):
    """Infinitely steep at black."""

    def forward(self, x):
        return x.flatten(1)[:, :5].sqrt()


@pytest.mark.parametrize(
    ("model", "low", "high"),
    [
        (Constant(torch.zeros(5, device=DEVICE)), 0, 1),
        (Quantised(mlp(12)), 0, 1),
        (SquareRoot(), 0, 0),
        (SquareRoot(), 0, 1),
        (mlp(12), 0, 0),
        (mlp(12), 1, 1),
        (nn.Sequential(mlp(12), nn.Threshold(1e9, 0)), 0, 1),
    ],
    ids=["equal logits", "no gradient", "infinite gradient", "square root", "black", "white", "dead"],
)
@each_entry
def test_candidates_are_never_nan(name, norm, model, low, high):
    x = images(3, SMALL, low=low, high=high)
    if isinstance(model, SquareRoot) and high == 1:
        x[0, :3] = 0
    for goal in (Untargeted(tensor([0, 1, 2])), TopKExclusion(tensor([[0, 1]] * 3))):
        check_candidates(x, build(name, norm, STEPS)(model, x, goal, eps=EPS[norm]), norm, EPS[norm])


# --- the table ---


@each_attack
def test_the_table_is_complete(name):
    kind = ATTACKS[name]
    module = sys.modules[kind.__module__]
    assert module.__name__ == f"attacks.{name}"
    assert kind.__name__.lower() == name.replace("_", "")
    assert kind.kind in ("budget", "minimum norm")
    assert kind.norms
    assert set(kind.norms) <= set(NORMS)
    assert kind().norm.name in kind.norms
    assert all(field.kw_only for field in dataclasses.fields(kind))
    assert kind.__dataclass_params__.frozen
