"""Foolbox's attacks behind the protocols of this library: how they are made, and what they refuse."""

import json
import os
import subprocess
import sys
from dataclasses import FrozenInstanceError, asdict

import numpy as np
import pytest
import torch
from foolbox_quick import NET, QUICK, goal_of, quick
from foolbox_runs import FIRST, LOGITS, X, a_run, each_quick

import attacks
from attacks import L1, L2, AttackError, Linf, Untargeted
from attacks.foolbox import ROWS, get, run


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
            (X[:0], r"expected at least one of the images to feed, got shape \(0, 1, 8, 8\)"),
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
            with pytest.raises(ValueError, match=r"expected a goal such as Untargeted\(labels\), or one .*, got "):
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
