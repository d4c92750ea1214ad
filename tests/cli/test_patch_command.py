"""`advbench patch` from pictures on disk to files on disk, on a small network."""

import json
from dataclasses import replace

import fakes
import pytest
import torch
from command import refused, run
from PIL import Image

import advbench
from attacks import Placing, Sticker
from attacks.searches.draws import derive

FIT = ("patch", "fit", "--model", "tiny", "--device", "cpu", "--quiet", "--steps", 60, "--share", "50%")


@pytest.fixture(autouse=True)
def _tables():
    with fakes.registered():
        yield


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    for number in range(10):
        fakes.picture(folder / f"{number}.png", number)
    return folder


@pytest.fixture(scope="module")
def fitted(photographs, tmp_path_factory):
    """The folder of a fit."""
    out = tmp_path_factory.mktemp("fitted")
    with fakes.registered():
        assert run(*FIT, photographs, "--goal", "targeted:3", "--out", out).exit_code == 0
    return out


def images(photographs):
    model = fakes.classifier()
    return model, torch.stack([model.preprocess(Image.open(photographs / f"{number}.png")) for number in range(10)])


def test_fit_leaves_a_picture_its_card_and_a_panel(fitted):
    assert sorted(path.name for path in fitted.iterdir()) == ["card.json", "panel.png", "patch.png"]
    found = Sticker.load(fitted / "patch.png")
    card = json.loads((fitted / "card.json").read_text())
    assert card == found.card
    assert {name: card[name] for name in ("model", "goal", "share", "seed", "fitted_to", "advbench")} == {
        "model": "tiny",
        "goal": "targeted:3",
        "share": 0.5,
        "seed": 0,
        "fitted_to": 8,
        "advbench": advbench.__version__,
    }
    held_out = card["held_out"]
    assert held_out["pictures"] == held_out["placed"] == 2
    low, high = held_out["interval"]
    assert low <= held_out["success"] <= high
    assert found.content.shape == (3, 22, 22)
    assert found.placing == Placing(share=0.5)
    with Image.open(fitted / "panel.png") as panel:
        assert panel.size == (960, 1020)


def test_eval_counts_what_a_model_says_of_the_pictures(fitted, photographs, tmp_path):
    use = ("patch", "eval", fitted / "patch.png", photographs, "--device", "cpu", "--places", 3, "--seed", 5)
    result = run(*use, "--out", tmp_path / "out", "--quiet", "--json")
    (row,) = json.loads(result.stdout)
    model, x = images(photographs)
    patch, before = Sticker.load(fitted / "patch.png"), model(x).argmax(1)
    after = torch.stack([model(patch.apply(x, seed=derive(5, 1), draw=draw)).argmax(1) for draw in range(3)])
    assert (row["pictures"], row["images"]) == (10, 30)
    assert row["pointless"] == 3 * int((before == 3).sum())
    assert row["met"] == int(((after == 3) & (before != 3)).sum())
    assert row["met"] > row["random_colours_met"]
    assert (tmp_path / "out" / "panel.png").exists()
    printed = run(*use, "--out", tmp_path / "out").stdout
    for words in ("goal met", "with random colours", "95 % interval", "10 pictures, 3 places each", "targeted:3"):
        assert words in printed


def test_several_places_on_a_picture_do_not_make_the_interval_narrower(fitted, photographs, tmp_path):
    use = ("patch", "eval", fitted / "patch.png", photographs, "--device", "cpu", "--out", tmp_path, "--json")
    rows = [json.loads(run(*use, "--places", places).stdout)[0] for places in (1, 20)]
    narrow, wide = (row["interval"][1] - row["interval"][0] for row in reversed(rows))
    assert narrow > 0.7 * wide


def test_one_picture_is_measured_at_other_places(photographs, tmp_path):
    result = run(*FIT, photographs / "1.png", "--goal", "targeted:3", "--out", tmp_path, "--json")
    (row,) = json.loads(result.stdout)
    assert (row["pictures"], row["images"]) == (1, 100)
    assert row["card"]["fitted_to"] == 1
    assert row["met"] > row["random_colours_met"]


