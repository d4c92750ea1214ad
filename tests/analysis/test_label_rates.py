"""Numbers of models with several labels for each image, from rows made by hand."""

import pandas as pd
import pytest
from frames import frame, left_out, row, unknown

from advbench.analysis.baseline import Baseline
from advbench.analysis.checks.consistency import contradicted
from advbench.analysis.labels.codes import coded
from advbench.analysis.labels.rates import flat, label_tables
from advbench.analysis.metrics import WORST_CASE, cells_of
from advbench.analysis.threats import gather

NOTHING = dict.fromkeys(("label", "clean_class", "adv_class", "clean_confidence", "adv_confidence"))
ANY = {"goal": "any-label-flips", "goal_labels": ()}
OFF = {"goal": "label-off:dog", "goal_labels": (1,)}


def tagged(sample, truth, clean, adv=None, *, size=None, goal=ANY, **columns):
    """A row of an image with these labels: true, predicted when clean, and predicted in the end."""
    sets = {"labels": truth, "clean_labels": clean, "adv_labels": clean if adv is None else adv}
    met = {} if size is None else {"met": True, "linf": size, "flipped": sets["adv_labels"] != clean}
    return row(sample, **NOTHING | sets | met | dict(goal) | columns)


def cell(rows, goal):
    evidence = next(each for each in gather(frame(rows)) if each.threat.goal == goal["goal"])
    return next(each for each in cells_of(evidence) if each.attack == WORST_CASE)


def test_an_image_is_correct_if_every_label_is():
    rows = [
        tagged("a", (0, 1), (0, 1)),
        tagged("b", (), ()),
        tagged("c", (2,), (2,), (1, 2), size=0.01),
        tagged("d", (2,), (0, 2)),  # wrong when clean
        tagged("e", (0,), ()),  # wrong when clean
    ]
    found = cell(rows, ANY)
    assert (found.clean.k, found.robust.k, found.success.k, found.success.n) == (3, 2, 1, 3)
    assert (found.flipped.k, found.fooled.k) == (1, 3)


def test_under_a_goal_about_one_label_that_label_decides():
    rows = [
        tagged("a", (1, 2), (1,), goal=OFF),  # 2 is missed, but the goal is about 1
        tagged("b", (1,), (1,), (), size=0.01, goal=OFF),
        tagged("c", (0, 1), (0,), size=0.0, goal=OFF),  # not found when clean
        left_out("d", label=None, clean_class=None, labels=(0,), clean_labels=(0,), **OFF),
        tagged("d", (0,), (0,)),
        tagged("a", (1, 2), (1,)),
    ]
    found = cell(rows, OFF)
    assert (found.clean.k, found.clean.n, found.robust.k, found.left_out) == (2, 3, 1, 1)
    every = cell(rows, ANY)
    assert (every.clean.k, every.clean.n) == (2, 4)


def test_an_image_that_an_attack_was_not_run_on_is_unknown_to_it():
    rows = [tagged(name, (0,), (0,), attack="fgsm") for name in "abc"]
    rows[2] = tagged("c", (0,), (0,), (), size=0.01, attack="fgsm")
    (table,) = label_tables(frame([*rows, tagged("a", (0,), (0,))]), {})
    assert (table.robust.k, table.robust.unknown) == (1, 1)
    assert (table.rates[0].off.k, table.rates[0].off.unknown) == (1, 1)


def test_rates_of_each_label_are_over_all_attacks_and_goals():
    rows = [
        tagged("a", (0, 1), (0, 1), (1,), size=0.01),
        tagged("a", (0, 1), (0, 1), (0,), size=0.02, goal=OFF),
        tagged("b", (1,), (1,), attack="fgsm"),
        tagged("b", (1,), (1,), (0, 1, 2), size=0.02, attack="noise"),  # noise does not count
        tagged("c", (), (2,), goal=OFF),
        *(tagged(name, truth, clean) for name, truth, clean in (("b", (1,), (1,)), ("c", (), (2,)))),
        tagged("b", (1,), (1,), goal=OFF),
        *(tagged(name, truth, clean, attack="fgsm") for name, truth, clean in (("a", (0, 1), (0, 1)), ("c", (), (2,)))),
    ]
    (table,) = label_tables(frame(rows), {"toy": ["cat", "dog", "emu"]})
    cat, dog, emu = table.rates
    assert (table.attacks, table.clean.k, table.robust.k) == (("pgd", "fgsm"), 2, 1)
    assert (cat.name, cat.images, cat.clean.k, cat.robust.k, cat.off.counts, cat.on.counts) == (
        "cat", 1, 3, 2, "1/1", "0/2",
    )  # fmt: skip
    assert (dog.off.counts, dog.on.counts, emu.clean.k, emu.off.counts) == ("1/2", "0/1", 2, "0/1")
    assert [line[4] for line in flat([table])] == ["cat", "dog", "emu"]


def test_a_smallest_perturbation_counts_from_its_size_on():
    rows = [
        tagged("a", (0,), (0,), (), size=0.02, eps=None, attack="fmn"),
        tagged("b", (0,), (0,), eps=None, attack="fmn"),
        *(tagged(name, (0,), (0,), eps=eps) for name in "ab" for eps in (0.01, 0.03)),
    ]
    near, far = label_tables(frame(rows), {})
    assert (near.rates[0].off.counts, far.rates[0].off.counts) == ("0/2", "1/2")


def test_what_is_unknown_is_neither_robust_nor_flipped():
    lost = unknown("b", label=None, clean_class=None, labels=(0,), clean_labels=(0,), **ANY)
    (table,) = label_tables(frame([tagged("a", (0,), (0,)), lost]), {})
    assert table.rates[0].robust.counts == "1 to 2/2"
    assert table.rates[0].off.counts == "0 to 1/2"


@pytest.mark.parametrize(
    ("goal", "adv", "holds"),
    [
        (ANY, (0,), True),
        (ANY, (0, 1), False),
        (OFF, (0,), True),
        (OFF, (1,), False),
        ({"goal": "label-on:emu", "goal_labels": (2,)}, (2,), True),
        ({"goal": "label-on:emu", "goal_labels": (2,)}, (0, 1), False),
        ({"goal": "labels-equal:none", "goal_labels": ()}, (), True),
        ({"goal": "labels-equal:cat,dog", "goal_labels": (0, 1)}, (0, 1), True),
        ({"goal": "labels-equal:cat", "goal_labels": (0,)}, (0, 1), False),
    ],
)
def test_success_that_the_labels_deny_is_seen(goal, adv, holds):
    rows = frame([tagged("a", (0, 1), (0, 1), adv, size=0.01, goal=goal)])
    assert contradicted(rows, ()).tolist() == [not holds]


def test_a_baseline_knows_the_labels():
    one, other = ([tagged("a", truth, (0,))] for truth in ((0,), (0, 1)))
    digests = {Baseline.of(frame(rows), run_id="r", version="0").images[0].digest for rows in (one, other)}
    assert len(digests) == 2


def test_rows_of_one_class_are_left_as_they_are():
    rows = frame([row("a"), row("b", size=0.01)])
    assert coded(rows).frame is rows
    assert label_tables(rows, {}) == ()
    both = coded(pd.concat([rows, frame([tagged("c", (1,), (1,))])], ignore_index=True))
    assert both.frame["clean_class"].tolist() == [0, 0, 0]
