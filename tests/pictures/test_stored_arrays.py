"""Universal perturbations of other projects: arrays, which do not say what they are."""

import json
import pickle

import fakes
import numpy as np
import pytest
import torch
from command import refused, run
from safetensors.torch import save_file

from advbench.errors import UserError
from advbench.pictures.universal.arrays import Told, read_perturbation
from attacks import L2, Linf, Perturbation


def change(eps=12 / 255, shape=(3, 32, 32)):
    """A perturbation (C, H, W) of size ``eps`` in Linf."""
    return eps * torch.randn(shape, generator=torch.Generator().manual_seed(0)).sign()


WRITERS = {
    "a.npy": lambda path, delta: np.save(path, delta.numpy()),
    "a.npz": lambda path, delta: np.savez_compressed(path, uap=delta.numpy()),
    "a.pt": lambda path, delta: torch.save(delta, path),
    "a.pth": lambda path, delta: torch.save({"delta": torch.nn.Parameter(delta)}, path),
    "a.safetensors": lambda path, delta: save_file({"delta": delta}, path),
}


@pytest.mark.parametrize("scale", [1, 255])
@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_file_is_read_in_either_unit(name, scale, tmp_path):
    WRITERS[name](tmp_path / name, change().unsqueeze(0) * scale)
    found = read_perturbation(tmp_path / name)
    torch.testing.assert_close(found.delta, change())
    assert found.norm == Linf()
    assert found.eps == pytest.approx(12 / 255)
    assert found.card["read"] == f"array with pixels from 0 to {scale}"


@pytest.mark.parametrize(
    "stored",
    [change(), change().unsqueeze(0), change().permute(1, 2, 0), change().permute(1, 2, 0).unsqueeze(0)],
    ids=["CHW", "1CHW", "HWC", "1HWC"],
)
def test_colours_may_be_first_or_last(stored, tmp_path):
    np.save(tmp_path / "a.npy", stored.numpy())
    torch.testing.assert_close(read_perturbation(tmp_path / "a.npy").delta, change())


def test_what_is_said_goes_before_what_the_values_say(tmp_path):
    np.save(tmp_path / "a.npy", change(0.8).numpy())
    file = tmp_path / "a.npy"
    assert read_perturbation(file, Told(scale=1)).eps == pytest.approx(0.8)
    assert read_perturbation(file, Told(scale=255)).eps == pytest.approx(0.8 / 255)
    cut = read_perturbation(file, Told(eps=0.1, scale=1))
    torch.testing.assert_close(cut.delta, change(0.1))
    assert "projected from Linf 204/255" in cut.card["read"]
    wide = read_perturbation(file, Told(eps=0.9, scale=1))
    torch.testing.assert_close(wide.delta, change(0.8))
    assert wide.eps == 0.9
    assert "projected" not in wide.card["read"]
    long = read_perturbation(file, Told("l2", 2.0, 1))
    assert long.norm == L2()
    assert float(long.delta.norm()) == pytest.approx(2.0, rel=1e-4)


def test_signed_whole_numbers_and_halves_are_numbers(tmp_path):
    levels = (change() * 255).round()
    np.save(tmp_path / "a.npy", levels.to(torch.int8).numpy())
    torch.save(change().to(torch.bfloat16), tmp_path / "a.pt")
    torch.testing.assert_close(read_perturbation(tmp_path / "a.npy").delta, change())
    torch.testing.assert_close(read_perturbation(tmp_path / "a.pt").delta, change(), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (change(0.8), "may be for pixels from 0 to 1 or from 0 to 255"),
        (torch.zeros(3, 8, 8), "none but zeros"),
        (torch.full((3, 8, 8), torch.nan), "not finite"),
        (torch.rand(5, 3, 8, 8), "5 x 3 x 8 x 8"),
        (torch.rand(8, 8), "8 x 8"),
        (torch.rand(3, 8, 3), "with its channels first or last"),
        (torch.rand(4, 8, 8), "not a single image with one or three channels"),
        (torch.full((3, 8, 8), 9, dtype=torch.uint8), "instead of signed numbers"),
        (torch.ones(3, 8, 8, dtype=torch.bool), "instead of signed numbers"),
    ],
)
@pytest.mark.parametrize("name", ["a.npy", "a.pt"])
def test_what_can_be_read_in_several_ways_or_none_is_refused(name, stored, message, tmp_path):
    WRITERS[name](tmp_path / name, stored)
    with pytest.raises(UserError, match=message):
        read_perturbation(tmp_path / name)


