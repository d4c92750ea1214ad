"""One evaluation: images at fault are lost alone, those without a meaning left out, and every loss has a reason."""

from dataclasses import replace

import fakes
import pytest
import torch

from advbench.config.goals import parse_goal
from advbench.datasets.images.ids import sample_ids
from advbench.evaluation.batch import BatchAttack, attack_batch, labelled_pointless, unattacked
from advbench.evaluation.goals import goal_maker
from advbench.evaluation.recording import ITS_CLASS, ITS_LABEL, Provenance, Sample
from advbench.records.record import LEFT_OUT, OK, UNKNOWN, Reason
from attacks import PGD

MODEL = fakes.classifier()
X = torch.rand(5, 3, fakes.SIZE, fakes.SIZE, generator=torch.Generator().manual_seed(5))
WHITE = torch.cat([X[:2], torch.ones_like(X[:1]), X[2:]])
SOURCE = Provenance("r", {"model": "tiny", "dataset": "toy", "attack": "it", "eps": 0.1, "seed": 3})
COSTS = ("forwards", "backwards")


def setup(attack=None, model=MODEL, goal="untargeted", **options):
    make_goal = goal_maker(parse_goal(goal), MODEL)
    attack = PGD(steps=3) if attack is None else attack
    return BatchAttack(model=model, attack=attack, make_goal=make_goal, source=SOURCE, keep=3, **options)


def samples(x, labels=None):
    labels = [None] * len(x) if labels is None else labels
    return [Sample(name, f"picture {i}", labels[i]) for i, name in enumerate(sample_ids(x))]


def without_time(record):
    return replace(record, seconds=None)


def test_every_image_has_a_record_and_a_candidate_in_order():
    results = attack_batch(setup(), X, samples(X))
    for i, result in enumerate(results):
        assert (result.record.status, result.record.sample_name, result.record.reason) == (OK, f"picture {i}", None)
        assert len(result.record.clean_topk) == len(result.record.adv_topk) == 3
        assert torch.equal(result.clean.argsort(descending=True)[:3], torch.tensor(result.record.clean_topk))
        linf = float((result.candidate.x_adv - X[i]).abs().max())
        assert linf == pytest.approx(result.candidate.measured.sizes["linf"])
        assert result.candidate.measured.met == result.record.met
        assert result.crash is None


def test_logits_that_are_known_change_no_record():
    with torch.no_grad():
        known = attack_batch(setup(), X, samples(X), MODEL(X))
    asked = attack_batch(setup(), X, samples(X))
    assert [without_time(each.record) for each in known] == [without_time(each.record) for each in asked]


def test_equal_images_draw_alike_together_and_alone():
    x = torch.cat([X[:1], X[:1], X[1:2]])
    names = samples(x)
    together = attack_batch(setup(), x, names)
    alone = [attack_batch(setup(), x[i : i + 1], names[i : i + 1])[0] for i in range(3)]
    for one, other in zip(together, alone, strict=True):
        assert torch.allclose(one.candidate.x_adv, other.candidate.x_adv, atol=1e-6)
    assert not torch.equal(together[0].candidate.x_adv, together[1].candidate.x_adv)


@pytest.mark.parametrize("known", [True, False], ids=["known logits", "asked"])
@pytest.mark.parametrize("kind", [fakes.Crash, fakes.CrashOfMemory, fakes.CrashOfType])
def test_the_image_at_fault_is_lost_alone(kind, known):
    with torch.no_grad():
        clean = MODEL(WHITE) if known else None
    results = attack_batch(setup(kind()), WHITE, samples(WHITE), clean)
    assert [result.record.status for result in results] == [OK, OK, UNKNOWN, OK, OK, OK]
    lost = results[2]
    assert (lost.record.reason, lost.candidate) == (Reason.CRASHED, None)
    assert lost.record.error.startswith("attack 'it' failed on 'picture 2': ")
    assert lost.record.error.endswith(": the white one is too much; try another attack or model")
    assert lost.record.clean_class == int(MODEL(WHITE)[2].argmax())
    assert "too much" in str(lost.crash)


def test_an_error_of_the_attack_about_one_image_keeps_what_was_known():
    results = attack_batch(setup(fakes.FailsOnSome()), WHITE, samples(WHITE))
    assert [result.record.reason for result in results] == [None, None, Reason.CRASHED, None, None, None]
    assert results[2].record.clean_class is not None
    assert results[2].crash is None


@pytest.mark.parametrize("cheat", [fakes.OutOfBox, fakes.OverBudget, fakes.NotANumber])
def test_a_candidate_that_is_none_is_invalid_and_its_cost_is_known(cheat):
    for result in attack_batch(setup(cheat()), X, samples(X)):
        assert (result.record.status, result.record.reason, result.record.met) == (UNKNOWN, Reason.INVALID, None)
        assert result.record.error.startswith("attack 'it' failed on 'picture ")
        assert [getattr(result.record, name) for name in COSTS] == [1, 0]
        assert result.candidate is None


def test_a_model_that_fails_on_one_image_loses_that_one():
    def model(x):
        if (x == 1).flatten(1).all(1).any():
            raise RuntimeError("no white ones")
        return MODEL(x)

    results = attack_batch(setup(model=model), WHITE, samples(WHITE))
    assert [result.record.reason for result in results] == [None, None, Reason.CRASHED, None, None, None]
    assert (results[2].clean, results[2].record.clean_class) == (None, None)


def test_an_image_without_an_answer_is_told_from_a_crash():
    def model(x):
        white = (x == 1).flatten(1).all(1)
        return torch.where(white.unsqueeze(1), torch.nan, MODEL(x))

    results = attack_batch(setup(model=model), WHITE, samples(WHITE))
    assert [result.record.reason for result in results] == [None, None, Reason.NO_ANSWER, None, None, None]


@pytest.mark.parametrize("labelled", [True, False])
def test_images_of_the_target_class_are_left_out(labelled):
    classes = MODEL(X).argmax(1).tolist()
    labels = classes if labelled else None
    goal = f"targeted:{classes[0]}"
    results = attack_batch(setup(goal=goal), X, samples(X, labels))
    for own, result in zip(classes, results, strict=True):
        aside = own == classes[0]
        assert result.pointless is aside
        assert result.record.status == (LEFT_OUT if aside else OK)
        assert result.record.error == ((ITS_LABEL if labelled else ITS_CLASS) if aside else None)
        assert (result.candidate is None) is aside


def test_all_can_be_attacked_and_are_still_told_apart():
    classes = MODEL(X).argmax(1).tolist()
    results = attack_batch(setup(goal=f"targeted:{classes[0]}", attack_all=True), X, samples(X))
    assert [result.pointless for result in results] == [own == classes[0] for own in classes]
    assert all(result.record.status == OK and result.candidate for result in results)


def test_of_images_that_were_not_attacked_the_pointless_are_left_out():
    make_goal = goal_maker(parse_goal("targeted:4"), MODEL)
    names = [Sample("a", "a", 4), Sample("b", "b", 5), Sample("c", "c", None)]
    aside = labelled_pointless(make_goal, names, 20)
    assert aside == [True, False, False]
    records = unattacked(SOURCE, names, Reason.TIME_LIMIT, ["x", "y", "z"], aside)
    assert [(record.status, record.reason) for record in records] == [
        (LEFT_OUT, None),
        (UNKNOWN, Reason.TIME_LIMIT),
        (UNKNOWN, Reason.TIME_LIMIT),
    ]
    assert [record.error for record in records] == [ITS_LABEL, "y", "z"]
    assert labelled_pointless(make_goal, names[2:], 20) == [False]
