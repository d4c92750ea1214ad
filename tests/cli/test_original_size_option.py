"""`advbench attack --size original`, several attacks, and whole folders, as they are typed."""

import csv
from pathlib import Path

import fakes
import pytest
from command import attack, rows_of, run
from PIL import Image

pytestmark = pytest.mark.usefixtures("small")
PLAIN = ("--model", "tiny", "--goal", "untargeted", "--device", "cpu")


@pytest.fixture
def small(folder):
    fakes.picture(Path("photo.png"), 2, (60, 44))
    with fakes.registered():
        yield


def test_what_is_printed_and_written():
    (row,) = rows_of(attack("photo.png", "--size", "original", "--eps", "0.1", "--out", "out", "--json"))
    assert (row["met"], row["dataset"], row["files"]["adversarial.png"]) == (
        True,
        "files, original size",
        "out/adversarial.png",
    )
    assert row["read_back"]["size"] == [60, 44]
    with Image.open("out/adversarial.png") as saved:
        assert saved.size == (60, 44)
    text = attack("photo.png", "--size", "original", "--save-as", "jpeg:90", "--eps", "0.1", "--out", "two").stdout
    assert "adversarial.jpg of 60 x 44 pixels, opened again: goal met" in text
    assert "saved as jpeg:90: up to" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--save-as", "jpeg:0"), "--save-as jpeg:0 has no quality from 1 to 100"),
        (("--save-as", "jpeg:101"), "--save-as jpeg:101 has no quality from 1 to 100"),
        (("--save-as", "gif"), "is no format in which pictures are saved"),
        (("--mask", "border:2"), "--mask goes with the model's input only"),
        (("--prove",), "--prove goes with the model's input only"),
        (("--out", "photo.png/sub"), "cannot write to the folder photo.png/sub"),
        (("--kappa", "-1"), "--kappa"),
    ],
)
def test_bad_usage_ends_with_a_sentence(arguments, message):
    result = attack("photo.png", "--size", "original", *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


@pytest.mark.parametrize(("option", "value"), [("--save-as", "png"), ("--kappa", "0.5")])
def test_options_of_the_original_size_need_it(option, value):
    result = attack("photo.png", option, value)
    assert result.exit_code == 2
    assert f"{option} is for pictures attacked at their own size" in result.stderr


def test_pictures_that_cannot_be_attacked_so(folder):
    fakes.picture(folder / "less.png", 1, (20, 20))
    for name, message in (("less.png", "less than the 32 x 32 of the model's input"), ("no.png", "no such file")):
        result = attack(name, "--size", "original")
        assert result.exit_code == 2
        assert message in " ".join(result.stderr.split())


class TestSeveralAttacks:
    def test_the_smallest_wins_and_all_are_shown(self):
        arguments = ("photo.png", "--attack", "fmn,ddn,topk", "--param", "steps=10", "--out", "out")
        result = run("attack", *PLAIN, *arguments)
        assert "L2, no bound" in result.stdout
        with Path("out/attacks.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["attack"] for row in rows] == ["fmn", "ddn", "topk"]
        won = min((row for row in rows if row["met"] == "True"), key=lambda row: float(row["l2"]))
        with Path("out/record.csv").open(newline="") as file:
            (record,) = csv.DictReader(file)
        assert (record["attack"], record["l2"]) == (won["attack"], won["l2"])
        table = result.stdout.partition("attack ")[2].partition("goal ")[0]
        assert all(name in table for name in ("fmn", "ddn", "topk", "Linf", "L2", "passes"))

    def test_json_has_them_and_one_alone_has_none(self):
        (row,) = rows_of(run("attack", *PLAIN, "photo.png", "--attack", "fmn,ddn", "--out", "out", "--json"))
        assert [each["attack"] for each in row["attacks"]] == ["fmn", "ddn"]
        (row,) = rows_of(attack("photo.png", "--out", "one", "--json"))
        assert row["attacks"] == []
        assert not Path("one/attacks.csv").exists()

    def test_at_the_original_size_too(self):
        arguments = ("--attack", "pgd,fgsm", "--size", "original", "--eps", "0.1", "--out", "out", "--json")
        (row,) = rows_of(run("attack", *PLAIN, "photo.png", *arguments))
        assert row["met"]
        assert [each["attack"] for each in row["attacks"]] == ["pgd", "fgsm"]


class TestFolders:
    @pytest.fixture(autouse=True)
    def holiday(self, folder):
        for seed, (name, size) in enumerate({"a.png": (60, 44), "b.jpg": (40, 70), "c.png": (33, 32)}.items()):
            fakes.picture(folder / "holiday" / name, seed, size)
        (folder / "holiday/broken.png").write_text("no picture")
        (folder / "holiday/notes.txt").write_text("no picture either")

    @pytest.mark.parametrize("size", ["input", "original"])
    def test_one_table_a_panel_each_and_a_row_for_what_failed(self, size):
        result = attack("--batch", "holiday", "--size", size, "--eps", "0.1", "--out", "out")
        assert result.exit_code == 3
        lines = result.stdout.splitlines()
        rows = [name for name in ("a.png", "b.jpg", "broken.png", "c.png") for line in lines if line.startswith(name)]
        assert rows == ["a.png", "b.jpg", "broken.png", "c.png"]
        assert "failed" in next(line for line in lines if line.startswith("broken.png"))
        assert "this is not a JPEG" in " ".join(result.stdout.split())
        assert ("60 x 44" in result.stdout) is (size == "original")
        assert ("pixels" in lines[0]) is (size == "original")
        assert lines[-2:] == ["goal met on 3 of 3 pictures; 1 failed", "files in out"]
        assert all(Path(f"out/{name}/panel.png").is_file() for name in "abc")

    def test_without_out_there_is_one_folder(self):
        attack("--batch", "holiday")
        assert Path("reports/holiday-fgsm/a/panel.png").is_file()

    def test_an_empty_folder_is_an_error(self, folder):
        (folder / "empty").mkdir()
        result = attack("--batch", "empty")
        assert result.exit_code == 2
        assert "no pictures in this folder" in result.stderr
