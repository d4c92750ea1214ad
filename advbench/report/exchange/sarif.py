"""A run as SARIF 2.1.0, which code hosts and editors show as findings: failed gates and trust flags.

Reference:
    Static Analysis Results Interchange Format (SARIF) Version 2.1.0 Plus Errata 01, OASIS Standard, 28 August 2023
"""

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from advbench import __version__
from advbench.analysis.metrics import Cell, as_dict
from advbench.analysis.threats import Threat
from advbench.analysis.verdict import GateResult, Verdict
from advbench.errors import ExitCode
from advbench.records.flag import Flag
from advbench.report.columns import describe_place
from advbench.report.exchange.rules import LEVELS, describe_flag, rule_index, rules, taxonomy
from advbench.sanitize import display_name, slug

if TYPE_CHECKING:
    from advbench.records.stored_run import StoredRun

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
"""Address of the schema, which programs know the version by; nothing is fetched."""
_LONGEST = 1000
"""Most characters of a message."""


def as_sarif(verdict: Verdict, run: "StoredRun") -> str:
    """The report of a run: a result for each gate that failed and for each trust flag.

    The numbers, each with its counts and interval, stand in the properties of the run and of the results. A result
    points at the manifest of the run, and its logical location names model, data set, goal and norm.

    Args:
        verdict: Verdict on the run.
        run: The stored run, for its id, suite, folder and times.
    """
    whole = {
        "tool": {"driver": {"name": "advbench", "version": __version__, "rules": rules()}},
        "automationDetails": {"id": f"advbench/{slug(run.suite.name)}/{run.manifest['run_id']}"},
        "invocations": [_invocation(verdict, run)],
        "taxonomies": [taxonomy()],
        "results": [*_gates(verdict, run), *_flags(verdict, run)],
        "columnKind": "unicodeCodePoints",
        "properties": {
            "suite": run.suite.name,
            "verdict": verdict.headline,
            "cells": [_numbers(cell) for cell in verdict.analysis.cells],
            "corruptions": [each.as_dict() for each in verdict.analysis.corruptions],
        },
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [whole]}, indent=2, allow_nan=False) + "\n"


def _invocation(verdict: Verdict, run: "StoredRun") -> dict[str, Any]:
    """How the run went: whether it is complete, its exit code and its times."""
    times = {"startTimeUtc": run.manifest.get("started"), "endTimeUtc": run.manifest.get("finished")}
    found: dict[str, Any] = {name: _time(when) for name, when in times.items() if isinstance(when, float)}
    found |= {"executionSuccessful": verdict.decided, "exitCode": int(verdict.exit_code)}
    if verdict.exit_code not in (ExitCode.OK, ExitCode.FAILED):
        found["toolExecutionNotifications"] = [{"level": "error", "message": {"text": _text(verdict.headline)}}]
    return found


def _gates(verdict: Verdict, run: "StoredRun") -> Iterator[dict[str, Any]]:
    """A result for each gate that failed; one that failed for a flag is that flag's result."""
    for result in verdict.failures:
        if result.gate != "require_flags_clear":
            where = describe_place(result.threat, result.eps)
            message = f"{where}: {result.message}"
            found = _result(result.gate, "error", message, run)
            yield found | _located(found, result.threat, result.eps) | {"properties": _about(verdict, result)}


def _flags(verdict: Verdict, run: "StoredRun") -> Iterator[dict[str, Any]]:
    needed = any(result.gate == "require_flags_clear" for result in verdict.results)
    for flag in verdict.analysis.flags:
        level = "error" if needed and flag.severity in "EF" else LEVELS[flag.severity]
        found = _result(flag.id, level, describe_flag(flag), run)
        threat = Threat(flag.model, flag.dataset, "", "")
        yield (
            found
            | _located(found, threat, None, flag)
            | {"properties": {"severity": flag.severity, "value": flag.value}}
        )


def _about(verdict: Verdict, result: GateResult) -> dict[str, Any]:
    """The numbers that a gate is about: of a worst case, which is the first of its threat and eps, or a mean error."""
    if result.gate == "max_unknown":
        return {"unknown": verdict.analysis.unknown, "results": verdict.analysis.attempted}
    if result.gate == "max_corruption_error":
        errors = {(each.model, each.dataset): each.mean for each in verdict.analysis.corruptions}
        mean = errors[result.threat.model, result.threat.dataset]
        return {} if mean is None else {f"mean_{name}": value for name, value in mean._asdict().items()}
    place = (result.threat, result.eps)
    return _numbers(next(each for each in verdict.analysis.cells if (each.threat, each.eps) == place))


def _numbers(cell: Cell) -> dict[str, Any]:
    """The numbers of a cell that it has: its shares with counts and intervals."""
    return {name: value for name, value in as_dict(cell).items() if value not in (None, "")}


def _result(rule: str, level: str, message: str, run: "StoredRun") -> dict[str, Any]:
    place = {"physicalLocation": {"artifactLocation": {"uri": _address(run)}, "region": {"startLine": 1}}}
    return {
        "ruleId": rule,
        "ruleIndex": rule_index().get(rule, -1),
        "level": level,
        "message": {"text": _text(message)},
        "locations": [place],
    }


def _located(found: dict[str, Any], threat: Threat, eps: float | None, flag: Flag | None = None) -> dict[str, Any]:
    """The place of a result among the numbers, and by which it is known again in the next run."""
    parts = [*threat, "" if eps is None else f"{eps:.9g}", (flag.attack or "") if flag else ""]
    logical = {"name": display_name(threat.model), "fullyQualifiedName": "/".join(map(slug, filter(None, parts)))}
    mark = hashlib.sha256(json.dumps([found["ruleId"], *parts]).encode()).hexdigest()[:16]
    return {
        "locations": [found["locations"][0] | {"logicalLocations": [logical | {"kind": "module"}]}],
        "partialFingerprints": {"primaryLocationLineHash": f"{mark}:1"},
    }


def _address(run: "StoredRun") -> str:
    """The manifest of the run as a URI, relative where its folder was named so."""
    manifest = run.folder / "manifest.json"
    return manifest.as_uri() if manifest.is_absolute() else quote(manifest.as_posix())


def _text(message: str) -> str:
    """A message in which nothing is a link or a placeholder."""
    shown = display_name(message, limit=_LONGEST).replace("](", "] (")
    return shown.replace("{", "{{").replace("}", "}}")


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
