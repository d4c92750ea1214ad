"""Universal perturbations: against the best there is on linear models, and what must hold of every fit."""

import math
import subprocess
import sys
from functools import partial

import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import attacks
from attacks import L2, Linf, Perturbation, Targeted, TopKExclusion, UniversalDeepFool, UniversalPerturbation
from attacks.objectives.standing import standing, unlike
from attacks.searches.draws import uniform
from attacks.universal.universal import weakened


class Rows:
    """Images in batches, in an order that the number of the pass decides; counts how often it is gone through."""

    def __init__(self, x, size=4):
        self.x, self.size, self.epoch, self.passes = x, size, None, 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __iter__(self):
        self.passes += 1
        order = torch.randperm(len(self.x), generator=torch.Generator().manual_seed(self.epoch))
        return iter(self.x[order].split(self.size))


def two_sided(distance, count=12, values=6):
    """A linear model of two classes, and images that it puts into class 0, all so far from the boundary (in L1 / D)."""
    weight = torch.linspace(-1, 1, values)
    x = oracles.images(count, (values,)).float()
    bias = float((weight * x.mean(0)).sum())

    def model(x):
        score = (x * weight).sum(1) - bias
        return torch.stack([score, -score], 1)

    # Moved along the weights, so that every image has the same score.
    short = distance - ((x * weight).sum(1) - bias)
    return model, x + short.unsqueeze(1) * weight / weight.square().sum(), weight


@pytest.mark.parametrize(("norm", "least"), [(Linf(), "l1"), (L2(), "l2")])
def test_fools_all_images_of_a_linear_model_just_above_the_least_size_and_none_below(norm, least):
    model, x, weight = two_sided(0.1)
    size = 0.1 / float(weight.abs().sum() if least == "l1" else weight.square().sum().sqrt())
    for factor, rate in ((1.02, 1.0), (0.98, 0.0)):
        found = UniversalPerturbation(norm=norm, eps=size * factor, steps=60).fit(model, Rows(x))
        counts = attacks.fooled(model, [x], found.apply)
        assert counts.changed / counts.images == rate


def test_is_the_sign_of_the_weights_in_a_linear_model():
    model, x, weight = two_sided(0.1)
    found = UniversalPerturbation(eps=0.05, steps=60).fit(model, Rows(x))
    torch.testing.assert_close(found.delta, -0.05 * weight.sign())


@pytest.mark.parametrize("norm", [Linf(), L2()], ids=lambda norm: norm.name)
@pytest.mark.parametrize(
    "goal",
    [
        attacks.universal.fooling.untargeted,
        partial(TopKExclusion.from_logits, k=2),
        lambda logits, ids: Targeted(torch.full_like(ids, 4), ids=ids),
    ],
    ids=["untargeted", "topk-exclusion", "targeted"],
)
def test_every_goal_in_every_norm_meets_it_more_often_than_noise(norm, goal):
    model, x = oracles.convnet().eval(), oracles.images(24, (3, 8, 8)).float()
    eps = 0.25 if norm.name == "linf" else 2.0
    found = UniversalPerturbation(norm=norm, eps=eps, goal=goal, steps=80).fit(model, Rows(x, 8))
    assert float(norm.measure(found.delta.unsqueeze(0))) <= eps * (1 + 1e-5)
    noise = norm.steepest(torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1)), eps)[0]
    own, other = (attacks.fooled(model, [x], apply, goal) for apply in (found.apply, lambda x: (x + noise).clamp(0, 1)))
    assert own.met > other.met
    assert own.met + own.pointless >= 18


@pytest.mark.parametrize("stop", [1, 5, 6, 17])
def test_a_resumed_fit_ends_as_one_that_was_not_interrupted(stop):
    model, x = oracles.convnet().eval(), oracles.images(10, (3, 8, 8)).float()
    attack, states = UniversalPerturbation(eps=0.03, steps=20, looks=4), []
    whole = attack.fit(model, Rows(x), held_out=[x[:5]], on_step=states.append, seed=3)
    rest = []
    again = attack.fit(model, Rows(x), held_out=[x[:5]], on_step=rest.append, start=states[stop - 1], seed=3)
    assert torch.equal(whole.delta, again.delta)
    assert [state.step for state in rest] == list(range(stop + 1, states[-1].step + 1))


def test_a_fit_that_was_over_is_not_gone_on_with():
    model, x = oracles.convnet().eval(), oracles.images(4, (3, 8, 8)).float()
    attack, states, loader = UniversalPerturbation(eps=0.1, steps=3), [], Rows(x)
    whole = attack.fit(model, loader, on_step=states.append)
    passes = loader.passes
    assert torch.equal(whole.delta, attack.fit(model, loader, start=states[-1]).delta)
    assert loader.passes == passes


