"""The form of a network in which attacks take their gradients: chosen once, kept, told, and never believed."""

import sys
from functools import partial
from types import SimpleNamespace

import fakes
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from advbench.cli.main import main
from advbench.models.classifier import Classifier
from advbench.planning.cost.footprint import MEMORY, Footprint
from advbench.planning.forms import fast_forms as forms
from advbench.planning.forms.fast_forms import (
    AS_IT_IS,
    Choice,
    calibrated,
    choose_form,
    crowded,
    fastest_here,
    roughest_form,
    try_models,
)
from advbench.planning.forms.form_cache import calibrations_folder, kept
from advbench.planning.identity.network import program_digest
from attacks import ATTACKS, Fast, capped
from attacks.standins.fast import in_form


# --- which form ---
def never(*_):
    pytest.fail("a form was chosen")


LARGE = Footprint(flops=1e9, kept=1000, weights=0)
"""Of a network of which the forms are worth trying."""
IMAGE = torch.linspace(0, 1, 3 * 32 * 32).view(3, 32, 32)


@pytest.fixture
def times(monkeypatch, tmp_path):
    """As if gradients took so long: form -> seconds for an image; and what was timed: form and images."""
    taken, timed = {"plain": 4.0, "folded": 3.9, "channels_last": 2.0, "bfloat16": 1.0}, []

    def seconds(model, x):
        timed.append((model.form, len(x)))
        return taken[model.form] * max(len(x), 4) / 4  # up to four images cost as much as one

    monkeypatch.setattr(forms, "seconds", seconds)
    monkeypatch.setattr(sys.modules["attacks.standins.fast"], "computes_bfloat16", lambda _: False)
    monkeypatch.setattr(forms, "crowded", lambda: False)
    monkeypatch.setenv("ADVBENCH_CACHE", str(tmp_path / "cache"))
    return timed


def test_a_form_that_is_known_is_made_once_and_no_other_beside_it(times, monkeypatch):
    model, made = fakes.classifier(), []
    choose_form(model, IMAGE[None], LARGE)

    def noted(model, form, x):
        made.append(form)
        return in_form(model, form, x)

    monkeypatch.setattr(forms, "in_form", noted)
    monkeypatch.setattr(forms, "choose_form", never)
    for most, form in {"bfloat16": "channels_last", "folded": "folded"}.items():
        assert fastest_here(model, IMAGE[None], most).form == form
    assert made == ["channels_last", "folded"]


def test_a_form_that_is_known_but_answers_differently_now_is_chosen_anew(times, monkeypatch):
    model = fakes.classifier()
    choose_form(model, IMAGE[None], LARGE)
    monkeypatch.setattr(forms, "in_form", lambda model, form, x: Fast(model, form if form == "folded" else "plain"))
    monkeypatch.setattr(forms, "choose_form", lambda *_: Choice("folded"))
    assert fastest_here(model, IMAGE[None], "bfloat16").form == "folded"


def test_where_nothing_is_known_the_form_of_float32_alone_is_tried(times, monkeypatch):
    monkeypatch.setattr(forms, "choose_form", never)
    assert fastest_here(fakes.classifier(), IMAGE[None], "channels_last").form == "channels_last"
    assert times == [("plain", 1), ("channels_last", 1)]
    assert fastest_here(fakes.classifier(), IMAGE[None], "folded").form == "plain"  # 3.9 seconds in place of 4


def test_where_nothing_is_known_a_brief_network_stays_as_it_is(times, monkeypatch):
    monkeypatch.setattr(forms, "seconds", lambda model, _: 0.004 if model.form == "plain" else never())
    assert fastest_here(fakes.classifier(), IMAGE[None], "channels_last").form == "plain"


def test_what_has_no_form_and_what_has_no_gradient_stays_as_it_is(times):
    slices, counts = (lambda x: x.flatten(1)[:, :5]), (lambda x: x.detach().flatten(1)[:, :5])
    for network in (slices, counts):
        assert fastest_here(Classifier(network, num_classes=5), IMAGE[None], "channels_last").form == "plain"
    assert times == [("plain", 1)]


def test_a_small_network_stays_as_it_is_and_nothing_is_tried(monkeypatch):
    monkeypatch.setattr(forms, "seconds", never)
    assert choose_form(fakes.classifier(), IMAGE[None], Footprint(3e5, 0, 0)) == AS_IT_IS


def test_forms_are_tried_on_few_images_of_a_large_network(times):
    assert choose_form(fakes.classifier(), IMAGE[None], LARGE) == Choice("channels_last", 4)
    assert times[:3] == [("plain", 1), ("folded", 1), ("channels_last", 1)]
    assert times[3:] == [("channels_last", count) for count in (1, 2, 4, 8)]


