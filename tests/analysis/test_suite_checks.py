"""Trust flags about a run as a whole: what 8 bits lose, attacks of one kind, and accuracy that is not the published."""

import pytest
from frames import frame, images, row

from advbench.analysis.run_analysis import RunAnalysis
from advbench.catalog import MODELS
from advbench.config.suite import Suite

LENET = MODELS["lenet"].clean


def raised(rows, **more):
    return {flag.id: flag for flag in RunAnalysis(frame=frame(rows), **more).flags}


def in_8_bits(kept, lost, **columns):
    rows = images([0.01] * (kept + lost), attack="square", **columns)
    return [each | {"survives_8bit": i < kept} for i, each in enumerate(rows)]


def test_a3_successes_that_8_bits_lose():
    flag = raised(in_8_bits(6, 4))["A3"]
    assert (flag.severity, flag.attack, flag.value) == ("I", "square", 0.4)
    assert flag.message == (
        "4 of 10 adversarial images no longer meet the goal within eps when they are saved in 8 bits"
    )
    assert "`advbench attack`" in flag.advice


@pytest.mark.parametrize(("eps", "take"), [(0.1, "25/255"), (0.3, "76/255"), (0.25 / 255, "1/255")])
def test_a3_of_an_eps_between_grey_levels(eps, take):
    flag = raised([*in_8_bits(6, 0, eps=8 / 255), *in_8_bits(2, 4, eps=eps)])["A3"]
    assert flag.advice.startswith(f"an eps of {255 * eps:.3g}/255 is between grey levels")
    assert flag.advice.endswith(f"use {take}")
    for other in ({"eps": 8 / 255}, {"eps": eps, "norm": "l2"}):
        assert "between" not in raised(in_8_bits(6, 4, **other))["A3"].advice


@pytest.mark.parametrize("rows", [in_8_bits(9, 1), in_8_bits(30, 3), in_8_bits(0, 9, eps=None), images([0.01] * 9)])
def test_a3_is_not_about_a_few_nor_about_the_nearest_images(rows):
    assert "A3" not in raised(rows)


@pytest.mark.parametrize(
    ("names", "raises"),
    [
        (["pgd"], True),
        (["pgd", "noise"], True),
        (["pgd", "fmn", "fgsm"], True),
        (["pgd", "square"], False),
        (["pgd", "hop_skip_jump"], False),
        (["standard"], False),
        (["adaptive"], False),
        (["pgd", "mine"], False),
        (["square"], False),
        (["noise"], False),
    ],
)
def test_a12_attacks_by_gradients_alone(names, raises):
    rows = [each for name in names for each in images([None] * 3, attack=name)]
    found = raised(rows, suite=Suite(name="x", models="lenet", datasets="mnist", attacks="pgd"))
    assert ("A12" in found) is raises
    assert "A12" not in raised(rows), "rows of no suite are of a single attack that somebody chose"
    if raises:
        assert found["A12"].severity == "I"
        assert found["A12"].message.startswith("all attacks in linf use gradients: pgd")


@pytest.mark.parametrize(("norm", "names"), [("linf", "square or hop_skip_jump"), ("l0", "sparse_rs")])
def test_a12_names_attacks_that_work_in_the_norm(norm, names):
    rows = images([None] * 3, attack="fmn", norm=norm)
    suite = Suite(name="x", models="lenet", datasets="mnist", attacks="fmn", norms=norm, eps={norm: 1})
    assert (
        raised(rows, suite=suite)["A12"].advice
        == f"add a gradient-free one, such as {names}, or standard, which combines both kinds"
    )


def published(correct, of, **model):
    suite = Suite(name="x", models={"name": "lenet"} | model, datasets="mnist", attacks="square")
    rows = [
        row(f"s{i}", model=suite.models[0].label, dataset="mnist", attack="square", clean_class=int(i >= correct))
        for i in range(of)
    ]
    return raised(rows, suite=suite)


def test_m10_accuracy_below_the_published():
    flag = published(80, 100)["M10"]
    assert (flag.severity, flag.model, flag.value) == ("F", "lenet", 0.8)
    assert flag.message == f"accuracy on clean images is 80.0 % (80/100) [71.1, 86.7], and {LENET:.1%} was published"
    assert published(80, 100, label="mine")["M10"].model == "mine"


def test_m10_knows_chance_and_other_weights(tmp_path):
    assert "M10" not in published(int(100 * LENET), 100)
    assert "M10" not in published(100, 100)
    assert "M10" not in published(9, 10)
    assert "M10" not in published(10, 100, weights=str(tmp_path / "other.safetensors"))


def test_m10_needs_the_data_of_the_published_number():
    suite = Suite(name="x", models="lenet", datasets="fashion-mnist", attacks="square")
    rows = images([0.0] * 60, model="lenet", dataset="fashion-mnist", attack="square", clean_class=1)
    assert "M10" not in raised(rows, suite=suite)
    assert "M10" not in raised(rows)


def test_a_flag_of_an_attack_is_about_its_numbers_whatever_parameters_stand_beside_its_name():
    from advbench.records.flag import Flag

    rows = [each | {"params": f'{{"steps": {n}}}'} for n in (5, 9) for each in images([None, 0.01])]
    flag = Flag(id="A5", severity="F", model="net", dataset="toy", attack="pgd", message="m", advice="a")
    cells = RunAnalysis(frame=frame(rows), model_flags=(flag,)).cells
    assert {cell.attack: cell.flags for cell in cells} == {
        "pgd (steps=5)": "A5", "pgd (steps=9)": "A5", "worst case": "",
    }  # fmt: skip
