"""Photographs attacked at their own size: what is saved does it when it is opened again, by code of this file alone."""

import io
from pathlib import Path

import fakes
import numpy as np
import pytest
import torch
from attacked_pictures import configured, files_below
from PIL import Image, ImageOps
from torch import nn

from advbench.config.goals import GoalSpec
from advbench.config.pictures.photograph import SavedAs
from advbench.datasets.images.files import PictureError, read_stored, upright
from advbench.errors import UserError
from advbench.models.classifier import Classifier
from advbench.models.preprocess import ResizeAndCrop
from advbench.pictures.attack import attack_pictures
from advbench.pictures.original.model import AtOwnSize, turned_upright
from advbench.pictures.original.photograph import known_preprocessing, read_photograph
from advbench.records.record import UNKNOWN

MODEL = fakes.classifier()
ORIENTATION, MAKE = 0x0112, 0x010F
PNG, JPEG = SavedAs("PNG"), SavedAs("JPEG", 95)
pytestmark = pytest.mark.usefixtures("fakes_registered")


def smooth(width, height, seed=0, mode="RGB"):
    rough = np.random.default_rng(seed).integers(60, 196, (7, 8, 3), dtype=np.uint8)
    return Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def exif_of(orientation):
    exif = Image.Exif()
    exif[ORIENTATION], exif[MAKE] = orientation, "a camera"
    return exif.tobytes()


def write(path, image, kind="PNG", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, kind, **options)
    return path


def attacked(path, out, **options):
    given = {"attack": "topk", "params": {"steps": 20}, "goal": GoalSpec("topk-exclusion", k=3), "eps": 4 / 255}
    (outcome,) = attack_pictures(configured(path, size="original", kappa=0.5, out=out, **(given | options)))
    return outcome


def opened(path):
    """The input of the model for a file, by Pillow and numpy: cover 32 x 32, cut out the centre."""
    with Image.open(path) as file:
        picture = ImageOps.exif_transpose(file).convert("RGB")
    width, height = picture.size
    scaled = (32, int(32 * height / width)) if width <= height else (int(32 * width / height), 32)
    picture = picture.resize(scaled, Image.Resampling.BILINEAR) if picture.size != scaled else picture
    left, top = round((scaled[0] - 32) / 2), round((scaled[1] - 32) / 2)
    values = np.asarray(picture)[top : top + 32, left : left + 32]
    return torch.from_numpy(values.copy()).permute(2, 0, 1).unsqueeze(0).float() / 255


def first(path, k=3):
    return set(MODEL(opened(path)).topk(k).indices[0].tolist())


def levels(path, other):
    one, two = (np.asarray(Image.open(each).convert("RGB"), dtype=int) for each in (path, other))
    return int(np.abs(one - two).max())


def test_the_png_does_it_once_it_is_opened_again(tmp_path):
    path = write(tmp_path / "in/a.png", smooth(90, 61))
    outcome = attacked(path, tmp_path / "out")
    file = tmp_path / "out/adversarial.png"
    assert files_below(tmp_path / "out") == sorted([*outcome.files])
    assert {"adversarial.png", "panel.png", "perturbation.png", "record.csv"} <= set(outcome.files)
    with Image.open(file) as saved, Image.open(tmp_path / "out/perturbation.png") as change:
        assert (saved.format, saved.mode, saved.size, change.size) == ("PNG", "RGB", (90, 61), (90, 61))
    assert outcome.record.met
    assert not first(path) & first(file)
    assert first(file) == set(outcome.record.adv_topk)
    assert 0 < levels(path, file) <= 4
    assert outcome.record.linf * 255 == pytest.approx(levels(path, file), rel=1e-5)
    assert (outcome.met_8bit, outcome.record.survives_8bit, outcome.record.met_share) == (True, True, 1.0)
    assert outcome.record.dataset == "files, original size"
    assert outcome.read_back == (
        "adversarial.png",
        "png",
        (90, 61),
        True,
        pytest.approx(outcome.record.linf, rel=1e-4),
        0.0,
    )


@pytest.mark.parametrize("quality", [95, 80])
def test_the_jpeg_does_it_too(tmp_path, quality):
    path = write(tmp_path / "a.jpg", smooth(90, 61), "JPEG", quality=92)
    outcome = attacked(path, tmp_path / "out", eps=12 / 255, saved_as=SavedAs("JPEG", quality))
    file = tmp_path / "out/adversarial.jpg"
    with Image.open(file) as saved, Image.open(path) as before:
        assert (saved.format, saved.size) == ("JPEG", before.size)
        wanted = io.BytesIO()
        before.save(wanted, "JPEG", quality=quality, subsampling=0)
        assert saved.quantization == Image.open(wanted).quantization
        assert {layer[1:3] for layer in saved.layer} == {(1, 1)}  # colours at full resolution
    assert outcome.record.met
    assert not first(path) & first(file)
    assert outcome.record.linf <= 12 / 255 + 1e-6
    assert outcome.read_back.linf * 255 == pytest.approx(levels(path, file))
    assert outcome.read_back.saving > 0
    assert outcome.record.dataset == f"files, original size, jpeg:{quality}"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("kind", "suffix"), [("JPEG", ".jpg"), ("PNG", ".png")])
