"""The known faults of Foolbox: that they are where the table says, that they are there, and that none gets through."""

import re
from pathlib import Path

import eagerpy as ep
import foolbox as fb
import pytest
import torch
from foolbox.attacks.spatial_attack_transformations import rotate_and_shift
from foolbox.criteria import Misclassification, TargetedMisclassification
from foolbox_quick import NET, goal_of, images, quick
from oracles import Recorder

import attacks
from attacks import AttackError, Untargeted
from attacks.foolbox import ROWS
from attacks.foolbox.run import apart

pytestmark = pytest.mark.filterwarnings("ignore:.*failed to draw sufficient:UserWarning")

CITED = {
    "additive_noise.py:91": "flatten(p).max(axis=-1)",
    "basic_iterative_method.py:88": "class L1AdamBasicIterativeAttack(L1BaseGradientDescent)",
    "basic_iterative_method.py:121": "class L2AdamBasicIterativeAttack(L2BaseGradientDescent)",
    "binarization.py:119": "The specified threshold does not match",
    "blended_noise.py:93": "best = ep.ones",
    "boundary_attack.py:132": "init_attack failed for",
    "brendel_bethge.py:165": "while True",
    "brendel_bethge.py:431": "assert is_adversarial(best_advs).all()",
    "brendel_bethge.py:738": "> 1e-4",
    "brendel_bethge.py:1836": "while True",
    "brendel_bethge.py:2061": "while True",
    "carlini_wagner.py:147": "ep.zeros_like(x)",
    "contrast_min.py:66": "upper_bound = ep.ones",
    "contrast_min.py:118": "best = ep.ones",
    "dataset_attack.py:95": "list(range(batch_size))",
    "dataset_attack.py:111": "ep.where(atleast_kd(new_found",
    "ddn.py:25": "ep.normal(",
    "ddn.py:118": "best_delta = delta",
    "deepfool.py:118": "logits.argsort",
    "ead.py:118": "model(y_k)",
    "ead.py:144": "ep.zeros_like(x)",
    "ead.py:224": "beta * flatten(x_k - x).abs()",
    "fast_minimum_norm.py:398": "ep.minimum(1, norms / norms)",
    "fast_minimum_norm.py:501": "[rows, epsilon]",
    "fast_minimum_norm.py:503": "abs_delta >= thresholds",
    "gen_attack.py:158": "ep.log(ep.exp(logits).sum(1) - first)",
    "gradient_descent_base.py:63": "self.stepsize * m_hat",
    "gradient_descent_base.py:240": "normalize_lp_norms(gradients, p=1)",
    "gradient_descent_base.py:243": "clip_lp_norms(x - x0, norm=epsilon, p=1)",
    "hop_skip_jump.py:131": "init_attack failed for",
    "hop_skip_jump.py:144": "assert ep.all(is_adversarial(x_advs))",
    "hop_skip_jump.py:169": "while True",
    "hop_skip_jump.py:184": "assert ep.all(is_adversarial(x_advs))",
    "hop_skip_jump.py:189": "assert ep.all(is_adversarial(x_advs))",
    "hop_skip_jump.py:245": "[steps] + list(x_advs.shape)",
    "inversion.py:40": "min_ + max_ - x",
    "mi_fgsm.py:38": "self.momentum * self.accumulation_grad + gradient",
    "newtonfool.py:100": "gradients_l2_norm.square()",
    "pointwise.py:32": "def __init__(",
    "pointwise.py:77": "assert is_adversarial(x_adv).all()",
    "pointwise.py:149": "while True",
    "sparse_l1_descent_attack.py:33": "(x == bounds.lower, gradients < 0)",
    "sparse_l1_descent_attack.py:52": "if (norms <= epsilon).all()",
    "spatial_attack.py:113": "grid_search_generator()",
    "spatial_attack_transformations.py:40": "theta[:, 0, 2] /= x_e.shape[2] / 2.0",
    "virtual_adversarial_attack.py:78": "x_hat = x + delta",
    "virtual_adversarial_attack.py:101": "< 1e-64",
}
"""Place -> what stands there."""


@pytest.mark.parametrize("place", CITED)
def test_cited_lines_are_those_of_foolbox(place):
    file, _, line = place.partition(":")
    lines = (Path(fb.attacks.__file__).parent / file).read_text(encoding="utf-8").splitlines()
    assert CITED[place] in lines[int(line) - 1]


def test_every_citation_is_checked():
    found = set()
    for row in ROWS.values():
        for fault in row.faults:
            for file, lines in re.findall(r"(\w+\.py):([\d,]+)", fault):
                found |= {f"{file}:{line}" for line in lines.split(",") if line}
    assert found == set(CITED)


MODEL = fb.PyTorchModel(NET.eval(), bounds=(0, 1))
X = images(3)
FIRST = NET(X).argmax(1)


