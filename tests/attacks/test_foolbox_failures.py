"""Foolbox's attacks where an image fails, takes too long or is interrupted."""

import weakref

import pytest
import torch
from foolbox_quick import NET, quick
from foolbox_runs import FIRST, X, attacked, each_quick, unfoolable

from attacks import AttackError, Untargeted
from attacks.foolbox import get, model
from attacks.queries.gradients import asked_ids


class TestFailures:
    @pytest.mark.parametrize("name", ["boundary", "hop-skip-jump", "pointwise", "binarization-refinement"])
    def test_one_image_without_a_start_does_not_take_its_batch_down(self, name):
        with pytest.raises(AttackError, match="the attack failed on 1 of 3 images: NoStartError: no start") as caught:
            attacked(name, unfoolable(1), init_attack="inversion")
        assert list(caught.value.errors) == [1]
        x_adv = caught.value.x_adv
        assert torch.equal(x_adv[1], X[1])
        expected, _ = attacked(name, init_attack="inversion")
        assert torch.equal(x_adv[[0, 2]], expected[[0, 2]])

    def test_rows_are_those_of_the_whole_batch(self):
        fooled = Untargeted(torch.tensor([(FIRST.labels[0] + 1) % 6, *FIRST.labels[1:]]))
        with pytest.raises(AttackError) as caught:
            quick("boundary", init_attack="inversion")(unfoolable(2), X, fooled)
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
            attacked("boundary", unfoolable(0, 1, 2), init_attack="inversion")
        assert isinstance(caught.value.__cause__, RuntimeError)
        assert "foolbox/inversion found none (try another init_attack)" in str(caught.value)

    @each_quick
    def test_a_model_that_cannot_be_fooled_gives_no_results(self, name):
        try:
            x_adv, _ = attacked(name, unfoolable(0), x=X[:1])
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