def test_orientation_and_metadata_stay(tmp_path, orientation, kind, suffix):
    exif, profile = exif_of(orientation), b"a profile"
    path = write(tmp_path / f"a{suffix}", smooth(70, 45), kind, exif=exif, icc_profile=profile)
    outcome = attacked(path, tmp_path / "out", attack="fgsm", params={}, goal=GoalSpec("untargeted"), eps=12 / 255)
    with Image.open(path) as before, Image.open(tmp_path / f"out/adversarial{suffix}") as after:
        assert (after.format, after.size) == (before.format, before.size)
        assert (after.getexif()[ORIENTATION], after.getexif()[MAKE]) == (orientation, "a camera")
        assert after.info["icc_profile"] == profile
    size = (70, 45) if orientation < 5 else (45, 70)
    assert outcome.read_back.size == size
    assert bool(first(path, 1) & first(tmp_path / f"out/adversarial{suffix}", 1)) is not outcome.record.met
    with Image.open(tmp_path / "out/perturbation.png") as change:
        assert change.size == size


@pytest.mark.parametrize(("kind", "suffix"), [("BMP", ".bmp"), ("WEBP", ".webp")])
def test_other_formats_stay_and_lose_nothing(tmp_path, kind, suffix):
    path = write(tmp_path / f"a{suffix}", smooth(50, 40), kind, **({"lossless": True} if kind == "WEBP" else {}))
    outcome = attacked(path, tmp_path / "out")
    file = tmp_path / f"out/adversarial{suffix}"
    with Image.open(file) as saved:
        assert saved.format == kind
    assert outcome.record.met
    assert not first(path) & first(file)
    assert outcome.read_back.saving == 0


def test_a_grey_photograph_stays_grey(tmp_path):
    path = write(tmp_path / "a.jpg", smooth(60, 50, mode="L"), "JPEG")
    outcome = attacked(path, tmp_path / "out", eps=12 / 255)
    with Image.open(tmp_path / "out/adversarial.jpg") as saved:
        assert (saved.mode, saved.size) == ("L", (60, 50))
    assert outcome.record.met
    assert not first(path) & first(tmp_path / "out/adversarial.jpg")


def test_transparency_is_laid_over_white(tmp_path):
    clear = smooth(50, 40).convert("RGBA")
    clear.putalpha(Image.new("L", (50, 40), 200))
    outcome = attacked(write(tmp_path / "a.png", clear), tmp_path / "out", attack="fgsm", params={})
    with Image.open(outcome.files["adversarial.png"]) as saved:
        assert (saved.mode, saved.size) == ("RGB", (50, 40))


def test_what_cannot_be_reached_is_not_met(tmp_path):
    path = write(tmp_path / "a.png", smooth(60, 50))
    outcome = attacked(path, tmp_path / "out", model="constant", eps=1 / 255, params={"steps": 3})
    assert (outcome.record.met, outcome.record.linf, outcome.read_back.met) == (False, None, False)
    assert levels(path, outcome.files["adversarial.png"]) <= 1


def test_the_verdict_is_that_of_the_file_and_not_of_the_attack(tmp_path, monkeypatch):
    """Somebody saves the clean picture instead: whatever the attack has seen, the record must say no."""
    from advbench.pictures.original.photograph import Photograph

    whole = Photograph.file
    monkeypatch.setattr(Photograph, "file", lambda self, pixels: whole(self, self.pixels))
    outcome = attacked(write(tmp_path / "a.png", smooth(60, 50)), tmp_path / "out")
    assert (outcome.record.met, outcome.record.flipped, outcome.record.linf) == (False, False, None)
    assert outcome.record.adv_topk == outcome.record.clean_topk


