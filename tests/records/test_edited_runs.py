"""A manifest, a plan or flags that somebody edited are refused in one sentence, wherever they are read."""

import json
import re

import pytest
import run_folders
from command import refused
from run_folders import records, unit

from advbench import load_run
from advbench.errors import UserError
from advbench.records.manifest import check_manifest
from advbench.records.unit import Unit

ONE = unit(eps=1 / 255)
DEEP = "[" * 100_000


@pytest.fixture
def files(tmp_path):
    return run_folders.make(tmp_path / "run", {ONE: records(ONE)}, started=1.0, identity={"models": {}})


def edit(path, **fields):
    """Write a JSON object with other values for some of its keys; the value `None` of Python stands for null."""
    path.write_text(
        json.dumps(
            json.loads(path.read_text().splitlines()[0] if path.suffix == ".jsonl" else path.read_text()) | fields
        )
    )


MANIFESTS = {
    "suite, null": ({"suite": None}, "expected suite to be a table, got None"),
    "suite, text": ({"suite": "x"}, "expected suite to be a table, got 'x'"),
    "suite, empty": ({"suite": {}}, "its suite is invalid: name: Field required"),
    "suite, name": ({"suite": run_folders.SUITE | {"name": -1}}, "its suite is invalid: name: "),
    "suite, unknown key": ({"suite": run_folders.SUITE | {"atacks": 1}}, "its suite is invalid: atacks: "),
    "run id": ({"run_id": 3}, "expected run_id to be a text, got 3"),
    "status": ({"status": ["x"]}, r"expected status to be a text, got \['x'\]"),
    "never": ({"started": float("inf")}, "expected started to be a time in seconds, got inf"),
    "not a number": ({"finished": float("nan")}, "expected finished to be a time in seconds, got nan"),
    "before 1970": ({"started": -1}, "expected started to be a time in seconds, got -1"),
    "yes": ({"started": True}, "expected started to be a number, got True"),
    "identity": ({"identity": []}, r"expected identity to be a table, got \[\]"),
    "plugins": ({"identity": {"plugins": "x"}}, "expected identity.plugins to be a table, got 'x'"),
    "versions": ({"versions": "x"}, "expected versions to be a table, got 'x'"),
    "spared": ({"spared": {}}, "expected spared to be a list, got {}"),
}


@pytest.mark.parametrize("which", MANIFESTS)
def test_a_manifest_that_was_edited_is_refused(files, which):
    fields, message = MANIFESTS[which]
    edit(files.manifest, **fields)
    with pytest.raises(UserError, match=rf"manifest\.json was changed: {message}.*\nput it back as it was, or"):
        load_run(files.path)


@pytest.mark.parametrize("version", ["two", None, True, float("inf"), [2]], ids=str)
def test_a_version_is_a_whole_number(files, version):
    edit(files.manifest, format=version)
    with pytest.raises(UserError, match="it is not the manifest of a run: it has no format"):
        load_run(files.path)


def test_what_reads_a_manifest_needs_may_lack_but_for_two_keys():
    check_manifest({"run_id": "r", "suite": run_folders.SUITE})
    for name in ("run_id", "suite"):
        left = {key: value for key, value in {"run_id": "r", "suite": run_folders.SUITE}.items() if key != name}
        with pytest.raises(ValueError, match=f"expected {name}, got none"):
            check_manifest(left)


@pytest.mark.parametrize(
    "command",
    [("report", "--format", "html"), ("report",), ("verify",), ("watch", "--once"), ("resume",), ("evidence",)],
)
def test_every_command_says_so(files, command):
    edit(files.manifest, suite=None)
    said = refused(*command, files.path)
    assert said.startswith("error: ")
    assert "was changed: expected suite to be a table, got None" in said


PLANS = {
    "id": {"unit_id": "../../elsewhere"},
    "id, number": {"unit_id": 3},
    "task": {"task": None},
    "model": {"model": ["vgg16"]},
    "samples": {"samples": ["0"]},
    "samples, yes": {"samples": [True]},
    "ids": {"sample_ids": [3]},
    "ids, null": {"sample_ids": None},
    "eps": {"eps": "8/255"},
    "endless eps": {"eps": float("inf")},
    "seed": {"seed": 0.5},
    "look": {"look": None},
    "passes": {"passes": "many"},
    "parameters": {"params": "[]"},
    "parameters, no JSON": {"params": "{"},
    "parameters, table": {"params": {}},
    "another key": {"colour": "red"},
}


@pytest.mark.parametrize("which", PLANS)
def test_a_plan_that_was_edited_is_refused(files, which):
    edit(files.plan, **PLANS[which])
    with pytest.raises(UserError, match=r"cannot read .*plan\.jsonl: .*\nmove the folder away and start again"):
        load_run(files.path)


def test_a_unit_is_read_as_it_was_written():
    for each in (ONE, unit(eps=None), unit(samples=0, passes=3, params='{"steps":3}')):
        assert Unit.from_json(each.to_json()) == each


@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_plan_and_manifest_are_of_one_run(files, kind):
    edit(files.plan, **{kind: "another"})
    assert re.search(
        rf"plan\.jsonl and .* are not of one run: the suite has no {kind} 'another'", refused("verify", files.path)
    )


@pytest.mark.parametrize(
    "flags", [3, None, [3], [{}], [{"id": "M1"}], [{"id": None, "severity": "E"}], {"a": 1}], ids=str
)
def test_flags_that_were_edited_are_refused(files, flags):
    files.flags.write_text(json.dumps(flags))
    with pytest.raises(UserError, match=r"cannot read .*flags\.json: .*\n`advbench resume` recreates it"):
        load_run(files.path)


@pytest.mark.parametrize("name", ["manifest", "plan", "flags"])
def test_lists_in_lists_without_end_are_refused(files, name):
    getattr(files, name).write_text(DEEP)
    with pytest.raises(UserError, match="cannot read"):
        load_run(files.path)
    assert "cannot read" in refused("report", files.path)


def test_an_event_without_end_is_a_damaged_line(files):
    from advbench.records.events import EventLog

    files.events.write_text(f"{DEEP}\n")
    log = EventLog(files.events)
    assert log.new() == []
    assert log.damaged == 1
