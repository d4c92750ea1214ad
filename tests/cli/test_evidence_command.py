"""`advbench evidence` and `advbench check`, as somebody types them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import evidence_runs
import pytest
from command import run
from evidence_runs import as_onnx, network

from advbench.evidence import standalone


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a run in L-infinity and L2, the code of its network and an ONNX file of it."""
    folder = tmp_path_factory.mktemp("made")
    attacks = [{"name": "pgd", "params": {"steps": 10}, "norms": ["linf", "l2"]}]
    norms = ["linf", "l2"]
    eps = {norm: evidence_runs.EPS[norm] for norm in norms}
    evidence_runs.run(folder / "run", attacks=attacks, goals=["untargeted"], norms=norms, eps=eps)
    (folder / "nets.py").write_text(evidence_runs.NETS)
    (folder / "net.onnx").write_bytes(as_onnx(network()))
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    """A copy of that folder, the current one."""
    shutil.copytree(made, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def test_what_one_makes_another_checks(here):
    done = run("evidence", "run", "-o", "evidence.zip", "--onnx", "net.onnx")
    assert f"written: evidence.zip ({Path('evidence.zip').stat().st_size / 1e3:.1f} kB)" in done.stderr
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0].startswith("d, untargeted, Linf ≤ ")
    assert "robust; the run says" in lines[0]
    digest = lines[-1].split()[1]
    done = run("check", "evidence.zip", "--model", "nets.py:net", "--sha256", digest)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1].endswith("every claim holds")
    assert f"sha256 {digest}" in done.stdout
    assert standalone.main(["evidence.zip", "net.onnx"]) == 0


def test_an_onnx_file_is_the_model_if_its_digest_is_in_the_archive(here):
    run("evidence", "run", "-o", "known.zip", "--onnx", "net.onnx")
    run("evidence", "run", "-o", "unknown.zip")
    assert run("check", "known.zip", "--model", "net.onnx").exit_code == 0
    done = run("check", "unknown.zip", "--model", "net.onnx")
    assert done.exit_code == 1
    assert "problem: net.onnx has a different digest than the archive's model 'net'" in done.stdout
    done = run("check", "unknown.zip", "--model", "net.onnx", "--converted")
    assert done.exit_code == 0
    assert "compared by its outputs only" in done.stdout


def test_another_model_and_another_digest_fail(here):
    run("evidence", "run", "-o", "evidence.zip")
    done = run("check", "evidence.zip", "--model", "nets.py:other", "--json")
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert told["holds"] is False
    assert any("has a different digest" in each for each in told["problems"])
    done = run("check", "evidence.zip", "--model", "nets.py:net", "--sha256", "00")
    assert (done.exit_code, "not the one that its author published" in done.stdout) == (1, True)


def test_a_changed_file_fails_in_one_sentence(here):
    run("evidence", "run", "-o", "evidence.zip")
    content = bytearray(Path("evidence.zip").read_bytes())
    content[100] ^= 1
    Path("evidence.zip").write_bytes(bytes(content))
    done = run("check", "evidence.zip", "--model", "nets.py:net")
    assert (done.exit_code, done.stdout) == (1, "evidence.zip was truncated or changed after it was made\n")


def test_without_the_model_rounding_loses_what_a_search_finds_again(here):
    plain = run("evidence", "run", "-o", "plain.zip")
    assert "not fooled within eps once rounded to 8 bits" in plain.stderr
    assert "advbench evidence --search" in plain.stderr
    # the run was given its network as an object; the suite of a run of one's own code names its file
    manifest = json.loads(Path("run/manifest.json").read_text())
    manifest["suite"]["models"][0] |= {"name": "nets.py:net", "input_size": 5}
    manifest["suite"]["datasets"][0]["name"] = "mnist-samples"
    Path("run/manifest.json").write_text(json.dumps(manifest))
    refused = run("evidence", "run", "-o", "found.zip", "--search")
    assert (refused.exit_code, "--allow-code" in refused.stderr) == (2, True)
    found = run("evidence", "run", "-o", "found.zip", "--search", "--allow-code")
    assert found.exit_code == 0, found.output
    assert found.stderr.count("once rounded") < plain.stderr.count("once rounded")
    assert run("check", "found.zip", "--model", "nets.py:net").exit_code == 0


def test_it_is_signed_and_verified(here):
    pytest.importorskip("cryptography")
    from key_files import write_keys

    write_keys(here)
    assert run("evidence", "run", "-o", "evidence.zip", "--sign", "key.pem").exit_code == 0
    assert run("check", "evidence.zip", "--model", "nets.py:net", "--public-key", "key.pub").exit_code == 0
    run("evidence", "run", "-o", "unsigned.zip")
    done = run("check", "unsigned.zip", "--model", "nets.py:net", "--public-key", "key.pub")
    assert (done.exit_code, "problem: the archive is not signed" in done.stdout) == (1, True)
    assert run("evidence", "run", "--sign", "none.pem").exit_code == 2


def test_an_archive_is_made_without_torch(here):
    script = (
        "import sys\nfrom advbench.cli.main import main\n"
        "main(['evidence', 'run', '-o', 'evidence.zip'], standalone_mode=False)\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize("arguments", [("evidence", "none"), ("check", "none.zip", "--model", "nets.py:net")])
def test_what_is_not_there_is_told(here, arguments):
    done = run(*arguments)
    assert done.exit_code == 2
    assert "error: " in done.stderr
