"""Which files are taken from the paths that a person names."""

import os
import sys
from pathlib import Path

import pytest

from advbench.datasets.images.finding import find_pictures


def make(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def listed(folder, found):
    return [picture.relative_to(folder).as_posix() for picture in found.pictures]


class TestFinding:
    def test_a_folder_is_searched_in_order(self, tmp_path):
        make(tmp_path, "b.PNG", "a.jpg", "z/2.jpeg", "z/1.WebP", "m/n/o.bmp", "notes.txt", "x.gif", "jpg")
        make(tmp_path, ".hidden.png", ".cache/a.png", "m/.b/c.png")
        found = find_pictures([tmp_path])
        assert listed(tmp_path, found) == ["a.jpg", "b.PNG", "m/n/o.bmp", "z/1.WebP", "z/2.jpeg"]
        assert found.problems == ()
        assert found.passed_over == (tmp_path / "x.gif",)

    def test_files_are_taken_as_they_are_in_the_order_given(self, tmp_path):
        make(tmp_path, "b.dat", "a", ".hidden", "c.png")
        names = [tmp_path / name for name in ("c.png", "b.dat", ".hidden", "a")]
        assert find_pictures(map(str, names)).pictures == tuple(names)

    def test_a_hidden_folder_that_is_named_is_searched(self, tmp_path):
        make(tmp_path, ".cache/a.png")
        assert find_pictures([tmp_path / ".cache"]).pictures == (tmp_path / ".cache/a.png",)

    def test_one_path_alone(self, tmp_path):
        make(tmp_path, "a.png")
        assert find_pictures(str(tmp_path / "a.png")).pictures == (tmp_path / "a.png",)
        assert find_pictures(tmp_path).pictures == (tmp_path / "a.png",)

    def test_problems_do_not_stop_the_others(self, tmp_path):
        make(tmp_path, "a.png", "empty/notes.txt")
        found = find_pictures([tmp_path / "gone.png", "", "nul\0.png", tmp_path / "empty", tmp_path / "a.png"])
        assert found.pictures == (tmp_path / "a.png",)
        assert [problem.path for problem in found.problems][3] == tmp_path / "empty"
        assert [str(problem).partition("': ")[2] for problem in found.problems] == [
            "no such file or folder; check the spelling",
            "the name is empty; name a picture or a folder",
            "no file can have this name; check the spelling",
            "no pictures in this folder; only .bmp .jpeg .jpg .png .webp files are supported",
        ]

    def test_an_unreadable_folder_is_told_and_the_rest_is_read(self, tmp_path, monkeypatch):
        make(tmp_path, "a.png", "locked/b.png", "open/c.png")
        iterdir = Path.iterdir

        def forbid(path):
            if path.name == "locked":
                raise PermissionError(13, "Permission denied")
            return iterdir(path)

        monkeypatch.setattr(Path, "iterdir", forbid)
        found = find_pictures([tmp_path])
        assert listed(tmp_path, found) == ["a.png", "open/c.png"]
        assert [problem.path for problem in found.problems] == [tmp_path / "locked"]
        assert "no permission" in str(found.problems[0])
        assert [str(p).count("no permission") for p in find_pictures([tmp_path / "locked"]).problems] == [1]

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read everything")
    def test_a_folder_without_rights(self, tmp_path):
        make(tmp_path, "locked/b.png")
        (tmp_path / "locked").chmod(0)
        try:
            assert "no permission" in str(find_pictures([tmp_path]).problems[0])
        finally:
            (tmp_path / "locked").chmod(0o700)

    def test_loops_of_links_end(self, tmp_path):
        make(tmp_path, "a/b/c.png")
        (tmp_path / "a/b/up").symlink_to(tmp_path)
        (tmp_path / "a/self").symlink_to(".")
        (tmp_path / "a/round.png").symlink_to("round.png")
        found = find_pictures([tmp_path])
        assert listed(tmp_path, found) == ["a/round.png", "a/b/c.png"]
        assert found.problems == ()

    def test_linked_folders_are_searched(self, tmp_path):
        make(tmp_path, "elsewhere/a.png", "here/notes.txt")
        (tmp_path / "here/link").symlink_to(tmp_path / "elsewhere")
        assert listed(tmp_path, find_pictures([tmp_path / "here"])) == ["here/link/a.png"]

    def test_the_same_file_is_taken_once(self, tmp_path, monkeypatch):
        make(tmp_path, "a.png", "b.png")
        (tmp_path / "link.png").symlink_to("a.png")
        monkeypatch.chdir(tmp_path)
        found = find_pictures(["b.png", "./b.png", tmp_path, "link.png", tmp_path / "b.png"])
        assert found.pictures == (Path("b.png"), tmp_path / "a.png")
        assert found.problems == ()

    def test_a_folder_deeper_than_python_recurses(self, tmp_path, monkeypatch):
        depth = sys.getrecursionlimit() + 50
        monkeypatch.chdir(tmp_path)
        for _ in range(depth):
            Path("d").mkdir()
            os.chdir("d")
        Path("x.png").touch()
        try:
            assert len(find_pictures([tmp_path]).pictures) == 1
        finally:
            # Emptied from below, for what clears temporary folders may recurse.
            Path("x.png").unlink()
            for _ in range(depth):
                os.chdir("..")
                Path("d").rmdir()
