"""The test images in the package: read without a network, refused where they were changed, made again."""

import gzip
import io
from pathlib import Path

import numpy as np
import pytest
import torch

from advbench.catalog import DATASETS
from advbench.datasets import load_dataset
from advbench.datasets.embedded import EMBEDDED, embedded_batch, file_of, read_embedded
from advbench.datasets.idx import read_idx
from advbench.errors import UserError
from advbench.maintenance import embedded_datasets as maker

SHARED = Path(__file__).parents[2].parent / "shared" / "data"

each_set = pytest.mark.parametrize("name", EMBEDDED)


@each_set
def test_a_thousand_images_of_ten_classes(name: str) -> None:
    found = read_embedded(name)
    assert found.images.shape == (1000, 28, 28)
    assert found.images.dtype == np.uint8
    assert np.bincount(found.labels).min() >= 80
    assert found.numbers.tolist() == list(range(0, 10000, 10))
    assert found.picture(3).size == (28, 28)


@each_set
def test_batch_is_what_attacks_take(name: str) -> None:
    batch = embedded_batch(name, 16)
    assert batch.x.shape == (16, 1, 28, 28)
    assert batch.y is not None
    assert batch.y.tolist() == read_embedded(name).labels[:16].tolist()


@each_set
def test_data_set_gives_the_same_pixels_as_the_batch(name: str) -> None:
    dataset, batch = load_dataset(name), embedded_batch(name, 3)
    assert len(dataset) == DATASETS[name].images == 1000
    assert dataset.images[2] == f"{name}_00020"
    pixels = torch.from_numpy(np.array(dataset.read(2))).float() / 255
    assert torch.equal(pixels, batch.x[2, 0])
    assert DATASETS[name].data == EMBEDDED[name].data


@each_set
def test_file_is_small(name: str) -> None:
    assert file_of(name).stat().st_size < 500_000


def test_unknown_set() -> None:
    with pytest.raises(UserError, match="no embedded images of 'emnist'"):
        read_embedded("emnist")


@pytest.mark.parametrize("count", [0, 1001])
def test_count_out_of_range(count: int) -> None:
    with pytest.raises(ValueError, match="expected count from 1 to 1000"):
        embedded_batch("mnist", count)


def test_changed_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mnist-test.npz").write_bytes(file_of("mnist").read_bytes() + b"x")
    monkeypatch.setattr("advbench.datasets.embedded._FOLDER", tmp_path)
    with pytest.raises(UserError, match="not the published one"):
        read_embedded("mnist")
    with pytest.raises(UserError, match="No such file"):
        read_embedded("fashion-mnist")


@each_set
def test_made_again_from_the_whole_sets(name: str) -> None:
    if not (SHARED / name).is_dir():
        pytest.skip(f"needs the whole test set in {SHARED / name}")
    content = maker.make_embedded(name, SHARED / name)
    with np.load(io.BytesIO(content)) as made:
        found = read_embedded(name)
        assert (made["images"] == found.images).all()
        assert (made["labels"] == found.labels).all()


def test_another_file_than_the_official_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no test images"):
        maker.make_embedded("mnist", tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\x01\xff")
    with pytest.raises(UserError, match="not the official file"):
        maker.make_embedded("mnist", tmp_path)


def test_idx_files_packed_and_not(tmp_path: Path) -> None:
    content = b"\0\0\x08\x02\0\0\0\x02\0\0\0\x03" + bytes(range(6))
    plain, packed = tmp_path / "a-ubyte", tmp_path / "a-ubyte.gz"
    plain.write_bytes(content)
    packed.write_bytes(gzip.compress(content))
    assert read_idx(plain).tolist() == read_idx(packed).tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("content", [b"", b"\0\0\x0d\x01\0\0\0\x01", b"\0\0\x08\x01\0\0\0\x05abc", b"\0\0\x08\x03\0"])
def test_damaged_idx_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad").write_bytes(content)
    with pytest.raises(UserError, match="damaged or not an IDX file"):
        read_idx(tmp_path / "bad")


def test_packed_file_cut_short(tmp_path: Path) -> None:
    (tmp_path / "bad.gz").write_bytes(gzip.compress(bytes(1000))[:-9])
    with pytest.raises(UserError, match="cannot be read"):
        read_idx(tmp_path / "bad.gz")
