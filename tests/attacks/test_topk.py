"""TopK: the smooth margin, and steps that suit the norm."""

import pytest
import torch
from oracles import images, linear, mlp

from attacks import DDN, FMN, L0, L1, L2, Linf, OrderedTopK, TopK, TopKExclusion, Untargeted
from attacks.searches.ways import nearest_ways


@pytest.mark.parametrize(
    ("norm", "free", "ordered"),
    [
        (Linf(), (1.5, 0.15, 0.6), (0.08, 0.05, 0.8)),
        (L2(), (1.5, 0.15, 0.6), (0.125, 0.05, 0.6)),
        (L1(), (3.0, 0.15, 0.6), (0.25, 0.05, 0.7)),
        (L0(), (4.0, 0.15, 0.6), (0.25, 0.05, 0.7)),
    ],
    ids=["linf", "l2", "l1", "l0"],
)
@pytest.mark.parametrize("order", [False, True], ids=["free", "ordered"])
def test_the_default_pace_depends_on_the_norm_and_is_slower_to_an_order(norm, free, ordered, order):
    model, x = mlp(192, num_classes=5, seed=2), images(16, (192,))
    goal = OrderedTopK(model(x).argsort(1)[:, :2]) if order else TopKExclusion.from_logits(model(x), 2)
    step_size, gamma, momentum = ordered if order else free

    def attack(**settings):
        return TopK(norm=norm, steps=40, **settings)(model, x, goal)

    default = attack()
    assert torch.equal(default, attack(step_size=step_size, gamma=gamma, momentum=momentum))
    for other in ({"step_size": step_size / 3}, {"gamma": gamma / 3}, {"momentum": momentum / 3}):
        assert not torch.equal(default, attack(**other))


@pytest.mark.parametrize("norm", [Linf(), L2()], ids=lambda norm: norm.name)
def test_finds_less_than_a_descent_of_the_margin_does(norm):
    model, x = linear(num_classes=10, values=48, seed=2), images(10, (3, 4, 4), seed=2)
    goal = TopKExclusion.from_logits(model(x), 3)
    by_margin, smooth = (norm.measure(attack(norm=norm, steps=200)(model, x, goal) - x) for attack in (FMN, TopK))
    assert (smooth / by_margin).mean() < 0.95


@pytest.mark.parametrize("scale", [2.0**90, 1024.0, 2.0**-90])
def test_logits_of_any_scale_give_the_same(scale):
    model, x = mlp(12, seed=1).float(), images(4, (12,), seed=1).float()
    goal = TopKExclusion.from_logits(model(x), 2)
    once = TopK(steps=60)(model, x, goal)
    assert not torch.equal(once, x)
    torch.testing.assert_close(TopK(steps=60)(lambda x: scale * model(x), x, goal), once)


def counted(model):
    """The model, and a list of the sizes of the batches whose gradient was asked for."""
    sizes = []

    def ask(x):
        logits = model(x)
        if logits.requires_grad:
            logits.register_hook(lambda gradient: sizes.append(len(gradient)))
        return logits

    return ask, sizes


@pytest.mark.parametrize(
    ("steps", "k", "num_classes"), [(25, 1, 3), (60, 3, 10), (100, 3, 10), (300, 3, 10), (480, 3, 10)]
)
@pytest.mark.parametrize("norm", [Linf(), L2()], ids=lambda norm: norm.name)
def test_choice_and_races_are_part_of_the_steps(norm, steps, k, num_classes):
    model, x = linear(num_classes=num_classes, values=48, seed=2), images(3, (3, 4, 4), seed=2)
    goal = TopKExclusion.from_logits(model(x), k)
    ask, sizes = counted(model)
    TopK(norm=norm, steps=steps)(ask, x, goal)
    assert sum(sizes) == 3 * steps


@pytest.mark.parametrize(
    ("norm", "steps", "taken"), [(Linf(), 90, 90), (Linf(), 150, 100), (Linf(), 220, 110), (L2(), 200, 200)]
)
def test_a_descent_among_many_classes_ends_sooner_in_linf(norm, steps, taken):
    model, x = linear(num_classes=60, values=48, seed=2), images(2, (3, 4, 4), seed=2)
    goal = TopKExclusion.from_logits(model(x), 7)
    ask, sizes = counted(model)
    found = TopK(norm=norm, steps=steps)(ask, x, goal)
    assert sum(sizes) == 2 * taken
    gamma, momentum = (0.35, 0.75) if norm.name == "linf" else (0.15, 0.6)
    assert torch.equal(found, TopK(norm=norm, steps=steps, gamma=gamma, momentum=momentum)(model, x, goal))
    assert not torch.equal(found, TopK(norm=norm, steps=steps, gamma=gamma / 2)(model, x, goal))


def test_among_many_classes_a_wide_start_finds_nearer_ones(monkeypatch):
    model, x = mlp(192, num_classes=300, hidden=64, seed=2), images(24, (192,), seed=2)
    goal = TopKExclusion.from_logits(model(x), 3)
    sizes = Linf().measure(TopK()(model, x, goal) - x)
    monkeypatch.setattr("attacks.topk._EARLY", 0.0)
    narrow = Linf().measure(TopK()(model, x, goal) - x)
    assert (sizes / narrow).log().mean().exp() < 0.98


