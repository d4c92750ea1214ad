"""The pages of `tests.peers` show the numbers stored next to them: each is made again from these and compared."""

import importlib
import json
import shutil
from functools import partial

import pytest

from tests.peers.report import PEERS, REPORTS, Report

PAGES = {
    "peers/anytime": "anytime.page",
    "peers/cluster": "cluster._page",
    "peers/data_sources": "data_sources._page",
    "peers/decisions": "decisions._page",
    "peers/defences": "defences._page",
    "peers/fast": "fast._page",
    "peers/hard": "hard._page",
    "peers/optimality": "optimality_page.page",
    "peers/original_size": "original_size.page",
    "peers/overhead": "overhead._page",
    "peers/patch": "patch_page.page",
    "peers/proofs": "proofs.page",
    "peers/rankings": "rankings._page",
    "peers/scale": "scale._page",
    "peers/single": "single.page",
    "peers/sparse": "sparse._page",
    "peers/standard": "standard._page",
    "peers/steps": "steps._page",
    "peers/transfer": "transfer_page.page",
    "peers/truth": "truth.page",
    "universal/limits": "universal_limits._page",
}
"""Numbers in `reports` -> the function of `tests.peers` that makes their page."""
FRONT = {
    "peers": ("results", "page.page"),
    "gpu": ("gpu", "gpu_page.page"),
    "topk": ("results", "topk_page.page"),
    "universal": ("results", "universal_page.page"),
}
"""Folder in `reports` -> the numbers of its front page, and the function that makes it."""


def made(function, **given):
    """The function in a module of `tests.peers`."""
    name, attribute = function.split(".")
    return partial(getattr(importlib.import_module(f"tests.peers.{name}"), attribute), **given)


def assert_same(text, path):
    assert text == path.read_text(encoding="utf-8"), f"{path.name} is not what its script makes of it"


@pytest.mark.parametrize("path", PAGES)
def test_a_page_shows_the_stored_numbers(path):
    folder, name = path.split("/")
    given = {"count": 50_000} if name == "data_sources" else {}
    if name == "anytime":
        given = {"complete": json.loads((PEERS / "standard.json").read_text(encoding="utf-8"))}
    report = Report(REPORTS / folder, name, made(PAGES[path], **given))
    assert_same(report.page(report.stored()), REPORTS / f"{path}.md")


@pytest.mark.parametrize("folder", FRONT)
def test_a_front_page_shows_the_stored_numbers(folder, tmp_path):
    name, function = FRONT[folder]
    copy = tmp_path / folder
    shutil.copytree(REPORTS / folder, copy)
    given = {"folder": copy} if folder in ("topk", "universal") else {}  # their pages come with pictures
    report = Report(copy, name, made(function, **given), page_name="README")
    report.save(report.stored())
    for file in (f"{name}.json", "README.md"):
        assert_same((copy / file).read_text(encoding="utf-8"), REPORTS / folder / file)


def test_a_report_gives_back_what_was_saved(tmp_path):
    report = Report(tmp_path / "new", "numbers", lambda numbers: f"{numbers['a']}\n", indent=None)
    assert report.stored() == {}
    report.save({"a": [1, 2]})
    assert (tmp_path / "new/numbers.json").read_text() == '{"a": [1, 2]}\n'
    assert (tmp_path / "new/numbers.md").read_text() == "[1, 2]\n"
    with pytest.raises(ValueError, match="not JSON compliant"):
        report.save({"a": float("nan")})
    assert report.stored() == {"a": [1, 2]}
