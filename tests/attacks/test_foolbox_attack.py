"""Foolbox's attacks behind the protocols of this library: the contract, and the traps that are closed."""

import functools
import json
import os
import random
import subprocess
import sys
import weakref
from dataclasses import FrozenInstanceError, asdict
from typing import NamedTuple

import numpy as np
import pytest
import torch
from foolbox_quick import NET, QUICK, eps_of, goal_of, images, quick

import attacks
from advbench.evaluation.meter import Meter
from attacks import (
    DDN,
    L1,
    L2,
    AttackError,
    LabelOutOfTopK,
    Linf,
    OrderedTopK,
    Targeted,
    TopKExclusion,
    Untargeted,
    restarts,
    worst_case,
)
from attacks.foolbox import ROWS, get, model, run
from attacks.foolbox.row import ANY
from attacks.queries.gradients import asked_ids

X = images(3)
LOGITS = NET(X).detach()
FIRST = Untargeted(LOGITS.argmax(1))

each_quick = pytest.mark.parametrize("name", QUICK)


IDS = torch.tensor([5, -3, 2**40])


def attacked(name, network=NET, x=X, ids=None, seed=0, kind=None, **parameters):
    attack = quick(name, **parameters)
    goal = goal_of(name, NET(x), ids, kind)
    return attack(network, x, goal, eps=eps_of(attack), seed=seed), goal


class Run(NamedTuple):
    """One run on three images, and what it left behind."""

    x_adv: torch.Tensor
    goal: attacks.Goal
    asked: list[list[int]]
    """Ids of the images of each pass."""
    meter: Meter
    disturbed: list[str]
    """What is not as it was before."""


@functools.cache
def a_run(name) -> Run:
    asked = []

    def network(x):
        assert len(x) == len(asked_ids())
        asked.append(asked_ids().tolist())
        return NET(x)

    for parameter in NET.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    weights = [parameter.clone() for parameter in NET.parameters()]
    before = generators()
    with Meter(network, IDS) as meter:
        x_adv, goal = attacked(name, meter, ids=IDS, seed=4)
    checks = {
        "random numbers": generators() == before,
        "weights": all(map(torch.equal, NET.parameters(), weights)),
        "gradients": all(bool((parameter.grad == 3).all()) for parameter in NET.parameters()),
        "requires_grad": all(parameter.requires_grad for parameter in NET.parameters()),
    }
    for parameter in NET.parameters():
        parameter.grad = None
    return Run(x_adv, goal, asked, meter, [what for what, kept in checks.items() if not kept])


def generators():
    """States of those of torch, numpy and Python."""
    numpy_state = np.random.get_state()  # noqa: NPY002
    return torch.get_rng_state().numpy().tobytes(), numpy_state[1].tobytes(), numpy_state[2], random.getstate()