def test_a_file_with_several_arrays_or_something_else_is_refused(tmp_path):
    np.savez(tmp_path / "two.npz", mean=np.ones(3), uap=change().numpy())
    torch.save({"a": change(), "b": 1, "c": 2, "d": 3}, tmp_path / "many.pt")
    torch.save("text", tmp_path / "text.pt")
    (tmp_path / "damaged.npy").write_bytes(b"damaged")
    (tmp_path / "empty.npz").write_bytes(b"")
    np.save(tmp_path / "cut.npy", change().numpy())
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:-1])
    for name, message in {
        "two.npz": r"holds 2 entries \(mean, uap\)",
        "many.pt": r"holds 4 entries \(a, b, c, ...\)",
        "text.pt": "holds one str",
        "damaged.npy": "cannot be read",
        "empty.npz": "is empty",
        "cut.npy": "cannot be read",
    }.items():
        with pytest.raises(UserError, match=message):
            read_perturbation(tmp_path / name)


class Evil:
    """Unpickling it would write a file."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return open, (self.marker, "w")


def test_nothing_in_a_file_is_run(tmp_path):
    marker = tmp_path / "marker"
    np.save(tmp_path / "a.npy", np.array([Evil(marker)]), allow_pickle=True)
    torch.save(Evil(marker), tmp_path / "a.pt")
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Evil(marker)))
    for name in ("a.npy", "a.pt", "b.npy"):
        with pytest.raises(UserError, match=r"cannot be read|is refused"):
            read_perturbation(tmp_path / name)
    assert not marker.exists()


def test_a_file_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("advbench.pictures.universal.arrays.MOST_BYTES", 10_000)
    np.savez_compressed(tmp_path / "a.npz", np.zeros((3, 32, 32)))
    with pytest.raises(UserError, match="would unpack to more than 10000 bytes"):
        read_perturbation(tmp_path / "a.npz")


def test_our_own_files_say_themselves_what_they_are(tmp_path):
    file = tmp_path / "own.safetensors"
    Perturbation(delta=change(), norm=Linf(), eps=0.1, card={"model": "net"}).save(file)
    assert read_perturbation(file).card == {"model": "net"}
    with pytest.raises(UserError, match="already contains its norm"):
        read_perturbation(file, Told("l2"))


def test_an_array_is_measured_and_applied_like_our_own_files(tmp_path):
    np.save(tmp_path / "theirs.npy", (change(40 / 255) * 255).numpy())
    Perturbation(delta=change(40 / 255), norm=Linf(), eps=40 / 255).save(tmp_path / "ours.safetensors")
    np.save(tmp_path / "small.npy", change(40 / 255, (3, 16, 16)).numpy())
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(3):
        fakes.picture(pictures / f"{number}.png", number)
    use = ("--model", "tiny", "--device", "cpu")
    with fakes.registered():
        shown = run("universal", "eval", tmp_path / "theirs.npy", pictures, *use)
        assert "read as an array with pixels from 0 to 255" in shown.stdout
        theirs, ours, small = (
            json.loads(run("universal", "eval", tmp_path / name, pictures, *use, *more, "--quiet", "--json").stdout)[0]
            for name, more in {"theirs.npy": (), "ours.safetensors": (), "small.npy": ("--resize",)}.items()
        )
        assert (theirs["changed"], theirs["classes"]) == (ours["changed"], ours["classes"])
        assert small["images"] == 3
        applied = run(
            *("universal", "apply", tmp_path / "theirs.npy", pictures / "0.png", *use),
            *("--eps", "8/255", "--out", tmp_path / "out", "--json"),
        )
        assert json.loads(applied.stdout)[0]["eps"] == pytest.approx(8 / 255)
        assert "for pictures of 16 x 16" in refused("universal", "eval", tmp_path / "small.npy", pictures, *use)
        assert "does not say which model it is for" in refused("universal", "eval", tmp_path / "theirs.npy", pictures)
        assert "did you mean --eps 8/255" in refused(
            "universal", "eval", tmp_path / "theirs.npy", pictures, *use, "--eps", 8
        )
