"""Trust flags from rows: each has attacks that must raise it, and honest ones that must not."""

from typing import get_args

import pytest
from frames import frame, images, many, row, unknown

from advbench.analysis.run_analysis import RunAnalysis
from advbench.catalog import ATTACKS
from advbench.catalog.attacks import CORRUPTION
from advbench.catalog.cards import Access, Search
from advbench.records.flag import CHECKS
from advbench.records.record import Reason

TEN = {"toy": tuple(f"class {i}" for i in range(10))}


def raised(rows, classes=TEN):
    flags = RunAnalysis(frame=frame(rows), manifest={"classes": classes}).flags
    assert all(flag.severity in CHECKS[flag.id].severity.split("/") for flag in flags)
    return {flag.id: flag for flag in flags}


def budgets(count, **columns):
    """An honest attack at several eps: at each it breaks those images that are near enough."""
    return [r for eps in (2 / 255, 4 / 255, 8 / 255) for r in many(count, eps=eps, **columns)]


def weaker(rows, attack):
    """An attack that breaks every second image of those that another breaks."""
    spared = {"met": False, "flipped": False, "adv_class": 0, "linf": None}
    return [r | {"attack": attack} | (spared if i % 2 else {}) for i, r in enumerate(rows)]


HONEST = [
    *budgets(60),
    *budgets(60, attack="apgd"),
    *weaker(budgets(60), "fgsm"),
    *many(60, attack="fmn", eps=None),
    *weaker(budgets(60), "square"),
    *images([None] * 60, attack="noise"),
]


def test_an_honest_run_raises_nothing():
    assert raised(HONEST) == {}
    assert raised([]) == {}


def test_a_run_with_a_few_unknown_images_raises_nothing():
    assert raised([*HONEST, unknown("s60"), row("s61", clean_class=3, adv_class=3, met=True, linf=0.0)]) == {}


@pytest.mark.parametrize(
    ("bad", "count"),
    [
        (row("s0", size=8.1 / 255), 1),
        (unknown("s0", reason=Reason.INVALID), 1),
        (unknown("s0", reason=Reason.NO_ANSWER), 0),
        (row("s0", size=8 / 255 * (1 + 1e-6)), 0),
        (row("s0", size=8.1 / 255, eps=None), 0),
        (unknown("s0"), 0),
    ],
)
def test_a1_perturbations_that_are_none(bad, count):
    found = raised([bad, *images([None] * 9, attack="square")], {})
    assert ("A1" in found) is bool(count)
    if count:
        assert (found["A1"].severity, found["A1"].attack, found["A1"].value) == ("E", "pgd", 1)


def test_a_frame_older_than_the_reasons_is_still_checked():
    rows = frame([row("s0", size=8.1 / 255), unknown("s1"), *images([None] * 9, attack="square")])
    (flag,) = RunAnalysis(frame=rows.drop(columns=["reason", "survives_8bit"])).flags
    assert (flag.id, flag.value) == ("A1", 0.5)


@pytest.mark.parametrize(
    ("bad", "raises"),
    [
        (row("s0", met=True, linf=0.01), True),
        (row("s0", flipped=True), True),
        (row("s0", size=0.01, flipped=False), True),
        (row("s0", size=0.01), False),
        (row("s0", clean_class=3, adv_class=3, met=True, linf=0.0), False),
        (row("s0", size=0.01, goal="label-out-of-topk:2", adv_topk=(1, 2)), False),
        (row("s0", size=0.01, goal="label-out-of-topk:2", adv_topk=(1, 0)), True),
        (row("s0", size=0.01, goal="topk-exclusion:2", clean_topk=(0, 3), adv_topk=(1, 2, 0)), False),
        (row("s0", size=0.01, goal="topk-exclusion:2", clean_topk=(0, 3), adv_topk=(1, 3, 0)), True),
        (row("s0", size=0.01, goal="topk-exclusion:4", clean_topk=(0, 3), adv_topk=(1, 3)), False),
        (row("s0", size=0.01, goal="targeted:Class 1"), False),
        (row("s0", size=0.01, goal="targeted:1"), False),
        (row("s0", size=0.01, goal="targeted:class 2"), True),
        (row("s0", size=0.01, goal="targeted:zebra"), False),
        (row("s0", size=0.01, goal="ordered-topk:class 1,5", adv_topk=(1, 5, 0)), False),
        (row("s0", size=0.01, goal="ordered-topk:class 1,5", adv_topk=(1, 0, 5)), True),
        (row("s0", goal="ordered-topk:class 1,5", adv_topk=(0, 1)), False),
        (row("s0", label=None, clean_class=4, adv_class=4, met=True, linf=0.1), True),
    ],
)
def test_a2_successes_that_are_none(bad, raises):
    assert ("A2" in raised([bad])) is raises


