"""The pages of the guide: all there, found by their names, and readable wherever they are shown."""

import re
import subprocess
import sys

import pytest
from pages import GUIDE, PAGES

from advbench.errors import UserError
from advbench.guide.folder import index, write_pages
from advbench.guide.pages import MADE, SECTIONS, WRITTEN, in_terminal, page, pages

MOST_LINES = 130
"""Lines of a page that is written by hand: who needs more needs two pages."""


def test_every_file_is_a_page_and_every_page_a_file():
    assert {str(path.relative_to(GUIDE).with_suffix("")) for path in GUIDE.rglob("*.md")} == set(WRITTEN)


def test_the_files_are_in_the_package():
    import tomllib

    declared = tomllib.loads((GUIDE.parents[1] / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    shipped = {path for pattern in declared["advbench"] for path in GUIDE.parent.glob(pattern)}
    kept = {path for path in GUIDE.rglob("*") if path.is_file() and path.suffix in (".md", ".webp", ".svg")}
    assert kept <= shipped


def test_names_are_told_apart_by_their_last_part():
    last = [name.rpartition("/")[2] for name in pages()]
    assert len(set(last)) == len(last)
    assert {each.section for each in pages().values()} == {*SECTIONS, ""}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_page_has_one_title_and_is_short(name):
    text = pages()[name].text()
    outside = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r"^# (.+)$", outside, re.MULTILINE) == [pages()[name].title]
    assert len(text.splitlines()) <= MOST_LINES
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


@pytest.mark.parametrize(
    ("typed", "found"), [("topk", "howto/topk"), ("HOWTO/topk", "howto/topk"), ("flags.md", "reference/flags")]
)
def test_a_page_is_found_by_its_last_part(typed, found):
    assert page(typed).name == found


def test_near_misses_are_named():
    with pytest.raises(UserError, match=r"did you mean howto/topk\?"):
        page("howto/topkk")
    with pytest.raises(UserError, match=r"unknown page 'qqqq'\n`advbench guide` lists"):
        page("qqqq")


def test_commands_in_the_text_name_pages_that_exist():
    named = {topic for each in pages().values() for topic in re.findall(r"`advbench guide ([\w/-]+)`", each.text())}
    assert "reference/flags" in named
    for topic in named:
        page(topic)


def test_a_shell_leaves_the_words_of_commands_as_they_are():
    commands = [each for page in PAGES for each in re.findall(r"`(advbench [a-z][^`]*)`", page.text)]
    assert len(commands) > 40
    bare = {command: re.sub(r'"[^"]*"', "", command) for command in commands}
    assert [command for command, rest in bare.items() if re.search(r"[{*?;&|]", rest)] == []


@pytest.mark.parametrize("name", [*WRITTEN, *MADE])
def test_in_a_terminal_links_are_commands(name):
    shown = in_terminal(pages()[name].text())
    assert not re.search(r"\]\((?!https?:)", shown)
    assert "<!--" not in shown


def test_links_become_commands():
    text = "<!-- x -->\n![A cat](a.webp)\n[top-k](../howto/topk.md#x), [here](#there), [out](https://x.org)"
    assert in_terminal(text) == "*Picture: A cat*\n\ntop-k (`advbench guide topk`), here, [out](https://x.org)"


def test_a_folder_has_every_page_with_links_that_lead_somewhere(tmp_path):
    assert write_pages(tmp_path) == len(pages())
    for path in tmp_path.rglob("*.md"):
        text = path.read_text()
        assert "advbench guide reference/" not in text or path.name == "command-line.md"
        for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text):
            assert (path.parent / target).is_file(), f"{path.relative_to(tmp_path)}: {target}"


def test_the_index_names_every_page_once():
    assert re.findall(r"\]\((.+)\.md\)", index()) == list(pages())


def test_no_page_waits_for_torch():
    code = (
        "import sys; from advbench.guide.pages import pages\n"
        "assert all(len(page.text()) > 200 for page in pages().values())\n"
        "found = {'torch', 'torchvision', 'foolbox'} & set(sys.modules); assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=GUIDE.parents[1])
