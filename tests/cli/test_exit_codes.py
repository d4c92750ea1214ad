"""How `advbench attack` ends: its exit codes, and the sentence for each mistake."""

import os
import re
import struct
import subprocess
import sys
import tomllib
import zlib
from pathlib import Path

import fakes
import pyarrow.parquet as pq
import pytest
import torch
from command import attack, rows_of, run
from PIL import Image
from safetensors.torch import save_file

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("fakes_registered", "without_panel")


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


def test_pictures_that_are_passed_over_in_a_folder_are_told_of(folder):
    for name in ("all/sky.tiff", "all/sea.gif"):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(folder / name)
    (folder / "tiger.png").rename(folder / "all/tiger.png")
    result = attack("all", "--out", "out", "--json")
    assert result.exit_code == 0
    assert len(rows_of(result)) == 1
    assert result.stderr.count("note: 2 pictures are skipped, such as 'all/sea.gif': only") == 1


def test_a_lone_crash_is_unknown_and_the_exit_code_is_3(folder):
    fakes.picture(Path("white.png"), contrast=0)
    result = run("attack", "white.png", "--model", "tiny", "--attack", "crash", "--json")
    assert result.exit_code == 3
    (row,) = rows_of(result)
    assert (row["status"], row["reason"], row["met"], row["files"]) == ("unknown", "crashed", None, {})
    assert len(row["clean_topk_names"]) == 7, "what the model says of the clean picture is known"
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
        (("--attack", "pgd", "-p", "loss=hinge"), "expected loss of PGD to be one of margin, ce, dlr, pm, got 'hinge'"),
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
        (("--out", "--json"), "Option '--out' requires an argument, got option '--json': write --out=--json if that"),
        (("--batch", "--quiet"), "Option '--batch' requires an argument, got option '--quiet'"),
        (("-p", "--help"), "Option '-p' requires an argument, got option '--help'"),
    ],
)
def test_a_mistake_is_told_before_any_work(folder, arguments, message):
    result = run("attack", "--model", "tiny", "tiger.png", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in re.sub(r"No such option '(.*?)'", r"No such option: \1", result.stderr)
    assert sorted(path.name for path in folder.iterdir()) == ["tiger.png"]


@pytest.mark.parametrize(
    "arguments", [("attack", "--nonsense"), ("atack", "tiger.png"), ("--nonsense",), ("models", "x", "y")]
)
def test_wrong_usage_ends_with_2(arguments):
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Usage: " in result.stderr


def test_a_value_may_be_called_like_an_option(folder):
    result = attack("--out=--json", "tiger.png")
    assert result.exit_code == 0, result.stderr
    assert "--json" in {path.name for path in folder.iterdir()}


def test_an_option_whose_value_may_be_left_out_takes_no_next_option():
    result = run("train", "lenet", "--adversarial", "--quiet", "--data-root", "nowhere")
    assert result.exit_code == 2
    assert "requires an argument" not in result.stderr


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


def test_a_run_that_is_interrupted_while_it_is_planned_does_not_say_that_it_can_be_resumed(folder, monkeypatch):
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("advbench.planning.prepare.make_plan", stop)
    Path("s.toml").write_text('models = "tiny"\ndatasets = "mnist-samples"\nattacks = "fgsm"\neps = { linf = 0.1 }\n')
    result = run("run", "s.toml", "--out", "out", "--quiet")
    assert (result.exit_code, result.stderr) == (130, "interrupted; nothing was computed yet\n")
    assert "no manifest.json" in run("resume", "out").stderr


def test_an_interrupt_before_a_command_begins_ends_with_130_too(folder, monkeypatch):
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("click.Group.make_context", stop)
    result = run("--help")
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "interrupted\n")


def _installed() -> list[str]:
    """What the installed command does."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, function = project["scripts"]["advbench"].split(":")
    return ["-c", f"import sys\nfrom {module} import {function}\nsys.exit({function}())"]


@pytest.mark.parametrize("command", [["-m", "advbench"], _installed()], ids=["module", "installed"])
def test_an_interrupt_while_python_imports_the_command_line_ends_as_quietly(tmp_path, command):
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt  # as Ctrl-C does in the middle of an import\n")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run([sys.executable, *command, "--help"], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")