def test_a7_many_steps_miss_what_one_breaks():
    rows = [*images([0.01, 0.01, None]), *images([0.01, 0.01, 0.01], attack="fgsm")]
    flag = raised(rows)["A7"]
    assert (flag.attack, flag.value, flag.severity) == ("pgd", pytest.approx(1 / 3), "I")
    assert flag.message == "misses 1 of 3 images that fgsm breaks at Linf 8/255"
    assert "A7" not in raised([*images([0.01, 0.01, 0.01]), *images([0.01, None, None], attack="fgsm")])


def test_a7_knows_two_tenths_of_a_percent():
    for missed, of, severity in ((2, 1000, "I"), (3, 1000, "F"), (1, 200, "I"), (2, 200, "F")):
        rows = [*images([None] * missed + [0.01] * (of - missed)), *images([0.01] * of, attack="fgsm")]
        assert raised(rows)["A7"].severity == severity


def test_a7_leaves_out_images_that_the_attack_never_saw():
    assert "A7" not in raised([unknown("s0"), *images([0.01], attack="fgsm")])


def test_a8_without_a_gradient_is_better():
    rows = [
        *images([None, 0.01]),
        *images([None, 0.01], attack="fmn", eps=None),
        *images([0.01, None], attack="square"),
    ]
    flag = raised(rows, {})["A8"]
    assert (flag.attack, flag.value) == ("square", 0.5)
    assert flag.message == "breaks 1 of 2 images that all white-box attacks miss at Linf 8/255"
    assert "A8" not in raised(images([0.01], attack="square"), {})


def test_a10_fails_at_a_larger_eps():
    rows = [*images([0.005, None], eps=2 / 255), *images([None, 0.02])]
    flag = raised(rows, {})["A10"]
    assert (flag.attack, flag.value) == ("pgd", 0.5)
    assert "A10" not in raised([{**r, "attack": "noise"} for r in rows], {})


def test_a10_looks_past_an_eps_at_which_the_attack_failed():
    lost = [unknown(f"s{i}", eps=4 / 255) for i in range(2)]
    rows = [*images([0.005, None], eps=2 / 255), *lost, *images([None, 0.02])]
    assert raised(rows, {})["A10"].value == 0.5


def test_a11_without_a_bound_accuracy_stays():
    flag = raised(images([None] * 40 + [0.01] * 20, attack="fmn", eps=None))["A11"]
    assert flag.message.startswith("robust accuracy is 66.7 % (40/60) [54.1, 77.3] under fmn without a bound, above")
    assert "A11" in raised(images([None] * 60, eps=1.0))
    assert "A11" not in raised(images([None] * 60, eps=0.3))
    assert "A11" not in raised(images([None] * 60, eps=1.0, attack="noise"))
    assert "A11" not in raised(images([None] * 60, eps=1.0, goal="targeted:1"))
    assert "A11" not in raised(images([None] * 5 + [0.3] * 55, eps=1.0))


def test_a11_needs_the_number_of_classes():
    assert "A11" not in raised(images([None] * 60, eps=1.0), {})


@pytest.mark.parametrize("name", list(ATTACKS))
def test_every_attack_is_classified(name):
    card = ATTACKS[name]
    assert card.access in get_args(Access), f"{name}: say on its class what it asks of a model"
    assert card.search in get_args(Search), f"{name}: say on its class how it searches"
    assert card.access == "gradients" or card.search not in ("one step", "for transfer")


