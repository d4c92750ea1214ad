"""Attacks under a mask as the harness sets them up and judges them."""

import dataclasses

import fakes
import numpy as np
import pytest
import torch
from PIL import Image
from test_batch import MODEL, SOURCE, X, samples, setup

from advbench.config.masks import parse_mask
from advbench.errors import UserError
from advbench.evaluation.batch import attack_batch
from advbench.evaluation.judge import judge
from advbench.evaluation.masks import check_mask, saliency_mask, shared_mask
from advbench.records.record import OK, UNKNOWN, Reason
from attacks import L2, PGD, Linf, Masked, Untargeted

BOX = parse_mask("box:4,6,10,8")
ALLOWED = torch.zeros(fakes.SIZE, fakes.SIZE, dtype=torch.bool)
ALLOWED[6:14, 4:14] = True


def masked_setup(attack=None, mask=BOX):
    source = SOURCE._replace(columns=SOURCE.columns | {"dataset": f"toy, only {mask.text}", "eps": 0.5})
    return dataclasses.replace(setup(attack), mask=mask, source=source)


# --- the judge ---


@pytest.mark.parametrize(("x_adv", "valid"), [([[0.4, 0.4]], True), ([[0.4, 0.4000001]], False), ([[0.6, 0.6]], False)])
def test_what_differs_outside_the_mask_is_invalid(x_adv, valid):
    norm, goal = Masked(Linf(), torch.tensor([True, False])), Untargeted(torch.tensor([0]))
    x = torch.tensor([[0.6, 0.4]])
    found = judge(lambda x: x - torch.tensor([0.1, 0.0]), x, torch.tensor(x_adv), goal, norm, None)
    assert (bool(found.valid), bool(found.met)) == (valid, valid)


def test_a_file_holds_what_is_outside_as_nearly_as_it_can():
    norm, goal = Masked(Linf(), torch.tensor([True, False])), Untargeted(torch.tensor([0]))
    x, x_adv = torch.tensor([[0.6, 0.4001]]), torch.tensor([[0.2, 0.4001]])
    found = judge(lambda x: x, x, x_adv, goal, norm, 0.5)
    assert found.survives_8bit
    assert not judge(lambda x: x, x, x_adv, goal, norm, 0.5, x_8bit=torch.tensor([[51.0, 105.0]]) / 255).met_8bit


# --- batches ---


@pytest.mark.parametrize("quickly", [False, True])
def test_images_are_attacked_within_the_mask(quickly):
    clean = MODEL(X) if quickly else None
    results = attack_batch(masked_setup(), X, samples(X), clean)
    assert [result.record.status for result in results] == [OK] * 5
    for x, result in zip(X, results, strict=True):
        changed = (result.candidate.x_adv != x).any(0)
        assert changed.any()
        assert not (changed & ~ALLOWED).any()
        assert torch.equal(result.candidate.allowed, ALLOWED)
    assert any(result.record.met for result in results)


def test_an_attack_that_ignores_the_mask_proves_nothing():
    results = attack_batch(masked_setup(fakes.Shift()), X, samples(X))
    assert {(result.record.status, result.record.reason) for result in results} == {(UNKNOWN, Reason.INVALID)}
    assert "or differs outside the mask; try another" in results[0].record.error
    assert results[0].record.met is None


def test_each_image_has_a_saliency_of_its_own_whatever_the_batch():
    job = masked_setup(PGD(norm=L2(), steps=3), parse_mask("saliency:5%"))
    together = attack_batch(job, X, samples(X))
    masks = [result.candidate.allowed for result in together]
    assert [int(mask.sum()) for mask in masks] == [52] * 5, "5 % of 1,024 pixels"
    assert len({mask.numpy().tobytes() for mask in masks}) == 5
    (alone,) = attack_batch(job, X[2:3], samples(X)[2:3])
    assert torch.equal(alone.candidate.allowed, masks[2])
    torch.testing.assert_close(alone.candidate.x_adv, together[2].candidate.x_adv)


# --- masks ---


def test_masks_are_what_they_say():
    x = torch.zeros(3, fakes.SIZE, fakes.SIZE)
    assert torch.equal(shared_mask(BOX, x), ALLOWED)
    border = shared_mask(parse_mask("border:3"), torch.zeros(1, 8, 10))
    assert (int(border.sum()), border[3:5, 3:7].any()) == (80 - 8, False)


def test_white_pixels_of_a_picture_may_change(tmp_path):
    Image.fromarray(np.where(ALLOWED, 255, 0).astype(np.uint8)).save(tmp_path / "logo.png")
    x = torch.zeros(3, fakes.SIZE, fakes.SIZE)
    assert torch.equal(shared_mask(parse_mask(str(tmp_path / "logo.png")), x), ALLOWED)


def test_a_saliency_takes_the_pixels_that_count_most():
    weight = torch.tensor([[1.0, 4.0], [-5.0, 2.0]])
    x, goal = torch.rand(1, 2, 2, 2), Untargeted(torch.tensor([0]))

    def model(x):
        return torch.stack([(x * weight).sum((1, 2, 3)), torch.zeros(len(x))], 1)

    assert saliency_mask(model, x, goal, 50.0).tolist() == [[[False, True], [True, False]]]
    assert int(saliency_mask(model, x, goal, 0.1).sum()) == 1


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ("box:20,0,13,4", "box:20,0,13,4 reaches beyond the model's input of 32 x 32 pixels"),
        ("border:16", "border:16 covers the whole of an image of 32 x 32 pixels"),
        ("small.png", r"small.png is 8 x 8 pixels, and the model's input 32 x 32"),
        ("black.png", "black.png allows nothing to change: no pixel of it is white"),
        ("text.png", "text.png"),
    ],
)
def test_a_mask_that_does_not_fit_is_said_in_a_sentence(tmp_path, monkeypatch, mask, message):
    monkeypatch.chdir(tmp_path)
    Image.new("L", (8, 8), 255).save("small.png")
    Image.new("L", (32, 32), 100).save("black.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(UserError, match=message):
        check_mask(parse_mask(mask), torch.zeros(3, 32, 32))
