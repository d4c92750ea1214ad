"""Digests of weights that nobody publishes one for are those of their first use."""

import json
from pathlib import Path

import pytest

from advbench.errors import UserError
from advbench.models.files.pins import FILE, check_pin


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADVBENCH_CACHE", str(tmp_path))
    return tmp_path


def test_the_first_digest_is_kept(cache: Path) -> None:
    check_pin("one", "ab")
    check_pin("two", "cd")
    check_pin("one", "ab")
    assert json.loads((cache / FILE).read_text()) == {"one": "ab", "two": "cd"}


def test_another_digest_is_refused(cache: Path) -> None:
    check_pin("one", "ab")
    with pytest.raises(UserError, match=r"the weights of one differ .* sha256 cd\.\.\. instead of ab\.\.\.") as error:
        check_pin("one", "cd")
    assert error.value.hint == f"if that is intended, delete their line in {cache / FILE}"


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff"])
def test_a_damaged_file_is_reported(content: bytes, cache: Path) -> None:
    (cache / FILE).write_bytes(content)
    with pytest.raises(UserError, match=r"the digests in .*pins\.json cannot be read"):
        check_pin("one", "ab")


def test_a_cache_that_cannot_be_written_is_no_reason_to_stop(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache / "file").write_text("")
    monkeypatch.setenv("ADVBENCH_CACHE", str(cache / "file"))
    check_pin("one", "ab")
