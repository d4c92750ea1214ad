"""The CI job that the guide describes: photographs, a network of your own, a suite, a baseline and a gate."""

import csv
import shlex
import shutil
from pathlib import Path

import pytest
from command import run
from pages import example

PHOTOGRAPHS = Path(__file__).parents[3] / "shared/data/imagenet-sample/even"
COUNT = 200
NETS = """
import advbench


def net():
    base = advbench.load_model("efficientnet_lite0")
    return advbench.Classifier(
        base.module, num_classes=1000, mean={mean}, std={std}, classes=base.classes, preprocess=base.preprocess,
        input_size=base.input_size,
    )
"""


def shown(first: str) -> str:
    """The block of the page that begins so."""
    return example("start/ci.md", first).text


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A folder with everything that the job needs."""
    sources = [folder for folder in (PHOTOGRAPHS, *_beside_the_checkout()) if (folder / "labels.csv").is_file()]
    if not sources:
        pytest.skip("the photographs of ImageNet are not beside this checkout: shared/data/imagenet-sample")
    monkeypatch.chdir(tmp_path)
    Path("val").mkdir()
    with (sources[0] / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))[:COUNT]
    for row in rows:
        shutil.copy(sources[0] / row["file"], "val")
    with Path("val/labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["file", "wnid"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    Path("robustness.toml").write_text(shown("# robustness.toml"))
    Path("mine.py").write_text(NETS.format(mean="base.mean", std="base.std"))


def _beside_the_checkout():
    """Where the photographs are for a work tree that is not where its repository is."""
    git = Path(__file__).parents[2] / ".git"
    if git.is_file():
        yield Path(git.read_text().split()[1]).parents[3] / "shared/data/imagenet-sample/even"


@pytest.mark.slow
def test_the_job_of_the_readme(job):
    look, first, baseline, gate = (
        shlex.split(line.removeprefix("$ advbench "), comments=True)
        for line in shown("$ advbench datasets folder:val/").strip().splitlines()
    )
    said = run(*look).stdout
    assert "images   200; 64 were read" in said
    assert "200 by WordNet id" in said
    assert "no trust flag is raised" in said
    assert Path("sheet.png").is_file()
    assert run(*first).exit_code == 2  # there is no baseline yet
    assert run(*baseline).exit_code == 0
    assert run(*gate).exit_code == 0
    Path("mine.py").write_text(NETS.format(mean=0.0, std=1 / 255))  # somebody gives it values from 0 to 255
    failed = run(*[each if each != "now" else "later" for each in gate])
    assert failed.exit_code == 1
    assert "max_drop_pp" in failed.stdout
    assert "flag F D2 mine on folder: accuracy is" in " ".join(failed.stdout.split())
