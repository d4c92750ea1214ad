"""The goals that Foolbox's attacks take, and what Foolbox is told of a model to meet them."""

import pytest
import torch
from foolbox_quick import NET, eps_of, goal_of, quick
from foolbox_runs import FIRST, LOGITS, X, attacked, each_quick

import attacks
from attacks import LabelOutOfTopK, OrderedTopK, Targeted, TopKExclusion, Untargeted
from attacks.foolbox import ROWS, get, model
from attacks.foolbox.row import ANY
from attacks.goals import BaseGoal


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

        class Own(BaseGoal):
            margin, cross_entropy = Even.margin, Even.cross_entropy

            def check(self, num_classes):
                pass

        goal = Own(ids=torch.arange(3))
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
