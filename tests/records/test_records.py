"""A record holds what was measured: the columns that others rely on, finite numbers, null for what is not known."""

import json
import math
from dataclasses import fields, replace

import pytest

from advbench.config.budgets import NORMS
from advbench.records.record import COLUMNS, LEFT_OUT, OK, UNKNOWN, Reason, Record, as_json, as_row

DESIGNED = [
    *("run_id", "unit_id", "model", "weights_sha256", "dataset", "sample_id", "sample_name", "label"),
    *("labels", "attack", "params", "goal", "goal_labels", "surrogate", "surrogate_class", "norm", "eps", "seed"),
    *("clean_class", "clean_confidence", "adv_class", "adv_confidence", "clean_topk", "adv_topk"),
    *("clean_labels", "adv_labels", "flipped", "met"),
    *sorted(NORMS),
    *("forwards", "backwards", "seconds", "survives_8bit", "judge_draws", "met_share"),
    *("proved", "proof_bound", "proof_method", "proof_seconds", "status", "reason", "error", "form"),
]
"""The columns of a run's frame, in order: relied upon from outside. The size in each norm has a column."""

RECORD = Record(run_id="r", model="vgg16", dataset="files", sample_id="s", attack="pgd", status=OK)
NUMBERS = [field.name for field in fields(Record) if "float" in str(field.type)]


def test_columns_are_those_relied_upon():
    assert list(COLUMNS) == DESIGNED
    assert list(as_row(RECORD)) == DESIGNED


def test_what_is_not_given_is_not_known():
    row = as_row(RECORD)
    measured = DESIGNED[DESIGNED.index("clean_class") : DESIGNED.index("status")]
    assert {name: row[name] for name in ["label", "eps", *measured, "reason", "error"] if row[name] is not None} == {}


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_refuses_numbers_that_are_not_finite(name, value):
    with pytest.raises(ValueError, match=f"expected a finite {name} or None, got {value}"):
        replace(RECORD, **{name: value})


def test_what_is_unknown_has_a_reason_and_nothing_else_has():
    for reason in Reason:
        assert replace(RECORD, status=UNKNOWN, reason=reason).reason == reason
        for status in (OK, LEFT_OUT):
            with pytest.raises(ValueError, match=f"expected a reason where the status is unknown alone, got {status}"):
                replace(RECORD, status=status, reason=reason)
    with pytest.raises(ValueError, match="expected a reason where the status is unknown alone, got unknown, None"):
        replace(RECORD, status=UNKNOWN)


def test_the_reasons_are_those_relied_upon():
    assert list(Reason) == ["invalid", "no answer", "crashed", "unreadable", "time limit", "not done"]


def test_numbers_are_many():
    assert set(NUMBERS) >= {"eps", "l0", "l1", "l2", "linf", "forwards", "backwards", "seconds", "clean_confidence"}


def test_json_is_plain_and_complete():
    rows = [as_row(replace(RECORD, clean_topk=(3, 1), eps=2 / 255, error="tiger 🐅 \udcff\n"))]
    text = as_json(rows)
    assert text.isascii()
    (read,) = json.loads(text)
    assert read == rows[0] | {"clean_topk": [3, 1]}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_json_refuses_what_json_has_not(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        as_json([{"eps": value}])


def test_statuses_differ():
    assert {OK, UNKNOWN} == {"ok", "unknown"}
