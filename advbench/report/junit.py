"""A run as JUnit XML, which every CI server reads: one test case for each number."""

import re
import xml.etree.ElementTree as ET  # only ever written, never read
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from advbench.analysis.anytime.estimate import Estimate
from advbench.analysis.compare import CORRUPTIONS
from advbench.analysis.corruptions.errors import CorruptionResults
from advbench.analysis.labels.rates import LabelTable
from advbench.analysis.metrics import WORST_CASE, Cell
from advbench.analysis.threats import WHOLE_RUN, Threat
from advbench.analysis.transfer.matrix import TransferMatrix
from advbench.analysis.verdict import GateResult, Verdict
from advbench.config.budgets import describe_norm
from advbench.report.columns import describe_left_out, describe_place, tables
from advbench.report.corruptions.tables import heat_maps
from advbench.report.labels.tables import LABEL_COLUMNS, LabelRows, label_rows
from advbench.report.transfer.tables import transfer_tables

if TYPE_CHECKING:
    from advbench.records.stored_run import StoredRun

_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_COUNTED = {"tests": "", "failures": "failure", "errors": "error", "skipped": "skipped"}
"""Attribute of a suite that counts test cases -> the element that a case counts for; empty: every case."""


def run_junit(verdict: Verdict, run: "StoredRun") -> str:
    """The report of a run, with its identity as properties.

    Args:
        verdict: Verdict on the run.
        run: The stored run, for its id, suite and versions.
    """
    known = {"run_id": run.manifest["run_id"], "suite": run.suite.name, "seed": run.suite.seed}
    known |= run.manifest.get("versions", {})
    return as_junit(verdict, [(name, str(value)) for name, value in known.items()])


def as_junit(verdict: Verdict, properties: Iterable[tuple[str, str]] = ()) -> str:
    """The report of a run.

    A failed gate is a failure of the test case of its number; an incomplete run is an error, whatever the gates say.

    Args:
        verdict: Verdict on the run.
        properties: Names and values, such as the run's id and the versions.
    """
    root, known = ET.Element("testsuites", name="advbench"), list(properties)
    for table in tables(verdict.analysis.cells):
        suite = _suite(root, table.title, known)
        _count(suite, [_case(suite, cell, _about(verdict, cell)) for cell in table.cells])
    for found, heat_map in zip(verdict.analysis.corruptions, heat_maps(verdict.analysis.corruptions), strict=True):
        suite = _suite(root, heat_map.title, known)
        _count(suite, [*_errors(suite, found), _mean_error(suite, found, heat_map.lead, verdict)])
    for labels, rows in zip(verdict.analysis.label_tables, label_rows(verdict.analysis.label_tables), strict=True):
        suite = _suite(root, rows.title, known)
        _count(suite, _labels(suite, labels, rows))
    for matrix, crossed in zip(verdict.analysis.transfer, transfer_tables(verdict.analysis.transfer), strict=True):
        suite = _suite(root, crossed.title, known)
        _count(suite, _transfer(suite, matrix))
    _of_the_run(root, verdict)
    for name in _COUNTED:
        root.set(name, str(sum(int(suite.get(name, 0)) for suite in root)))
    ET.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _suite(root: ET.Element, title: str, properties: Iterable[tuple[str, str]]) -> ET.Element:
    """A new suite of test cases, with the properties of the run."""
    suite = ET.SubElement(root, "testsuite", name=_legal(title))
    listed = ET.SubElement(suite, "properties")
    for name, value in properties:
        ET.SubElement(listed, "property", name=_legal(name), value=_legal(value))
    return suite


def _about(verdict: Verdict, cell: Cell) -> list[GateResult]:
    """The gates that failed on a number."""
    if cell.attack != WORST_CASE:
        return []
    return [result for result in verdict.failures if (result.threat, result.eps) == (cell.threat, cell.eps)]


def _case(suite: ET.Element, cell: Cell, failures: Iterable[GateResult]) -> ET.Element:
    where = f"{cell.threat.model}.{cell.threat.dataset}.{cell.threat.goal}"
    bound = describe_place(cell.threat, cell.eps).rpartition(" · ")[2]
    images = cell.robust.seen if isinstance(cell.robust, Estimate) else cell.robust.n
    seconds = (cell.seconds or 0) * images
    case = ET.SubElement(
        suite, "testcase", classname=_legal(where), name=_legal(f"{cell.attack}, {bound}"), time=f"{seconds:.3f}"
    )
    for result in failures:
        _problem(case, "failure", result.gate, result.message)
    noise = f"; under noise {cell.noise}" if cell.noise else ""
    proofs = f"; proved {cell.proved}; open {cell.open}" if cell.proved else ""
    text = (
        f"robust accuracy {cell.robust}{noise}{proofs}; success {cell.success}{describe_left_out(cell)}; {cell.params}"
    )
    ET.SubElement(case, "system-out").text = _legal(text)
    return case