def test_units_of_a_network_whose_images_are_cheap_hold_many_anyway(times):
    assert choose_form(fakes.classifier(), IMAGE[None], LARGE._replace(flops=1e6)) == Choice("channels_last", 1)
    assert times == [("plain", 32), ("folded", 32), ("channels_last", 32)]


def test_a_batch_takes_no_more_memory_than_there_is(times):
    assert choose_form(fakes.classifier(), IMAGE[None], LARGE._replace(kept=MEMORY // 2)) == Choice("channels_last", 2)


def test_a_black_box_stays_as_it_is(times):
    asks_a_server = Classifier(lambda x: x.flatten(1)[:, :5], num_classes=5)
    assert choose_form(asks_a_server, IMAGE[None], LARGE).form == "plain"
    assert {form for form, _ in times} == {"plain"}


# --- what was measured is kept ---


def test_what_was_measured_is_not_measured_again(times, monkeypatch):
    first = calibrated(fakes.classifier(), IMAGE[None], LARGE)
    assert first.describe() == "tiny, 3 x 32 x 32, 1 thread: channels_last, 2.0 times as fast"
    monkeypatch.setattr(forms, "seconds", never)
    assert calibrated(fakes.classifier(), IMAGE[None], LARGE) == first
    assert list(kept()) == [first]


@pytest.mark.parametrize("change", ["weights", "image", "threads", "torch"])
def test_it_is_measured_again_where_it_may_differ(times, monkeypatch, change):
    model, image = fakes.classifier(), IMAGE
    calibrated(model, image[None], LARGE)
    counted = len(times)
    if change == "weights":
        model.module.weight2.data[0, 0] += 1
    elif change == "image":
        image = torch.rand(3, 31, 32)
    elif change == "threads":
        monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    else:
        monkeypatch.setattr(torch, "__version__", "9.9")
    calibrated(model, image[None], LARGE)
    assert len(times) == 2 * counted


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff\xfe", b'{"form": "bfloat16"}', "other"])
def test_a_damaged_file_is_set_aside(times, damage):
    first = calibrated(fakes.classifier(), IMAGE[None], LARGE)
    (file,) = calibrations_folder().glob("*.json")
    if damage == "other":  # sound, but of another network
        damage = file.read_bytes().replace(first.setting.weights.encode(), b"0" * 32)
    file.write_bytes(damage)
    assert calibrated(fakes.classifier(), IMAGE[None], LARGE) == first
    assert file.with_suffix(".damaged").read_bytes() == damage
    assert list(kept()) == [first]


def test_a_home_that_cannot_be_written_to_is_no_mistake(times, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("ADVBENCH_CACHE", str(tmp_path / "file"))
    assert choose_form(fakes.classifier(), IMAGE[None], LARGE).form == "channels_last"
    assert list(kept()) == []


def test_what_is_measured_on_a_crowded_machine_is_not_kept(times, monkeypatch):
    monkeypatch.setattr(forms, "crowded", lambda: True)
    assert choose_form(fakes.classifier(), IMAGE[None], LARGE).form == "channels_last"
    assert list(kept()) == []


def test_one_thread_is_never_crowded():
    assert torch.get_num_threads() == 1
    assert not crowded()


@pytest.mark.parametrize(("slowdown", "found"), [(0.6, False), (1.0, False), (3.0, True)])
def test_threads_that_get_in_each_others_way_are_noticed(monkeypatch, slowdown, found):
    """As if a product took so much longer with two threads than with one."""
    now, threads = [0.0], [2]

    def clock():
        now[0] += slowdown if threads[0] > 1 else 1.0
        return now[0]

    monkeypatch.setattr(forms.time, "perf_counter", clock)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads[0])
    monkeypatch.setattr(torch, "set_num_threads", lambda count: threads.__setitem__(0, count))
    assert crowded() == found
    assert threads == [2]


def test_a_network_whose_code_looks_at_values_stays_as_it_is_and_the_doctor_says_so(times):
    class Looks(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(5, 3072))

        def forward(self, x):
            return x.flatten(1) @ self.scale.T if x.sum() > 0 else x.flatten(1)[:, :5]

    found = calibrated(Classifier(Looks(), num_classes=5, name="looks"), IMAGE[None], LARGE)
    assert found.describe() == "looks, 3 x 32 x 32, 1 thread: plain, it has no other form"


def test_the_doctor_tells_the_forms(times):
    calibrated(fakes.classifier(), IMAGE[None], LARGE)
    told = CliRunner().invoke(main, ["doctor"])
    assert "  tiny, 3 x 32 x 32, 1 thread: channels_last, 2.0 times as fast\n" in told.output
    with fakes.registered():
        assert list(try_models(["tiny"])) == ["tiny: plain, it has few operations (0.3 million a pass)"]


# --- the same weights, other code ---


class Turned(nn.Module):
    """The network of :mod:`fakes`, whose code does something that torch.fx does not follow."""

    def __init__(self):
        super().__init__()
        self.body = fakes.classifier().module

    def forward(self, x):
        return self.body(x.flip(3) if torch.is_tensor(x) else x)


class Straight(Turned):
    def forward(self, x):
        return self.body(x)


def test_the_same_weights_with_other_code_are_measured_again(times):
    straight, turned = (Classifier(kind(), num_classes=20, name="tiny") for kind in (Straight, Turned))
    for _ in range(2):
        assert calibrated(straight, IMAGE[None], LARGE).form == "channels_last"
        assert calibrated(turned, IMAGE[None], LARGE).form == "plain"
    assert len(list(kept())) == 2


def test_what_was_found_before_is_compared_with_the_network_again(times, monkeypatch):
    monkeypatch.setattr(forms, "program_digest", lambda _: "the same")  # as if the code said nothing of the difference
    straight, turned = (Classifier(kind(), num_classes=20, name="tiny") for kind in (Straight, Turned))
    assert calibrated(straight, IMAGE[None], LARGE).form == "channels_last"
    assert calibrated(turned, IMAGE[None], LARGE).form == "plain"
    assert [found.form for found in kept()] == ["plain"]


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_torchscript_of_known_weights_stays_as_it_is(times):
    network = fakes.classifier().module
    assert calibrated(Classifier(network, num_classes=20), IMAGE[None], LARGE).form == "channels_last"
    script = torch.jit.trace(network, IMAGE[None])
    assert calibrated(Classifier(script, num_classes=20), IMAGE[None], LARGE).form == "plain"


def test_what_has_no_source_is_measured_each_time(times):
    names = {"nn": nn}
    exec("class Typed(nn.Flatten):\n    pass", names | {"__name__": "nowhere"}, names)
    network = nn.Sequential(fakes.classifier().module, names["Typed"]())
    assert program_digest(network) is None
    calibrated(Classifier(network, num_classes=20), IMAGE[None], LARGE)
    assert list(kept()) == []


class Tuned(nn.Module):
    """Has settings of many kinds; one of them may be another."""

    def __init__(self, **other):
        super().__init__()
        self.settings = {"at": [1, (2.0, "a")], "of": {"x"}, "array": np.zeros(2), "tensor": torch.zeros(2)}
        self.call, self.kind, self.part = partial(torch.clamp, min=0), nn.ReLU, SimpleNamespace(share=0.5)
        self.closed, self.around = lambda: other, [self]
        for name, value in other.items():
            setattr(self, name, value)


@pytest.mark.parametrize(
    "other",
    [
        {"settings": {"at": [1, (2.5, "a")]}},
        {"settings": {"array": np.ones(2)}},
        {"settings": {"tensor": torch.ones(2)}},
        {"call": partial(torch.clamp, min=1)},
        {"call": torch.relu},
        {"kind": nn.GELU},
        {"part": SimpleNamespace(share=0.25)},
        {"closed": fakes.classifier},
        {"new": torch.float16},
        {"training": False},
    ],
)
def test_a_setting_makes_another_program(other):
    assert program_digest(Tuned()) == program_digest(Tuned()) is not None
    assert program_digest(Tuned(**other)) not in (program_digest(Tuned()), None)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_generated_code_makes_another_program():
    straight, turned = (torch.fx.symbolic_trace(kind()) for kind in (Straight, Turned))
    assert program_digest(straight) == program_digest(turned)  # neither turns anything any more
    graphs = [torch.jit.trace(kind(), IMAGE[None]) for kind in (Straight, Turned)]
    assert len({*map(program_digest, graphs)}) == 2


# --- which attacks ---


def test_attacks_that_take_gradients_from_a_faster_form():
    assert roughest_form("pgd", ATTACKS["pgd"](), "untargeted") == "bfloat16"
    assert roughest_form("pgd", capped(ATTACKS["pgd"](), 30), "untargeted") == "bfloat16"
    assert roughest_form("standard", ATTACKS["standard"](), "targeted") == "bfloat16"
    for name in ("fmn", "ddn", "topk"):
        assert roughest_form(name, ATTACKS[name](), "untargeted") == "channels_last"
    for name in ("fab", "square"):
        assert roughest_form(name, ATTACKS[name](), "untargeted") == "plain"
