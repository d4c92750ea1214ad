"""Patches for many images at random places: against the best there is on linear models; their places and files."""

import io
import json
import math
from functools import partial

import oracles
import pytest
import torch
from PIL import Image, PngImagePlugin

import attacks
from attacks import Placing, Sticker, Stuck, Targeted, UniversalPatch, Untargeted
from attacks.universal.placing import Windows

FLAT = Placing(share=1.0, max_rotation=0, min_scale=1)
"""A patch that covers the image, so that it has one place."""


def scores(weight, bias=0.0):
    """A model of two classes: class 0 by as much as the weighted sum of the pixels is above -``bias``."""

    def model(x):
        score = (x * weight).sum((1, 2, 3)) + bias
        return torch.stack([score, torch.zeros_like(score)], 1)

    return model


def test_is_the_best_patch_of_a_linear_model_where_it_has_one_place():
    weight = torch.randn(3, 6, 6, generator=torch.Generator().manual_seed(0))
    x = oracles.images(4, (3, 6, 6)).float()
    least = float(weight.clamp_max(0).sum())
    for bias, fooled in ((-least - 0.5, 4), (-least + 0.5, 0)):
        model = scores(weight, bias)
        found = UniversalPatch(placing=FLAT, steps=40).fit(model, [x])
        torch.testing.assert_close(found.content, (weight < 0).float())
        assert attacks.fooled(model, [x], found.apply).changed == fooled


@pytest.mark.parametrize("shape", ["square", "circle"])
def test_is_the_best_patch_of_a_model_that_sees_colours_alone_wherever_it_is(shape):
    weight = torch.tensor([1.0, -1.0, 2.0]).view(3, 1, 1)
    x = oracles.images(4, (3, 16, 16)).float()
    placing = Placing(share=0.2, shape=shape, max_rotation=45, min_scale=0.5)
    found = UniversalPatch(placing=placing, steps=60).fit(scores(weight, bias=300.0), [x])
    middle = found.content[:, 2:-2, 2:-2]
    torch.testing.assert_close(middle, torch.tensor([0.0, 1, 0]).view(3, 1, 1).expand_as(middle))


