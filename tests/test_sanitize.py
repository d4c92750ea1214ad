"""Names shown to people, and names of files: safe, and like what they stand for."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advbench.sanitize import display_name, slug, unique_slugs

TEXT = st.text(st.characters(), max_size=200)
"""Any text, surrogates included."""


class TestNames:
    @given(TEXT, st.integers(10, 300))
    def test_a_shown_name_is_one_printable_line_within_the_limit(self, name, limit):
        shown = display_name(name, limit=limit)
        assert shown.isprintable()
        assert len(shown) <= limit

    @given(st.text(st.characters(categories=["L", "N", "P"]), max_size=80))
    def test_a_harmless_name_is_shown_as_it_is(self, name):
        assert display_name(name) == name

    @pytest.mark.parametrize(
        ("name", "shown"),
        [
            ("\x1b[2J", r"\x1b[2J"),
            ("a\r\nb\tc", r"a\r\nb\tc"),
            ("\x7f\x9b", r"\x7f\x9b"),
            ("\u202ea\u2066b\u200f", r"\u202ea\u2066b\u200f"),
            ("\u2028\u200b\ufeff", r"\u2028\u200b\ufeff"),
            ("\U000e0041", r"\U000e0041"),
            ("Šárka & 虎 🐅.jpg", "Šárka & 虎 🐅.jpg"),
            ("x" * 81, "x" * 25 + "..." + "x" * 52),
            (Path("a/b.png"), str(Path("a/b.png"))),
        ],
    )
    def test_known_names(self, name, shown):
        assert display_name(name) == shown

    def test_a_cut_name_keeps_its_end(self):
        assert display_name("/data/" + "x" * 500 + "/tiger.jpg", limit=40).endswith("/tiger.jpg")
        with pytest.raises(ValueError, match="expected limit >= 10, got 9"):
            display_name("tiger", limit=9)

    @given(TEXT)
    def test_a_slug_is_safe_and_stays_what_it_is(self, name):
        made = slug(name)
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,79}", made)
        assert made[-1] not in ".-"
        assert slug(made) == made

    @pytest.mark.parametrize(
        ("name", "made"),
        [
            ("", "unnamed"),
            ("虎", "unnamed"),
            ("...", "unnamed"),
            ("../../etc/passwd", "etc-passwd"),
            ("-rf", "rf"),
            ("_tiger_", "_tiger_"),
            ("=HYPERLINK()", "HYPERLINK"),
            ("naïve tiger.v2", "naive-tiger.v2"),
            ("CON", "_CON"),
            ("nul.txt", "_nul.txt"),
            ("com", "com"),
            ("con" + "-" * 100 + "x", "con-x"),
            ("con" + ".-" * 60 + "x", "_con" + ".-" * 37 + "."),
            ("x" * 79 + ".-y", "x" * 79),
        ],
    )
    def test_known_slugs(self, name, made):
        assert slug(name) == made.rstrip(".-")

    @given(st.lists(st.one_of(TEXT, st.sampled_from(["a", "A", "a-2", "a-2-2", "x" * 90])), max_size=30))
    def test_unique_slugs_are_safe_and_differ_on_every_file_system(self, names):
        made = unique_slugs(names)
        assert len(made) == len(names)
        assert len({name.lower() for name in made}) == len(names)
        assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,79}", name) for name in made)
        assert made == unique_slugs(names)

    def test_known_unique_slugs(self):
        assert unique_slugs(["tiger", "tiger"]) == ["tiger", "tiger-2"]
        assert unique_slugs(["a", "a-2", "a", "A", "a"]) == ["a", "a-2", "a-3", "A-4", "a-5"]
        assert unique_slugs(["x" * 90] * 2) == ["x" * 80, "x" * 78 + "-2"]
        assert len(set(unique_slugs(["tiger"] * 20_000))) == 20_000
