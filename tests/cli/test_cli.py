"""`advbench attack` as people and scripts meet it: what it prints where, and what it writes."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import fakes
import pyarrow.parquet as pq
import pytest
from command import attack, rows_of, run

from advbench.records.record import COLUMNS

pytestmark = pytest.mark.usefixtures("fakes_registered", "without_panel")


ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests" / "support"
ADDED = [
    *("image", "clean_topk_names", "adv_topk_names", "clean_topk_confidences", "adv_topk_confidences"),
    *("met_8bit", "size_8bit", "proved_eps", "notes", "attacks", "read_back", "files"),
]


def test_prints_what_happened(folder):
    shown = run("attack", "tiger.png", "--model", "tiny")
    (row,) = rows_of(run("attack", "tiger.png", "--model", "tiny", "--json"))
    assert (shown.exit_code, shown.stderr) == (0, "")
    lines = [line.rstrip() for line in shown.stdout.splitlines()]
    assert lines[0] == "tiger.png · tiny · topk · Linf ≤ 2/255"
    assert lines[1].split() == ["before", "after"]
    for place, line in enumerate(lines[2:9]):
        before, after = (row[f"{side}_topk_confidences"][place] for side in ("clean", "adv"))
        assert line.startswith(f"{place + 1}  ")
        assert f" {before:.1%} " in line
        assert line.endswith(f" {after:.1%}")
    assert lines[9] == "goal topk-exclusion:7: met"
    assert lines[10] == f"Linf {row['linf'] * 255:.4g}/255   L2 {row['l2']:.4g}"
    assert lines[11] == f"L1 {row['l1']:.4g}   L0 {row['l0']:.0f} values"
    assert lines[12] == "8-bit PNG: goal met at Linf 1/255"
    assert re.fullmatch(r"183 forward, 200 backward passes, \d+\.\d s", lines[13])
    assert " ".join(lines[14:16]).strip().startswith("files in reports/tiger-tiny-topk: adversarial.png,")
    assert max(map(len, lines)) <= 100


def test_k_alone_is_the_k_of_top_k_exclusion(folder):
    (by_k,) = rows_of(run("attack", "tiger.png", "--model", "tiny", "--attack", "topk", "--k", "3", "--json"))
    by_goal = run("attack", "tiger.png", "--model", "tiny", "--attack", "topk", "--goal", "topk-exclusion:3", "--json")
    assert by_k["goal"] == "topk-exclusion:3"
    assert by_k["linf"] == rows_of(by_goal)[0]["linf"]
    refused = run("attack", "tiger.png", "--model", "tiny", "--k", "3", "--goal", "targeted:1")
    assert refused.exit_code == 2
    assert refused.stderr == "error: --k 3 does not go with --goal targeted:1\nleave one of them out\n"


@pytest.mark.parametrize(("out", "place"), [((), "reports/tiger-tiny-fgsm"), (("--out", "here/there"), "here/there")])
def test_files_are_where_it_says(folder, out, place):
    (row,) = rows_of(attack("tiger.png", "--json", *out))
    assert {Path(path).parent for path in row["files"].values()} == {Path(place)}
    assert sorted(row["files"]) == sorted(path.name for path in Path(place).iterdir())
    assert all(Path(place, name) == Path(path) for name, path in row["files"].items())


def test_several_pictures_and_folders_at_once(folder):
    for seed, name in enumerate(["in/b.png", "in/deep/a.PNG", "in/notes.txt.png", "other.png"]):
        fakes.picture(Path(name), seed)
    (folder / "in" / "notes.txt").write_text("no picture")
    result = attack("other.png", "in", "tiger.png", "--out", "out")
    assert result.exit_code == 0
    assert [line.split(" ·")[0] for line in result.stdout.splitlines() if " · tiny · " in line] == [
        "other.png",
        "in/b.png",
        "in/notes.txt.png",
        "in/deep/a.PNG",
        "tiger.png",
    ]
    assert re.search(r"^goal met on [0-5] of 5 pictures$", result.stdout, re.MULTILINE)
    assert len(pq.read_table("out/record.parquet")) == 5


def test_json_is_an_array_with_an_object_for_each_picture(folder):
    fakes.picture(Path("lion.png"), 2)
    result = attack("tiger.png", "lion.png", "--json", "--out", "out")
    rows = rows_of(result)
    assert [row["image"] for row in rows] == ["tiger.png", "lion.png"]
    assert all(list(row) == [*COLUMNS, *ADDED] for row in rows)
    assert result.stderr == ""
    assert result.stdout.startswith("[")
    assert pq.read_table("out/record.parquet").to_pylist() == [{name: row[name] for name in COLUMNS} for row in rows]


def test_json_stays_json_when_pictures_fail(folder):
    (folder / "empty.png").write_bytes(b"")
    fakes.picture(Path("white.png"), contrast=0)
    result = run(
        "attack", "--model", "tiny", "--attack", "crash", "tiger.png", "white.png", "empty.png", "nix.png", "--json"
    )
    assert result.exit_code == 3
    rows = {row["image"]: row for row in rows_of(result)}
    assert {image: row["status"] for image, row in rows.items()} == {
        "tiger.png": "ok",
        "white.png": "unknown",
        "empty.png": "unknown",
        "nix.png": "unknown",
    }
    for image in ("white.png", "empty.png", "nix.png"):
        assert rows[image]["met"] is None
        assert rows[image]["files"] == {}
        assert image in rows[image]["error"]
    assert len(result.stderr.splitlines()) == 3


def test_quiet_is_silent(folder):
    result = attack("tiger.png", "--quiet")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    assert Path("reports/tiger-tiny-fgsm/record.csv").is_file()


def test_quiet_json_is_json_alone(folder):
    result = attack("tiger.png", "--quiet", "--json")
    assert len(rows_of(result)) == 1
    assert result.stderr == ""


def test_quiet_does_not_hide_a_failure(folder):
    result = attack("tiger.png", "nix.png", "--quiet")
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.splitlines() == ["failed: cannot read 'nix.png': no such file or folder; check the spelling"]


def test_progress_goes_to_standard_error(folder, monkeypatch):
    monkeypatch.setattr("advbench.cli.progress._QUIET_SECONDS", 0)
    result = attack("tiger.png", "--json")
    assert len(rows_of(result)) == 1
    assert result.stderr.splitlines()[:2] == ["loading tiny (0 of 1 done)", "tiger.png: pass 1 (0 of 1 done)"]


def test_the_count_leaves_out_what_failed(folder):
    result = attack("tiger.png", "nix.png", "--eps", "0.1")
    assert "goal met on 1 of 1 picture; 1 failed" in result.stdout.splitlines()


@pytest.mark.parametrize(
    "name", ["[red]x[bold].png", "a\nb.png", "\x1b[31mred.png", "<b>&amp;.png", "=1+1.png", "虎 🐅.png"]
)
def test_a_picture_may_have_any_name(folder, name):
    Path("tiger.png").rename(name)
    shown, (row,) = attack(name, "--out", "out"), rows_of(attack(name, "--json", "--out", "out"))
    assert shown.exit_code == 0
    assert row["image"] == name
    heading = shown.stdout.splitlines()[0]
    assert heading.startswith(name if name.isprintable() else name.encode("unicode_escape").decode())
    assert "\x1b" not in shown.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no file names that are no text")
def test_a_picture_may_have_a_name_that_is_no_text(folder):
    name = os.fsdecode(b"tiger\xff.png")
    Path("tiger.png").rename(name)
    shown, (row,) = attack(name), rows_of(attack(name, "--json"))
    assert "tiger\\udcff.png" in shown.stdout
    assert row["image"] == name
    assert Path("reports/tiger-tiny-fgsm/panel.png").is_file()


@pytest.mark.parametrize("charset", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_a_terminal_may_lack_characters(folder, charset):
    Path("tiger.png").rename("虎.png")
    shown = attack("虎.png", charset=charset)
    assert shown.exit_code == 0
    assert len(rows_of(attack("虎.png", "--json", charset=charset))) == 1
    missing = attack("虎虎.png", charset=charset)
    assert missing.exit_code == 2


def test_no_colours_in_a_pipe(folder):
    assert "\x1b" not in attack("tiger.png").stdout


def environment(**variables):
    return os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{TESTS}"} | variables


def test_runs_as_a_module_from_anywhere(tmp_path):
    command = [sys.executable, "-m", "advbench", "attacks", "--json"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True)
    assert {"topk", "pgd"} <= {row["name"] for row in json.loads(done.stdout)}
    assert done.stderr == ""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is another matter on Windows")
def test_ctrl_c_in_the_middle_of_an_attack(tmp_path):
    (tmp_path / "pictures").mkdir()
    for seed in range(3):
        fakes.picture(tmp_path / "pictures" / f"{seed}.png", seed)
    code = (
        "import advbench.cli.progress as p, fakes, signal, sys\np._QUIET_SECONDS = 0\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a job in the background is born deaf to it
        "from advbench.cli.main import main\nwith fakes.registered(): main(sys.argv[1:])"
    )
    arguments = ["attack", "pictures", "--model", "tiny", "--norm", "l0", "--batch-size", "1", "--out", "out"]
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stderr:
            if line.startswith("1.png: pass 20 "):
                process.send_signal(signal.SIGINT)
                break
        rest = process.stderr.read()
    assert process.returncode == 130
    assert rest.splitlines()[-1] == "interrupted; what was finished is saved"
    assert "Traceback" not in rest
    assert len(pq.read_table(tmp_path / "out" / "record.parquet")) == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0", "record.csv", "record.parquet"]