class Stubborn(torch.nn.Module):
    """Always the first class, and nearly no slope."""

    def forward(self, x):
        return torch.stack([1 + x.flatten(1).mean(1) / 1e3, x.flatten(1).mean(1) / 1e3], 1)


class BlackIsOther(Stubborn):
    """Any image is of the first class but the black one."""

    def forward(self, x):
        return super().forward(x) + (x == 0).flatten(1).all(1).unsqueeze(1) * torch.tensor([0.0, 9.0])


STUBBORN = fb.PyTorchModel(Stubborn().eval(), bounds=(0, 1))
ZERO = torch.zeros(3, dtype=torch.long)


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_adam_basic_iterative_is_basic_iterative(norm):
    with_adam, without = (
        quick(f"{norm}-{name}")(NET, X, Untargeted(FIRST), eps=2.0)
        for name in ("adam-basic-iterative", "basic-iterative")
    )
    assert torch.equal(with_adam, without)
    assert not torch.equal(with_adam, X)


@pytest.mark.parametrize("name", ["l2-carlini-wagner", "ead"])
def test_black_images_are_no_results(name):
    attack = quick(name)
    black, _, success = getattr(fb.attacks, ROWS[name].attack)(**attack.parameters)(
        fb.PyTorchModel(BlackIsOther().eval(), bounds=(0, 1)), X, Misclassification(ZERO), epsilons=None
    )
    assert (black == 0).all()
    assert success.all(), "Foolbox takes them for results"
    assert torch.equal(attack(BlackIsOther(), X, Untargeted(ZERO)), X)


@pytest.mark.parametrize(
    ("name", "sort"),
    [
        ("binary-search-contrast-reduction", "grey"),
        ("linear-search-contrast-reduction", "grey"),
        ("linear-search-blended-uniform-noise", "noise"),
        ("inversion", "inverted"),
    ],
)
def test_other_images_for_nothing_found_are_no_results(name, sort):
    attack = quick(name)
    raw = getattr(fb.attacks, ROWS[name].attack)(**attack.parameters).run(STUBBORN, X, Misclassification(ZERO))
    assert (raw - X).abs().max() > 0.2, sort
    assert torch.equal(attack(Stubborn(), X, Untargeted(ZERO)), X)


def test_l2_fmn_does_not_project():
    x = torch.rand(2, 4)
    projected = fb.attacks.L2FMNAttack().project(ep.astensor(x + 1), ep.astensor(x), ep.astensor(torch.full((2,), 0.1)))
    torch.testing.assert_close(projected.raw, x + 1)


def test_l0_fmn_changes_one_value_more_than_the_radius():
    x, delta = torch.full((1, 5), 0.5), torch.tensor([[0.1, -0.4, 0.3, 0.0, 0.2]])
    for radius, kept in ((1, 2), (2, 3)):
        projected = fb.attacks.L0FMNAttack().project(*map(ep.astensor, (x + delta, x, torch.tensor([float(radius)]))))
        assert (projected.raw != x).sum() == kept


def test_l0_fmn_stops_on_small_images():
    x, model = X[:, :, :2, :2], Stubborn()
    with pytest.raises(IndexError, match="out of bounds"):
        fb.attacks.L0FMNAttack().run(STUBBORN, x, Misclassification(ZERO))
    with pytest.raises(AttackError, match="failed on 3 of 3 images: IndexError"):
        attacks.foolbox.get("l0-fmn")(model, x, Untargeted(ZERO))


def test_noise_larger_than_eps_is_brought_back():
    torch.manual_seed(0)
    x = torch.full((64, 1, 2, 2), 0.5)
    raw = fb.attacks.LinfAdditiveUniformNoiseAttack().run(None or _Bounds(), x, None, epsilon=0.1)
    assert (raw - x).abs().max() > 0.11
    goal = Untargeted(NET(X).argmax(1))
    found = quick("linf-repeated-additive-uniform-noise", repeats=50)(NET, X, goal, eps=0.3)
    assert (goal.margin(NET(found)) < 0).any()
    assert (found - X).abs().max() <= 0.3 + 1e-6


class _Bounds:
    """All that the noise attacks ask of a model."""

    bounds = fb.types.Bounds(0, 1)


def test_sparse_l1_descent_towards_a_target_never_leaves_the_edge_of_the_box():
    class Bright(torch.nn.Module):
        def forward(self, x):
            return torch.stack([torch.full((len(x),), 0.5), x.sum(1)], 1)

    black, target = torch.zeros(1, 4), torch.tensor([1])
    attack = fb.attacks.SparseL1DescentAttack(quantile=0.0)
    model = fb.PyTorchModel(Bright().eval(), bounds=(0, 1))
    assert torch.equal(attack.run(model, black, TargetedMisclassification(target), epsilon=1.0), black)
    assert (attack.run(model, black, Misclassification(1 - target), epsilon=1.0) > 0.1).all(), "the same without target"


