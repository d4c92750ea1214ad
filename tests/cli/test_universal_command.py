"""`advbench universal` from pictures on disk to files on disk, on a small network that needs nothing else."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import fakes
import pytest
import torch
from command import refused, run
from PIL import Image
from safetensors import safe_open

import advbench.pictures.universal.fit
from advbench.datasets.images.loader import PictureStream
from advbench.pictures.universal.fit import Method, fit_perturbation
from advbench.pictures.universal.options import Fit
from attacks import L2, Linf, Perturbation, fast

FIT = ("universal", "fit", "--model", "tiny", "--device", "cpu", "--quiet", "--steps", 12, "--batch-size", 4)


@pytest.fixture(autouse=True)
def _tables():
    with fakes.registered():
        yield


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    for number in range(12):
        fakes.picture(folder / f"{number}.png", number)
    return folder


@pytest.fixture(scope="module")
def fitted(photographs, tmp_path_factory):
    """The folder of a fit."""
    out = tmp_path_factory.mktemp("fitted")
    with fakes.registered():
        assert run(*FIT, photographs, "--eps", "40/255", "--out", out).exit_code == 0
    return out


def test_fit_leaves_the_perturbation_its_card_and_two_pictures(fitted):
    assert sorted(path.name for path in fitted.iterdir()) == [
        "panel.png",
        "perturbation.png",
        "perturbation.safetensors",
    ]
    found = Perturbation.load(fitted / "perturbation.safetensors")
    assert 0 < float(found.delta.abs().max()) <= 40 / 255 + 1e-6
    torch.testing.assert_close(found.delta * 255, (found.delta * 255).round(), atol=1e-4, rtol=0)
    assert found.card["model"] == "tiny"
    assert found.card["fitted_to"] == 10
    assert found.card["held_out"]["images"] == 2
    assert found.card["goal"] == "untargeted"
    with Image.open(fitted / "panel.png") as panel:
        assert panel.size == (960, 1020)


def test_eval_counts_what_a_model_says_of_the_pictures(fitted, photographs, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("file,index\n" + "".join(f"{number}.png,0\n" for number in range(12)))
    file = fitted / "perturbation.safetensors"
    result = run("universal", "eval", file, photographs, "--labels", labels, "--device", "cpu", "--quiet", "--json")
    (row,) = json.loads(result.stdout)
    model, u = fakes.classifier(), Perturbation.load(file)
    x = torch.stack([model.preprocess(Image.open(photographs / f"{number}.png")) for number in range(12)])
    before, after = model(x).argmax(1), model(u.apply(x)).argmax(1)
    assert row["images"] == row["labelled"] == 12
    assert row["changed"] == int((before != after).sum())
    assert row["wrong"] == int((after != 0).sum())
    assert sum(count for _, count in row["classes"]) == 12
    printed = run("universal", "eval", file, photographs, "--labels", labels, "--device", "cpu")
    for words in ("changed class", "misclassified", "95 % interval", "most often taken for", "made for tiny"):
        assert words in printed.stdout
    assert max(map(len, printed.stdout.splitlines())) <= 100


def test_apply_writes_pictures_that_are_the_sum(fitted, photographs, tmp_path, monkeypatch):
    monkeypatch.setattr("advbench.pictures.files.draw_panel", lambda *_: b"panel")
    picture, out = photographs / "3.png", tmp_path / "out"
    result = run("universal", "apply", fitted / "perturbation.safetensors", picture, "--out", out, "--json")
    (row,) = json.loads(result.stdout)
    assert (row["attack"], row["status"]) == ("universal", "ok")
    assert "sha256=" in row["params"]
    model, u = fakes.classifier(), Perturbation.load(fitted / "perturbation.safetensors")
    x = model.preprocess(Image.open(picture)).unsqueeze(0)
    written = model.preprocess(Image.open(out / "adversarial.png")).unsqueeze(0)
    torch.testing.assert_close(written, u.apply(x), atol=1e-6, rtol=0)
    assert row["met"] == (int(model(x).argmax()) != int(model(written).argmax())) == row["survives_8bit"]


@pytest.mark.parametrize(("end", "next_step"), [(KeyboardInterrupt, 9), (RuntimeError, 6)], ids=["Ctrl-C", "crash"])
def test_a_fit_that_was_interrupted_goes_on_to_the_same_end(end, next_step, photographs, tmp_path, monkeypatch):
    monkeypatch.setattr(advbench.pictures.universal.fit, "SAVE_EVERY", 5)
    # The clock would choose the form, for each fit anew, and forms differ in the last bits.
    monkeypatch.setattr(advbench.pictures.universal.fit, "fast", partial(fast, form="folded"))
    options = Fit(paths=(photographs,), model="tiny", steps=12, batch_size=4, out=tmp_path / "whole")
    method = Method(eps=0.004)
    whole = fit_perturbation(options, method)

    def interrupt(what, done, total):
        if done == 8:
            raise end("now")

    halves = replace(options, out=tmp_path / "halves")
    with pytest.raises(end, match="now"):
        fit_perturbation(halves, method, interrupt)
    assert (tmp_path / "halves" / "checkpoint.safetensors").exists()
    steps = []
    again = fit_perturbation(halves, method, lambda what, done, total: steps.append(done))
    assert torch.equal(again.perturbation.delta, whole.perturbation.delta)
    assert steps == [0, *range(next_step, 13)]
    with safe_open(tmp_path / "halves" / "perturbation.safetensors", "pt") as file:
        assert file.keys() == ["delta"]


def test_a_checkpoint_of_another_fit_is_refused(photographs, tmp_path, monkeypatch):
    monkeypatch.setattr(advbench.pictures.universal.fit, "SAVE_EVERY", 1)

    def interrupt(what, done, total):
        if done == 3:
            raise KeyboardInterrupt

    options = Fit(paths=(photographs,), model="tiny", steps=12, batch_size=16, out=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        fit_perturbation(options, Method(eps=0.004), interrupt)
    message = refused(*FIT, photographs, "--eps", "9/255", "--out", tmp_path)
    assert "belongs to another fit" in message
    assert "eps:" in message
    (tmp_path / "checkpoint.safetensors").write_bytes(b"damaged")
    assert "cannot be read" in refused(*FIT, photographs, "--out", tmp_path)


def test_a_folder_with_the_result_of_another_fit_is_refused_and_the_same_fit_may_be_repeated(photographs, tmp_path):
    file = tmp_path / "perturbation.safetensors"
    assert run(*FIT, photographs, "--eps", "40/255", "--out", tmp_path).exit_code == 0
    held = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for options in (("--eps", "9/255"), ("--eps", "40/255", "--algorithm", "deepfool"), ("--norm", "l2", "--eps", 2)):
        message = refused(*FIT, photographs, *options, "--out", tmp_path)
        assert f"{tmp_path} holds the result of another fit" in message
        assert "choose another folder with --out" in message
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == held
    for change in (("--seed", 1), ("--held-out", 0.5)):
        assert " -> " in refused(*FIT, photographs, "--eps", "40/255", *change, "--out", tmp_path)
    assert run(*FIT, photographs, "--eps", "40/255", "--out", tmp_path).exit_code == 0
    for found in (b"damaged", Perturbation(delta=torch.full((3, 5, 5), 0.1), norm=Linf(), eps=0.1).as_bytes()):
        file.write_bytes(found)
        message = refused(*FIT, photographs, "--eps", "40/255", "--out", tmp_path)
        assert "another fit" in message or "cannot tell which fit" in message
        assert file.read_bytes() == found


def test_the_original_algorithm_and_other_goals_work_from_the_command_line(photographs, tmp_path):
    for name, options in {
        "deepfool": ("--algorithm", "deepfool", "--steps", 1),
        "topk": ("--goal", "topk-exclusion:2"),
        "targeted": ("--goal", "targeted:1", "--norm", "l2", "--eps", 2),
    }.items():
        result = run(*FIT, photographs, "--out", tmp_path / name, *options)
        assert result.exit_code == 0
    card = Perturbation.load(tmp_path / "targeted" / "perturbation.safetensors")
    assert (card.norm, card.card["goal"]) == (L2(), "targeted:1")


def test_mistakes_end_with_one_clear_message(fitted, photographs, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no perturbation")
    file = fitted / "perturbation.safetensors"
    assert "did you mean --eps 10/255" in refused(*FIT, photographs, "--eps", 10)
    assert "not above zero" in refused(*FIT, photographs, "--eps", 0)
    assert "l2 has no default budget" in refused(*FIT, photographs, "--norm", "l2")
    assert "empty" in refused(*FIT, tmp_path / "empty")
    assert "no such file or folder" in refused(*FIT, tmp_path / "missing")
    assert "only 1 was given" in refused(*FIT, photographs / "1.png")
    assert "has no class 'unicorn'" in refused(*FIT, photographs, "--goal", "targeted:unicorn")
    assert "k is at most" in refused(*FIT, photographs, "--goal", "topk-exclusion:99")
    assert "is not a universal perturbation" in refused("universal", "eval", tmp_path / "notes.txt", photographs)
    assert "cannot read" in refused("universal", "eval", tmp_path / "gone.safetensors", photographs)
    assert "columns file and index" in refused(
        "universal", "eval", file, photographs, "--labels", tmp_path / "notes.txt"
    )


def test_another_model_or_size_is_refused_unless_it_is_meant(fitted, photographs, tmp_path):
    made_for = replace(Perturbation.load(fitted / "perturbation.safetensors"), card={"model": "other", "weights": "0"})
    made_for.save(tmp_path / "other.safetensors")
    use = ("universal", "eval", tmp_path / "other.safetensors", photographs, "--model", "tiny", "--quiet", "--json")
    message = refused(*use)
    assert "was made for other, and tiny has other weights" in message
    assert "--resize" in message
    assert run(*use, "--resize").exit_code == 0
    small = Perturbation(delta=torch.full((3, 5, 5), 0.1), norm=Linf(), eps=0.1, card={"model": "tiny"})
    small.save(tmp_path / "small.safetensors")
    use = ("universal", "eval", tmp_path / "small.safetensors", photographs, "--device", "cpu", "--quiet", "--json")
    assert "is for pictures of 5 x 5 pixels" in refused(*use)
    assert run(*use, "--resize").exit_code == 0
    grey = replace(small, delta=torch.full((1, 5, 5), 0.1))
    grey.save(tmp_path / "small.safetensors")
    assert "has 1 colour channels, and tiny takes 3" in refused(*use, "--resize")


def test_a_picture_that_cannot_be_read_is_left_out_and_named(photographs, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for path in photographs.iterdir():
        (pictures / path.name).write_bytes(path.read_bytes())
    (pictures / "broken.png").write_bytes(b"broken")
    result = run(*FIT, pictures, "--out", tmp_path / "out")
    assert result.exit_code == 0
    assert "broken.png" in result.stderr


def test_pictures_stream_in_another_order_each_pass_and_are_read_again_where_memory_is_short(monkeypatch):
    reads = []

    def read(path):
        reads.append(path)
        return torch.full((1, 2, 2), int(path.name) / 255)

    monkeypatch.setattr("advbench.datasets.images.cache.KEEP_BYTES", 12)
    stream = PictureStream([Path(str(number)) for number in range(6)], read, batch_size=4, seed=0)
    passes = []
    for epoch in (0, 1, 0):
        stream.set_epoch(epoch)
        passes.append([round(float(image.max()) * 255) for (x,) in stream for image in x])
    assert passes[0] == passes[2] != passes[1]
    assert sorted(passes[0]) == sorted(passes[1]) == list(range(6))
    assert len(reads) == 6 + 3 + 3
