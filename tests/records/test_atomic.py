"""Files are written whole or not at all; tables come back as they went in."""

import csv
import gc
import json
from dataclasses import fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from advbench.errors import UserError
from advbench.records.record import COLUMNS, OK, UNKNOWN, Reason, Record, as_row
from advbench.records.storage.atomic import folder_for_results, write_atomic
from advbench.records.storage.tables import write_records

FULL = Record(
    run_id="r", unit_id="u", model="vgg16", weights_sha256="ab", dataset="files", sample_id="s", label=2, attack="pgd",
    params='{"steps": 40, "loss": "margin"}', goal="untargeted", norm="linf", eps=2 / 255, seed=7,
    clean_class=292, clean_confidence=0.1 + 0.2, adv_class=3, adv_confidence=1e-12,
    clean_topk=tuple(range(1200)), adv_topk=(3, 292), flipped=True, met=True,
    l0=150528.0, l1=449.5633239746094, l2=1.1776648759841919, linf=0.003149956464767456,
    forwards=202.0, backwards=200.0, seconds=17.25, survives_8bit=False, status=OK,
)  # fmt: skip
LOST = {"status": UNKNOWN, "reason": Reason.UNREADABLE}
EMPTY = Record(run_id="r", model="vgg16", dataset="files", sample_id="", attack="pgd", error='no, "x"', **LOST)
RECORDS = [FULL, EMPTY]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_writes_with_missing_folders_and_replaces(tmp_path):
    path = tmp_path / "a" / "b" / "c.bin"
    for content in (b"first", b"", b"\0second"):
        assert write_atomic(path, content) == path
        assert path.read_bytes() == content
        assert names_in(path.parent) == ["c.bin"]


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (OSError(28, "No space left on device"), UserError, r"a\.bin: No space left.*\n.*--out"),
        (KeyboardInterrupt("Ctrl-C"), KeyboardInterrupt, "Ctrl-C"),
    ],
)
@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.replace"])
def test_an_accident_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, error, expected, message, step):
    path = write_atomic(tmp_path / "a.bin", b"old")

    def fail(*_):
        raise error

    monkeypatch.setattr(step, fail)
    with pytest.raises(expected, match=message):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["a.bin"]


@pytest.mark.parametrize(
    ("name", "why"),
    [("file/x.txt", "File exists|Not a directory"), ("folder", "Is a directory|denied"), ("n" * 300, "too long")],
)
def test_what_cannot_be_written_is_said_in_a_sentence(tmp_path, name, why):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=rf"^cannot write .*: .*({why}).*\nchoose another folder with --out$"):
        write_atomic(tmp_path / name, b"")
    assert names_in(tmp_path) == ["file", "folder"]


def test_a_folder_without_results_is_removed_with_its_parents(tmp_path):
    with folder_for_results(tmp_path / "a" / "b" / "c") as folder:
        assert folder.is_dir()
        assert names_in(folder) == []
    assert names_in(tmp_path) == []


def test_also_after_an_accident(tmp_path):
    with pytest.raises(KeyboardInterrupt), folder_for_results(tmp_path / "a"):
        raise KeyboardInterrupt
    assert names_in(tmp_path) == []


def test_a_folder_with_results_stays(tmp_path):
    with folder_for_results(tmp_path / "a" / "b"):
        (tmp_path / "a" / "result").write_text("")
    assert names_in(tmp_path) == ["a"]
    assert names_in(tmp_path / "a") == ["result"]


def test_a_folder_that_was_there_before_stays(tmp_path):
    (tmp_path / "a").mkdir()
    with folder_for_results(tmp_path / "a"):
        pass
    assert names_in(tmp_path) == ["a"]


def unwritable() -> Path:
    """A folder in which nobody makes files, not even root."""
    folder = Path("/proc/self")
    if not folder.is_dir():
        pytest.skip("needs /proc")
    return folder


@pytest.mark.parametrize("place", ["a file", "below a file", "below a read-only folder", "a read-only folder"])
def test_a_folder_that_cannot_be_used_is_refused_at_once(tmp_path, place):
    (tmp_path / "file").write_text("kept")
    paths = {"a file": tmp_path / "file", "below a file": tmp_path / "file" / "x"}
    path = paths.get(place) or (unwritable() / "x" if place.startswith("below") else unwritable())
    with (
        pytest.raises(UserError, match=rf"^cannot write to the folder {path}: \w.*\nchoose another folder with --out$"),
        folder_for_results(path),
    ):
        pytest.fail("the folder was taken for a good one")
    assert (tmp_path / "file").read_text() == "kept"


def test_parquet_gives_back_what_it_was_given(tmp_path):
    parquet, _ = write_records(tmp_path / "record", RECORDS)
    table = pq.read_table(parquet)
    assert tuple(table.column_names) == COLUMNS
    rows = [as_row(record) for record in RECORDS]
    assert table.to_pylist() == [
        row | {name: list(row[name]) if row[name] else None for name in ("clean_topk", "adv_topk")} for row in rows
    ]


def test_types_do_not_depend_on_the_rows(tmp_path):
    schemas = [
        pq.read_table(write_records(tmp_path / str(i), records)[0]).schema
        for i, records in enumerate([[FULL], [EMPTY], RECORDS, []])
    ]
    assert all(schema == schemas[0] for schema in schemas)
    assert not [field.name for field in schemas[0] if pa.types.is_null(field.type)]


def test_csv_holds_the_same(tmp_path):
    _, path = write_records(tmp_path / "record", RECORDS)
    with path.open(newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert tuple(read[0]) == COLUMNS
    for row, record in zip(read, RECORDS, strict=True):
        for field in fields(Record):
            value = getattr(record, field.name)
            cell = row[field.name]
            if value is None:
                assert cell == ""
            elif isinstance(value, tuple):
                assert json.loads(cell) == list(value)
            else:
                assert type(value)(cell) == value if not isinstance(value, bool) else cell == str(value)


@pytest.mark.parametrize("text", ["=HYPERLINK()", "+1", "-1", "@x", "\tx", "\rx", "\nx", '=1,"2"'])
def test_no_cell_runs_in_a_spreadsheet(tmp_path, text):
    hostile = Record(run_id="r", model=text, dataset="files", sample_id="", attack="pgd", error=text, **LOST)
    parquet, path = write_records(tmp_path / "record", [hostile])
    with path.open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["model"] == row["error"] == f"'{text}"
    assert pq.read_table(parquet).to_pylist()[0]["error"] == text


def test_the_same_records_make_the_same_files(tmp_path):
    once, again = (write_records(tmp_path / name, RECORDS) for name in "ab")
    assert [path.read_bytes() for path in once] == [path.read_bytes() for path in again]


def test_a_damaged_table_is_noticed(tmp_path):
    parquet, _ = write_records(tmp_path / "record", [FULL] * 50)
    content = bytearray(parquet.read_bytes())
    content[content.index(b"untargeted") + 3] ^= 1
    parquet.write_bytes(content)
    with pytest.raises(OSError, match=r"(?i)checksum|crc"):
        pq.read_table(parquet, page_checksum_verification=True)


def test_no_descriptor_is_left_open(tmp_path):
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("needs /proc")
    gc.collect()  # what other tests left behind is not closed meanwhile
    before = names_in(descriptors)
    write_atomic(tmp_path / "a", b"")
    assert names_in(descriptors) == before