@pytest.mark.parametrize(("norm", "times"), [("L1", 100), ("L2", 10)])
def test_a_step_of_adam_is_longer_than_asked_for(norm, times):
    x = torch.zeros(1, 100)
    optimiser = getattr(fb.attacks, f"{norm}AdamPGD")().get_optimizer(ep.astensor(x), 0.01)
    step = optimiser(ep.astensor(torch.linspace(1, 2, 100).unsqueeze(0))).raw
    assert torch.linalg.vector_norm(step, int(norm[1])) == pytest.approx(times * 0.01, rel=1e-4)


def test_descent_in_l1_scales_back_and_steps_along_the_whole_gradient():
    attack, x0 = fb.attacks.L1PGD(), torch.full((1, 3), 0.5)
    delta = torch.tensor([[0.4, -0.2, 0.1]])
    projected = attack.project(ep.astensor(x0 + delta), ep.astensor(x0), 0.35).raw
    torch.testing.assert_close(projected - x0, delta / 2)
    step = attack.normalize(ep.astensor(delta), x=ep.astensor(x0), bounds=fb.types.Bounds(0, 1)).raw
    torch.testing.assert_close(step, delta / 0.7)


@pytest.mark.parametrize("norm", ["L2", "Linf"])
def test_mi_fgsm_sums_up_what_it_has_normalised_in_its_own_norm(norm):
    gradient = torch.tensor([[3.0, -4.0]])
    attack = getattr(fb.attacks, f"{norm}MomentumIterativeFastGradientMethod")()
    first = attack.normalize(ep.astensor(gradient), x=None, bounds=None)
    torch.testing.assert_close(first.raw, {"L2": gradient / 5, "Linf": gradient.sign()}[norm])
    optimiser = attack.get_optimizer(first, 1.0)
    optimiser(first)
    torch.testing.assert_close(optimiser.accumulation_grad.raw, first.raw)


def test_gen_attack_goes_on_with_images_that_fool_until_all_do():
    first, order = NET(X[:2]).argmax(1), NET(X[:2]).argsort(1)

    def found(steps, count):
        targets = torch.stack([first[0], order[1, 0]])[:count]
        with apart(0, X.device):
            return fb.attacks.GenAttack(steps=steps).run(
                MODEL, X[:count], TargetedMisclassification(targets), epsilon=0.01
            )[0]

    assert torch.equal(found(1, 1), found(20, 1))
    assert not torch.equal(found(1, 2), found(20, 2))


@pytest.mark.filterwarnings("ignore:torch.meshgrid:UserWarning")
def test_spatial_takes_height_for_width():
    def moved(height):
        ramp = (torch.arange(8.0) / 8).expand(1, 1, height, 8)
        turned = rotate_and_shift(ep.astensor(ramp), translation=(1.0, 0.0)).raw
        return (turned - ramp)[0, 0, 0, 2]

    assert moved(4) == pytest.approx(2 * moved(8))


def test_l0_brendel_bethge_does_not_count_small_changes():
    attack = object.__new__(fb.attacks.L0BrendelBethgeAttack)
    assert attack.norms(ep.astensor(torch.tensor([[0.0, 9e-5, 2e-4, -0.5]]))).raw.tolist() == [2]


def test_ead_keeps_the_nearest_of_its_own_distance():
    x, far = torch.zeros(1, 4), torch.tensor([[0.5, 0.0, 0.0, 0.0]])
    spread = torch.full((1, 4), 0.2)  # further in L1, nearer in L2

    def kept(rule):
        best = ep.astensor(far), ep.astensor(torch.tensor([0.01 * 0.5 + 0.25 if rule == "EN" else 0.5]))
        args = (*best, *map(ep.astensor, (spread, x, torch.tensor([True]))))
        return fb.attacks.ead._apply_decision_rule(rule, 0.01, *args)[0].raw

    assert torch.equal(kept("EN"), spread)
    assert torch.equal(kept("L1"), far)


def test_ddn_and_dataset_return_the_original_and_the_first():
    raw = fb.attacks.DDNAttack(steps=3).run(STUBBORN, X, Misclassification(ZERO))
    assert torch.equal(raw, X), "of norm 0, although nothing was found"
    near = X[:1] + 0.8 * (X[1:2] - X[:1])
    pool = torch.cat([X[:1], X[1:2], near])
    attack = fb.attacks.DatasetAttack()
    attack.feed(MODEL, pool)
    label = NET(X[:1]).argmax(1)
    assert (NET(pool[1:]).argmax(1) != label).all()
    with apart(0, X.device):
        firsts = {
            float((attack.run(MODEL, X[:1].repeat(3, 1, 1, 1), Misclassification(label.repeat(3)))[0] - X[0]).norm())
            for _ in range(20)
        }
    assert len(firsts) == 2, "whichever of the two comes first"