def test_keeps_the_perturbation_that_did_best_on_the_images_held_out_and_stops_when_all_are_fooled():
    model, x, _ = two_sided(0.02, count=60)
    states = []
    UniversalPerturbation(eps=0.2, steps=100, looks=100).fit(model, Rows(x), held_out=[x], on_step=states.append)
    assert (states[-1].best_rate, states[-1].over) == (1, True)
    assert states[-1].step < 20


def test_few_images_held_out_do_not_end_a_fit_early():
    model, x, _ = two_sided(0.02, count=60)
    states = []
    fit = partial(UniversalPerturbation(eps=0.2, steps=20, looks=20).fit, model, Rows(x), on_step=states.append)
    fit(held_out=[x[:49]])
    assert (states[-1].best_rate, states[-1].step) == (1, 20)


@pytest.mark.parametrize("shift", [lambda logits: logits + 50, lambda logits: logits.log_softmax(1)])
def test_what_changes_no_probability_changes_no_perturbation(shift):
    weight = torch.randn(48, 120, generator=torch.Generator().manual_seed(0)).double()
    x = oracles.images(20, (3, 4, 4))

    def fit(change):
        return UniversalPerturbation(eps=0.1, steps=5).fit(lambda x: change(x.flatten(1) @ weight), Rows(x)).delta

    plain = fit(lambda logits: logits)
    assert plain.abs().max() > 0.01
    torch.testing.assert_close(fit(shift), plain)


def test_the_cosine_is_of_all_logits_and_leaves_goals_of_other_classes_alone():
    clean, logits = torch.tensor([[3.0, 1.0, 0.0]]), torch.tensor([[5.0, 6.0, 4.0]])
    old, wanted = attacks.Untargeted(torch.tensor([0])), Targeted(torch.tensor([2]))
    # Around their means 4/3 and 5.
    expected = (5 * 0 - 1 * 1 + 4 * 1) / math.sqrt((25 + 1 + 16) * 2)
    assert float(unlike(clean)(logits, old)) == pytest.approx(expected)
    assert float(unlike(clean)(logits, wanted)) == float(standing(logits, wanted)) == 1


def test_a_pixel_that_is_black_and_was_made_darker_is_led_back():
    darker = torch.tensor([[-0.1, 0.0]])
    stuck = attacks.FitState(step=1, epoch=0, batch=0, delta=darker, momentum=torch.zeros(1, 2), best=darker)
    x = torch.tensor([[0.0, 0.05]])
    found = UniversalPerturbation(eps=0.1, steps=20).fit(lambda x: x.flip(1), [x], start=stuck)
    assert float(found.delta[0]) == pytest.approx(0.1)


def test_the_model_is_asked_about_a_clean_image_once():
    model, x = oracles.Recorder(oracles.convnet().eval()), oracles.images(8, (3, 8, 8)).float()
    UniversalPerturbation(eps=0.1, steps=10, zoom=1.0).fit(model, Rows(x))
    # Ten steps on four images each, and two first looks at clean batches.
    assert sum(map(len, model.seen)) == 10 * 4 + 8


def test_values_that_the_steps_left_inside_the_budget_are_filled_out():
    model, x = oracles.convnet().eval(), oracles.images(8, (3, 8, 8)).float()
    states = []
    found = UniversalPerturbation(eps=0.1, steps=6).fit(model, Rows(x), on_step=states.append)
    left = states[-1].delta[0]
    assert bool((left.abs() < 0.099).any())
    assert torch.equal(found.delta, (2 * left).clamp(-0.1, 0.1))


def test_a_view_gets_some_cells_of_the_perturbation_at_no_more_than_their_size():
    ids = torch.arange(500)
    views = weakened(torch.full((1, 3, 8, 8), 0.1), 1.0, uniform(0, ids, 0, (65,))) / 0.1
    cells = views[:, :1]
    torch.testing.assert_close(views, cells.expand_as(views))
    assert 0.29 < float((cells == 0).double().mean()) < 0.31
    strength = cells.amax((1, 2, 3), keepdim=True)
    torch.testing.assert_close(cells, (cells > 0) * strength)
    assert 0.5 <= float(strength.min()) < 0.51 < 0.99 < float(strength.max()) <= 1
    larger = weakened(torch.full((1, 3, 32, 48), 0.1), 1.0, uniform(0, ids, 0, (65,))) / 0.1
    assert float(larger.amin()) == 0
    assert torch.equal(larger.amax((1, 2, 3)) <= strength.flatten() + 1e-6, torch.ones(500, dtype=torch.bool))
    assert float((larger.diff(dim=2).abs() / strength).max()) <= 0.25 + 1e-5  # from cell to cell in four pixels


