"""Archives of strangers end in a result or in one sentence, and harm nobody."""

import json
import struct
import zlib

import evidence_runs
import numpy as np
import pytest
from command import run
from evidence_runs import members, packed, png

from advbench.evidence import standalone

BOMB = b"\x89PNG\r\n\x1a\n" + b"".join(
    struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    for kind, data in (
        (b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(1000))),
        (b"IEND", b""),
    )
)


def with_file(content, name, replaced):
    return packed(members(content) | {name: replaced})


def with_claims(content, text):
    return with_file(content, "claims.json", text)


def with_claim(content, change):
    return evidence_runs.edited(content, change)


HOSTILE = {
    "empty": (lambda c: b"", "is not an evidence archive"),
    "text": (lambda c: b"Tyger Tyger, burning bright", "is not an evidence archive"),
    "another zip": (lambda c: packed({"a": b"b"}, seal=False)[:-64], "is not an evidence archive"),
    "no zip with a right digest": (
        lambda c: evidence_runs.sealed(b"PK" + evidence_runs.BLANK.encode()),
        "not a readable zip file",
    ),
    "a path that leaves it": (
        lambda c: packed(members(c) | {"../../evil.png": b"x"}),
        "does not contain exactly the files",
    ),
    "an absolute path": (lambda c: packed(members(c) | {"/evil": b"x"}), "does not contain exactly the files"),
    "a zip bomb": (lambda c: with_file(c, "report.json", bytes(2**26 + 1)), "larger than 64 MiB"),
    "a bomb of pixels": (
        lambda c: with_file(c, "images/0/1.png", BOMB),
        "images/0/1.png in the archive cannot be read",
    ),
    "a pickle": (lambda c: with_file(c, "images/0/1.png", b"\x80\x04cposix\nsystem\n."), "cannot be read"),
    "another size": (lambda c: with_file(c, "images/0/1.png", png(np.zeros((9, 9, 3), np.uint8))), "cannot be read"),
    "another mode": (lambda c: with_file(c, "images/0/1.png", png(np.zeros((5, 5), np.uint8))), "cannot be read"),
    "deep JSON": (lambda c: with_claims(c, b"[" * 100_000), "the claims are not readable JSON"),
    "no JSON": (lambda c: with_claims(c, b"\xff\x00"), "the claims are not readable JSON"),
    "a huge number": (lambda c: with_claims(c, b'{"format":' + b"9" * 5000 + b"}"), "not readable JSON"),
    "NaN": (
        lambda c: with_claims(c, members(c)["claims.json"].replace(b'"low":0.', b'"low":NaN,"x":0.')),
        "the claims",
    ),
    "a key twice": (
        lambda c: with_claims(c, members(c)["claims.json"][:-1] + b',"format":1}'),
        "not in their canonical form",
    ),
    "a space": (lambda c: with_claims(c, members(c)["claims.json"] + b" "), "not in their canonical form"),
    "a list": (lambda c: with_claims(c, b"[]"), "the claims are not in order"),
    "another format": (lambda c: with_claim(c, lambda d: d.update(format=2)), "the claims are not in order: format"),
    "a huge shape": (lambda c: with_claim(c, lambda d: d["data"][0].update(shape=[3, 60000, 60000])), "in order"),
    "a negative side": (lambda c: with_claim(c, lambda d: d["data"][0].update(shape=[3, -5, 5])), "data.0.shape"),
    "a label that is no class": (
        lambda c: with_claim(c, lambda d: d["data"][0]["labels"].__setitem__(1, 99)),
        "in order",
    ),
    "too few labels": (lambda c: with_claim(c, lambda d: d["data"][0]["labels"].pop()), "not in order"),
    "data that are not there": (lambda c: with_claim(c, lambda d: d["threats"][0].update(data=5)), "not in order"),
    "an unknown goal": (
        lambda c: with_claim(c, lambda d: d["threats"][0].update(goal="world peace")),
        "threats.0.goal",
    ),
    "a goal beyond the classes": (
        lambda c: with_claim(c, lambda d: d["threats"][1].update(goal="targeted:77")),
        "targeted",
    ),
    "an unknown norm": (lambda c: with_claim(c, lambda d: d["threats"][0].update(norm="l3")), "threats.0.norm"),
    "a k for all classes": (lambda c: with_claim(c, lambda d: d["threats"][0].update(goal="topk-exclusion:6")), "topk"),
    "texts for numbers": (lambda c: with_claim(c, lambda d: d["data"][0]["labels"].__setitem__(1, "3")), "the claims"),
    "unknown keys": (lambda c: with_claim(c, lambda d: d.update(pickle="x")), "the claims are not in order: pickle"),
}


@pytest.fixture
def nets(tmp_path, monkeypatch):
    """The file of the network in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(evidence_runs.NETS)
    return tmp_path


@pytest.mark.parametrize("kind", HOSTILE)
def test_it_is_refused_in_one_sentence(given, nets, kind):
    make, why = HOSTILE[kind]
    (nets / "evil.zip").write_bytes(make(given.content))
    done = run("check", "evil.zip", "--model", "nets.py:net")
    lines = [line for line in done.stderr.splitlines() if not line.startswith("note: ")]
    assert (done.exit_code, done.stdout) == (2, "")
    assert lines[0].startswith("error: ")
    assert why in lines[0]
    assert lines[0].isprintable()
    assert len(lines) <= 2
    assert sorted(each.name for each in nets.iterdir() if each.name != "__pycache__") == ["evil.zip", "nets.py"]


@pytest.mark.parametrize("kind", sorted(HOSTILE.keys() - {"unknown keys"}))  # what it does not read does not mislead it
def test_the_checker_inside_refuses_it_or_finds_that_it_does_not_hold(given, nets, capsys, kind):
    (nets / "evil.zip").write_bytes(HOSTILE[kind][0](given.content))
    assert standalone.main(["evil.zip", str(given.onnx)]) in (1, 2)
    told = capsys.readouterr().out
    assert "Traceback" not in told
    assert "every claim holds" not in told


def test_names_of_strangers_are_made_safe_to_print(given, nets, capsys):
    evil = evidence_runs.edited(given.content, lambda claims: claims["data"][0].update(label="\x1b[2Jred\nline"))
    (nets / "evil.zip").write_bytes(evil)
    done = run("check", "evil.zip", "--model", "nets.py:net")
    assert "\x1b" not in done.stdout
    standalone.main(["evil.zip", str(given.onnx)])
    assert "\x1b" not in capsys.readouterr().out


def test_a_manifest_of_strangers_names_no_file_that_is_read(given, nets):
    (nets / "secret.txt").write_text("a\nb\nc\nd\ne\nf\n")
    manifest = json.loads(members(given.content)["manifest.json"])
    manifest["suite"]["models"][0] |= {"name": "nets.py:net", "classes": "secret.txt", "mean": [0.0]}
    (nets / "evil.zip").write_bytes(with_file(given.content, "manifest.json", json.dumps(manifest).encode()))
    done = run("check", "evil.zip", "--model", "nets.py:net", "--json")
    assert "secret" not in done.output
    assert (done.exit_code, json.loads(done.stdout)["problems"]) == (0, [])