class TestTheModel:
    @pytest.fixture(params=[1, 3, 6, 8])
    def photograph(self, request, tmp_path):
        path = write(tmp_path / "a.jpg", smooth(70, 45), "JPEG", quality=92, exif=exif_of(request.param))
        return read_photograph(path, MODEL, PNG)

    def test_answers_are_those_about_the_file(self, photograph, tmp_path):
        model = AtOwnSize(MODEL, photograph)
        x = (photograph.pixels + 0.003 * torch.randn(photograph.pixels.shape)).clamp(0, 1).unsqueeze(0)
        (tmp_path / "b.png").write_bytes(photograph.file(x[0]))
        assert torch.equal(model(x), MODEL(opened(tmp_path / "b.png")))
        asked = x.clone().requires_grad_()
        assert torch.equal(model(asked), model(x))

    def test_the_gradient_is_that_of_the_form_without_rounding(self, photograph):
        model = AtOwnSize(MODEL, photograph)
        x = photograph.pixels.unsqueeze(0).requires_grad_()
        weight = torch.randn(1, MODEL.num_classes)
        ours, smooth_one = (torch.autograd.grad((form(x) * weight).sum(), x)[0] for form in (model, model.exact_form))
        assert ours.abs().sum() > 0
        assert float(nn.functional.cosine_similarity(ours.flatten(), smooth_one.flatten(), dim=0)) > 0.8

    def test_a_jpeg_is_really_saved(self, photograph, tmp_path):
        photograph = photograph._replace(saved=JPEG)
        x = photograph.pixels.unsqueeze(0)
        (tmp_path / "b.jpg").write_bytes(photograph.file(x[0]))
        assert torch.equal(AtOwnSize(MODEL, photograph)(x), MODEL(opened(tmp_path / "b.jpg")))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_tensors_are_turned_as_pillow_turns_pictures(orientation):
    image = smooth(7, 5)
    stored = torch.from_numpy(np.array(image)).permute(2, 0, 1).unsqueeze(0)
    wanted = torch.from_numpy(np.array(upright(image, orientation))).permute(2, 0, 1)
    assert torch.equal(turned_upright(stored, orientation)[0], wanted)


def test_a_grey_model_sees_colours_as_pillow_mixes_them(tmp_path):
    model = Classifier(
        nn.Sequential(nn.Flatten(), nn.Linear(64, 4)),
        num_classes=4,
        mean=[0.5],
        std=[0.5],
        input_size=8,
        preprocess=ResizeAndCrop(size=8, mode="L"),
    )
    photograph = read_photograph(write(tmp_path / "a.png", smooth(20, 12)), model, None)
    own = AtOwnSize(model, photograph)
    x = photograph.pixels.unsqueeze(0)
    assert torch.allclose(own(x), own.exact_form(x), atol=0.05)
    assert torch.equal(own(x)[0], model(model.preprocess(smooth(20, 12)).unsqueeze(0))[0])


class TestRefused:
    @pytest.mark.parametrize(("width", "height"), [(31, 60), (60, 31), (8, 8)])
    def test_a_picture_smaller_than_the_input(self, tmp_path, width, height):
        path = write(tmp_path / "a.png", smooth(width, height))
        with pytest.raises(
            PictureError, match=f"{width} x {height} pixels, less than the 32 x 32 of the model's input"
        ):
            read_photograph(path, MODEL, None)

    def test_16_bits(self, tmp_path):
        deep = Image.fromarray((np.random.default_rng(0).random((40, 40)) * 65535).astype(np.uint16))
        with pytest.raises(PictureError, match="16 bits per channel"):
            read_photograph(write(tmp_path / "a.png", deep), MODEL, None)

    def test_16_bits_of_three_channels(self, tmp_path):
        from picture_files import RGB, png

        (tmp_path / "a.png").write_bytes(png((40, 40), 16, RGB, [bytes(40 * 6)] * 40))
        assert read_stored(tmp_path / "a.png").deep
        with pytest.raises(PictureError, match="16 bits per channel"):
            read_photograph(tmp_path / "a.png", MODEL, None)

    def test_an_animation(self, tmp_path):
        frames = [smooth(40, 40, seed) for seed in range(2)]
        path = write(tmp_path / "a.png", frames[0], save_all=True, append_images=frames[1:])
        with pytest.raises(PictureError, match="animated"):
            read_photograph(path, MODEL, None)

    def test_preprocessing_of_a_users_own(self):
        own = Classifier(nn.Flatten(), num_classes=4, preprocess=lambda picture: torch.zeros(1, 2, 2), name="mine")
        with pytest.raises(UserError, match="cannot see how mine resizes pictures: that is custom code\nattack at"):
            known_preprocessing(own)
        lanczos = ResizeAndCrop(size=4, interpolation=Image.Resampling.LANCZOS)
        with pytest.raises(UserError, match="has no gradient for how mine resizes pictures: lanczos"):
            known_preprocessing(Classifier(nn.Flatten(), num_classes=4, preprocess=lanczos, name="mine"))

    def test_one_picture_that_cannot_be_read_leaves_the_others(self, tmp_path):
        folder = tmp_path / "in"
        write(folder / "a.png", smooth(50, 40))
        write(folder / "b.png", smooth(20, 20))
        (folder / "c.jpg").write_bytes(b"\xff\xd8\xffno")
        write(folder / "d.jpg", smooth(40, 60, 3), "JPEG")
        done = attack_pictures(
            configured(folder, size="original", kappa=0.1, out=tmp_path / "out", goal=GoalSpec("untargeted"))
        )
        assert [outcome.record.status == UNKNOWN for outcome in done] == [False, True, True, False]
        assert Path(tmp_path / "out/d/adversarial.jpg").is_file()
