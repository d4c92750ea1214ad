"""The HTML report of runs in which everything, or nothing, was broken, and figures whose words have little room."""

import json
import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pytest
from frames import frame, images, row, unknown
from runs import MANIFEST, write_run
from test_page import FLAG, page, text_of, with_pictures

from advbench.analysis.threats import gather
from advbench.records.stored_run import read_run
from advbench.report.html.figures import curves, histogram
from advbench.report.html.gallery import gallery

SVG = "{http://www.w3.org/2000/svg}"


def kinds(folder):
    found = gallery(read_run(folder), MANIFEST["classes"])
    return {name: {picture.name for picture in found if picture.kind == name} for name in ("smallest", "unbroken")}


@pytest.mark.parametrize(
    ("other", "unbroken"),
    [
        (images([0.01, 0.02], eps=0.1), set()),
        (images([None, 0.02], eps=0.1), {"s0"}),
        (images([0.02, None], attack="noise"), {"s1"}),
        (images([0.01, None], attack="fmn", eps=None), {"s1"}),
        (images([0.2, 0.3], attack="fmn", eps=None), {"s0", "s1"}),  # beyond every budget of the threat
        (images([0.2, 0.3], goal="topk-exclusion:3", attack="fmn", eps=None), set()),
    ],
    ids=["larger-eps", "one-left", "noise", "within", "beyond", "no-budget"],
)
def test_what_was_broken_elsewhere_is_not_called_never_broken(tmp_path, other, unbroken):
    folder = with_pictures(tmp_path / "run", [*images([None, None]), *other])
    assert kinds(folder)["unbroken"] == unbroken - kinds(folder)["smallest"]


def test_what_an_attack_failed_on_is_not_called_never_broken(tmp_path):
    rows = [*images([None, None]), unknown("s0", attack="apgd"), row("s1", attack="apgd")]
    assert kinds(with_pictures(tmp_path / "run", rows))["unbroken"] == {"s1"}


def test_what_is_wrong_when_clean_is_not_called_never_broken(tmp_path):
    rows = [row("s0", label=1, met=False), row("s1")]
    assert kinds(with_pictures(tmp_path / "run", rows))["unbroken"] == {"s1"}


@pytest.mark.parametrize("save", ["none", "gallery"])
def test_without_pictures_only_a_run_that_may_keep_them_is_told_how(tmp_path, save):
    text = text_of(page(write_run(tmp_path / "run", images([None]), save=save)))
    assert "No adversarial images were kept with this run" in text
    assert ("keeps the most informative ones" in text) is (save == "none")


def test_noise_and_corruptions_are_not_counted_as_attacks(tmp_path):
    rows = [
        *images([0.01]),
        *images([None], attack="noise"),
        *(
            each
            for severity in (1, 5)
            for each in images([None], attack="corruption/fog", eps=None, params=f'{{"severity": {severity}}}')
        ),
    ]
    assert "1 data set · 1 attack · 1 corruption · 1 image" in text_of(page(write_run(tmp_path / "run", rows)))


@pytest.mark.parametrize("count", [3, 4])
def test_many_flags_that_are_good_to_know_are_folded_away(tmp_path, count):
    folder = with_pictures(tmp_path / "run", images([0.01, 0.02]))
    # the report itself adds A12, since the only attack uses gradients
    minor = [FLAG | {"severity": "I", "attack": f"a{number}"} for number in range(count - 1)]
    (folder / "flags.json").write_text(json.dumps([*minor, FLAG | {"severity": "F"}]))
    html = page(folder)
    assert html.count('<li class="flag I">') == count
    folded = html.partition(f"{count} flags of severity I")[2].partition("</details>")[0]
    assert folded.count('<li class="flag I">') == (count if count > 3 else 0)
    assert '<li class="flag F">' not in folded


def test_sentences_of_the_legend_are_apart(tmp_path):
    write_run(tmp_path / "run", images([None]) + images([None], attack="proof", proved=True))
    flag = '[{"id": "M4", "severity": "F", "model": "net", "dataset": "toy", "attack": null, "value": null, '
    (tmp_path / "run" / "flags.json").write_text(flag + '"message": "m", "advice": "a"}]')
    assert re.search(r"fooled\.</span>\s+A dashed frame", page(tmp_path / "run"))


def test_no_histogram_where_nothing_was_found():
    (evidence,) = gather(frame(images([None, None], attack="fmn", eps=None)))
    assert histogram(evidence) is None


@pytest.mark.parametrize("sizes", [[0.1, None], [0.01, 0.02, 0.5, 0.5, 0.5, None], [0.01, 0.01, 0.5]])
def test_the_words_of_a_histogram_do_not_overlap_or_leave_it(sizes):
    (evidence,) = gather(frame(images(sizes, attack="fmn", eps=None)))
    root = ET.fromstring(histogram(evidence).svg)
    width = float(root.get("viewBox").split()[2])
    boxes = []
    for text in root.iter(f"{SVG}text"):
        if text.text.startswith(("median", "none found")):
            x = float(text.get("x") or text.get("transform").partition("(")[2].split()[0].strip(","))
            long = 4.6 * len(text.text)  # of letters of 8.5 points
            start = x - {"end": long, "middle": long / 2}.get(
                text.get("style").partition("anchor: ")[2].split(";")[0], 0
            )
            boxes.append((start, start + long, float(text.get("y") or text.get("transform").split()[1].strip(")"))))
    assert all(start >= 0 and end <= width for start, end, _ in boxes)
    assert all(abs(one[2] - other[2]) > 8 for one, other in pairwise(boxes))


def test_no_line_passes_below_the_worst_case():
    rows = [*images([None, None, 0.1], eps=0.1), *images([0.1, 0.1, 0.2], eps=0.3)]
    (evidence,) = gather(frame([*rows, *images([None, None, 0.05], attack="fmn", eps=None)]))
    lines = [
        [tuple(map(float, pair.split()[:2])) for pair in path.get("d").replace("L", "M").split("M")[1:]]
        for path in ET.fromstring(curves(evidence).svg).iter(f"{SVG}path")
        if "stroke-width: 1.4" in (path.get("style") or "") or "stroke-width: 2.2" in (path.get("style") or "")
    ]
    assert len(lines) >= 3
    for line in lines:
        steps = np.diff(np.array(line), axis=0)
        assert (np.isclose(steps, 0).any(axis=1)).all(), "every part is level or upright"
