"""The pages of `tests.peers` show the numbers stored next to them: each is made again from these and compared."""

import importlib
import shutil

import pytest

from tests.peers import page
from tests.peers.rankings import _page as ranking_page
from tests.peers.report import PEERS, REPORTS, Report

PAGES = {
    "anytime": "peers/anytime",
    "cluster": "peers/cluster",
    "data_sources": "peers/data_sources",
    "decisions": "peers/decisions",
    "defences": "peers/defences",
    "fast": "peers/fast",
    "gpu": "gpu/README",
    "hard": "peers/hard",
    "int8": "peers/int8",
    "optimality": "peers/optimality",
    "original_size": "peers/original_size",
    "overhead": "peers/overhead",
    "patch": "peers/patch",
    "proofs": "peers/proofs",
    "scale": "peers/scale",
    "single": "peers/single",
    "sparse": "peers/sparse",
    "standard": "peers/standard",
    "steps": "peers/steps",
    "topk": "topk/README",
    "transfer": "peers/transfer",
    "truth": "peers/truth",
    "universal": "universal/README",
    "universal_limits": "universal/limits",
    "workers": "peers/workers",
}
"""Module of `tests.peers` -> the page in `reports` that its option "--page" makes."""
OTHERS = {"results": Report(PEERS, "results", page.page, "README"), "rankings": Report(PEERS, "rankings", ranking_page)}
"""Pages whose scripts have no such option, or need finished runs for it."""


@pytest.mark.parametrize("name", PAGES)
def test_the_option_page_makes_the_stored_page_again(name, tmp_path, monkeypatch):
    folder, _, stem = PAGES[name].partition("/")
    copy = tmp_path / folder
    shutil.copytree(REPORTS / folder, copy)
    (copy / f"{stem}.md").unlink()
    monkeypatch.setattr("sys.argv", [name, "--page", "--out", str(copy)])
    importlib.import_module(f"tests.peers.{name}").main()
    for file in copy.glob("*"):
        if file.suffix in (".md", ".json"):
            stored = (REPORTS / folder / file.name).read_text(encoding="utf-8")
            assert file.read_text(encoding="utf-8") == stored, f"{file.name} is not what its script makes of it"


@pytest.mark.parametrize("name", OTHERS)
def test_a_page_shows_the_stored_numbers(name):
    report = OTHERS[name]
    stored = (PEERS / f"{report.page_name or name}.md").read_text(encoding="utf-8")
    assert report.page(report.stored()) == stored


def test_all_pages_are_compared():
    pages = {path.relative_to(REPORTS).with_suffix("").as_posix() for path in PEERS.glob("*.md")}
    compared = set(PAGES.values()) | {f"peers/{report.page_name or name}" for name, report in OTHERS.items()}
    assert pages - compared == {"peers/profile"}  # made from a run, which is not stored


def test_a_report_gives_back_what_was_saved(tmp_path):
    report = Report(tmp_path / "new", "numbers", lambda numbers: f"{numbers['a']}\n", indent=None)
    assert report.stored() == {}
    with pytest.raises(SystemExit, match=r"has no numbers.json yet: measure first, without --page"):
        report.rewrite_page()
    report.save({"a": [1, 2]})
    assert (tmp_path / "new/numbers.json").read_text() == '{"a": [1, 2]}\n'
    assert (tmp_path / "new/numbers.md").read_text() == "[1, 2]\n"
    with pytest.raises(ValueError, match="not JSON compliant"):
        report.save({"a": float("nan")})
    assert report.stored() == {"a": [1, 2]}
    (tmp_path / "new/numbers.md").unlink()
    report.rewrite_page()
    assert (tmp_path / "new/numbers.md").read_text() == "[1, 2]\n"
