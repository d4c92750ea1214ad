"""The command line as people and scripts meet it: what it prints where, what it writes, and how it ends."""

import json
import os
import re
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import fakes
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from rich.console import Console
from safetensors.torch import save_file

import advbench.pictures.attack
from advbench import __version__
from advbench.catalog import ATTACKS, MODELS
from advbench.catalog.registry import resolve
from advbench.cli import main as cli
from advbench.cli.console import results
from advbench.cli.main import main
from advbench.config.attack import AttackConfig
from advbench.config.goals import GoalSpec
from advbench.records.record import COLUMNS

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests" / "support"
ADDED = [
    *("image", "clean_topk_names", "adv_topk_names", "clean_topk_confidences", "adv_topk_confidences"),
    *("met_8bit", "size_8bit", "files"),
]
QUICK = ("--model", "tiny", "--attack", "fgsm", "--goal", "untargeted", "--device", "cpu")


@pytest.fixture(autouse=True)
def _tables():
    with fakes.registered():
        yield


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    """Without the panel, which takes longer than all the rest and has tests of its own."""
    monkeypatch.setattr("advbench.pictures.files.draw_panel", lambda *_: b"panel")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a picture ``tiger.png`` in it."""
    monkeypatch.chdir(tmp_path)
    fakes.picture(Path("tiger.png"), 1)
    return tmp_path


def run(*arguments, charset="utf-8"):
    """Run a command in this process; only exits that are meant are let through."""
    result = CliRunner(charset=charset).invoke(main, [os.fspath(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert "Traceback" not in result.output
    return result


def attack(*arguments, **options):
    return run("attack", *QUICK, *arguments, **options)


def rows_of(result):
    """The JSON that was printed, and nothing but JSON."""

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(result.stdout, parse_constant=refuse)


# what is printed


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
    assert "goal met on 1 of 1 pictures; 1 failed" in result.stdout.splitlines()


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


# options


@pytest.fixture
def asked(monkeypatch):
    """What is asked for, in place of doing it."""
    configs = []
    monkeypatch.setattr(
        advbench.pictures.attack, "attack_pictures", lambda config, progress: configs.append(config) or []
    )

    def ask(*arguments):
        assert run("attack", *arguments).exit_code == 0
        return configs[-1]

    return ask


def test_defaults(asked):
    assert asked("tiger.jpg") == AttackConfig(
        paths=("tiger.jpg",),
        model="efficientnet_lite0",
        weights=None,
        attack="topk",
        goal=GoalSpec("topk-exclusion", k=7),
        goal_named=False,
        norm="linf",
        eps=2 / 255,
        seed=0,
        device="auto",
        batch_size=16,
        out=None,
    )


@pytest.mark.parametrize(
    ("option", "field", "value"),
    [
        (("--model", "vgg16"), "model", "vgg16"),
        (("--weights", "w.pt"), "weights", Path("w.pt")),
        (("--attack", "pgd"), "attack", "pgd"),
        (("--goal", "targeted:brain coral"), "goal", GoalSpec("targeted", classes=("brain coral",))),
        (("--norm", "l2"), "norm", "l2"),
        (("--norm", "l2"), "eps", None),
        (("--eps", "8/255"), "eps", 8 / 255),
        (("--eps", "0.5"), "eps", 0.5),
        (("--seed", "12"), "seed", 12),
        (("--device", "cpu"), "device", "cpu"),
        (("--batch-size", "1"), "batch_size", 1),
        (("--out", "x y"), "out", Path("x y")),
        (("--param", "steps=9", "-p", "dual_step=0.5"), "params", {"steps": 9, "dual_step": 0.5}),
    ],
)
def test_options_are_passed_on(asked, option, field, value):
    assert getattr(asked("tiger.jpg", *option), field) == value
    assert getattr(asked(*option, "tiger.jpg"), field) == value


def test_a_seed_makes_a_run_repeatable(folder):
    noise = ("tiger.png", "--attack", "noise", "--goal", "targeted:3", "--json")
    once, again, other = (rows_of(attack(*noise, "--seed", seed))[0] for seed in "001")
    images = [Path(row["files"]["adversarial.safetensors"]) for row in (once, again, other)]
    assert {**once, "seconds": 0} == {**again, "seconds": 0}
    assert once["run_id"] != other["run_id"]
    assert images[0] == images[2]


# exit codes and messages

BOMB = b"\x89PNG\r\n\x1a\n" + b"".join(
    struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    for kind, data in (
        (b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(1000))),
        (b"IEND", b""),
    )
)


def strangers(folder):
    """Pictures as strangers send them; name -> part of what is said of it."""
    frames = [Image.new("P", (8, 8), colour) for colour in (1, 2)]
    frames[0].save(folder / "animated.gif", save_all=True, append_images=frames[1:])
    frames[0].save(folder / "animated.png", save_all=True, append_images=frames[1:])
    Image.effect_noise((64, 64), 50).save(folder / "whole.jpg")
    jpeg = (folder / "whole.jpg").read_bytes()
    (folder / "whole.jpg").unlink()
    contents = {
        "empty.png": b"",
        "text.jpg": b"Tyger Tyger, burning bright,\nIn the forests of the night",
        "cut.jpg": jpeg[: len(jpeg) // 2],
        "bomb.png": BOMB,
        "two\nlines.png": b"none",
        "[red]markup[bold].png": b"none",
        "<script>alert(1)<script>.png": b"none",
        "\x1b[2Jescape.png": b"none",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "no pictures").mkdir()
    return {
        "animated.gif": "GIF is not accepted: save it as PNG",
        "animated.png": "the picture is animated; save the frame you mean as PNG",
        "empty.png": "the file is empty",
        "text.jpg": "this is not a JPEG, PNG, WebP or BMP picture",
        "cut.jpg": "damaged or cut off",
        "bomb.png": "megapixels",
        "two\nlines.png": "this is not a JPEG",
        "[red]markup[bold].png": "this is not a JPEG",
        "<script>alert(1)<script>.png": "this is not a JPEG",
        "\x1b[2Jescape.png": "this is not a JPEG",
        "no pictures": "no pictures in this folder",
        "missing.png": "no such file or folder",
        "": "the name is empty",
    }


def test_pictures_from_strangers_get_a_line_each_and_the_others_go_on(folder):
    expected = strangers(folder)
    result = attack(*expected, "tiger.png", "--out", "out", "--json")
    assert result.exit_code == 3
    lines = result.stderr.splitlines()
    assert len(lines) == len(expected)
    assert all(line.startswith("failed: cannot read '") and line.isprintable() for line in lines)
    for name, why in expected.items():
        shown = name.encode("unicode_escape").decode()
        (line,) = (line for line in lines if line.startswith(f"failed: cannot read '{shown}'"))
        assert why in line
    rows = rows_of(result)
    assert [row["image"] for row in rows if row["status"] == "ok"] == ["tiger.png"]
    assert len(rows) == len(pq.read_table("out/record.parquet")) == len(expected) + 1


def test_if_nothing_can_be_read_the_exit_code_is_2(folder):
    expected = strangers(folder)
    result = attack(*expected, "--out", "out", "--json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == len(expected)
    assert not Path("out").exists()
    for name in expected:
        alone = attack(name, "--out", "out")
        assert (alone.exit_code, alone.stdout) == (2, "")
        assert re.fullmatch(r"error: cannot read '[^\n]*': [^\n]*\n", alone.stderr)
        assert not Path("out").exists()


def test_a_lone_crash_is_unknown_and_the_exit_code_is_3(folder):
    fakes.picture(Path("white.png"), contrast=0)
    result = run("attack", "white.png", "--model", "tiny", "--attack", "crash", "--json")
    assert result.exit_code == 3
    (row,) = rows_of(result)
    assert (row["status"], row["met"], row["clean_topk_names"], row["files"]) == ("unknown", None, [], {})
    (line,) = result.stderr.splitlines()
    assert line.startswith("failed: attack 'crash' failed on 'white.png': RuntimeError: the white one is too much; try")
    assert not Path("reports").exists()


@pytest.mark.parametrize("attack_", [name for name in fakes.CHEATS if name not in ("clean_returned", "keeps_graph")])
def test_an_attack_that_cheats_is_unknown(folder, attack_):
    result = run("attack", "tiger.png", "--model", "tiny", "--attack", attack_, "--json")
    (row,) = rows_of(result)
    assert (result.exit_code, row["status"], row["met"]) == (3, "unknown", None)


def test_an_interrupt_ends_with_130_and_what_was_finished_is_saved(folder):
    fakes.picture(Path("white.png"), contrast=0)
    result = run(
        "attack",
        "tiger.png",
        "white.png",
        "--model",
        "tiny",
        "--attack",
        "interrupt",
        "--batch-size",
        "1",
        "--out",
        "out",
        "--json",
    )
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr == "interrupted; what was finished is saved\n"
    (row,) = pq.read_table("out/record.parquet").to_pylist()
    assert row["status"] == "ok"
    assert Path("out/tiger/adversarial.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "vgg61"), "error: unknown model 'vgg61'\ndid you mean vgg16"),
        (("--attack", "dnn"), "error: unknown attack 'dnn'\ndid you mean ddn"),
        (("--goal", "topk-exclusion"), "error: goal 'topk-exclusion' needs an argument\nwrite it as topk-exclusion:K"),
        (("--goal", "tok-exclusion:7"), "error: unknown goal 'tok-exclusion:7'\ndid you mean topk-exclusion:K?"),
        (
            ("--goal", "topk-exclusion:11"),
            "error: goal 'topk-exclusion:11': k is at most 10 for the 20 classes of tiny",
        ),
        (("--goal", "targeted:tigre"), "error: tiny has no class 'tigre'\ndid you mean tiger (0)"),
        (("--goal", "targeted:20"), "error: tiny has no class '20'\n"),
        (("--goal", "ordered-topk:tiger,tiger"), "names the same class twice"),
        (
            ("--eps", "2"),
            "error: --eps 2 is more than the whole range of a pixel, which is 0 to 1\ndid you mean --eps 2/255?",
        ),
        (("--eps", "zwei"), "error: --eps 'zwei' is not a number\nwrite it like --eps 2/255"),
        (("--attack", "pgd", "--norm", "l0"), "error: attack 'pgd' works in linf, l2, l1, not in l0\nfor l0: "),
        (("--attack", "pgd", "--norm", "l2"), "error: attack 'pgd' needs a budget in l2\ngive one, such as --eps 0.5"),
        (("-p", "steps"), "error: --param 'steps' is not of the form NAME=VALUE\nsuch as steps=50"),
        (
            ("-p", "stepz=3"),
            "error: attack topk cannot be made with {'stepz': 3}: it has no parameter 'stepz'\ndid you mean steps",
        ),
        (("-p", "passes=3"), "it has no parameter 'passes'\nparameters: steps, gamma"),
        (
            ("-p", "steps=x"),
            "{'steps': 'x'}: expected steps of TopK to be a whole number, got 'x'\nsee `advbench attacks topk`",
        ),
        (("-p", "steps=0"), "expected steps of TopK > 0, got 0"),
        (("--attack", "pgd", "-p", "loss=hinge"), "expected loss of PGD to be one of margin, ce, dlr, got 'hinge'"),
        (("--attack", "pgd", "-p", "relative_step=inf"), "error: --param relative_step: inf is not a finite number"),
        (("--attack", "thorough", "-p", "first=3"), "it has no parameter 'first'\nparameters: walkers"),
        (("--attack", "foolbox/ddn", "--norm", "l2", "-p", "steps=0"), "to be a whole number from 1, got 0"),
        (
            ("--attack", "foolbox/ddn", "--norm", "l2", "-p", "norm=l2"),
            "it has no parameter 'norm'\nparameters: init_eps",
        ),
        (("--device", "abacus"), "error: device 'abacus' cannot be used here"),
        (("--batch-size", "0"), "Invalid value for '--batch-size': 0 is not in the range x>=1"),
        (("--batch-size", "two"), "Invalid value for '--batch-size': 'two' is not a valid integer"),
        (("--seed", "-1"), "Invalid value for '--seed': -1 is not in the range"),
        (("--seed", str(2**64)), "Invalid value for '--seed'"),
        (("--norm", "l7"), "Invalid value for '--norm': 'l7' is not one of 'linf', 'l2', 'l1', 'l0'"),
        (("--modell", "tiny"), "No such option: --modell"),
        (("--out",), "Option '--out' requires an argument"),
    ],
)
def test_a_mistake_is_told_before_any_work(folder, arguments, message):
    result = run("attack", "--model", "tiny", "tiger.png", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in re.sub(r"No such option '(.*?)'", r"No such option: \1", result.stderr)
    assert sorted(path.name for path in folder.iterdir()) == ["tiger.png"]


@pytest.mark.parametrize("arguments", [("attack",), ("atack", "tiger.png"), ("--nonsense",), ("models", "x")])
def test_wrong_usage_ends_with_2(arguments):
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Usage: " in result.stderr


@pytest.mark.parametrize("content", ["missing", "folder", "text", "pickle of a stranger", "other network", "no suffix"])
def test_a_wrong_weights_file_is_told_in_a_sentence(folder, content):
    path = Path("weights.pt")
    if content == "folder":
        path.mkdir()
    elif content == "text":
        path.write_text("these are no weights")
    elif content == "pickle of a stranger":
        torch.save({"model": Path}, path)
    elif content == "other network":
        path = Path("weights.safetensors")
        save_file(fakes.Net().state_dict(), path)
    elif content == "no suffix":
        path = Path("weights")
        path.write_bytes(b"x")
    result = run("attack", "tiger.png", "--model", "efficientnet_lite0", "--weights", path, "--quiet")
    assert (result.exit_code, result.stdout) == (2, "")
    assert re.match(rf"error: [^\n]*{path}[^\n]*(\n[^\n]+)*\n\Z", result.stderr)
    assert not Path("reports").exists()


@pytest.mark.parametrize("out", ["tiger.png", "tiger.png/below", "/proc/self/below", "/proc/self"])
def test_a_wrong_place_for_results_is_told_before_any_work(folder, out):
    if out.startswith("/proc") and not Path("/proc/self").is_dir():
        pytest.skip("needs /proc")
    before = Path("tiger.png").read_bytes()
    result = attack("tiger.png", "--model", "vgg16", "--out", out)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"error: cannot write to the folder {out}: ")
    assert result.stderr.endswith("choose another folder with --out\n")
    assert Path("tiger.png").read_bytes() == before


def test_missing_parents_of_out_are_made(folder):
    assert attack("tiger.png", "--out", "a/b/c").exit_code == 0
    assert Path("a/b/c/record.csv").is_file()


# lists and help

COMMANDS = [[], *([name] for name in cli.COMMANDS)]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("columns", ["80", "100", "200"])
def test_help_fits_the_screen(command, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    short, long = run(*command, "-h"), run(*command, "--help")
    assert long.exit_code == 0
    assert long.stdout == short.stdout
    assert max(map(len, long.stdout.splitlines())) < 100


def test_help_states_the_defaults():
    text = " ".join(run("attack", "--help").stdout.split()).replace("- ", "-")  # some are cut at a hyphen
    for default in (
        "[default: efficientnet_lite0]",
        "[default: topk]",
        "Default: topk-exclusion:7",
        "[default: auto]",
        "[default: 0;",
        "[default: 16;",
        "Default: reports/<image>-<model>-<attack>",
        "2/255 (the default for linf)",
        "Default: the first that the attack supports",
    ):
        assert default in text
    for option in resolve(cli.COMMANDS["attack"]).params:
        assert option.name == "paths" or option.opts[0] in text
        assert option.name == "paths" or option.help


def test_help_lists_every_command():
    text = run("--help").stdout
    assert all(re.search(rf"^  {name}  ", text, re.MULTILINE) for name in cli.COMMANDS)


def test_version():
    assert run("--version").stdout.split()[-1] == __version__


@pytest.mark.parametrize(("command", "table"), [("models", MODELS), ("attacks", ATTACKS)])
def test_lists_hold_every_name(command, table):
    shown, rows = run(command), rows_of(run(command, "--json"))
    assert shown.exit_code == 0
    assert [row["name"] for row in rows] == list(table)
    lines = shown.stdout.splitlines()
    assert max(map(len, lines)) <= 100
    first = [line.split()[0] for line in lines if line.strip()]
    assert sorted(word for word in first if word in table) == sorted(table)


def test_the_list_of_attacks_tells_norms_and_kind():
    rows = {row["name"]: row for row in rows_of(run("attacks", "--json"))}
    told = {"name": "ddn", "kind": "minimum norm", "norms": ["l2"], "summary": ATTACKS["ddn"].summary}
    assert told.items() <= rows["ddn"].items()
    assert re.search(r"^pgd +budget +linf l2 l1 ", run("attacks").stdout, re.MULTILINE)


def test_one_attack_in_full():
    (row,) = rows_of(run("attacks", "pgd", "--json"))
    assert row["faults"] == []
    assert row["parameters"][2] == {
        "name": "random_start",
        "default": True,
        "meaning": "Whether to start at a random point of the ball.",
    }
    shown = run("attacks", "pgd").stdout
    assert "norms  linf, l2, l1" in shown
    assert re.search(r"^steps +40 +Gradient steps\. *$", shown, re.MULTILINE)
    assert re.search(r"^random_start +true +Whether", shown, re.MULTILINE)
    assert "faults" not in shown


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_can_be_looked_at_in_80_columns(name, monkeypatch):
    monkeypatch.setattr("advbench.cli.listings.console", lambda: Console(width=80, file=results()))
    shown = run("attacks", name).stdout
    assert shown.startswith(name)
    assert max(map(len, shown.splitlines())) <= 80
    (row,) = rows_of(run("attacks", name, "--json"))
    assert all(each["name"] in shown for each in row["parameters"] or ())
    for fault in row["faults"]:
        assert fault.replace(" ", "") in re.sub(r"\s", "", shown)


def test_an_attack_that_is_not_there_has_a_near_miss():
    result = run("attacks", "foolbox/dnn")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "error: unknown attack 'foolbox/dnn'\ndid you mean foolbox/ddn" in result.stderr


def test_the_list_of_models_tells_what_is_needed():
    rows = {row["name"]: row for row in rows_of(run("models", "--json"))}
    assert rows["efficientnet_lite0"]["ready"] is True
    assert rows["efficientnet_lite0"]["input_size"] == 224
    assert set(rows["vgg16"]) == set(rows["efficientnet_lite0"])


# in a process of its own


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
    for seed in range(3):
        fakes.picture(tmp_path / f"{seed}.png", seed)
    code = (
        "import advbench.cli.progress as p, fakes, signal, sys\np._QUIET_SECONDS = 0\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a job in the background is born deaf to it
        "from advbench.cli.main import main\nwith fakes.registered(): main(sys.argv[1:])"
    )
    arguments = ["attack", ".", "--model", "tiny", "--norm", "l0", "--batch-size", "1", "--out", "out"]
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


def test_the_parameters_stand_in_the_record(folder):
    arguments = (
        "attack",
        "--attack",
        "pgd",
        "--goal",
        "untargeted",
        "--model",
        "tiny",
        "--device",
        "cpu",
        "--out",
        "out",
    )
    result = run(*arguments, "--json", "-p", "steps=3", "-p", "random_start=false", "--eps", "1e-6", "tiger.png")
    (row,) = json.loads(result.stdout)
    assert row["params"] == pq.read_table("out/record.parquet").to_pylist()[0]["params"]
    assert json.loads(row["params"]) == {"steps": 3, "relative_step": 0.0625, "random_start": False, "loss": "margin"}
    assert (row["status"], row["forwards"] + row["backwards"]) == ("ok", 7)
    capped = run(*arguments, "--json", "-p", "steps=3", "--max-passes", "5", "tiger.png")
    (row,) = json.loads(capped.stdout)
    assert "steps=3" in row["params"]


def test_the_parameters_of_foolbox_stand_in_the_record(folder):
    arguments = ("attack", "--attack", "foolbox/ddn", "--goal", "untargeted", "--model", "tiny", "--device", "cpu")
    (row,) = json.loads(run(*arguments, "--json", "-p", "steps=5", "-p", "time_limit=60", "tiger.png").stdout)
    made = json.loads(row["params"])
    assert (row["status"], made["parameters"]["steps"], made["time_limit"]) == ("ok", 5, 60)


def test_a_budget_cuts_the_attack_off_with_what_it_has(folder):
    arguments = ("attack", "--attack", "pgd", "--goal", "untargeted", "--model", "tiny", "--device", "cpu", "--json")
    result = run(*arguments, "--quiet", "--eps", "1e-6", "--max-passes", "9", "tiger.png")
    (row,) = json.loads(result.stdout)
    assert (row["status"], row["met"], row["forwards"] + row["backwards"]) == ("ok", False, 9)
    assert json.loads(row["params"])["max_passes"] == 9


def test_a_budget_that_is_too_small_to_know_anything_leaves_it_unknown(folder):
    result = run("attack", *QUICK, "--json", "--max-passes", "1", "tiger.png")
    (row,) = json.loads(result.stdout)
    assert (result.exit_code, row["status"], row["met"]) == (3, "unknown", None)
    assert "limit of 1 passes was reached" in row["error"]
