"""What an archive of a run holds, and what it says that it cannot carry."""

import json
import shutil

import evidence_runs
import numpy as np
import pytest
import torch
from evidence_runs import CLASSES, EPS, GOALS, members

from advbench.analysis.metrics import WORST_CASE
from advbench.analysis.run_analysis import RunAnalysis
from advbench.errors import UserError
from advbench.evidence.archive import change_of, read_archive
from advbench.evidence.build import make_archive
from advbench.evidence.png import noise_png, picture_png
from advbench.evidence.standalone import pixels
from advbench.models.classifier import Classifier
from advbench.records.stored_run import read_run


def test_the_same_run_gives_the_same_bytes(given):
    assert make_archive(given.run, onnx=[given.onnx]).content == given.content


def test_it_claims_every_threat_at_every_eps_and_carries_nearly_all(given):
    claims = given.archive.claims
    there = {(threat.goal, threat.norm): [level.eps for level in threat.levels] for threat in claims.threats}
    assert {goal for goal, _ in there} == set(GOALS)
    assert {norm for _, norm in there} == set(EPS)
    cells = [cell for cell in RunAnalysis.of(read_run(given.run)).cells if cell.attack == WORST_CASE]
    assert len(cells) == sum(map(len, there.values()))
    made = make_archive(given.run)
    broken, carried = (sum(getattr(each, name) for each in made.shortfalls) for name in ("broken", "carried"))
    assert 0.75 * broken <= carried <= broken
    for cell, short in zip(cells, made.shortfalls, strict=True):
        assert (short.images, short.broken) == (cell.robust.n, cell.robust.n - cell.robust.k - cell.robust.unknown)


def test_images_come_back_to_the_last_bit(given):
    archive, x = given.archive, evidence_runs.images()
    held = [i for i, each in enumerate(archive.claims.data[0].clean_class) if each is not None]
    assert len(held) >= 11
    for i in held:
        assert torch.equal(torch.from_numpy(archive.image(0, i).copy()).float() / 255, x[i])
    threat = next(t for t, each in enumerate(archive.claims.threats) if (each.goal, each.norm) == ("untargeted", "l0"))
    place = next(i for i, size in enumerate(archive.claims.threats[threat].sizes) if size)
    clean = archive.image(0, place)
    changed = (archive.adversarial(threat, place, clean) != clean).sum()
    assert changed == archive.claims.threats[threat].sizes[place]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pictures_of_any_number_of_channels_are_lossless(channels):
    import io
    import zipfile

    random = np.random.default_rng(0)
    clean, adversarial = random.integers(0, 256, (2, channels, 4, 5), np.uint8)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a.png", noise_png(change_of(clean, adversarial)))
        file.writestr("b.png", picture_png(clean))
        found = clean + pixels(file, "a.png", (channels, 4, 5)) - np.uint8(128)
        assert (pixels(file, "b.png", (channels, 4, 5)) == clean).all()
    assert (found == adversarial).all()


def test_report_and_manifest_are_those_of_the_run(given):
    files = members(given.content)
    assert json.loads(files["manifest.json"]) == json.loads((given.run / "manifest.json").read_text())
    report = json.loads(files["report.json"])
    assert report["checked"] is False
    assert {each["attack"] for each in report["method"]} == {"pgd", "fmn", "sigma_zero"}
    assert any("upper bound" in each for each in report["limits"])


def test_a_run_that_kept_some_images_says_what_is_missing(tmp_path):
    run = evidence_runs.run(tmp_path / "some", save="gallery", goals=["untargeted"], norms=["linf"])
    made = make_archive(run)
    short = [each for each in made.shortfalls if each.not_kept]
    assert short
    assert all(f"{each.not_kept} not kept by the run" in each.sentence for each in short)
    report = json.loads(members(made.content)["report.json"])
    assert short[0].sentence in report["limits"]


def test_a_run_that_kept_nothing_has_no_evidence(tmp_path):
    run = evidence_runs.run(tmp_path / "none", save="none", goals=["untargeted"], norms=["linf"])
    with pytest.raises(UserError, match='kept no images, so there is no evidence\nrun it again with save = "all"'):
        make_archive(run)


def test_a_model_that_the_run_lacks_is_told(given):
    with pytest.raises(UserError, match="has no model 'vgg'\n--model takes one of: net"):
        make_archive(given.run, model="vgg")


def test_an_archive_of_a_run_with_several_models_is_about_the_one_that_is_named(tmp_path):
    run = evidence_runs.run(tmp_path / "two", models=["net", "twin"], goals=["untargeted"], norms=["linf"])
    with pytest.raises(UserError, match="is about several models\n--model takes one of: net, twin"):
        make_archive(run)
    assert make_archive(run, model="twin").claims.model.label == "twin"


def test_images_between_the_levels_carry_what_does_not_need_the_clean_answer(tmp_path):
    x = (evidence_runs.images() + torch.rand(12, *evidence_runs.SHAPE) / 300).clamp(0, 1)
    run = evidence_runs.run(tmp_path / "between", x=x, goals=["untargeted", "topk-exclusion:2"], norms=["linf"])
    claims = make_archive(run).claims
    assert claims.data[0].clean_class == (None,) * 12
    sizes = {threat.goal: threat.sizes for threat in claims.threats}
    assert any(size is not None for size in sizes["untargeted"])
    assert not any(size is not None for size in sizes["topk-exclusion:2"])


def test_images_of_a_model_with_random_answers_are_left_out(tmp_path):
    model = Classifier(evidence_runs.Noisy(), num_classes=CLASSES)
    made = make_archive(evidence_runs.run(tmp_path / "noisy", model=model, goals=["untargeted"], norms=["linf"]))
    assert not any(size is not None for size in made.claims.threats[0].sizes)
    assert "the model's answers are random" in made.shortfalls[-1].sentence
    assert made.shortfalls[-1].not_kept == 0


def test_damaged_files_of_a_run_are_left_aside(given, tmp_path):
    run = shutil.copytree(given.run, tmp_path / "run")
    for path in sorted((run / "adv").iterdir())[::2]:
        path.write_bytes(path.read_bytes()[:-1])
    made = make_archive(run)
    (tmp_path / "evidence.zip").write_bytes(made.content)
    assert any(each.not_kept for each in made.shortfalls)
    assert read_archive(tmp_path / "evidence.zip").claims.data[0].num_classes == CLASSES


def test_a_run_under_a_mask_has_no_evidence_yet(tmp_path):
    folder = evidence_runs.run(tmp_path / "run", mask="border:1", goals=["untargeted"])
    with pytest.raises(UserError, match="confined to the mask border:1, which archives do not support yet"):
        make_archive(folder)


def test_corruptions_carry_no_claim_about_attacks(tmp_path):
    same = {"x": evidence_runs.images(4, (3, 32, 32)), "goals": ["untargeted"], "norms": ["linf"], "eps": {}}
    same |= {"attacks": [{"name": "fmn", "params": {"steps": 10}}]}
    alone = evidence_runs.run(tmp_path / "alone", **same)
    corrupted = evidence_runs.run(tmp_path / "corrupted", corruptions=["contrast", "gaussian_noise"], **same)
    assert make_archive(alone).claims.threats == make_archive(corrupted).claims.threats