def test_the_card_says_what_the_class_says():
    import attacks
    from attacks import protocols

    assert (Access, Search) == (protocols.Access, protocols.Search)
    for name, attack in attacks.ATTACKS.items():
        assert (ATTACKS[name].access, ATTACKS[name].search) == (attack.access, attack.search)
        assert ATTACKS[name].besides == getattr(attack, "besides", ())


GRADIENT = [name for name in ATTACKS if ATTACKS[name].access == "gradients" and ATTACKS[name].search != "in one place"]
WITHOUT = [name for name in ATTACKS if ATTACKS[name].access != "gradients" and not name.startswith(CORRUPTION)]


def spoken_for(rows, attack):
    """The rows, of another attack, within a budget or without one, as it takes."""
    minimal = ATTACKS[attack].kind == "minimum norm" if attack in ATTACKS else False
    return [r | {"attack": attack} | ({"eps": None} if minimal else {}) for r in rows]


@pytest.mark.parametrize("name", GRADIENT)
def test_a8_knows_every_white_box_attack(name):
    square = images([None, 0.01], attack="square")
    assert raised([*spoken_for(images([None, None]), name), *square], {})["A8"].attack == "square"
    assert "A8" not in raised([*spoken_for(images([None, 0.01]), name), *images([None, None]), *square], {})


@pytest.mark.parametrize("name", WITHOUT)
def test_a8_knows_every_attack_without_a_gradient(name):
    blind = ATTACKS[name].search == "blind" and ATTACKS[name].access != "nothing"
    flag = raised([*images([None, None]), *spoken_for(images([None, 0.01]), name)], {})["A9" if blind else "A8"]
    assert flag.attack == name


def test_a_patch_is_no_white_box_attack_on_the_whole_image_but_what_it_breaks_is_broken():
    square, patch = images([0.01], attack="square"), [r | {"eps": None} for r in images([None], attack="patch")]
    assert not {"A8", "A9"} & raised([*patch, *square], {}).keys()
    assert "A8" in raised([*images([None]), *patch, *square], {})
    broken = [r | {"eps": None} for r in images([0.01], attack="patch")]
    assert "A8" not in raised([*images([None]), *broken, *square], {})


def test_attacks_of_unknown_kind_make_no_claim_and_refute_some():
    broken, missed = images([0.01] * 60, attack="mine", eps=1.0), images([None] * 60, attack="mine", eps=1.0)
    assert not {"A7", "A8", "A11"} & raised([*images([None] * 60), *images([0.01] * 60, attack="mine")]).keys()
    assert "A11" not in raised(missed), "nothing is known of it: it may be noise"
    assert "A11" in raised([*images([None] * 60, eps=1.0), *missed])
    assert "A11" not in raised([*images([None] * 60, eps=1.0), *broken])
    square = images([0.01] * 60, attack="square", eps=1.0)
    assert "A8" in raised([*images([None] * 60, eps=1.0), *square, *missed], {})
    assert "A8" not in raised([*images([None] * 60, eps=1.0), *square, *broken], {})
    assert "A8" not in raised([*missed, *square], {})


@pytest.mark.parametrize("name", ["fab", "pdpgd", "superdeepfool", "foolbox/newtonfool"])
def test_a11_knows_the_attacks_without_a_bound(name):
    assert "A11" in raised(images([None] * 60, attack=name, eps=None))


@pytest.mark.parametrize("name", ["fgsm", "spatial", "patch", "noise", "universal", "foolbox/spatial"])
def test_a11_asks_nothing_of_attacks_that_need_not_succeed(name):
    assert "A11" not in raised(images([None] * 60, attack=name, eps=1.0))


@pytest.mark.parametrize("name", ["foolbox/linf-adam-pgd", "standard", "foolbox/sparse-l1-descent"])
def test_a7_knows_every_iterative_attack(name):
    rows = [*images([None, 0.01], attack=name), *images([0.01, 0.01], attack="fgsm")]
    assert raised(rows, {})["A7"].attack == name
    assert "A7" not in raised([*images([None, 0.01], attack="tifgsm"), *images([0.01] * 2, attack="fgsm")], {})
    assert "A7" not in raised([*images([None] * 2, attack="fmn", eps=None), *images([0.01] * 2, attack="fgsm")], {})
