"""Tables cut long names; two that would look the same get a number, so that no row or column stands for another."""

import json
import xml.etree.ElementTree as ET

from frames import frame, images, row
from runs import a_run

from advbench.analysis.gates import evaluate
from advbench.analysis.labels.rates import label_tables
from advbench.analysis.profile.threat_rows import ThreatRow
from advbench.analysis.transfer.matrix import transfer_matrices
from advbench.config.gates import Gates
from advbench.report.junit import as_junit
from advbench.report.labels.tables import label_rows
from advbench.report.profile.lines import describe_threat, pages
from advbench.report.profile.rankings import ranking_pages
from advbench.report.transfer.tables import transfer_tables

SAME = "checkpoints/of-the-{}-network-trained-in-the-second-week-of-the-year/last.py:net"
"""Only the part differs that cutting drops."""
NAMES = [SAME.format(which) for which in ("first", "third")]


def crossed(source, model, sample="s0"):
    about = {"attack": "bsr", "params": json.dumps({"surrogate": source}), "size": 0.01}
    return row(sample, model=model, surrogate=source, surrogate_class=0, **about)


def test_models_and_surrogates_of_transfer_tables():
    rows = [crossed(source, model) for source in NAMES for model in reversed(NAMES)]
    (table,) = transfer_tables(transfer_matrices(frame(rows)))
    called = [each.name for each in table.rows]
    assert len({*called}) == 2
    assert list(table.models) == called[::-1], "a model is called the same in rows and columns"
    assert all(len(name) <= 40 for name in called)


def test_models_of_rankings():
    rows = [each | {"model": name} for name in (*NAMES, "net") for each in images([0.01, None])]
    run = a_run(rows, suite={**a_run([]).manifest["suite"], "profile": True})
    (page,) = ranking_pages(evaluate(run, Gates()).analysis.rankings)
    assert len({*page.order.headings}) == 4
    assert all(len(name) <= 30 for name in page.order.headings)


def test_models_of_profiles():
    rows = [each | {"model": name} for name in NAMES for each in images([0.01, None])]
    run = a_run(rows, suite={**a_run([]).manifest["suite"], "profile": True})
    assert len({page.title for page in pages(evaluate(run, Gates()).analysis.profiles)}) == 2


def test_masks_of_profiles():
    masks = [f"masks/{which}-masks-of-the-second-week/a-face.png" for which in ("first", "third")]
    threats = [ThreatRow(kind="mask", goal="untargeted", norm="linf", eps=0.1, mask=mask, state=None) for mask in masks]
    assert len({*map(describe_threat, threats)}) == 2


def labelled():
    """Two images with two labels each, of which an attack turns one off."""
    nothing = dict.fromkeys(("label", "clean_class", "adv_class", "clean_confidence", "adv_confidence"))
    sets = {"labels": (0, 1), "clean_labels": (0, 1), "adv_labels": (1,)}
    met = {"met": True, "linf": 0.01, "flipped": True}
    about = {"goal": "any-label-flips", "goal_labels": ()}
    return [row(f"s{place}", **nothing | sets | met | about) for place in range(2)]


def test_labels_of_label_tables():
    (rows,) = label_rows(label_tables(frame(labelled()), {"toy": NAMES}))
    assert len({texts[0] for texts in rows.rows}) == 2


def test_junit_has_a_case_for_each_label():
    run = a_run(labelled())
    run.manifest["classes"] = {"toy": ["cat", "dog"]}
    root = ET.fromstring(as_junit(evaluate(run, Gates())))
    found = {case.get("name"): case for case in root.iter("testcase") if case.get("classname") == "net.toy.labels"}
    assert [*found] == ["every label, Linf ≤ 8/255", "label cat, Linf ≤ 8/255", "label dog, Linf ≤ 8/255"]
    assert "turned off 2/2 " in found["label cat, Linf ≤ 8/255"].findtext("system-out")
    assert "turned off 0/2 " in found["label dog, Linf ≤ 8/255"].findtext("system-out")


def test_junit_has_a_case_for_each_transfer():
    rows = [*(crossed("a", model, sample) for model in ("net", "other") for sample in ("s0", "s1")), *images([None])]
    root = ET.fromstring(as_junit(evaluate(a_run(rows), Gates())))
    (suite,) = (each for each in root if each.get("name").endswith("transfer"))
    found = {case.get("classname"): case for case in suite.iter("testcase")}
    assert [*found] == ["net.toy.untargeted", "other.toy.untargeted"]
    assert {case.get("name") for case in found.values()} == {"transfer of bsr from a, Linf ≤ 8/255"}
    told = found["net.toy.untargeted"].findtext("system-out")
    assert told.startswith("success 100.0 % (2/2) ")
    assert "; clean agreement 100.0 % (2/2) " in told