class TestGet:
    def test_gives_all_parameters(self):
        attack = get("l2-carlini-wagner", steps=7, confidence=1)
        assert (attack.kind, attack.norm, attack.norms) == ("minimum norm", L2(), ("l2",))
        assert attack.parameters == {
            "binary_search_steps": 9,
            "steps": 7,
            "stepsize": 0.01,
            "confidence": 1,
            "initial_const": 0.001,
            "abort_early": True,
        }

    @each_quick
    def test_what_it_gives_can_be_recorded_and_not_changed(self, name):
        attack = get(name)
        assert json.loads(json.dumps(asdict(attack) | {"norm": attack.norm.name}))["name"] == name
        with pytest.raises(FrozenInstanceError):
            attack.name = "other"

    @pytest.mark.parametrize(
        ("name", "meant"),
        [
            ("dnn", "ddn"),
            ("DDN", "ddn"),
            ("LinfPGD", "linf-pgd"),
            ("LinfProjectedGradientDescentAttack", "linf-pgd"),
            ("foolbox/ddn", "ddn"),
            ("carlini_wagner", "l2-carlini-wagner"),
            ("brendel", "l0-brendel-bethge, l1-brendel-bethge, l2-brendel-bethge"),
        ],
    )
    def test_an_unknown_name_gets_near_misses(self, name, meant):
        with pytest.raises(ValueError, match=f"expected the name of .*, got '{name}': did you mean .*{meant}"):
            get(name)

    def test_a_name_like_none(self):
        with pytest.raises(ValueError, match=r"got 'zzzzzz'$"):
            get("zzzzzz")

    @pytest.mark.parametrize(
        ("name", "parameters", "message"),
        [
            ("ddn", {"step": 5}, "expected parameters of foolbox/ddn: init_epsilon, steps, gamma, got 'step': did you"),
            ("inversion", {"steps": 5}, "expected parameters of foolbox/inversion: none, got 'steps'"),
            ("inversion", {"distance": 2}, "got 'distance'"),
            ("hop-skip-jump", {"constraint": "linf"}, "got 'constraint'"),
            ("ddn", {"steps": 0}, "expected steps of foolbox/ddn to be a whole number from 1, got 0"),
            ("ddn", {"steps": True}, "a whole number from 1, got True"),
            ("ddn", {"steps": 2.5}, "a whole number from 1, got 2.5"),
            ("ddn", {"steps": "abc"}, "a whole number from 1, got 'abc'"),
            ("ddn", {"gamma": "0.1"}, "expected gamma of foolbox/ddn to be a finite number above 0, got '0.1'"),
            ("ddn", {"gamma": float("nan")}, "a finite number above 0, got nan"),
            ("ddn", {"gamma": -0.1}, "a finite number above 0, got -0.1"),
            ("linf-pgd", {"rel_stepsize": 0}, "a finite number above 0, got 0"),
            ("gen-attack", {"sampling_temperature": 0.0}, "a finite number above 0, got 0.0"),
            ("linf-mi-fgsm", {"momentum": -1}, "a finite number from 0, got -1"),
            ("sparse-l1-descent", {"quantile": 1.5}, "a number from 0 to 1, got 1.5"),
            ("l2-contrast-reduction", {"target": float("inf")}, "a number from 0 to 1, got inf"),
            ("binarization-refinement", {"threshold": -0.5}, "a number from 0 to 1 or None, got -0.5"),
            ("l2-deepfool", {"candidates": 1}, "a whole number from 2 or None, got 1"),
            ("linf-pgd", {"random_start": 1}, "to be True or False, got 1"),
            ("linf-pgd", {"abs_stepsize": "1"}, "to be a finite number above 0 or None, got '1'"),
            ("ead", {"decision_rule": "L2"}, "to be 'EN' or 'L1', got 'L2'"),
            ("gen-attack", {"reduced_dims": (4,)}, "to be 2 whole numbers from 1 or None"),
            ("boundary", {"init_attack": "linf-pgd"}, "expected init_attack of foolbox/boundary to be one of ddn, "),
            ("boundary", {"init_attack": "hop-skip-jump"}, "expected init_attack"),
        ],
    )
    def test_a_wrong_parameter_is_refused(self, name, parameters, message):
        with pytest.raises(ValueError, match=message):
            get(name, **parameters)

    @pytest.mark.parametrize(
        ("name", "parameters"),
        [
            ("gen-attack", {"reduced_dims": (4, 4)}),
            ("ead", {"decision_rule": "L1"}),
            ("l2-deepfool", {"candidates": None}),
            ("l1-fmn", {"init_attack": "inversion", "min_stepsize": 1}),
            ("boundary", {"init_attack": "dataset"}),
            ("linf-mi-fgsm", {"momentum": 0}),
            ("l2-contrast-reduction", {"target": 1.0}),
            ("ddn", {"steps": np.int64(5), "gamma": np.float64(0.25)}),
        ],
    )
    def test_a_right_parameter_is_taken(self, name, parameters):
        found = get(name, **parameters).parameters
        assert parameters.items() <= found.items()
        json.dumps(found)

    def test_norms(self):
        assert get("hop-skip-jump").norm == L2()
        assert get("hop-skip-jump", norm=Linf()).norm == Linf()
        assert get("inversion", norm=L1()).norm == L1()
        with pytest.raises(ValueError, match="expected norm of foolbox/ddn to be one of l2, got linf"):
            get("ddn", norm=Linf())

    @pytest.mark.parametrize("norm", ["l2", L2])
    def test_what_is_no_norm_is_refused(self, norm):
        with pytest.raises(ValueError, match=r"expected norm of foolbox/ddn to be a norm such as Linf\(\), got"):
            get("ddn", norm=norm)

    @pytest.mark.parametrize("name", [5, None])
    def test_a_name_that_is_none(self, name):
        with pytest.raises(ValueError, match=f"expected the name of an attack of Foolbox, got {name}"):
            get(name)

    @pytest.mark.parametrize("seconds", [0, -1.0, float("nan"), "60", True, None])
    def test_time_limit(self, seconds):
        with pytest.raises(ValueError, match=f"expected time_limit > 0, got {seconds!r}"):
            get("ddn", time_limit=seconds)

    def test_feed_goes_to_dataset_alone(self):
        for feed in (X, [1]):
            with pytest.raises(ValueError, match="expected no feed for foolbox/ddn"):
                get("ddn", feed=feed)
        assert get("dataset", feed=X).feed is X
        assert get("boundary", init_attack="dataset", feed=X).feed is X

    @pytest.mark.parametrize(
        ("feed", "message"),
        [
            ([1], r"expected float images to feed \(N, ...\) as a tensor, got list"),
            (X[:0], r"expected float images to feed \(N, ...\), got torch.float32 with shape \(0, 1, 8, 8\)"),
            ((255 * X).byte(), "got torch.uint8"),
            (255 * X, r"expected images to feed in \[0, 1\], got values from"),
            (X * torch.nan, "got values from nan to nan"),
        ],
    )
    def test_feed_is_images(self, feed, message):
        with pytest.raises(ValueError, match=message):
            get("dataset", feed=feed)
        with pytest.raises(ValueError, match=message):
            get("boundary", init_attack="dataset", feed=feed)

    @pytest.mark.parametrize("norm", ["l0", "l1", "l2", "linf"])
    def test_numba_is_asked_for_with_the_command(self, monkeypatch, norm):
        monkeypatch.setattr(attacks.foolbox.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(ModuleNotFoundError, match=r'needs numba: pip install "advbench\[brendel-bethge\]"'):
            get(f"{norm}-brendel-bethge")

    def test_foolbox_is_asked_for_with_the_command(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "foolbox", None)
        with pytest.raises(ModuleNotFoundError, match=r'needs Foolbox: pip install "foolbox==3\.3\.4"'):
            get("ddn")


def test_foolbox_is_imported_when_one_is_made_even_without_git(tmp_path):
    code = (
        "import sys, attacks\n"
        "assert 'ddn' in attacks.foolbox.ROWS\n"
        "assert 'foolbox' not in sys.modules\n"
        "attacks.foolbox.get('ddn')\n"
        "assert 'foolbox' in sys.modules"
    )
    # Everything as it is here, but no git to be found, and the warning of Foolbox's import is an error.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"PATH": str(tmp_path), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    strict = "error:Please import:DeprecationWarning"
    done = subprocess.run([sys.executable, "-W", strict, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


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
            attacked("boundary", _unfoolable(0, 1, 2), init_attack="inversion")
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
        with Meter(NET, IDS[one]) as alone:
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


class TestGoals:
    @each_quick
    def test_takes_the_goals_of_its_row_and_refuses_the_others(self, name):
        start = {"init_attack": "linear-search-blended-uniform-noise"} if ROWS[name].start else {}
        for kind in ANY:
            if kind not in ROWS[name].goals:
                message = (
                    rf"expected a goal that foolbox/{name} takes \(\w+.*\), got \w+: for any goal in l.* there are"
                )
                with pytest.raises(ValueError, match=message):
                    attacked(name, kind=kind)
            elif kind == "ordered-topk" and name != "binarization-refinement":
                x_adv, _ = attacked(name, x=X[:1], kind=kind, **start)
                assert x_adv.shape == X[:1].shape

    def test_says_what_takes_any_goal(self):
        message = (
            r"foolbox/ddn takes \(Untargeted or Targeted\), got TopKExclusion: "
            "for any goal in l2 there are FMN or TopK in attacks"
        )
        with pytest.raises(ValueError, match=message):
            get("ddn")(NET, X, TopKExclusion(LOGITS.topk(2).indices))
        with pytest.raises(ValueError, match="got Untargeted: for any goal in linf there are PGD or APGD in attacks"):
            get("gen-attack")(NET, X, FIRST, eps=0.1)

    @pytest.mark.parametrize("name", ["linear-search-blended-uniform-noise", "boundary", "hop-skip-jump"])
    @pytest.mark.parametrize("kind", ANY)
    def test_meets_them(self, name, kind):
        start = {"directions": 1000} if "noise" in name else {"init_attack": "linear-search-blended-uniform-noise"}
        x_adv, goal = attacked(name, x=X[:1], kind=kind, **start)
        assert (goal.margin(NET(x_adv)) < 0).all()

    def test_takes_goals_that_others_define(self):
        class Even(Untargeted):
            """The first class is to be even."""

            def margin(self, logits, temperature=None):
                return logits[:, 1::2].amax(1) - logits[:, ::2].amax(1)

        class Own:
            def __init__(self, count, ids=None):
                self.ids = torch.arange(count) if ids is None else ids

            margin = Even.margin

            def check(self, num_classes):
                pass

            def select(self, index):
                return Own(0, self.ids[index])

        goal = Own(3)
        x_adv = quick("linear-search-blended-uniform-noise")(NET, X, goal)
        assert (goal.margin(NET(x_adv)) < 0).all()
        with pytest.raises(ValueError, match="got Own"):
            quick("ddn")(NET, X, goal)

    @pytest.mark.parametrize("name", ["linear-search-blended-uniform-noise", "l2-repeated-additive-gaussian-noise"])
    def test_what_is_derived_from_a_goal_is_asked_itself(self, name):
        class Sure(Untargeted):
            """The label is last by far."""

            def margin(self, logits):
                return logits.gather(1, self.labels.unsqueeze(1)).squeeze(1) - logits.topk(3).values[:, 2]

        x_adv = quick(name, **({"directions": 500} if "blended" in name else {"repeats": 300}))(
            NET, X, Sure(FIRST.labels), eps=3.0 if "repeated" in name else None
        )
        assert (Sure(FIRST.labels).margin(NET(x_adv)) < 0).all()

    def test_a_starting_attack_must_take_the_goal_too(self):
        attack = quick("boundary", init_attack="ddn")
        assert (FIRST.margin(NET(attack(NET, X, FIRST))) < 0).all()
        with pytest.raises(ValueError, match="foolbox/ddn takes"):
            attack(NET, X, LabelOutOfTopK(LOGITS.argmax(1), 2))
        with pytest.raises(ValueError, match=r"foolbox/newtonfool takes \(Untargeted\), got OrderedTopK"):
            quick("newtonfool")(NET, X, OrderedTopK(LOGITS.topk(2).indices.flip(1)))

    @pytest.mark.parametrize("name", ["l2-deepfool", "hop-skip-jump", "binary-search-contrast-reduction", "ddn"])
    def test_what_lies_at_the_very_boundary_passes(self, name):
        """Results that Foolbox found a rounding error beyond the boundary would fail the check."""
        x_adv, goal = attacked(name, **({"steps": 40} if name == "ddn" else {}))
        assert attacks.goals.met(goal, NET(x_adv)).all() or name == "binary-search-contrast-reduction"


class TestArguments:
    @pytest.mark.parametrize("name", [name for name in QUICK if ROWS[name].kind == "budget"])
    def test_a_budget_attack_needs_eps(self, name):
        with pytest.raises(ValueError, match="expected eps for a budget attack, got None"):
            quick(name)(NET, X, goal_of(name, LOGITS))

    @pytest.mark.parametrize("name", [name for name in QUICK if ROWS[name].kind != "budget"])
    def test_a_minimum_norm_attack_drops_what_is_further_away(self, name):
        free, goal, *_ = a_run(name)
        attack = quick(name)
        size = attack.norm.measure(free - X)
        found = (goal.margin(NET(free)) < 0) & (size > 0)
        if not found.any():
            pytest.skip("finds nothing here")
        bound = (size * torch.tensor([0.9, 1.1, 0.9])).where(found, torch.tensor(1.0))
        expected = free.where((found & (size <= bound)).view(3, 1, 1, 1), X)
        torch.testing.assert_close(attack(NET, X, goal, eps=bound, seed=4), expected, atol=1e-5, rtol=0)

    @pytest.mark.parametrize("name", ["gaussian-blur", "spatial"])
    def test_images_of_two_dimensions_are_asked_for(self, name):
        with pytest.raises(
            ValueError, match=rf"expected images \(N, C, H, W\) for foolbox/{name}, got shape \(3, 64\)"
        ):
            quick(name)(lambda x: NET(x.view(-1, 1, 8, 8)), X.flatten(1), FIRST)

    def test_gen_attack_asks_for_two_dimensions_where_it_reduces_them(self):
        attack, model = quick("gen-attack", reduced_dims=(4, 4)), lambda x: NET(x.view(-1, 1, 8, 8))
        goal = goal_of("gen-attack", LOGITS)
        assert attack(NET, X, goal, eps=0.1).shape == X.shape
        with pytest.raises(ValueError, match=r"expected images \(N, C, H, W\) for foolbox/gen-attack, got shape"):
            attack(model, X.flatten(1), goal, eps=0.1)

    @pytest.mark.parametrize("name", ["ddn", "spatial", "dataset"])
    def test_what_is_no_image_or_no_goal_is_told_so(self, name):
        for images_ in ([1], X.numpy()):
            with pytest.raises(ValueError, match=r"expected float images \(N, ...\) as a tensor, got "):
                quick(name)(NET, images_, FIRST)
        for goal in (None, FIRST.labels):
            with pytest.raises(ValueError, match=r"expected a goal such as Untargeted\(labels\), got "):
                quick(name)(NET, X, goal)

    def test_a_model_without_gradient_is_told_so(self):
        with pytest.raises(AttackError, match="NoGradientError: expected a model that is differentiable"):
            quick("ddn")(lambda x: NET(x.detach()).detach(), X, FIRST)

    def test_a_model_that_answers_nan_is_told_so(self):
        def network(x):
            answers.append(0)
            return NET(x) * (torch.nan if len(answers) > 3 else 1)

        answers = []
        with pytest.raises(ValueError, match="expected finite logits"):
            quick("ddn")(lambda x: NET(x) * torch.nan, X, FIRST)
        with pytest.raises(AttackError, match="failed on 3 of 3 images: ArithmeticError: the logits are not finite"):
            quick("ddn")(network, X, FIRST)


@pytest.mark.parametrize(("name", "expected"), [("linf-basic-iterative", 0.6), ("inversion", 1.0)])
def test_what_foolbox_returns_is_brought_into_the_box_and_the_budget(monkeypatch, name, expected):
    def network(x):
        return torch.stack([torch.full((len(x),), 0.5), x.mean((1, 2, 3))], 1)

    monkeypatch.setattr(attacks.foolbox, "answer", lambda row, parameters, door, x, options: x + 5)
    attack, x = get(name), torch.full((2, 1, 4, 4), 0.4)
    found = attack(network, x, Untargeted(torch.tensor([0, 0])), eps=0.2 if attack.kind == "budget" else None)
    torch.testing.assert_close(found, torch.full_like(x, expected))
    assert found.max() <= 1


class TestDoor:
    """What Foolbox is told of a model."""

    TIED = torch.tensor([[2.0, 2.0, 1.0, 0.0]])

    @pytest.mark.parametrize(
        ("kind", "named", "first"), [(Untargeted, 0, 0), (Untargeted, 1, 1), (Targeted, 0, 1), (Targeted, 1, 0)]
    )
    def test_a_tie_does_not_fool(self, kind, named, first):
        goal = kind(torch.tensor([named]))
        door = model.FoolboxModel(lambda x: x, goal, torch.float32, seconds=60.0)
        told = door.logits(self.TIED)
        assert told.argmax(1) == first
        assert not model.cleared(goal, told).any()

    @pytest.mark.parametrize("gap", [1e-5, 1e-3])
    def test_other_goals_are_met_with_some_distance(self, gap):
        goal = TopKExclusion(torch.tensor([[0]]))
        logits = self.TIED + torch.tensor([[0.0, gap, 0.0, 0.0]])
        assert goal.margin(logits) < 0
        assert bool(model.cleared(goal, logits)) == (gap > 1e-4)

    @pytest.mark.parametrize("name", ["linf-pgd", "ddn", "l1-fmn", "l2-deepfool"])
    def test_where_a_gradient_is_not_finite_it_gives_no_direction(self, name):
        def network(x):
            corner = (x - x.detach())[:, 0, :1, 0].abs().sqrt()  # 0, with an infinite slope
            return NET(x) + 0 * corner

        goal = goal_of(name, LOGITS)
        attack = quick(name)
        assert (goal.margin(NET(attack(network, X, goal, eps=eps_of(attack)))) < 0).all()


def _unfoolable(*which):
    """The network, but images with these ids are never fooled."""

    def network(x):
        fixed = torch.isin(asked_ids(), torch.tensor(which)).unsqueeze(1)
        return torch.where(fixed, 9 * torch.eye(6)[FIRST.labels[asked_ids()]], NET(x))

    return network


class TestFailures:
    @pytest.mark.parametrize("name", ["boundary", "hop-skip-jump", "pointwise", "binarization-refinement"])
    def test_one_image_without_a_start_does_not_take_its_batch_down(self, name):
        with pytest.raises(AttackError, match="the attack failed on 1 of 3 images: NoStartError: no start") as caught:
            attacked(name, _unfoolable(1), init_attack="inversion")
        assert list(caught.value.errors) == [1]
        x_adv = caught.value.x_adv
        assert torch.equal(x_adv[1], X[1])
        expected, _ = attacked(name, init_attack="inversion")
        assert torch.equal(x_adv[[0, 2]], expected[[0, 2]])

    def test_rows_are_those_of_the_whole_batch(self):
        fooled = Untargeted(torch.tensor([(FIRST.labels[0] + 1) % 6, *FIRST.labels[1:]]))
        with pytest.raises(AttackError) as caught:
            quick("boundary", init_attack="inversion")(_unfoolable(2), X, fooled)
        assert list(caught.value.errors) == [2]

    def test_a_batch_that_fails_is_tried_one_by_one(self):
        def network(x):
            if asked_ids().tolist() == [2] or (len(x) == 3 and torch.is_grad_enabled()):
                raise MemoryError("too large")
            return NET(x)

        with pytest.raises(AttackError, match="failed on 1 of 3 images: MemoryError: too large") as caught:
            attacked("l2-deepfool", network)
        assert list(caught.value.errors) == [2]
        expected, _ = attacked("l2-deepfool")
        torch.testing.assert_close(caught.value.x_adv[:2], expected[:2], atol=1e-5, rtol=0)

    def test_the_cause_is_kept(self):
        with pytest.raises(AttackError) as caught:
            attacked("boundary", _unfoolable(0, 1, 2), init_attack="inversion")
        assert isinstance(caught.value.__cause__, RuntimeError)
        assert "foolbox/inversion found none (try another init_attack)" in str(caught.value)

    @each_quick
    def test_a_model_that_cannot_be_fooled_gives_no_results(self, name):
        try:
            x_adv, _ = attacked(name, _unfoolable(0), x=X[:1])
        except AttackError as error:
            x_adv = error.x_adv
        assert torch.equal(x_adv, X[:1])

    def test_what_was_being_worked_on_is_given_back_at_once(self):
        """An error keeps what was in the hands of those it went through: for HopSkipJump gigabytes for each image."""
        held = []

        def network(x):
            large = torch.zeros(1000)
            held.append(weakref.ref(large))
            if torch.is_grad_enabled():
                raise MemoryError("too large")
            return NET(x)

        with pytest.raises(AttackError, match="3 of 3") as caught:
            attacked("ddn", network)
        assert isinstance(caught.value.__cause__, MemoryError)
        assert [each() for each in held] == [None] * len(held)

    def test_ctrl_c_is_not_swallowed(self):
        def network(x):
            if torch.is_grad_enabled():
                raise KeyboardInterrupt
            return NET(x)

        with pytest.raises(KeyboardInterrupt):
            attacked("ddn", network)


class Clock:
    """A second passes with every look at it."""

    def __init__(self):
        self.now = 0

    def monotonic(self):
        self.now += 1
        return self.now


class TestTimeLimit:
    @pytest.fixture(autouse=True)
    def clock(self, monkeypatch):
        monkeypatch.setattr(model, "time", Clock())

    def test_an_attack_that_takes_too_long_has_failed(self):
        attack = get("boundary", steps=100000, time_limit=50)
        with pytest.raises(AttackError, match="3 of 3 images: TimeoutError: no result within 50 seconds") as caught:
            attack(NET, X, FIRST)
        assert torch.equal(caught.value.x_adv, X)

    def test_each_image_has_its_own_time(self):
        cost = {0: 1, 1: 9, 2: 1}

        def network(x):
            model.time.now += cost[int(asked_ids()[0])]
            return NET(x)

        with pytest.raises(AttackError, match="no result within 60 seconds; with a cap") as caught:
            get("ddn", steps=20, time_limit=60)(network, X, FIRST)
        assert list(caught.value.errors) == [1]

    def test_images_attacked_together_share_theirs(self):
        assert (get("l1-fmn", steps=20, time_limit=8)(NET, X, FIRST) != X).any()
        with pytest.raises(AttackError, match="3 of 3"):
            get("l1-fmn", steps=30, time_limit=8)(NET, X, FIRST)

    def test_an_endless_loop_is_cut(self):
        """HopSkipJump halves its step until the image is adversarial again; from the first step on it never is."""
        asked = []

        def network(x):
            asked.append(len(x))
            return NET(x) if len(asked) <= 5 else 9 * torch.eye(6)[FIRST.labels[asked_ids()]]

        attack = get("hop-skip-jump", init_attack="inversion", initial_gradient_eval_steps=1, gamma=1e4, time_limit=900)
        with pytest.raises(AttackError, match="TimeoutError: no result within 900 seconds"):
            attack(network, X[:1], FIRST.select(torch.tensor([0])))
        assert len(asked) > 800


class TestDataset:
    @pytest.mark.parametrize(("channels", "size"), [(1, (28, 28)), (3, (20, 30))])
    def test_chooses_among_the_images_that_foolbox_carries(self, channels, size):
        def network(x):
            return torch.stack([x.mean((1, 2, 3)), torch.full((len(x),), 0.2)], 1) * 10

        x = torch.full((2, channels, *size), 0.9)
        goal = Untargeted(torch.tensor([0, 0]))
        found = get("dataset")(network, x, goal)
        assert ((goal.margin(network(found)) < 0) == (found != x).flatten(1).any(1)).all()
        with run.apart(0, x.device):
            pool = run._samples(x)
        assert pool.shape == (20, channels, *size)
        assert all((pool == image).flatten(1).all(1).any() for image in found if (image != 0.9).any())

    @pytest.mark.parametrize("place", [0, 7, 39])
    def test_every_fed_image_can_be_chosen(self, place):
        feed = X[:1].repeat(40, 1, 1, 1)
        feed[place] = X[1]
        found = get("dataset", feed=feed)(NET, X[:1], FIRST.select(torch.tensor([0])))
        assert torch.equal(found, X[1:2])

    def test_the_order_is_drawn_for_each_image(self):
        feed = images(40)
        goal = Untargeted(LOGITS[:1].argmax(1).repeat(8))
        found = get("dataset", feed=feed)(NET, X[:1].repeat(8, 1, 1, 1), goal)
        assert len(found.flatten(1).unique(dim=0)) > 1

    def test_finds_nothing_where_there_is_nothing(self):
        assert torch.equal(
            get("dataset", feed=X[:1].repeat(3, 1, 1, 1))(NET, X[:1], FIRST.select(torch.tensor([0]))), X[:1]
        )

    def test_feed_must_fit(self):
        with pytest.raises(
            ValueError, match=r"expected feed like the images, \(3, 1, 8, 8\), got shape \(2, 1, 4, 4\)"
        ):
            get("dataset", feed=torch.zeros(2, 1, 4, 4))(NET, X, FIRST)
        with pytest.raises(ValueError, match=r"expected feed=images for images \(3, 2, 8, 8\), got None"):
            get("dataset")(NET, X.repeat(1, 2, 1, 1), FIRST)

    def test_starts_others(self):
        attack = quick("boundary", init_attack="dataset", feed=images(9)[3:])
        assert (FIRST.margin(NET(attack(NET, X, FIRST))) < 0).all()


@pytest.mark.parametrize("norm", [L2(), Linf()])
def test_hop_skip_jump_works_in_its_norm(monkeypatch, norm):
    constraints, steps = [], []

    def answer(row, parameters, *rest):
        constraints.append(parameters.get("constraint"))
        steps.append(parameters["steps"])
        return run.answer(row, parameters, *rest)

    monkeypatch.setattr(attacks.foolbox, "answer", answer)
    quick("hop-skip-jump", norm=norm)(NET, X[:1], FIRST.select(torch.tensor([0])))
    assert constraints == [None, norm.name], "of the start, of the attack"
    assert steps == [ROWS["hop-skip-jump"].start_parameters["steps"], 2]
