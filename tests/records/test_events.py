"""The log of events, read while it grows and when it is damaged; and the pace of a run."""

import json

import pytest
from run_folders import unit

from advbench.records.events import EventLog
from advbench.records.pace import Pace
from advbench.records.run_folder import Holder, RunFolder


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path)


def test_each_call_gives_what_is_new(folder):
    log = EventLog(folder.events)
    assert log.new() == []
    folder.log("begin", unit="a", worker="1")
    folder.log("done", unit="a", seconds=2)
    assert [(event["event"], event["unit"]) for event in log.new()] == [("begin", "a"), ("done", "a")]
    assert log.new() == []
    folder.log("complete")
    assert [event["event"] for event in log.new()] == ["complete"]


def test_half_a_line_waits_for_the_other_half(folder):
    log, line = EventLog(folder.events), json.dumps({"time": 1.5, "event": "start"}).encode()
    folder.events.write_bytes(line[:10])
    assert log.new() == []
    folder.events.write_bytes(line + b"\n")
    assert log.new() == [{"time": 1.5, "event": "start"}]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"[]",
        b"null",
        b"7",
        b'{"event": "x"}',
        b'{"time": "noon", "event": "x"}',
        b'{"time": 1}',
    ],
)
def test_damaged_lines_are_counted_and_left_out(folder, line):
    folder.log("start")
    with folder.events.open("ab") as file:
        file.write(line + b"\n")
    folder.log("complete")
    log = EventLog(folder.events)
    assert [event["event"] for event in log.new()] == ["start", "complete"]
    assert log.damaged == 1


def test_a_file_that_became_shorter_is_read_again(folder):
    for _ in range(3):
        folder.log("done", unit="a")
    log = EventLog(folder.events)
    assert len(log.new()) == 3
    folder.events.unlink()
    folder.log("start")
    assert [event["event"] for event in log.new()] == ["start"]


def test_units_are_weighed_by_their_work():
    cheap, dear = (unit(4, attack=name, passes=passes) for name, passes in (("fgsm", 2.0), ("pgd", 200.0)))
    pace = Pace([cheap, cheap, dear, dear])
    assert pace.left(1.0) is None
    pace.add(cheap, 1.0)
    assert pace.left(1.0) == pytest.approx(1 + 200)  # dear ones are taken to be like the model's others, for their work
    pace.add(dear, 20.0)
    assert pace.left(21.0) == pytest.approx(1 + 20)  # and once one is done, like that one
    assert pace.left(10.5) == pytest.approx(10.5)  # two workers


def test_a_unit_that_took_no_time_gives_no_error():
    pace = Pace([unit(), unit()])
    pace.add(unit(), 0.0)
    assert pace.left(0.0) == 0


def test_a_process_of_another_machine_may_be_alive():
    assert not Holder(2**22 + 1, "another machine").gone
    assert str(Holder(7, "another machine")) == "pid 7 on another machine"


@pytest.mark.parametrize("text", ["", "pid", "\n", "x host"])
def test_a_damaged_note_of_the_holder_is_none(folder, text):
    (folder.path / ".holder").write_text(text)
    assert folder.holder is None