def test_a_perturbation_that_is_not_weakened_or_has_no_cells_is_whole():
    chance, delta = uniform(0, torch.arange(5), 0, (65,)), torch.randn(1, 3, 9, 9)
    assert torch.equal(weakened(delta, 0.0, chance), delta)
    assert torch.equal(weakened(delta.flatten(1), 1.0, chance), delta.flatten(1))


def test_views_are_weakened_as_far_as_most_of_them_are_still_fooled():
    model, x = oracles.convnet().eval(), oracles.images(16, (3, 8, 8)).float()

    def weakness(eps, still_fooled):
        states = []
        attack = UniversalPerturbation(eps=eps, steps=40, still_fooled=still_fooled)
        attack.fit(model, [x], on_step=states.append)
        return [state.weakness for state in states]

    assert max(weakness(0.001, 0.8)) == 0  # hardly any is fooled
    assert max(weakness(0.5, 1.0)) == 0
    strong = weakness(0.5, 0.2)
    assert strong == sorted(strong)
    assert strong[-1] == 1


def test_the_fraction_of_views_still_fooled_is_at_most_1():
    with pytest.raises(ValueError, match="expected still_fooled of UniversalPerturbation <= 1"):
        UniversalPerturbation(still_fooled=1.5)


@pytest.mark.parametrize("known", [True, False])
def test_an_image_is_mirrored_only_where_the_model_says_the_same_of_its_mirror_image(known):
    def says(x):
        edges = (x[:, 0, 0].sum(1), x[:, 0, -1].sum(1)) if known else (x[:, 0, :, 0].sum(1), x[:, 0, :, -1].sum(1))
        return torch.stack(edges, 1)

    x = oracles.images(6, (1, 4, 4)).float()
    model, nearly = oracles.Recorder(says), 1 + 1e-6
    UniversalPerturbation(eps=1e-4, steps=12, zoom=nearly).fit(model, [x])
    # The first two questions are about the images and their mirror images; what follows is what the steps saw.
    mirrored = [int(((seen - x.flip(3)).abs() < 1e-3).all((1, 2, 3)).sum()) for seen in model.seen[2:]]
    assert len(mirrored) == 12
    assert (sum(mirrored) > 12) == known
    assert known or sum(mirrored) == 0


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["linf", "l2"]),
    st.integers(1, 4),
    st.floats(0.01, 0.5),
    st.integers(0, 2**31),
)
def test_on_the_grid_of_8_bits_it_stays_within_eps_and_near(name, side, eps, seed):
    norm = attacks.NORMS[name]()
    raw = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(seed))
    exact = Perturbation(delta=norm.project(raw, eps)[0], norm=norm, eps=eps)
    found = exact.on_grid()
    levels = found.delta * 255
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
    assert float(norm.measure(found.delta.unsqueeze(0))) <= eps * (1 + 1e-5) + 1e-6
    assert float((found.delta - exact.delta).abs().max()) <= 1 / 255 + 1e-6


def test_file_gives_back_what_was_saved(tmp_path):
    delta = torch.linspace(-0.1, 0.1, 12).view(3, 2, 2)
    saved = Perturbation(delta=delta, norm=Linf(), eps=0.1, card={"model": "tiny", "rate": 0.5})
    saved.save(tmp_path / "u.safetensors")
    read = Perturbation.load(tmp_path / "u.safetensors")
    assert torch.equal(read.delta, delta)
    assert (read.norm, read.eps, read.card) == (saved.norm, saved.eps, saved.card)


def test_files_that_are_something_else_are_refused(tmp_path):
    from safetensors.torch import save_file

    for content in (b"", b"GIF89a", b"\x10\0\0\0\0\0\0\0{}"):
        (tmp_path / "u.safetensors").write_bytes(content)
        with pytest.raises(ValueError, match="expected a universal perturbation in"):
            Perturbation.load(tmp_path / "u.safetensors")
    save_file({"weight": torch.zeros(2)}, tmp_path / "u.safetensors")
    with pytest.raises(ValueError, match="expected a universal perturbation in"):
        Perturbation.load(tmp_path / "u.safetensors")
    with pytest.raises(FileNotFoundError, match="missing"):
        Perturbation.load(tmp_path / "missing.safetensors")