def test_gen_attack_cannot_take_large_logits():
    loud = torch.nn.Sequential(NET, torch.nn.Threshold(-1e9, 0), _Times(300))
    goal = goal_of("gen-attack", NET(X))
    with pytest.raises(ValueError, match="probabilities contain NaN"):
        fb.attacks.GenAttack(steps=3).run(
            fb.PyTorchModel(loud.eval(), bounds=(0, 1)), X, TargetedMisclassification(goal.targets), epsilon=0.01
        )
    with pytest.raises(AttackError, match="failed on 3 of 3 images: ValueError: probabilities contain NaN"):
        quick("gen-attack")(loud, X, goal, eps=0.01)


class _Times(torch.nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x


def test_newtonfool_that_divides_by_zero_has_failed():
    sure = torch.nn.Sequential(NET, _Times(300))
    raw = fb.attacks.NewtonFoolAttack(steps=3).run(
        fb.PyTorchModel(sure.eval(), bounds=(0, 1)), X, Misclassification(FIRST)
    )
    assert raw.isnan().any()
    for steps, what in ((3, "the logits are not finite"), (1, "Foolbox returned an image that is not finite")):
        with pytest.raises(AttackError, match=f"ArithmeticError: {what}") as caught:
            quick("newtonfool", steps=steps)(sure, X, Untargeted(FIRST))
        assert not caught.value.x_adv.isnan().any()


def test_ead_asks_outside_of_the_box():
    model, goal = Recorder(NET), Untargeted(FIRST)
    x_adv = quick("ead", steps=100, initial_const=100.0)(model, X.round(), goal)
    assert max(x.max() for x in model.seen) > 1
    assert min(x.min() for x in model.seen) < 0
    assert 0 <= x_adv.min() <= x_adv.max() <= 1


def test_virtual_adversarial_asks_outside_of_the_box():
    model = Recorder(NET)
    quick("virtual-adversarial", xi=0.1)(model, X.round(), Untargeted(NET(X.round()).argmax(1)), eps=1.0)
    assert 1 < max(x.max() for x in model.seen) <= 1.1


@pytest.mark.parametrize("name", ["l0-fmn", "pointwise"])
def test_l0_and_pointwise_run_although_they_take_no_eps(name):
    criterion = Misclassification(FIRST)
    parameters = {"init_attack": fb.attacks.SaltAndPepperNoiseAttack(steps=30)} if name == "pointwise" else {}
    attack = getattr(fb.attacks, ROWS[name].attack)(**parameters)
    with pytest.raises((NotImplementedError, AttributeError), match=r"L0 norms not yet|_distance"):
        attack(MODEL, X, criterion, epsilons=1.0)
    found = quick(name)(NET, X, Untargeted(FIRST))
    assert (Untargeted(FIRST).margin(NET(found)) < 0).all()
    size = quick(name).norm.measure(found - X)
    bounded = quick(name)(NET, X, Untargeted(FIRST), eps=float(size.min()))
    assert (bounded == X).flatten(1).all(1).tolist() == (size > size.min()).tolist()


def test_virtual_adversarial_without_a_gradient_has_failed():
    flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3).requires_grad_(False))
    flat[1].weight.zero_()
    flat[1].bias.copy_(torch.tensor([2.0, 0, 0]))
    raw = fb.attacks.VirtualAdversarialAttack(steps=2).run(
        fb.PyTorchModel(flat.eval(), bounds=(0, 1)), X, Misclassification(ZERO), epsilon=1.0
    )
    assert raw.isnan().any()
    with pytest.raises(AttackError, match="3 of 3 images: ArithmeticError: the logits are not finite"):
        quick("virtual-adversarial")(flat, X, Untargeted(ZERO), eps=1.0)


def test_binarization_refinement_improves_where_the_model_rounds():
    def model(x):
        return NET((x >= 0.5).to(x))

    x = X
    goal = Untargeted(model(x).argmax(1))
    start = attacks.foolbox.get("inversion")(model, x, goal)
    refined = quick("binarization-refinement")(model, x, goal)
    assert (goal.margin(model(refined)) < 0).all()
    assert ((refined - x).flatten(1).norm(dim=1) < (start - x).flatten(1).norm(dim=1)).all()


def test_binarization_refinement_of_another_model_has_failed():
    def bright(x):
        return torch.stack([torch.full((len(x),), 0.7), x.mean((1, 2, 3))], 1)

    with pytest.raises(AttackError, match="ValueError: The specified threshold does not match"):
        quick("binarization-refinement")(bright, torch.full_like(X, 0.2), Untargeted(ZERO))
