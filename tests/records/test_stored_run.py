"""A run's folder is read back as it was written, and what is damaged is missing, never wrong."""

import csv
import json
import shutil

import pandas as pd
import pytest
import run_folders
from run_folders import records, unit

from advbench import load_run
from advbench.errors import UserError
from advbench.records.flag import Flag
from advbench.records.record import COLUMNS, UNKNOWN
from advbench.records.storage.checksum import BLANK, sealed
from advbench.records.storage.shards import as_shard, read_shard
from advbench.records.storage.tables import as_parquet, parquet_of
from advbench.records.stored_run import gather_rows
from advbench.records.unit import FORMAT

ONE, TWO = unit(eps=1 / 255), unit(eps=2 / 255)
NOTHING = dict.fromkeys(
    ["label", "adv_class", "adv_topk", "flipped", "met", "l0", "l1", "l2", "linf", "survives_8bit", "adv_confidence"]
)


def test_frame_holds_the_rows_in_the_order_of_the_plan(tmp_path):
    rows = {TWO: records(TWO), ONE: records(ONE, met=[True, False, True])}
    run = load_run(run_folders.make(tmp_path, rows).path)
    assert run.complete
    assert run.unknown == 0
    assert tuple(run.frame.columns) == COLUMNS
    assert run.frame["eps"].tolist() == [2 / 255] * 3 + [1 / 255] * 3
    assert run.frame["met"].tolist() == [True] * 3 + [True, False, True]
    assert run.frame["clean_topk"][0] == [0]
    assert run.suite.models[0].label == "vgg16"
    assert [each.unit_id for each in run.plan] == [TWO.unit_id, ONE.unit_id]


def test_what_is_not_known_is_na(tmp_path):
    rows = {ONE: records(ONE, status=UNKNOWN, error="it crashed", **NOTHING), TWO: records(TWO)}
    run = load_run(run_folders.make(tmp_path, rows).path)
    assert run.unknown == 3
    assert run.frame.loc[:2, list(NOTHING)].isna().all().all()
    assert run.frame.loc[3:, list(NOTHING)].notna().all().all()
    types = run.frame.dtypes.astype(str)
    assert types["met"] == types["flipped"] == "boolean"
    assert types["label"] == types["adv_class"] == "Int64"
    assert types["linf"] == "float64"
    assert types["attack"] == types["model"] == "category"


def test_units_that_are_not_done_are_missing(tmp_path):
    run = load_run(run_folders.make(tmp_path, {ONE: records(ONE)}, [TWO]).path)
    assert not run.complete
    assert run.missing == {TWO.unit_id: "not done yet"}
    assert run.unknown == 3
    assert len(run.frame) == 3


@pytest.mark.parametrize(
    ("written", "why"), [('{"error": "OSError: no"}', "OSError: no"), ("[]", "not done yet"), ("{", "not done yet")]
)
def test_a_failed_check_is_missing_with_its_reason(tmp_path, written, why):
    check = unit(task="checks", attack="", goal="", norm="", eps=None)
    files = run_folders.make(tmp_path, {ONE: records(ONE)}, [check])
    files.error(check.unit_id).parent.mkdir()
    files.error(check.unit_id).write_text(written)
    assert load_run(tmp_path).missing == {check.unit_id: why}


def test_a_shard_older_than_a_column_is_read_with_nulls(tmp_path):
    files = run_folders.make(tmp_path, {ONE: records(ONE), TWO: records(TWO, status=UNKNOWN, **NOTHING)})
    path = files.shard(ONE.unit_id)
    older = read_shard(path.read_bytes(), ONE.unit_id).drop_columns("reason")
    path.write_bytes(sealed(parquet_of(older, {"unit_id": ONE.unit_id, "format": str(FORMAT), "seal": BLANK})))
    for _ in range(2):
        run = load_run(tmp_path)
        assert run.complete
        assert tuple(run.frame.columns) == COLUMNS
        assert run.frame["reason"].isna().tolist() == [True] * 3 + [False] * 3
        gather_rows(tmp_path)


def damage(how, content):
    return {
        "cut short": content[:-1],
        "emptied": b"",
        "a bit of the data": content[:100] + bytes([content[100] ^ 1]) + content[101:],
        "a bit of the footer": content[:-30] + bytes([content[-30] ^ 4]) + content[-29:],
        "another unit's": as_shard(records(TWO), TWO.unit_id),
        "the seal": content.replace(b"with-zeros-here:", b"with-zeros-here."),
    }[how]


@pytest.mark.parametrize(
    "how", ["cut short", "emptied", "a bit of the data", "a bit of the footer", "another unit's", "the seal"]
)
def test_a_damaged_shard_is_missing(tmp_path, how):
    files = run_folders.make(tmp_path, {ONE: records(ONE), TWO: records(TWO)})
    path = files.shard(ONE.unit_id)
    path.write_bytes(damage(how, path.read_bytes()))
    run = load_run(tmp_path)
    assert set(run.missing) == {ONE.unit_id}
    assert len(run.frame) == 3


