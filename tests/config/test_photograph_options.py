"""How photographs are saved, as people write it, and what goes with their own size."""

from pathlib import Path

import pytest

from advbench.config.attack import attack_config, suited
from advbench.config.pictures.photograph import SavedAs, at_own_size, like, parse_saved_as
from advbench.errors import UserError


def configured(attack="topk", **options):
    given = {"model": "vgg16", "goal": None, "norm": None, "eps": None, "paths": ("a.png",)}
    return attack_config(attack=attack, **(given | options))


@pytest.mark.parametrize(
    ("text", "saved"),
    [
        ("png", SavedAs("PNG")),
        ("jpeg", SavedAs("JPEG", 95)),
        (" JPG ", SavedAs("JPEG", 95)),
        ("jpeg:1", SavedAs("JPEG", 1)),
        ("jpg:100", SavedAs("JPEG", 100)),
    ],
)
def test_formats_are_understood(text, saved):
    assert parse_saved_as(text) == saved
    assert parse_saved_as(str(saved)) == saved


@pytest.mark.parametrize("text", ["jpeg:0", "jpeg:101", "jpeg:", "jpeg:-1", "jpeg:9.5", "jpeg:90:90", "jpeg:1000"])
def test_a_quality_out_of_range_is_refused(text):
    with pytest.raises(UserError, match=r"has no quality from 1 to 100\nsuch as --save-as jpeg:95"):
        parse_saved_as(text)


@pytest.mark.parametrize("text", ["", "gif", "png:9", "tiff", "90"])
def test_other_formats_are_refused(text):
    with pytest.raises(UserError, match=r"is not a format for saving pictures\nthere are: png, jpeg"):
        parse_saved_as(text)


def test_a_picture_keeps_its_format():
    assert [str(like(name)) for name in ("PNG", "JPEG", "BMP", "WEBP")] == ["png", "jpeg:95", "bmp", "webp"]


def test_the_size_is_a_part_of_the_threat():
    assert at_own_size("files", parse_saved_as("jpeg:80")) == "files, original size, jpeg:80"


def test_the_margin_to_spare_has_a_default_at_the_pictures_own_size_alone():
    assert (configured().kappa, configured(size="original").kappa) == (0.0, 1.0)
    assert configured(size="original", kappa=0.0).kappa == 0.0


@pytest.mark.parametrize(("option", "value"), [("saved_as", SavedAs("PNG")), ("kappa", 0.5)])
def test_what_is_for_the_pictures_own_size_needs_it(option, value):
    with pytest.raises(UserError, match=r"is for pictures attacked at their own size\nadd --size original"):
        configured(**{option: value})


@pytest.mark.parametrize(("option", "value"), [("mask", "border:2"), ("prove", True), ("max_passes", 9), ("data", "x")])
def test_what_is_for_the_models_input_is_refused_beside_it(option, value):
    with pytest.raises(UserError, match=r"goes with the model's input only\nleave --"):
        configured(size="original", **{option: value})


class TestSeveralAttacks:
    def test_all_are_kept_in_their_order(self):
        config = configured("topk, fmn,topk", norm="l2", goal="untargeted")
        assert [each.attack for each in config.all] == ["topk", "fmn"]
        assert {(each.norm, str(each.goal), each.eps) for each in config.all} == {("l2", "untargeted", None)}
        assert config.others[0].others == ()

    def test_the_norm_is_the_first_that_all_support(self):
        assert configured("topk,fmn").norm == "linf"
        assert configured("topk,fmn,ddn").norm == "l2"

    def test_no_norm_in_common(self):
        with pytest.raises(UserError, match=r"no norm in common.*\nddn: l2; sigma_zero: l0"):
            configured("ddn,sigma_zero")
        with pytest.raises(UserError, match="attack 'ddn' works in l2, not in linf"):
            configured("topk,ddn", norm="linf")

    def test_each_takes_the_parameters_that_it_has(self):
        config = configured("topk,ddn", params=["steps=7", "init_eps=0.5"])
        assert [each.params for each in config.all] == [{"steps": 7}, {"steps": 7, "init_eps": 0.5}]
        with pytest.raises(UserError, match="it has no parameter 'stepz'"):
            configured("topk,ddn", params=["stepz=7"])

    def test_a_goal_that_one_cannot_take(self):
        with pytest.raises(UserError, match=r"attack 'foolbox/ddn' takes the goal .*, not topk-exclusion"):
            configured("topk,foolbox/ddn", norm="l2", goal="topk-exclusion:3")
        assert str(configured("topk,foolbox/ddn", norm="l2").goal) == "untargeted"

    def test_few_classes_change_the_default_goal_for_all(self):
        found = suited(configured("topk,fmn"), classes=2)
        assert str(found.goal) == "untargeted"

    def test_unknown_names(self):
        with pytest.raises(UserError, match="unknown attack 'tpok'"):
            configured("tpok,fmn")
        with pytest.raises(UserError, match="unknown attack ''"):
            configured("fmn,")

    def test_explain_shows_one(self):
        from advbench.config.explain import Options, explain_config

        with pytest.raises(UserError, match="explain takes one attack at a time"):
            explain_config(what=[], options=Options(), attack={"attack": "topk,fmn"}, picture=Path("a.png"))
