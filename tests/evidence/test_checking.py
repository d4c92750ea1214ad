"""Both checkers accept what is true, find what is not, and agree."""

import json
import subprocess
import sys

import evidence_runs
import numpy as np
import pytest
import torch
from evidence_runs import CLASSES, GOALS, as_onnx, classifier, edited, members, network
from hypothesis import given as of
from hypothesis import strategies as st

from advbench.evidence import standalone
from advbench.evidence.archive import read_archive
from advbench.evidence.build import make_archive
from advbench.evidence.checking import check_archive, goal_of
from advbench.intervals import wilson


def both(content, tmp_path, net=None, onnx=None, converted=True):
    """The problems that each of the two checkers finds."""
    (tmp_path / "evidence.zip").write_bytes(content)
    net = network() if net is None else net
    mine = check_archive(read_archive(tmp_path / "evidence.zip"), classifier(net)).problems
    theirs, _ = standalone.check(content, as_onnx(net) if onnx is None else onnx, converted)
    return mine, theirs


def test_both_find_that_every_claim_holds(given, tmp_path):
    assert both(given.content, tmp_path) == ([], [])


@pytest.mark.parametrize("labelled", [True, False])
def test_so_they_do_of_grey_images_with_and_without_labels(tmp_path, labelled):
    x = evidence_runs.images(8, (1, 6, 6))
    run = evidence_runs.run(tmp_path / "grey", x=x, labelled=labelled, norms=["linf"])
    made = make_archive(run)
    assert sum(level.fooled for threat in made.claims.threats for level in threat.levels) > 8
    net = network((1, 6, 6))
    assert both(made.content, tmp_path, net, as_onnx(net, (1, 6, 6))) == ([], [])


def test_the_checker_inside_runs_alone(given, tmp_path):
    script = tmp_path / "check.py"
    script.write_bytes(members(given.content)["check.py"])
    assert len(script.read_text().splitlines()) < 200
    command = [sys.executable, "-I", str(script), str(given.file), str(given.onnx)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "every claim holds"
    loaded = "import sys, runpy; runpy.run_path(sys.argv[1]); print({*sys.modules} & {'torch', 'advbench', 'attacks'})"
    alone = subprocess.run(
        [sys.executable, "-I", "-c", loaded, str(script)], capture_output=True, text=True, check=True
    )
    assert alone.stdout.strip() == "set()"


@pytest.mark.parametrize("how", [{"softmax": True}, {"batch": 1}, {"batch": 5}])
def test_it_takes_files_with_a_softmax_and_with_a_fixed_batch(given, tmp_path, how):
    assert standalone.check(given.content, as_onnx(network(), **how), True)[0] == []


def test_other_weights_are_told_by_digest_and_by_answers(given, tmp_path):
    net = network()
    net[3].weight.data.mul_(1.05)
    mine, theirs = both(given.content, tmp_path, net, converted=False)
    assert any("other weights" in each for each in mine)
    assert theirs[0].startswith("the model's digest is not the one in the archive")
    assert any("other weights" in each for each in theirs)


EDITS = {
    "fewer are robust": lambda c: c["threats"][0]["levels"][0].update(robust=0),
    "more are fooled": lambda c: c["threats"][0]["levels"][0].update(fooled=99),
    "another interval": lambda c: c["threats"][0]["levels"][0].update(low=0.0, high=0.001),
    "a smaller eps": lambda c: c["threats"][0]["levels"][1].update(eps=0.001),
    "another norm": lambda c: c["threats"][0].update(norm="l2"),
    "another goal": lambda c: c["threats"][0].update(goal="targeted:3"),
    "another size": lambda c: c["threats"][0].update(sizes=[s and s / 2 for s in c["threats"][0]["sizes"]]),
    "other labels": lambda c: c["data"][0].update(labels=[(y + 1) % CLASSES for y in c["data"][0]["labels"]]),
    "other classes": lambda c: c["data"][0].update(clean_class=[y and y - 1 for y in c["data"][0]["clean_class"]]),
    "other ids": lambda c: c["data"][0]["ids"].reverse(),
    "no image is wrong": lambda c: c["data"][0]["clean_class"].__setitem__(0, c["data"][0]["labels"][0]),
}


@pytest.mark.parametrize("edit", EDITS)
def test_claims_edited_with_a_right_digest_are_found_by_counting_again(given, tmp_path, edit):
    mine, theirs = both(edited(given.content, EDITS[edit]), tmp_path)
    assert mine
    assert theirs


def test_a_changed_checker_in_the_archive_is_found(given, tmp_path):
    files = members(given.content)
    files["check.py"] += b"\nprint('every claim holds')\n"
    mine, _ = both(evidence_runs.packed(files), tmp_path)
    assert mine == ["check.py in the archive is not the one of this version of advbench: do not run it"]


def test_intervals_are_those_of_the_statistics():
    for n in (1, 7, 1000):
        for k in {0, 1, n // 2, n}:
            data = {"labels": [0] * n, "clean_class": [0] * n}
            found = standalone.counted(data, {"goal": "untargeted", "sizes": [None] * k + [0.1] * (n - k)}, 0.1)
            assert (found["robust"], found["images"]) == (k, n)
            assert (found["low"], found["high"]) == tuple(round(float(end), 6) for end in wilson(k, n))


@of(st.data())
def test_margins_without_torch_are_those_of_the_attack_library(data):
    goal = data.draw(st.sampled_from(GOALS))
    logits, clean = (
        np.array(
            data.draw(st.lists(st.integers(-4, 4) | st.floats(-4, 4, width=32), min_size=6, max_size=6)), np.float64
        )
        for _ in range(2)
    )
    label = data.draw(st.integers(0, 5) | st.none())
    theirs = goal_of(goal, [label], torch.from_numpy(clean)[None]).margin(torch.from_numpy(logits)[None]).item()
    assert standalone.margin(goal, logits, clean, label) == theirs


def test_sizes_without_torch_are_those_of_the_attack_library():
    from attacks import NORMS

    change = np.random.default_rng(0).integers(-255, 256, (3, 4, 4))
    for name, norm in NORMS.items():
        expected = norm().measure(torch.from_numpy(change)[None].double() / 255).item()
        assert standalone.size_of(change, name) == pytest.approx(expected, rel=1e-12)


def test_json_of_the_claims_has_one_form(given):
    text = members(given.content)["claims.json"].decode()
    assert json.dumps(json.loads(text), sort_keys=True, separators=(",", ":")) == text == given.archive.claims.text()