def test_resized_keeps_to_eps_and_fits():
    delta = 0.1 * torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0)).sign()
    small = Perturbation(delta=delta, norm=Linf(), eps=0.1)
    large = small.resized(12, 10)
    assert large.apply(torch.rand(2, 3, 12, 10)).shape == (2, 3, 12, 10)
    assert float(large.delta.abs().max()) <= 0.1 + 1e-6
    assert small.resized(8, 8) is small


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: UniversalPerturbation(eps=10), "did you mean 10/255"),
        (lambda: UniversalPerturbation(eps=0.0), "expected eps > 0"),
        (lambda: UniversalPerturbation(steps=0), "expected steps of UniversalPerturbation > 0"),
        (
            lambda: UniversalPerturbation(norm=attacks.L0(), eps=9),
            "norm of UniversalPerturbation to be one of",
        ),
        (lambda: UniversalDeepFool(norm=attacks.L1(), eps=9), "expected norm of UniversalDeepFool to be one of"),
        (lambda: Perturbation(delta=torch.full((1, 2, 2), 0.2), norm=Linf(), eps=0.1), "within eps 0.1 in linf"),
        (lambda: Perturbation(delta=torch.tensor([math.nan]), norm=Linf(), eps=0.1), "finite floats"),
        (lambda: Perturbation(delta=torch.zeros(3, 2, 2), norm=Linf(), eps=0.1).apply(torch.rand(1, 3, 4, 4)), "3 x 2"),
    ],
)
def test_bad_parameters_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("attack", [UniversalPerturbation(steps=3), UniversalDeepFool()], ids=["modern", "deepfool"])
def test_bad_loaders_and_goals_are_refused(attack):
    model, x = oracles.convnet().eval(), oracles.images(4, (3, 8, 8)).float()
    with pytest.raises(ValueError, match="expected a loader"):
        attack.fit(model, [])
    with pytest.raises(ValueError, match=r"expected images in \[0, 1\]"):
        attack.fit(model, [255 * x])
    with pytest.raises(ValueError, match="expected images of one size"):
        attack.fit(model, [x, x[:, :, :7]])
    too_many = type(attack)(goal=partial(TopKExclusion.from_logits, k=3))
    with pytest.raises(ValueError, match="expected 1 <= k <= 2"):
        too_many.fit(model, [x])


def test_a_generator_that_is_used_up_is_refused():
    model, x = oracles.convnet().eval(), oracles.images(4, (3, 8, 8)).float()
    with pytest.raises(ValueError, match="got none in pass 2"):
        UniversalPerturbation(steps=5).fit(model, iter([x]))


def test_both_fooling_rates_are_counted():
    x, y = torch.eye(3) * 0.5, torch.tensor([0, 1, 0])
    counts = attacks.fooled(lambda x: x, [(x[:2], y[:2]), (x[2:], y[2:])], lambda x: x.roll(1, 1))
    assert counts._asdict() == {
        "images": 3,
        "changed": 3,
        "met": 3,
        "labelled": 3,
        "right": 2,
        "wrong": 2,
        "pointless": 0,
        "classes": ((0, 1), (1, 1), (2, 1)),
    }


def test_the_original_algorithm_fools_a_linear_model_and_stops_when_enough_are_fooled():
    model, x, weight = two_sided(0.1)
    least = 0.1 / float(weight.abs().sum())
    found = UniversalDeepFool(eps=1.05 * least, enough=1.0).fit(model, [x])
    assert attacks.fooled(model, [x], found.apply).changed == len(x)


MANY_IMAGES = """
import resource
import sys
from pathlib import Path
import torch
from attacks import UniversalPerturbation

class Generated:
    '''50,000 images of 1,000 classes, of which no more than a batch exists at once.'''
    def set_epoch(self, epoch):
        self.epoch = epoch
    def __iter__(self):
        generator = torch.Generator().manual_seed(self.epoch)
        for _ in range(50_000 // 50):
            yield torch.rand(50, 3, 32, 32, generator=generator)

torch.set_num_threads(1)
torch.manual_seed(0)
features = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 4, stride=4), torch.nn.ReLU(), torch.nn.Flatten())
net = torch.nn.Sequential(features, torch.nn.Linear(512, 1000))
seen = []
UniversalPerturbation(steps=1001, looks=1).fit(net.eval(), Generated(), on_step=lambda state: seen.append(state.epoch))
status = Path("/proc/self/status")
if status.exists():  # on Linux ru_maxrss begins with what the parent took
    peak = 1024 * int(status.read_text().partition("VmHWM:")[2].split()[0])
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(seen[-1], peak)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_fifty_thousand_images():
    pytest.importorskip("resource")
    done = subprocess.run([sys.executable, "-c", MANY_IMAGES], capture_output=True, text=True, check=True)
    passes, peak = map(int, done.stdout.split())
    assert passes == 1
    assert peak < 2 * 2**30