def test_a_csv_is_safe_for_spreadsheets(tmp_path):
    rows = records(ONE, sample_name=["=1+1", "@x", "tiger"], error=["-2", None, "fine"])
    run = load_run(run_folders.make(tmp_path, {ONE: rows}).path)
    with run.to_csv(tmp_path / "run.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["sample_name"] for row in found] == ["'=1+1", "'@x", "tiger"]
    assert [row["error"] for row in found] == ["'-2", "", "fine"]
    assert found[0]["clean_topk"] == "[0]"
    assert found[0]["linf"] == "0.0625"


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (None, "is not the folder of a run"),
        ("{", r"cannot read .*manifest\.json"),
        ('{"format": 99}', "has format 99.*\nupgrade advbench"),
        ('{"format": 1}', "has format 1.*\nmove the folder away"),
        ("[]", "it is not the manifest of a run: it has no format"),
        (f'{{"format": {FORMAT}}}', "was changed: expected run_id, got none\nput it back"),
        (
            json.dumps({"format": FORMAT, "run_id": "r", "suite": run_folders.SUITE}),
            r"cannot read .*plan\.jsonl: there is",
        ),
    ],
)
def test_a_folder_that_is_none_is_refused(tmp_path, manifest, message):
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(UserError, match=message):
        load_run(tmp_path)


def test_a_shard_of_another_version_is_told_also_where_it_lacks_columns():
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(pa.BufferReader(as_parquet(records(unit())))).drop_columns(["attack"])
    shard = sealed(parquet_of(table, {"unit_id": "ab", "format": "1", "seal": BLANK}))
    with pytest.raises(ValueError, match=f"the file has format 1, not {FORMAT}"):
        read_shard(shard, "ab")


def test_flags_are_read(tmp_path):
    files = run_folders.make(tmp_path, {ONE: records(ONE)})
    flags = [Flag(id="M1", severity="E", model="vgg16", dataset="d", message="m", advice="a").as_dict()]
    files.flags.write_text(json.dumps(flags))
    assert load_run(tmp_path).flags == flags


def test_an_empty_run_has_an_empty_frame(tmp_path):
    run = load_run(run_folders.make(tmp_path, {}).path)
    assert isinstance(run.frame, pd.DataFrame)
    assert len(run.frame) == 0
    assert tuple(run.frame.columns) == COLUMNS


class TestGathered:
    """The rows of a run with many units, in one file beside its shards."""

    @pytest.fixture
    def files(self, tmp_path):
        """A run whose rows are gathered."""
        rows = {TWO: records(TWO), ONE: records(ONE, met=[True, False, True], label=[0, None, 2])}
        files = run_folders.make(tmp_path, rows)
        gather_rows(files.path)
        return files

    @pytest.fixture
    def expected(self, files, tmp_path_factory):
        """The frame that the shards alone give."""
        elsewhere = shutil.copytree(files.path, tmp_path_factory.mktemp("alone") / "run")
        (elsewhere / "rows.parquet").unlink()
        return load_run(elsewhere).frame

    def test_they_are_those_of_the_shards(self, files, expected, monkeypatch):
        monkeypatch.setattr("advbench.records.stored_run.read_shard", lambda *_: pytest.fail("a shard was read"))
        pd.testing.assert_frame_equal(load_run(files.path).frame, expected, check_exact=True)

    @pytest.mark.parametrize("how", ["cut short", "emptied", "a bit of the data", "a bit of the footer", "the seal"])
    def test_a_damaged_file_is_done_without(self, files, expected, how):
        files.rows.write_bytes(damage(how, files.rows.read_bytes()))
        pd.testing.assert_frame_equal(load_run(files.path).frame, expected, check_exact=True)

    @pytest.mark.parametrize("how", ["a bit of the data", "another unit's"])
    def test_a_damaged_shard_is_missing_all_the_same(self, files, how):
        path = files.shard(ONE.unit_id)
        path.write_bytes(damage(how, path.read_bytes()))
        run = load_run(files.path)
        assert set(run.missing) == {ONE.unit_id}
        assert len(run.frame) == 3

    def test_a_shard_that_was_done_again_is_believed(self, files):
        files.shard(ONE.unit_id).write_bytes(as_shard(records(ONE, met=False), ONE.unit_id))
        assert load_run(files.path).frame["met"].tolist() == [True] * 3 + [False] * 3

    def test_a_run_with_a_gap_is_not_gathered(self, tmp_path):
        files = run_folders.make(tmp_path, {ONE: records(ONE)}, [TWO])
        gather_rows(files.path)
        assert not files.rows.exists()
