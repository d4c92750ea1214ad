import subprocess
import sys

import pytest

from advbench.catalog.registry import Registry, near_misses, resolve
from advbench.errors import UserError


@pytest.fixture
def models() -> Registry[int]:
    return Registry("model", {"vgg16": 1, "vgg16_bn": 2, "resnet50": 3, "wide_resnet50_2": 4})


def test_is_read_like_a_dict_in_the_order_of_the_table(models):
    assert list(models) == ["vgg16", "vgg16_bn", "resnet50", "wide_resnet50_2"]
    assert (len(models), models["resnet50"], models.values()) == (4, 3, (1, 2, 3, 4))
    assert "vgg16" in models
    assert "VGG16" not in models


def test_cannot_be_changed(models):
    with pytest.raises(TypeError, match="does not support item assignment"):
        models["vgg19"] = 5


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("vgg61", "vgg16"),
        ("VGG16", "vgg16"),
        ("vgg16-bn", "vgg16_bn"),
        ("ResNet-50", "resnet50"),
        ("resnet5", "resnet50"),
        ("wide resnet50 2", "wide_resnet50_2"),
    ],
)
def test_unknown_name_is_answered_with_what_was_meant(models, typed, meant):
    with pytest.raises(UserError, match=f"^unknown model '{typed}'") as caught:
        models[typed]
    assert caught.value.hint.startswith(f"did you mean {meant}")
    assert caught.value.hint.endswith("`advbench models` lists all names")


@pytest.mark.parametrize("typed", ["zzz", "", "日本", "\x1b[31m"])
def test_unknown_name_with_nothing_near_still_names_the_command(models, typed):
    with pytest.raises(UserError) as caught:
        models[typed]
    assert "lists all names" in caught.value.hint
    assert "did you mean" not in caught.value.hint
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("pair", [("pgd", "pgd"), ("pgd", "PGD"), ("l2-pgd", "l2_pgd")])
def test_names_that_look_alike_are_refused(pair):
    with pytest.raises(ValueError, match=f"expected distinct attack names, got '{pair[0]}' and '{pair[1]}'"):
        Registry("attack", [(name, 0) for name in pair])


def test_resolve_imports_only_when_asked():
    code = (
        "import sys, advbench.catalog.registry as r\n"
        "t = r.Registry('tool', {'turtle': 'sched:scheduler'})\n"
        "assert 'sched' not in sys.modules\n"
        "print(r.resolve(t['turtle']).__name__, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "scheduler False\n"


@pytest.mark.parametrize("target", ["", "fractions", ":Fraction", "fractions:"])
def test_resolve_refuses_other_forms(target):
    with pytest.raises(ValueError, match="expected a target of the form 'module:attr'"):
        resolve(target)


def test_near_misses_are_limited_and_distinct():
    known = [f"vgg1{digit}" for digit in range(10)]
    assert near_misses("vgg1", known, limit=4) == ["vgg10", "vgg11", "vgg12", "vgg13"]
    assert len(set(near_misses("vgg99", known, limit=10))) == len(near_misses("vgg99", known, limit=10))