def test_the_gradient_is_that_of_what_is_put_into_images():
    x = torch.rand(5, 3, 14, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    placing, ids = Placing(share=0.2, max_rotation=60, min_scale=0.4), torch.arange(5)
    windows = Windows.of(x, placing.spots(x, ids, seed=1, draw=2), "square")
    old, new = torch.rand(2, 3, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    gradient = torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(2))
    change = ((windows.put(new, x) - windows.put(old, x)) * gradient).sum()
    torch.testing.assert_close(((new - old) * windows.adjoint(old, gradient)).sum(), change)
    assert abs(float(change)) > 0.1


@pytest.mark.parametrize("shape", ["square", "circle"])
def test_nothing_beside_the_patch_changes_and_it_covers_its_share(shape):
    x = torch.rand(40, 3, 30, 44, generator=torch.Generator().manual_seed(0))
    placing = Placing(share=0.1, shape=shape, max_rotation=180, min_scale=1)
    red = torch.tensor([2.0, 0, 0]).clamp(0, 1).view(3, 1, 1).expand(3, 9, 9)
    x_adv = Sticker(content=red, placing=placing).apply(x, torch.arange(40))
    changed = (x_adv != x).any(1)
    assert torch.equal(torch.where(changed.unsqueeze(1), x, x_adv), x)
    shares = changed.float().mean((1, 2))
    size = 11 if shape == "square" else 12  # whole pixels, and no more than the share
    assert float(shares.mean()) == pytest.approx((size**2 if shape == "square" else math.pi * 36) / 1320, rel=0.03)
    assert bool((shares <= 0.1 * 1.08).all())


def test_places_belong_to_the_image_and_the_draw():
    x = torch.rand(6, 1, 20, 20, generator=torch.Generator().manual_seed(0))
    black = Sticker(content=torch.zeros(1, 4, 4), placing=Placing(share=0.04))
    ids = torch.tensor([5, 9, 2, 7, 1, 3])
    whole = black.apply(x, ids, seed=4, draw=3)
    rows = torch.tensor([3, 0])
    assert torch.equal(black.apply(x[rows], ids[rows], seed=4, draw=3), whole[rows])
    for other in ({"seed": 5, "draw": 3}, {"seed": 4, "draw": 2}):
        assert not torch.equal(black.apply(x, ids, **other), whole)
    # The images themselves say where, if nobody else does.
    assert torch.equal(black.apply(x)[rows], black.apply(x[rows]))


def test_one_picture_is_fooled_at_places_that_the_fit_has_not_seen():
    model, x = oracles.convnet().eval(), oracles.images(1, (3, 16, 16), low=0, high=1).float()
    model = torch.nn.Sequential(torch.nn.AvgPool2d(2), model)
    target = int(model(x).argsort(dim=1)[0, -2])

    def goal(logits, ids):
        return Targeted(torch.full_like(ids, target), ids=ids)

    found = UniversalPatch(placing=Placing(share=0.3), goal=goal, steps=40).fit(model, [x])
    grey = Sticker(content=torch.full((3, 8, 8), 0.5), placing=found.placing)
    own, other = (
        sum(attacks.fooled(model, [x], partial(each.apply, seed=9, draw=draw), goal).met for draw in range(40))
        for each in (found, grey)
    )
    assert own >= 30
    assert own > other + 10


def test_a_seed_fixes_the_patch_and_every_image_is_seen_at_places_of_its_own():
    model, x = oracles.convnet().eval(), oracles.images(4, (3, 8, 8), low=0, high=1).float()
    attack = UniversalPatch(placing=Placing(share=0.2), steps=4)
    first, again, other = (attack.fit(model, [x], seed=seed).content for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    recorder = oracles.Recorder(model)
    UniversalPatch(placing=Placing(share=0.2), steps=1, views=10).fit(recorder, [x])
    assert sum(map(len, recorder.seen)) == 4 + 12  # the clean images, and each of them three times
    # Within a step, and for the same image, the places differ.
    placed = torch.cat(recorder.seen[1:])
    assert len({tuple((image != x[row % 4]).any(0).flatten().tolist()) for row, image in enumerate(placed)}) > 8


def test_its_picture_gives_back_what_was_saved(tmp_path):
    content = torch.rand(3, 7, 7, generator=torch.Generator().manual_seed(0))
    for shape, channels in (("square", 3), ("circle", 3), ("square", 1)):
        placing = Placing(share=0.07, shape=shape, max_rotation=12.5)
        saved = Sticker(content=content[:channels], placing=placing, card={"model": "tiny", "interval": (0.25, 1)})
        saved.save(tmp_path / "patch.png")
        read = Sticker.load(tmp_path / "patch.png")
        assert torch.equal(read.content, saved.content)
        assert (read.placing, read.digest) == (placing, saved.digest)
        assert read.card == {"model": "tiny", "interval": [0.25, 1]}


def test_its_picture_is_large_enough_to_print_and_has_a_white_margin(tmp_path):
    Sticker(content=torch.zeros(3, 50, 50), placing=Placing()).save(tmp_path / "patch.png")
    with Image.open(tmp_path / "patch.png") as picture:
        assert picture.size == (720, 720)
        assert round(picture.info["dpi"][0]) == 300
        grey = picture.convert("L")
        assert grey.getbbox() == (0, 0, 720, 720)
        assert grey.crop((60, 60, 660, 660)).getextrema() == (0, 0)
        assert grey.crop((0, 0, 720, 60)).getextrema() == grey.crop((660, 0, 720, 720)).getextrema() == (255, 255)


def repainted(path, change):
    """The file with its picture changed, its text as it was."""
    with Image.open(path) as picture:
        text = PngImagePlugin.PngInfo()
        text.add_text("patch", picture.info["patch"])
        file = io.BytesIO()
        change(picture).save(file, format="PNG", pnginfo=text)
    return file.getvalue()


def told(text):
    """A small picture with a text about a patch."""
    about = PngImagePlugin.PngInfo()
    about.add_text("patch", text)
    file = io.BytesIO()
    Image.new("RGB", (12, 12)).save(file, format="PNG", pnginfo=about)
    return file.getvalue()


def test_files_that_are_something_else_are_refused(tmp_path):
    Sticker(content=torch.zeros(3, 10, 10), placing=Placing(), card={"model": "tiny"}).save(tmp_path / "good.png")
    good = (tmp_path / "good.png").read_bytes()
    plain = io.BytesIO()
    Image.new("RGB", (9, 9)).save(plain, format="PNG")
    jpeg = io.BytesIO()
    Image.new("RGB", (9, 9)).save(jpeg, format="JPEG")
    about = json.dumps({"content": "", "placing": {"share": 7}, "card": {}})
    bad = {
        "empty": b"",
        "text": b"no patch",
        "another picture": plain.getvalue(),
        "a JPEG": jpeg.getvalue(),
        "cut off": good[: len(good) // 2],
        "repainted": repainted(tmp_path / "good.png", lambda picture: picture.point(lambda value: value ^ 1)),
        "smaller": repainted(tmp_path / "good.png", lambda picture: picture.resize((90, 90))),
        "another mode": repainted(tmp_path / "good.png", lambda picture: picture.convert("RGBA")),
        "no JSON": told("hello"),
        "no frame": told(about),
        "an impossible share": told(about + '{"factor": 1, "quiet": 1, "digest": ""}'),
        "no factor": told(about + '{"factor": 0, "quiet": 1, "digest": ""}'),
        "not an object": told("[][]"),
        "an endless number": told(about + '{"factor": 1e999, "quiet": 1, "digest": ""}'),
        "no number in its card": told(
            '{"content": "", "placing": {}, "card": {"a": NaN}}{"factor": 1, "quiet": 1, "digest": ""}'
        ),
        "deep": told("[" * 100_000),
    }
    for name, content in bad.items():
        (tmp_path / "bad.png").write_bytes(content)
        with pytest.raises(ValueError, match="expected a patch in"):
            Sticker.load(tmp_path / "bad.png")
        assert name
    with pytest.raises(FileNotFoundError, match="missing"):
        Sticker.load(tmp_path / "missing.png")


def test_as_an_attack_it_is_put_where_the_image_says():
    model, x = oracles.convnet().eval(), oracles.images(3, (3, 8, 8), low=0, high=1).float()
    white = Sticker(content=torch.ones(3, 3, 3), placing=Placing(share=0.2))
    goal = Untargeted(model(x).argmax(1), ids=torch.tensor([4, 8, 6]))
    assert torch.equal(Stuck(sticker=white)(model, x, goal, seed=3), white.apply(x, goal.ids, seed=3))
    with pytest.raises(ValueError, match="expected no eps for a patch that exists already"):
        Stuck(sticker=white)(model, x, goal, eps=9)


GREY = torch.full((1, 4, 4), 0.5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Placing(share=0), "expected share of a patch above 0 and at most 1, got 0"),
        (lambda: Placing(share=2.0), "expected share of a patch above 0 and at most 1, got 2"),
        (lambda: Placing(share="5%"), "expected share of a patch as a number"),
        (lambda: Placing(shape="star"), "expected shape of a patch to be one of square, circle"),
        (lambda: Placing(max_rotation=181), "expected max_rotation of a patch from 0 to 180 degrees"),
        (lambda: Placing(min_scale=0), "expected min_scale of a patch above 0"),
        (lambda: UniversalPatch(steps=0), "expected steps of UniversalPatch to be a whole number above 0"),
        (lambda: UniversalPatch(views=1.5), "expected views of UniversalPatch to be a whole number above 0"),
        (lambda: Sticker(content=torch.zeros(2, 4, 4), placing=Placing()), "a patch of 1 or 3 colours"),
        (lambda: Sticker(content=GREY + 1, placing=Placing()), r"values of a patch in \[0, 1\], got 1.5 to 1.5"),
        (lambda: Sticker(content=GREY / 0, placing=Placing()), r"values of a patch in \[0, 1\]"),
        (lambda: Sticker(content=GREY, placing=Placing()).apply(torch.rand(1, 3, 8, 8)), "as the patch has colours"),
        (lambda: Sticker(content=GREY, placing=FLAT).apply(torch.rand(1, 1, 4, 8)), "a patch that fits into images"),
    ],
)
def test_bad_parameters_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_bad_loaders_and_goals_are_refused():
    model, x = oracles.convnet().eval(), oracles.images(4, (3, 8, 8)).float()
    attack = UniversalPatch(steps=3)
    with pytest.raises(ValueError, match="expected a loader"):
        attack.fit(model, [])
    with pytest.raises(ValueError, match=r"expected images \(N, C, H, W\) for UniversalPatch"):
        attack.fit(model, [x.flatten(1)])
    with pytest.raises(ValueError, match="expected images of one size"):
        attack.fit(model, [x, x[:, :, :7]])
    with pytest.raises(ValueError, match="got none in pass 2"):
        attack.fit(model, iter([x]))
    wrong = UniversalPatch(steps=3, goal=lambda logits, ids: Targeted(torch.full_like(ids, 99), ids=ids))
    with pytest.raises(ValueError, match="expected targets from 0 to"):
        wrong.fit(model, [x])
