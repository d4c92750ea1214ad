import hashlib
import io
import os
import pickle
import re
import warnings
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from advbench.errors import UserError
from advbench.models.files.weights import load_into, read_state_dict, sha256_of


class Evil:
    """Unpickling it writes a marker file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))


def saved(value, **kwargs) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **kwargs)
    return buffer.getvalue()


def same(read, expected):
    assert list(read) == list(expected)
    assert all(torch.equal(read[key], expected[key]) for key in expected)


def test_sha256_is_that_of_the_bytes(tmp_path):
    file = tmp_path / "w.pth"
    file.write_bytes(b"weights" * 100_000)
    assert sha256_of(file) == hashlib.sha256(b"weights" * 100_000).hexdigest()


@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.safetensors"])
def test_reads_every_kind_of_file(tmp_path, net, name):
    file = tmp_path / name
    save_file(net.state_dict(), file) if name.endswith("safetensors") else torch.save(net.state_dict(), file)
    read = read_state_dict(file)
    same(dict(sorted(read.items())), dict(sorted(net.state_dict().items())))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": state, "epoch": 3, "optimizer": {"lr": 0.1}},
        lambda state: {"model_state_dict": state, "loss": 0.5},
        lambda state: {"model": state},
        lambda state: {f"module.{key}": value for key, value in state.items()},
        lambda state: {"state_dict": {f"module.{key}": value for key, value in state.items()}},
        lambda state: {key: nn.Parameter(value, requires_grad=False) for key, value in state.items()},
    ],
    ids=["state_dict", "model_state_dict", "model", "module.", "both", "parameters"],
)
def test_unwraps_what_training_scripts_save(tmp_path, net, wrap):
    file = tmp_path / "w.pth"
    torch.save(wrap(net.state_dict()), file)
    same(read_state_dict(file), net.state_dict())


def test_prefix_stays_where_not_all_have_it(tmp_path):
    file = tmp_path / "w.pth"
    torch.save({"module.a": torch.ones(1), "b": torch.ones(1)}, file)
    assert list(read_state_dict(file)) == ["module.a", "b"]


def test_reads_the_old_format_of_torch(tmp_path, net):
    file = tmp_path / "w.pth"
    file.write_bytes(saved(net.state_dict(), _use_new_zipfile_serialization=False))
    same(read_state_dict(file), net.state_dict())


@pytest.mark.parametrize("read", [read_state_dict, sha256_of])
def test_refuses_what_is_no_file(tmp_path, read):
    (tmp_path / "empty.pth").touch()
    os.mkfifo(tmp_path / "pipe.pth")
    for name, reason in [
        ("absent.pth", "cannot be read: No such file or directory"),
        ("", "is a folder"),
        ("empty.pth", "is empty"),
        ("pipe.pth", "is not a regular file"),
        ("x" * 300, "cannot be read: File name too long"),
    ]:
        with pytest.raises(UserError, match=f"^weights file .* {reason}$") as caught:
            read(tmp_path / name)
        assert str(tmp_path / name) in caught.value.message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_refuses_a_file_without_permission(tmp_path):
    file = tmp_path / "w.pth"
    file.write_bytes(saved({"a": torch.ones(1)}))
    file.chmod(0)
    with pytest.raises(UserError, match="cannot be read: Permission denied"):
        read_state_dict(file)


def test_refuses_unknown_endings(tmp_path, net):
    file = tmp_path / "w.h5"
    torch.save(net.state_dict(), file)
    with pytest.raises(UserError, match=r"not of a known kind: expected .safetensors, .pt, .pth"):
        read_state_dict(file)


TENSORS = saved({"a": torch.ones(100, 100)})
OLD = saved({"a": torch.ones(100, 100)}, _use_new_zipfile_serialization=False)


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (TENSORS[: len(TENSORS) // 2], "damaged, cut short"),
        (TENSORS[:-10], "damaged, cut short"),
        (TENSORS[:40] + bytes(40) + TENSORS[80:], "damaged, cut short"),
        (OLD[: len(OLD) // 2], "damaged, cut short"),
        (OLD[:-3], "damaged, cut short"),
        (OLD[:40], "damaged, cut short"),
        (zipped(a=b"not tensors"), "not written by torch.save"),
        (b"<!DOCTYPE html><html>404 not found</html>", "is not a weights file"),
        (b"hello", "is not a weights file"),
        (b"\x80", "is not a weights file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(1000), "is not a weights file"),
        (np.random.default_rng(0).bytes(5000), "is not a weights file"),
        (pickle.dumps({"a": [1, 2]}, protocol=4), "is not a weights file"),
        (b"\x80\x02" + b"(" * 100_000 + b".", "damaged, cut short"),
    ],
    ids=range(14),
)
def test_refuses_damaged_and_foreign_files(tmp_path, content, reason):
    file = tmp_path / "w.pth"
    file.write_bytes(content)
    with pytest.raises(UserError, match=reason) as caught:
        read_state_dict(file)
    assert str(file) in caught.value.message


@pytest.mark.parametrize("position", range(0, len(TENSORS), 997))
def test_a_cut_never_gives_a_traceback(tmp_path, position):
    file = tmp_path / "w.pth"
    file.write_bytes(TENSORS[: position + 1])
    with pytest.raises(UserError, match=str(file)):
        read_state_dict(file)


@pytest.mark.parametrize(
    "write",
    [
        lambda evil: saved({"a": torch.ones(2), "b": evil}),
        lambda evil: saved({"a": evil}, _use_new_zipfile_serialization=False),
        lambda evil: pickle.dumps({"a": evil}, protocol=2),
        lambda evil: pickle.dumps({"a": evil}, protocol=4),
        lambda evil: pickle.dumps(evil, protocol=0),
        lambda evil: saved({"state_dict": {"a": torch.ones(2)}, "hyper_parameters": evil}),
    ],
    ids=["zip", "old", "pickle 2", "pickle 4", "pickle 0", "beside tensors"],
)
@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.safetensors"])
def test_nothing_in_a_pickle_is_executed(tmp_path, write, name):
    marker = tmp_path / "marker"
    content = write(Evil(marker))
    pickle.loads(pickle.dumps(Evil(marker)))
    assert marker.exists(), "the pickle must be able to do harm, or the test proves nothing"
    marker.rmdir()
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(UserError, match=f"weights file {file} is"):
        read_state_dict(file)
    assert not marker.exists()


def test_refusal_of_a_pickle_names_what_it_asks_for(tmp_path):
    file = tmp_path / "w.pth"
    file.write_bytes(saved({"a": Evil(tmp_path / "marker")}))
    with pytest.raises(UserError, match=r"it asks for (posix|nt).mkdir, which could run code \(none was run\)"):
        read_state_dict(file)


def test_refuses_a_whole_module_and_says_how_to_save(tmp_path, net):
    file = tmp_path / "w.pth"
    torch.save(net, file)
    with pytest.raises(UserError, match=r"it asks for torch\.nn\.modules") as caught:
        read_state_dict(file)
    assert "a whole saved module is not accepted" in caught.value.hint
    assert "torch.save(model.state_dict(), FILE)" in caught.value.hint


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_refuses_torchscript_and_leaves_out_the_warning_of_torch(tmp_path, net, recwarn):
    file = tmp_path / "w.pt"
    torch.jit.save(torch.jit.script(net), file)
    warnings.simplefilter("always", UserWarning)
    with pytest.raises(UserError, match="it is a TorchScript archive"):
        read_state_dict(file)
    assert not [each for each in recwarn if each.category is UserWarning]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"a": torch.ones(1), "epoch": 3}, "entry 'epoch' is a int"),
        ({"a": [torch.ones(1)]}, "entry 'a' is a list"),
        ({3: torch.ones(1)}, "entry 3 is a Tensor"),
        ([torch.ones(1)], "holds one list instead of named tensors"),
        (torch.ones(1), "holds one Tensor instead of named tensors"),
        ({}, "holds nothing instead of named tensors"),
        ({"state_dict": {}}, "holds nothing instead of named tensors"),
        ({"model": {"a": "text"}}, "entry 'a' is a str"),
    ],
)
def test_refuses_what_is_not_named_tensors(tmp_path, value, reason):
    file = tmp_path / "w.pth"
    torch.save(value, file)
    with pytest.raises(UserError, match=reason) as caught:
        read_state_dict(file)
    assert "torch.save(model.state_dict(), FILE)" in caught.value.hint


def test_refuses_an_array_that_is_no_tensor(tmp_path):
    file = tmp_path / "w.pth"
    torch.save({"a": np.ones(3)}, file)
    with pytest.raises(UserError, match="it asks for numpy"):
        read_state_dict(file)


def test_refuses_a_file_that_unpacks_to_more_than_it_is(tmp_path):
    file = tmp_path / "bomb.pth"
    bomb = saved({"a": torch.zeros(1_000_000)})
    with zipfile.ZipFile(io.BytesIO(bomb)) as full, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for entry in full.namelist():
            packed.writestr(entry, full.read(entry))
    assert file.stat().st_size < 10_000
    with pytest.raises(UserError, match="it would unpack to 4000"):
        read_state_dict(file)


@pytest.mark.parametrize(
    "content",
    [
        (10**12).to_bytes(8, "little") + b"{}",
        (99 * 10**6).to_bytes(8, "little") + b"{}" * 50,
        (2**63).to_bytes(8, "little") + bytes(100),
        b"abc",
        (5).to_bytes(8, "little") + b'{"a":',
        (60).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[10,10],"data_offsets":[0,4]}}  ' + bytes(4),
        TENSORS,
    ],
    ids=["huge header", "long header", "negative header", "short", "bad json", "wrong offsets", "pickle"],
)
def test_refuses_bad_safetensors(tmp_path, content):
    file = tmp_path / "w.safetensors"
    file.write_bytes(content)
    with pytest.raises(UserError, match=f"{file} is damaged, cut short or not a safetensors file: "):
        read_state_dict(file)


def test_refuses_safetensors_that_are_cut_short(tmp_path, net):
    file = tmp_path / "w.safetensors"
    save_file(net.state_dict(), file)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match="damaged, cut short"):
        read_state_dict(file)


def test_load_into_copies_everything(net):
    torch.manual_seed(1)
    other = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    load_into(other, net.state_dict(), "w.pth", "net")
    same(other.state_dict(), net.state_dict())


def test_load_into_does_without_the_counters_of_batch_norm(net):
    state = {key: value for key, value in net.state_dict().items() if "num_batches" not in key}
    load_into(net, state, "w.pth", "net")


@pytest.mark.parametrize("wrapper", ["model.", "_orig_mod.", "module.net.", "0."])
def test_load_into_takes_off_what_a_wrapper_puts_before_all_names(net, wrapper):
    torch.manual_seed(1)
    other = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    load_into(other, {f"{wrapper}{key}": value for key, value in net.state_dict().items()}, "w.pth", "net")
    same(other.state_dict(), net.state_dict())


@pytest.mark.parametrize(
    ("odd", "told"),
    [
        ("model.bias", r"1 unexpected \('bias'\)$"),
        ("bias", r"missing \('0\.weight', .* unexpected \('model\.0\.weight'"),
    ],
)
def test_a_wrapper_around_others_names_is_no_fit(net, odd, told):
    state = {f"model.{key}": value for key, value in net.state_dict().items()} | {odd: torch.ones(1)}
    with pytest.raises(UserError) as caught:
        load_into(net, state, "w.pth", "net")
    assert re.search(told, caught.value.message)


def test_load_into_ignores_what_the_file_claims_about_versions(net):
    state = OrderedDict(net.state_dict())
    state._metadata = 5
    load_into(net, state, "w.pth", "net")


def test_misfit_names_keys_shapes_and_architecture(net):
    before = {key: value.clone() for key, value in net.state_dict().items()}
    state = {f"layer{i}.weight": torch.ones(1) for i in range(5)}
    state |= {"0.weight": torch.ones(2, 1, 3, 3), "3.weight": torch.ones(10, 8)}
    with pytest.raises(UserError) as caught:
        load_into(net, state, "/w/some.pth", "tinynet")
    assert caught.value.message == (
        "weights file /w/some.pth does not fit tinynet: "
        "6 missing ('0.bias', '1.weight', '1.bias', ...), "
        "5 unexpected ('layer0.weight', 'layer1.weight', 'layer2.weight', ...), "
        "1 of another shape ('3.weight': (10, 8) instead of (3, 8))"
    )
    assert "tinynet" in caught.value.hint
    same(net.state_dict(), before)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_weights_must_be_finite(net, bad):
    state = net.state_dict()
    state["3.bias"][1] = bad
    with pytest.raises(UserError, match=r"w.pth is unusable: entry '3.bias' has values that are not finite"):
        load_into(net, state, "w.pth", "net")


def test_a_tensor_that_claims_a_huge_shape_takes_no_memory(tmp_path, net):
    file = tmp_path / "w.pth"
    torch.save(net.state_dict() | {"3.weight": torch.ones(1).expand(10**7, 10**7)}, file)
    with pytest.raises(UserError, match="of another shape"):
        load_into(net, read_state_dict(file), file, "net")


@pytest.mark.parametrize("odd", [torch.empty(3, device="meta"), torch.ones(3).to_sparse()], ids=["meta", "sparse"])
def test_tensors_without_plain_values_are_refused(net, odd):
    with pytest.raises(UserError, match="cannot be copied"):
        load_into(net, net.state_dict() | {"3.bias": odd}, "w.pth", "net")