def _errors(suite: ET.Element, found: CorruptionResults) -> Iterator[ET.Element]:
    """Add a test case for each corruption at each severity."""
    for name, shares in found.errors.items():
        for severity, share in shares.items():
            yield _told(suite, _where(found), f"{name}, severity {severity}", f"error {share}")


def _mean_error(suite: ET.Element, found: CorruptionResults, lead: str, verdict: Verdict) -> ET.Element:
    """Add the test case of the mean error, on which the gate for corruptions decides."""
    place = Threat(found.model, found.dataset, "", "")
    failures = [each for each in verdict.failures if (each.gate, each.threat) == ("max_corruption_error", place)]
    return _told(suite, _where(found), "mean error under corruptions", lead, failures)


def _labels(suite: ET.Element, table: LabelTable, rows: LabelRows) -> Iterator[ET.Element]:
    """Add a test case for each label of a multi-label model."""
    where, bound = f"{table.model}.{table.dataset}.labels", describe_norm(table.norm, table.eps)
    yield _told(suite, where, f"every label, {bound}", rows.lead)
    for rates, texts in zip(table.rates, rows.rows, strict=True):
        told = [f"{column.heading} {text}" for column, text in zip(LABEL_COLUMNS[1:], texts[1:], strict=True) if text]
        yield _told(suite, where, f"label {rates.name}, {bound}", "; ".join(told))


def _transfer(suite: ET.Element, found: TransferMatrix) -> Iterator[ET.Element]:
    """Add a test case for each model that candidates made on another were judged on."""
    bound = describe_norm(found.norm, found.eps)
    for (source, model), cell in found.cells.items():
        where = f"{model}.{found.dataset}.{found.goal}"
        text = f"success {cell.success}; clean agreement {cell.agreement}"
        yield _told(suite, where, f"transfer of {found.attack} from {source}, {bound}", text)


def _where(found: CorruptionResults) -> str:
    return f"{found.model}.{found.dataset}.{CORRUPTIONS}"


def _told(suite: ET.Element, where: str, name: str, text: str, failures: Iterable[GateResult] = ()) -> ET.Element:
    """Add a test case without a time of its own."""
    case = ET.SubElement(suite, "testcase", classname=_legal(where), name=_legal(name), time="0.000")
    for result in failures:
        _problem(case, "failure", result.gate, result.message)
    ET.SubElement(case, "system-out").text = _legal(text)
    return case


def _of_the_run(root: ET.Element, verdict: Verdict) -> None:
    """Add what belongs to no test case above: completeness of the run, gates about all of it, flags to be clear."""
    suite = ET.SubElement(root, "testsuite", name="run")
    case = ET.SubElement(suite, "testcase", classname="advbench", name="complete", time="0.000")
    if not verdict.decided:
        _problem(case, "error", verdict.headline.partition(":")[0].lower(), verdict.headline)
    cases = [case, *_misfits(suite, verdict)]
    cases += [
        _told(suite, "advbench", result.gate, result.message, [] if result.passed else [result])
        for result in verdict.results
        if result.threat == WHOLE_RUN
    ]
    for result in verdict.failures:
        if result.gate == "require_flags_clear":
            name = result.message.partition(":")[0]
            case = ET.SubElement(suite, "testcase", classname="advbench.records.flag", name=_legal(name), time="0.000")
            _problem(case, "failure", result.gate, result.message)
            cases.append(case)
    _count(suite, cases)


def _misfits(suite: ET.Element, verdict: Verdict) -> Iterator[ET.Element]:
    """Add a skipped test case for each pair of a model and a data set that do not fit together."""
    for misfit in verdict.analysis.misfits:
        where = f"{misfit.model}.{misfit.dataset}"
        case = ET.SubElement(suite, "testcase", classname=_legal(where), name="not run", time="0.000")
        ET.SubElement(case, "skipped", message=_legal(misfit.why))
        yield case


def _problem(case: ET.Element, kind: str, name: str, message: str) -> None:
    ET.SubElement(case, kind, type=name, message=_legal(message)).text = _legal(message)


def _count(suite: ET.Element, cases: Iterable[ET.Element]) -> None:
    every = list(cases)
    for name, kind in _COUNTED.items():
        suite.set(name, str(sum(not kind or case.find(kind) is not None for case in every)))


def _legal(text: str) -> str:
    """A text without the characters that XML cannot hold."""
    return _ILLEGAL.sub("�", text)
