import hashlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from advbench.datasets.images.ids import Batch, content_ids, content_of, make_batch, sample_id, sample_ids


def images(n, seed=0):
    return torch.rand(n, 3, 4, 5, generator=torch.Generator().manual_seed(seed))


def test_a_batch_holds_what_it_was_given():
    x, y, ids = images(3), torch.tensor([0, 9, 4]), torch.tensor([5, 1, 3])
    batch = make_batch(x, y, ids)
    assert isinstance(batch, Batch)
    assert batch.x is x
    assert batch.y is y
    assert batch.ids is ids


def test_labels_may_be_unknown_and_ids_come_from_the_content():
    x = images(3)
    batch = make_batch(x)
    assert batch.y is None
    assert torch.equal(batch.ids, content_ids(x))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([[0.5]], r"expected x to be a tensor, got list"),
        (images(2).double(), r"expected x of type torch.float32, got torch.float64"),
        ((images(2) * 255).to(torch.uint8), r"expected x of type torch.float32, got torch.uint8"),
        (images(2)[0], r"expected x of shape \(N, C, H, W\), none of them 0, got \(3, 4, 5\)"),
        (images(0), r"expected x of shape \(N, C, H, W\), none of them 0, got \(0, 3, 4, 5\)"),
        (torch.full((1, 1, 2, 2), 255.0), r"expected x in \[0, 1\], got values from 255 to 255"),
        (torch.tensor([0.5, -0.25, 1, 1]).view(1, 1, 2, 2), r"got values from -0.25 to 1"),
        (torch.tensor([0.5, float("nan"), 1, 1]).view(1, 1, 2, 2), r"expected x in \[0, 1\], got values from nan"),
        (
            torch.tensor([0.5, float("inf"), 1, 1]).view(1, 1, 2, 2),
            r"expected x in \[0, 1\], got values from 0.5 to inf",
        ),
    ],
)
def test_wrong_images_are_refused(x, message):
    with pytest.raises(ValueError, match=message):
        make_batch(x)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([1, 2], r"expected y to be a tensor, got list"),
        (torch.tensor([1.0, 2.0]), r"expected y of type torch.int64 and shape \(2,\), got torch.float32"),
        (torch.tensor([1, 2, 3]), r"shape \(2,\), got torch.int64 of shape \(3,\)"),
        (torch.tensor([[1], [2]]), r"shape \(2,\), got torch.int64 of shape \(2, 1\)"),
        (torch.tensor([1, -1]), r"expected labels >= 0, got -1"),
        (torch.zeros(2, dtype=torch.int64, device="meta"), r"expected y on cpu, where x is, got meta"),
    ],
)
def test_wrong_labels_are_refused(y, message):
    with pytest.raises(ValueError, match=message):
        make_batch(images(2), y)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (torch.tensor([1, 2], dtype=torch.int32), r"expected ids of type torch.int64"),
        (torch.tensor([1]), r"expected ids of type torch.int64 and shape \(3,\)"),
        (torch.tensor([4, 5, 4]), r"expected ids that are all different, got 2 for 3 images"),
    ],
)
def test_wrong_ids_are_refused(ids, message):
    with pytest.raises(ValueError, match=message):
        make_batch(images(3), ids=ids)


def test_ids_follow_the_image_through_any_order_and_batch():
    x = images(8)
    ids = content_ids(x)
    order = torch.tensor([5, 0, 7, 2])
    assert torch.equal(content_ids(x[order]), ids[order])
    assert all(content_ids(x[i : i + 1]).item() == ids[i] for i in range(8))
    assert ids.dtype == torch.int64
    assert ids.min() >= 0
    assert len(set(ids.tolist())) == 8


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_repeats_get_ids_of_their_own_by_their_count_alone(kinds):
    pool = images(4)
    ids = content_ids(pool[kinds]).tolist()
    assert len(set(ids)) == len(ids)
    for kind in set(kinds):
        mine = [number for number, k in zip(ids, kinds, strict=True) if k == kind]
        assert mine == content_ids(pool[[kind] * len(mine)]).tolist()


def test_a_repeat_has_the_id_of_its_name_without_what_it_repeats():
    pool = images(2)
    x = pool[[0, 1, 0, 0, 1]]
    ids, names = content_ids(x), sample_ids(x)
    assert names == [sample_id(image) + end for image, end in zip(x, ["", "", "-2", "-3", "-2"], strict=True)]
    assert torch.equal(content_ids(x, names), ids)
    for rows in ([3], [2, 4], [4, 3, 0]):
        assert torch.equal(content_ids(x[rows], [names[row] for row in rows]), ids[rows])
    assert [content_of(name) for name in names] == [sample_id(image) for image in x]


def test_many_repeats_stay_cheap(monkeypatch):
    hashed = []
    sha256 = hashlib.sha256
    monkeypatch.setattr(hashlib, "sha256", lambda data: hashed.append(1) or sha256(data))
    assert len(set(content_ids(torch.zeros(500, 1, 2, 2)).tolist())) == 500
    assert len(hashed) < 1000


def test_the_id_is_the_head_of_the_sample_id():
    x = images(3)
    assert content_ids(x).tolist() == [int(sample_id(image), 16) // 2 for image in x]


def test_a_sample_id_is_pinned_for_records_already_written():
    ramp = torch.arange(12, dtype=torch.float32).view(3, 2, 2) / 16
    head = b"torch.float32 (3, 2, 2) "
    assert sample_id(ramp) == hashlib.sha256(head + ramp.numpy().astype("<f4").tobytes()).hexdigest()[:16]
    assert sample_id(ramp) == "11d3865cb530f7b5"


@pytest.mark.parametrize(
    "other",
    [
        torch.zeros(1, 4, 4, dtype=torch.float64),
        torch.zeros(1, 2, 8),
        torch.zeros(4, 4),
        torch.zeros(1, 4, 4).index_fill(2, torch.tensor([3]), 1e-45),
    ],
)
def test_type_shape_and_every_bit_count(other):
    assert sample_id(other) != sample_id(torch.zeros(1, 4, 4))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bfloat16, torch.bool])
def test_any_type_has_an_id(dtype):
    assert len(sample_id(torch.ones(1, 2, 2, dtype=dtype))) == 16


def test_memory_layout_and_gradients_do_not_count():
    x = images(2)
    strided = x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert not strided.is_contiguous()
    assert torch.equal(content_ids(strided), content_ids(x))
    assert sample_id(strided[0].requires_grad_()) == sample_id(x[0])