def test_apply_writes_the_picture_with_the_patch_and_nothing_else_changed(fitted, photographs, tmp_path, monkeypatch):
    monkeypatch.setattr("advbench.pictures.files.draw_panel", lambda *_: b"panel")
    picture, out = photographs / "3.png", tmp_path / "out"
    use = ("patch", "apply", fitted / "patch.png", picture, "--out", out, "--json")
    (row,) = json.loads(run(*use).stdout)
    assert (row["attack"], row["status"], row["goal"]) == ("patch", "ok", "targeted:3")
    assert Sticker.load(fitted / "patch.png").digest in row["params"]
    model = fakes.classifier()
    x, x_adv = (model.preprocess(Image.open(path)) for path in (picture, out / "adversarial.png"))
    changed = (x != x_adv).any(0)
    rows, columns = changed.any(1).nonzero(), changed.any(0).nonzero()
    assert 0 < int(changed.sum()) <= 0.52 * changed.numel()
    assert max(int(rows.max() - rows.min()), int(columns.max() - columns.min())) < 30
    assert row["met"] == (int(model(x_adv.unsqueeze(0)).argmax()) == 3)


def test_a_folder_with_the_result_of_another_fit_is_refused_and_the_same_fit_may_be_repeated(photographs, tmp_path):
    options = (*FIT, photographs / "1.png", "--out", tmp_path, "--steps", 2)
    assert run(*options).exit_code == 0
    held = {path: path.read_bytes() for path in tmp_path.iterdir()}
    message = refused(*options, "--goal", "targeted:3")
    assert "holds the result of another fit" in message
    assert "goal: untargeted -> targeted:3" in message
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == held
    assert run(*options).exit_code == 0
    fakes.picture(tmp_path / "patch.png", 0)
    assert "cannot tell which fit" in refused(*options)


def test_mistakes_end_with_one_clear_message(fitted, photographs, tmp_path):
    fakes.picture(tmp_path / "plain.png", 0)
    (tmp_path / "notes.txt").write_text("no patch")
    assert "--share 0 covers nothing" in refused(*FIT[:-1], 0, photographs)
    assert "--share 120% is more than the whole picture" in refused(*FIT[:-1], "120%", photographs)
    assert "did you mean --share 5%" in refused(*FIT[:-1], 5, photographs)
    assert "is not a share" in refused(*FIT[:-1], "much", photographs)
    larger = refused(*FIT[:-1], "95%", photographs, "--shape", "circle")
    assert "the patch is larger than the input of tiny" in larger
    assert "has no class 'unicorn'" in refused(*FIT, photographs, "--goal", "targeted:unicorn")
    assert "no such file or folder" in refused(*FIT, tmp_path / "missing")
    assert "no pictures were given" in refused(*FIT)
    for file in ("plain.png", "notes.txt"):
        message = refused("patch", "eval", tmp_path / file, photographs, "--out", tmp_path)
        assert f"{file} is not a patch" in message
        assert refused("patch", "apply", tmp_path / file, photographs) == message
    assert "cannot read" in refused("patch", "eval", tmp_path / "gone.png", photographs)
    unknown = refused("patch", "eval", fitted / "patch.png", photographs, "--goal", "targeted:99", "--out", tmp_path)
    assert "99" in unknown


def test_another_model_is_refused_unless_it_is_named(fitted, photographs, tmp_path):
    made = Sticker.load(fitted / "patch.png")
    replace(made, card=made.card | {"weights": "0"}).save(tmp_path / "other.png")
    use = ("patch", "eval", tmp_path / "other.png", photographs, "--device", "cpu", "--out", tmp_path, "--json")
    assert "was made for tiny, and tiny has other weights" in refused(*use)
    assert run(*use, "--model", "tiny").exit_code == 0
    Sticker(content=made.content[:1], placing=made.placing, card={"model": "tiny"}).save(tmp_path / "other.png")
    assert "has 1 colour channels, and tiny takes 3" in refused(*use)
    Sticker(content=made.content, placing=made.placing).save(tmp_path / "other.png")
    assert "does not say which model it is for" in refused(*use)
