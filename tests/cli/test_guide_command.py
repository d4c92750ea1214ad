"""`advbench guide`: lists pages, shows one, writes them all."""

import io

import pytest
from command import run

from advbench.guide.pages import pages


def test_without_a_topic_all_pages_are_listed():
    done = run("guide")
    assert done.exit_code == 0
    for page in pages().values():
        assert page.name in done.stdout
        assert page.title in done.stdout


def test_a_topic_is_shown_as_it_is_where_there_is_no_terminal():
    done = run("guide", "exit-codes")
    assert done.exit_code == 0
    assert done.stdout.startswith("# Exit codes\n")
    assert "| 3 | incomplete |" in done.stdout
    assert "\x1b" not in done.stdout


def test_a_terminal_gets_it_drawn(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True)
    monkeypatch.setattr("advbench.cli.guide.results", lambda: screen)
    monkeypatch.setattr("advbench.cli.console.results", lambda: screen)
    monkeypatch.setenv("COLUMNS", "80")
    assert run("guide", "topk").exit_code == 0
    lines = screen.getvalue().splitlines()
    assert "# Top-k goals" not in lines
    assert any("Top-k goals" in line for line in lines)
    assert not any("```" in line for line in lines)


def test_an_unknown_topic_is_one_sentence_with_near_misses():
    done = run("guide", "flag")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "error: unknown page 'flag'",
        "did you mean reference/flags? `advbench guide` lists all pages",
    ]


def test_all_pages_are_written(tmp_path):
    done = run("guide", "--out", str(tmp_path / "guide"))
    assert done.exit_code == 0
    assert done.stdout == ""
    assert done.stderr == f"written: {len(pages())} pages and an index in {tmp_path}/guide\n"
    assert (tmp_path / "guide" / "reference" / "flags.md").is_file()
    assert (tmp_path / "guide" / "index.md").is_file()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    done = run("guide", "--out", str(tmp_path / "file" / "guide"))
    assert done.exit_code == 2
    assert "file" in done.stderr


@pytest.mark.parametrize("topic", ["", "/", "howto/"])
def test_no_topic_worth_the_name_is_refused(topic):
    assert run("guide", topic).exit_code == 2