def test_races_find_less_than_the_first_choice_or_the_goal_alone(monkeypatch):
    """The choice is made for a linear model; where the model bends, another set may be nearer."""
    norm, model, x = Linf(), mlp(48, num_classes=10, seed=2), images(12, (48,), seed=2)
    goal = TopKExclusion.from_logits(model(x), 3)
    raced = norm.measure(TopK(norm=norm, steps=400)(model, x, goal) - x)
    first = nearest_ways(model, x, goal, model(x), goal.exclusion, count=1)[0]
    alone = norm.measure(TopK(norm=norm, steps=400)(model, x, first) - x)
    assert (raced <= 1.02 * alone).all()
    assert (raced < 0.98 * alone).any()
    monkeypatch.setattr("attacks.topk._CHOICE", 0.0)
    free = norm.measure(TopK(norm=norm, steps=400)(model, x, goal) - x)
    assert (raced <= 1.02 * free).all()
    assert (raced < 0.98 * free).any()


@pytest.mark.parametrize("norm", [Linf(), L2()], ids=lambda norm: norm.name)
def test_k_of_one_is_the_ordinary_attack(norm):
    model, x = mlp(12, seed=1), images(16, (12,), seed=1)
    labels = model(x).argmax(1)
    excluded = TopK(norm=norm)(model, x, TopKExclusion(labels.unsqueeze(1)))
    assert torch.equal(excluded, TopK(norm=norm)(model, x, Untargeted(labels)))
    others = [FMN(norm=norm, steps=200)] + ([DDN(steps=200)] if norm.name == "l2" else [])
    best = torch.stack([norm.measure(attack(model, x, Untargeted(labels)) - x) for attack in others]).amin(0)
    assert (norm.measure(excluded - x) <= 1.02 * best).all()


def test_what_excludes_more_classes_excludes_fewer():
    """So that the least norm over k and all larger k never falls as k grows."""
    model, x = linear(num_classes=12, values=48, seed=3), images(8, (48,), seed=3)
    goals = {k: TopKExclusion.from_logits(model(x), k) for k in (1, 2, 3, 4, 6)}
    found = {k: TopK(norm=L2())(model, x, goal) for k, goal in goals.items()}
    for k, goal in goals.items():
        for more, x_adv in found.items():
            assert more < k or (goal.margin(model(x_adv)) < 0).all()
    sizes = torch.stack([L2().measure(x_adv - x) for x_adv in found.values()])
    # ... and the attack by itself is hardly ever better with a larger k.
    assert (sizes[:-1] <= 1.05 * sizes[1:]).float().mean() > 0.9


@pytest.mark.parametrize("norm", [Linf(), L2()], ids=lambda norm: norm.name)
def test_a_whole_order_is_reached_more_cheaply_than_by_the_margin(norm):
    model, x = linear(num_classes=8, values=48, seed=6), images(8, (48,), seed=6)
    goal = OrderedTopK(model(x).argsort(1)[:, [4, 1, 3, 0, 2]])
    by_margin, ours = (norm.measure(attack(norm=norm, steps=100)(model, x, goal) - x) for attack in (FMN, TopK))
    assert (ours / by_margin).mean() < 0.9


@pytest.mark.parametrize("norm", [Linf(), L2(), L1(), L0()], ids=lambda norm: norm.name)
def test_the_least_likely_order_is_reached(norm):
    model, x = linear(num_classes=8, values=48, seed=5), images(8, (48,), seed=5)
    goal = OrderedTopK(model(x).argsort(1)[:, :3])
    assert (goal.margin(model(TopK(norm=norm)(model, x, goal))) < 0).all()


def test_what_was_first_is_outside_afterwards():
    model, x = linear(num_classes=8, seed=3), images(10, (12,), seed=3)
    goal = TopKExclusion.from_logits(model(x), 3)
    x_adv = TopK()(model, x, goal)
    before, after = (model(images).topk(3, dim=1).indices.tolist() for images in (x, x_adv))
    assert all(not set(old) & set(new) for old, new in zip(before, after, strict=True))


@pytest.mark.parametrize("norm", [Linf(), L2(), L1(), L0()], ids=lambda norm: norm.name)
def test_quantized_images_are_of_8_bits_and_meet_the_goal(norm):
    model, x = linear(num_classes=8, values=48, seed=3), (images(8, (48,), seed=3) * 255).round() / 255
    goal = TopKExclusion.from_logits(model(x), 2)
    x_q = TopK(norm=norm, quantized=True)(model, x, goal)
    assert torch.equal((x_q * 255).round() / 255, x_q)
    assert (goal.margin(model(x_q)) < 0).all()
    smallest = norm.measure(TopK(norm=norm)(model, x, goal) - x)
    assert (norm.measure(x_q - x) / smallest).median() < 1.15


def test_the_quantized_image_is_the_least_on_the_grid():
    """Whatever fewer levels can do in a linear model, all values at once, does not meet the goal."""
    model, x = linear(num_classes=6, values=24, seed=4), (images(6, (24,), seed=4) * 255).round() / 255
    goal = TopKExclusion.from_logits(model(x), 2)
    x_q = TopK(quantized=True)(model, x, goal)
    levels = (Linf().measure(x_q - x) * 255).round()
    least = model.smallest(x, goal, "linf") * 255
    assert (levels >= least.ceil() - 1e-6).all()
    assert (levels <= least.ceil() + 1).all()


def test_an_order_is_met_with_many_steps_too():
    """A ball that grew as fast for all of them would outgrow the descent."""
    norm, model, x = L2(), mlp(192, num_classes=10, seed=0), images(24, (192,), seed=0)
    goal = OrderedTopK(model(x).argsort(1)[:, :4])
    few, many = (TopK(norm=norm, steps=steps)(model, x, goal) for steps in (100, 300))
    assert (goal.margin(model(few)) < 0).all()
    assert (goal.margin(model(many)) < 0).all()
    assert norm.measure(many - x).mean() <= norm.measure(few - x).mean()
