"""Foolbox's attacks keep the contract of this library: candidates, seeds, passes, the model and its images."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from counting import Counting
from foolbox_quick import NET, eps_of, goal_of, images, quick
from foolbox_runs import FIRST, IDS, LOGITS, X, a_run, attacked, each_quick, generators, unfoolable

from attacks import DDN, AttackError, Targeted, Untargeted, restarts, worst_case
from attacks.foolbox import ROWS
from attacks.foolbox.row import ANY


class TestContract:
    @each_quick
    def test_candidates(self, name):
        attack, (x_adv, goal, *_) = quick(name), a_run(name)
        assert (x_adv.shape, x_adv.dtype) == (X.shape, X.dtype)
        assert 0 <= x_adv.min() <= x_adv.max() <= 1
        fooled = goal.margin(NET(x_adv)) < 0
        assert torch.equal(x_adv[~fooled], X[~fooled]), "what fails comes back as it was"
        if eps_of(attack):
            assert (attack.norm.measure(x_adv - X) <= eps_of(attack) * (1 + 1e-5)).all()

    @each_quick
    def test_leaves_all_generators_and_the_model_as_they_were(self, name):
        assert a_run(name).disturbed == []

    def test_leaves_all_generators_as_they_were_where_it_fails(self):
        before = generators()
        with pytest.raises(AttackError):
            attacked("boundary", unfoolable(0, 1, 2), init_attack="inversion")
        assert generators() == before

    @pytest.mark.parametrize("seed", [-5, 2**63, 2**80])
    @pytest.mark.parametrize("name", ["linf-pgd", "dataset"])
    def test_any_whole_number_is_a_seed(self, name, seed):
        found = [attacked(name, seed=seed)[0] for _ in range(2)]
        assert torch.equal(*found)

    def test_leaves_the_messages_of_a_program_as_they_were(self):
        """Foolbox's DeepFool says something to the root logger, which sets it up where nothing has been."""
        code = (
            "import logging, torch\n"
            "from attacks import Untargeted, foolbox\n"
            "x = torch.tensor([[0.6, 0.5]])\n"
            "foolbox.get('l2-deepfool')(lambda x: x, x, Untargeted(torch.tensor([0])))\n"
            "assert logging.root.handlers == [], logging.root.handlers"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""

    @pytest.mark.slow  # bit for bit; the test after it allows for rounding, the one of seeds takes some attacks
    @each_quick
    def test_the_same_seed_gives_the_same(self, name):
        again, _ = attacked(name, ids=IDS, seed=4)
        assert torch.equal(again, a_run(name).x_adv)

    @each_quick
    def test_the_same_alone_and_in_another_order(self, name):
        together, order = a_run(name).x_adv, torch.tensor([2, 0])
        torch.manual_seed(1)
        np.random.seed(1)  # noqa: NPY002
        again, _ = attacked(name, x=X[order], ids=IDS[order], seed=4)
        torch.testing.assert_close(again, together[order], atol=1e-5, rtol=0)
        alone, _ = attacked(name, x=X[1:2], ids=IDS[1:2], seed=4)
        torch.testing.assert_close(alone, together[1:2], atol=1e-5, rtol=0)

    @each_quick
    def test_every_pass_is_booked_on_its_image(self, name):
        run, one = a_run(name), slice(1, 2)
        assert run.meter.forwards.tolist() == [sum(ids.count(i) for ids in run.asked) for i in IDS.tolist()]
        assert bool(run.meter.backwards.any()) == (name in GRADIENT)
        alone = Counting(NET, IDS[one])
        attacked(name, alone, X[one], IDS[one], seed=4)
        if _one_by_one(name):
            assert torch.equal(alone.forwards, run.meter.forwards[one])
            assert torch.equal(alone.backwards, run.meter.backwards[one])
        else:
            assert alone.forwards <= run.meter.forwards[one]

    @each_quick
    def test_runs_image_by_image_what_must(self, name):
        # The first pass is over the clean images, the last over the candidates.
        inside = {len(set(ids)) for ids in a_run(name).asked[1:-1]}
        assert inside <= ({1} if _one_by_one(name) else {3})

    @pytest.mark.parametrize("name", ["boundary", "hop-skip-jump", "l2-pgd", "linf-repeated-additive-uniform-noise"])
    def test_the_seed_decides(self, name):
        parameters = {"repeats": 100} if "repeated" in name else {}
        found = [attacked(name, seed=seed, **parameters)[0] for seed in (0, 0, 1)]
        assert torch.equal(found[0], found[1])
        assert not torch.equal(found[0], found[2])

    def test_both_generators_follow_the_seed(self):
        """DatasetAttack and the random SpatialAttack draw from numpy."""
        for name, parameters in (("dataset", {"feed": images(40)}), ("spatial", {"grid_search": False})):
            found = [attacked(name, seed=seed, **parameters)[0] for seed in (0, 0, 1)]
            assert torch.equal(found[0], found[1])
            assert not torch.equal(found[0], found[2])

    @each_quick
    def test_images_that_are_fooled_already_are_not_attacked(self, name):
        asked = []

        def network(x):
            asked.append(len(x))
            return NET(x)

        goal = goal_of(name, LOGITS, kind=ROWS[name].goals[0])
        met = Targeted(LOGITS.argmax(1)) if isinstance(goal, Targeted) else Untargeted((LOGITS.argmax(1) + 1) % 6)
        attack = quick(name)
        assert torch.equal(attack(network, X, met, eps=eps_of(attack)), X)
        assert asked == [3]

    @pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
    @pytest.mark.parametrize("name", ["ddn", "l1-fmn", "linf-pgd", "spatial", "dataset"])
    def test_works_where_gradients_are_off(self, name, context):
        expected, _ = attacked(name)
        with context():
            x = images(3)
            goal = goal_of(name, NET(x))
            attack = quick(name)
            found = attack(NET, x, goal, eps=eps_of(attack))
        torch.testing.assert_close(found.clone(), expected, atol=1e-5, rtol=0)

    @pytest.mark.parametrize("name", ["ddn", "l0-fmn", "l2-carlini-wagner", "linf-pgd", "spatial", "gaussian-blur"])
    def test_keeps_the_type_of_the_images(self, name):
        seen, dtype = set(), torch.float64

        def network(x):
            seen.add(x.dtype)
            return NET(x.float()).to(dtype)

        x = X.double() * (1 - 1e-9)  # no float32 is like these
        attack = quick(name)
        found = attack(network, x, goal_of(name, network(x)), eps=eps_of(attack))
        assert found.dtype == dtype
        assert seen == {dtype}
        if name == "l0-fmn":
            assert ((found != x).flatten(1).sum(1) < 32).all(), "what is not touched keeps its bits"

    @pytest.mark.parametrize("name", ["ddn", "linf-pgd", "gaussian-blur", "boundary"])
    def test_models_of_all_kinds(self, name):
        attack = quick(name)
        goal = goal_of(name, NET(X))
        expected = attack(NET, X, goal, eps=eps_of(attack))
        models = {
            "in place": lambda x: NET(x.neg_().neg_()),
            "tuple": lambda x: (NET(x), x),
            "double": lambda x: NET(x).double(),
            "squeezed": lambda x: NET(x).squeeze(),
        }
        before = X.clone()
        for each in models.values():
            assert torch.equal(attack(each, X, goal, eps=eps_of(attack)), expected)
        assert torch.equal(X, before)
        with pytest.raises(ValueError, match=r"images of float32 or float64, got torch\.float16"):
            attack(NET, X.half(), goal, eps=eps_of(attack))
        with pytest.raises(ValueError, match="expected batch norms in eval mode"):
            attack(torch.nn.Sequential(torch.nn.BatchNorm2d(3), NET).train(), X, goal, eps=eps_of(attack))
        default = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            assert torch.equal(attack(NET, X, goal, eps=eps_of(attack)), expected)
        finally:
            torch.set_default_dtype(default)

    def test_a_black_box_of_numpy(self):
        def black_box(x):
            return torch.from_numpy(NET(x).detach_().numpy()) if not x.requires_grad else x.numpy()

        attack = quick("gaussian-blur")
        assert torch.equal(attack(black_box, X, FIRST), attack(NET, X, FIRST))
        with pytest.raises(AttackError, match=r"NoGradientError: expected .*, got RuntimeError: Can't call numpy\(\)"):
            quick("linf-pgd")(black_box, X, FIRST, eps=0.1)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_is_refused(self, dtype):
        with pytest.raises(ValueError, match="expected images of float32 or float64"):
            quick("ddn")(NET, X.to(dtype), goal_of("ddn", LOGITS))

    def test_eps_may_differ_from_image_to_image(self):
        eps = torch.tensor([0.05, 0.1, 0.3])
        found = quick("linf-basic-iterative")(NET, X, FIRST, eps=eps)
        for i in range(3):
            alone = quick("linf-basic-iterative")(NET, X[i : i + 1], FIRST.select(torch.tensor([i])), eps=float(eps[i]))
            torch.testing.assert_close(found[i : i + 1], alone, atol=1e-6, rtol=0)

    def test_composes_with_the_attacks_of_this_library(self):
        both = worst_case([quick("ddn"), DDN(steps=20)])(NET, X, FIRST)
        assert (FIRST.margin(NET(both)) < 0).all()
        alone = quick("ddn")(NET, X, FIRST)
        assert ((both - X).flatten(1).norm(dim=1) <= (alone - X).flatten(1).norm(dim=1) + 1e-6).all()
        assert restarts(quick("linf-pgd"), 2)(NET, X, FIRST, eps=0.2).shape == X.shape


GRADIENT = {
    name for name, row in ROWS.items() if (row.goals != ANY and name != "gen-attack") or name.endswith("deepfool")
}


def _one_by_one(name):
    row = ROWS[name]
    random = {"random_start": "pgd" in name}.get(row.draws, row.draws == "always")
    return random or bool(row.mixes)
