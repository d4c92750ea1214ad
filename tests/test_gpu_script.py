"""`make gpu` on a machine without a GPU: it says so, and with `--device cpu` it does everything with tiny inputs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.peers import gpu
from tests.peers.gpu_page import NOTHING, page

ROOT = Path(__file__).parents[1]


def script(*options):
    command = [sys.executable, "-m", "tests.peers.gpu", *map(str, options)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_without_a_gpu_it_says_so_and_measures_nothing(tmp_path):
    done = script("--out", tmp_path)
    assert done.returncode == 2
    assert done.stderr == "error: this machine has no CUDA GPU; --device cpu tries the script on tiny inputs\n"
    assert list(tmp_path.iterdir()) == []


def test_all_parts_together_keep_to_eight_minutes(tmp_path, monkeypatch):
    now, given = [0.0], []

    def slow(name, device, seconds):
        given.append((name, seconds))
        now[0] += max(seconds, 0) + 1  # a part is killed at its limit, or a little later
        return {"rows": [], "seconds": seconds, "ended": "out of time"}

    monkeypatch.setattr(gpu, "run_part", slow)
    monkeypatch.setattr(gpu.time, "monotonic", lambda: now[0])
    gpu.measure("cuda", tmp_path)
    assert now[0] <= gpu.TOTAL == 8 * 60
    assert [name for name, _ in given] == [part.name for part in gpu.PARTS]


def test_a_part_that_hangs_is_ended_and_keeps_its_rows(monkeypatch):
    code = (
        "import json, sys, time\n"
        "with open(sys.argv[sys.argv.index('--into') + 1], 'w') as file:\n"
        "    file.write(json.dumps({'a': 1}) + '\\n{\"half'), file.flush(), time.sleep(600)\n"
    )
    real = subprocess.Popen
    started = []

    def instead(command, **given):
        started.append(real([sys.executable, "-c", code, *command[3:]], **given))
        return started[-1]

    monkeypatch.setattr(gpu.subprocess, "Popen", instead)
    found = gpu.run_part("pgd", "cpu", 3.0)
    assert (found["rows"], found["ended"]) == ([{"a": 1}], "out of time")
    assert started[0].returncode == -9


def test_a_part_without_time_is_not_begun():
    assert gpu.run_part("pgd", "cpu", 0)["ended"] == "out of time"


def test_the_published_page_is_what_the_script_writes(tmp_path):
    published = ROOT / "reports" / "gpu"
    results = json.loads((published / "gpu.json").read_text())
    assert (published / "README.md").read_text() == page(results)
    if not results:
        assert "There are no GPU figures yet" in NOTHING
        assert "there is no GPU figure yet" in (ROOT / "advbench/guide/background/limits.md").read_text()


def test_a_page_of_parts_that_failed_and_were_cut_short():
    failed = {"contestant": "torchattacks", "eps": 1e-5, "images": 2, "failed": "ModuleNotFoundError: no | here"}
    met = {"model": "net", "attack": "PGD", "images": 4, "agree": 3, "cpu": 2, "gpu": 1, "logits": 1e-6}
    tests = {"passed": 5, "failed": 1, "skipped": 0, "failures": ["test_x[pgd]"], "finished": False}
    said = page(
        {
            "device": "cuda",
            "seconds": 12.0,
            "parts": {
                "machine": {"rows": [], "seconds": 1.0, "ended": "RuntimeError: no driver"},
                "pgd": {"rows": [failed], "seconds": 80.0, "ended": "out of time"},
                "compiled": {"rows": [], "seconds": 0.0, "ended": "out of time"},
                "agreement": {"rows": [met], "seconds": 5.0, "ended": "done"},
                "workers": {"rows": [{"workers": 2, "failed": "code 2: a|b"}], "seconds": 5.0, "ended": "done"},
                "contract": {"rows": [tests], "seconds": 110.0, "ended": "out of time"},
            },
        }
    )
    assert "| torchattacks | 1e-05 |  |  |  |  | ModuleNotFoundError: no / here |" in said
    assert "This part ran out of time after 80 seconds" in said
    assert "In total, 3 of 4 verdicts are the same." in said
    assert "5 tests passed, 1 failed, 0 were skipped, and others were not reached.\n- failed: `test_x[pgd]`" in said
    assert "| 2 | code 2: a/b |" in said


@pytest.mark.slow
def test_on_a_cpu_every_part_works_with_tiny_inputs(tmp_path):
    done = script("--device", "cpu", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "gpu.json").read_text())
    parts = results["parts"]
    assert list(parts) == [part.name for part in gpu.PARTS]
    assert {name: part["ended"] for name, part in parts.items()} == dict.fromkeys(parts, "done")
    assert all(part["rows"] for part in parts.values())
    ours = [
        row
        for name in ("pgd", "compiled", "standard")
        for row in parts[name]["rows"]
        if "advbench" in row["contestant"]
    ]
    assert not [row["failed"] for row in ours if "failed" in row]
    assert all(row["unbroken"] == 1 for row in ours if row["eps"] < 1e-4)
    assert all(row["agree"] == row["images"] for row in parts["agreement"]["rows"])
    assert [row["workers"] for row in parts["workers"]["rows"]] == [1, 2]
    assert len({(row["rows"], row["met"], row["unknown"]) for row in parts["workers"]["rows"]}) == 1
    assert parts["contract"]["rows"][-1]["failed"] == 0 < parts["contract"]["rows"][-1]["passed"]
    assert "**No GPU figure**" in (tmp_path / "README.md").read_text()
