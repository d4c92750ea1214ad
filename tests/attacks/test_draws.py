"""Random numbers that belong to the image: independent of the batch, of each other, and uniform."""

import numpy as np
import pytest
import torch
from scipy import stats

from attacks.searches.draws import derive, normal, uniform

SEEDS = [0, 1, -1, 2**31, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), 10**30, -(10**30)]
STEP = 2.0**-24


def ids(count, start=0):
    return torch.arange(start, start + count)


def p_uniform(values) -> float:
    """Chance of bins as uneven as these in uniform numbers."""
    counts, _ = np.histogram(values.flatten().numpy(), bins=64, range=(0, 1))
    return stats.chisquare(counts).pvalue


@pytest.mark.parametrize("function", [uniform, normal])
@pytest.mark.parametrize("shape", [(), (5,), (3, 4, 4)], ids=str)
def test_a_block_for_each_image(function, shape):
    block = function(0, ids(3), 0, shape)
    assert (block.shape, block.dtype) == ((3, *shape), torch.float32)
    assert function(0, ids(0), 0, shape).shape == (0, *shape)


@pytest.mark.parametrize("function", [uniform, normal])
def test_a_block_does_not_depend_on_batch_order_or_neighbours(function):
    whole = function(3, ids(10, start=100), 2, (4, 5))
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    assert torch.equal(function(3, order + 100, 2, (4, 5)), whole[order])
    assert torch.equal(function(3, torch.tensor([107]), 2, (4, 5))[0], whole[7])
    assert torch.equal(function(3, torch.tensor([102, 5, 102]), 2, (4, 5))[[0, 2]], whole[[2, 2]])


def test_a_block_begins_alike_whatever_its_shape():
    assert torch.equal(uniform(0, ids(2), 0, (12,)), uniform(0, ids(2), 0, (3, 4)).flatten(1))
    assert torch.equal(uniform(0, ids(2), 0, (12,))[:, :5], uniform(0, ids(2), 0, (5,)))


def test_asking_changes_no_global_generator():
    before = torch.random.get_rng_state()
    normal(0, ids(3), 0, (4,))
    assert torch.equal(before, torch.random.get_rng_state())


def test_numbers_are_those_of_splitmix64():
    def mix(bits):
        bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        bits = (bits ^ bits >> 27) * 0x94D049BB133111EB % 2**64
        return bits ^ bits >> 31

    golden = 0x9E3779B97F4A7C15
    for seed, image, draw in [(0, 0, 0), (7, 123456789, 3), (-5, 2**62, 99), (2**70 + 1, 1, 0)]:
        key = mix((mix((image + seed * 0xBF58476D1CE4E5B9) % 2**64) + draw * golden) % 2**64)
        expected = [mix((key + place * golden) % 2**64) >> 40 for place in (1, 2, 3)]
        block = uniform(seed, torch.tensor([image]), draw, (3,)).double() / STEP
        assert block.tolist() == [expected]


# --- distribution ---


def test_uniform_over_the_values_of_a_block():
    block = uniform(0, torch.tensor([5]), 0, (100_000,))
    assert block.min() >= 0
    assert block.max() < 1
    assert p_uniform(block) > 1e-3


def test_uniform_over_images():
    assert p_uniform(uniform(0, ids(50_000), 0, (2,))) > 1e-3
    assert p_uniform(uniform(0, ids(50_000) * 2**40, 0, (2,))) > 1e-3


def test_uniform_over_draws():
    assert p_uniform(torch.stack([uniform(0, ids(4), draw, (3,)) for draw in range(1000)])) > 1e-3


def test_uniform_over_seeds():
    assert p_uniform(torch.stack([uniform(seed, ids(4), 0, (3,)) for seed in range(1000)])) > 1e-3
    assert p_uniform(torch.stack([uniform(derive(0, i), ids(4), 0, (3,)) for i in range(1000)])) > 1e-3


def test_every_bit_is_fair():
    bits = (uniform(1, ids(1000), 0, (50,)).double() / STEP).long()
    for place in range(24):
        ones = int(((bits >> place) & 1).sum())
        assert stats.binomtest(ones, 50_000).pvalue > 1e-4, f"bit {place}"


@pytest.mark.parametrize("apart", ["values", "images", "draws", "seeds"])
def test_neighbours_are_not_correlated(apart):
    one = uniform(0, ids(200), 0, (100,))
    other = {
        "values": lambda: one.roll(1, dims=1),
        "images": lambda: one.roll(1, dims=0),
        "draws": lambda: uniform(0, ids(200), 1, (100,)),
        "seeds": lambda: uniform(1, ids(200), 0, (100,)),
    }[apart]()
    assert abs(np.corrcoef(one.flatten(), other.flatten())[0, 1]) < 0.03


def test_normal_is_normal():
    block = normal(0, ids(200), 0, (200,))
    assert stats.kstest(block.flatten().numpy(), "norm").pvalue > 1e-3
    assert block.isfinite().all()


@pytest.mark.parametrize(("fraction", "bound"), [(0.0, -5.42), (1 - STEP, 5.42)])
def test_normal_is_finite_at_the_ends_of_the_generator(fraction, bound, monkeypatch):
    monkeypatch.setattr("attacks.searches.draws.uniform", lambda *_: torch.full((1, 3), fraction))
    assert normal(0, ids(1), 0, (3,)).tolist() == [pytest.approx([bound] * 3, abs=0.01)]


# --- collisions ---


def test_no_two_blocks_of_a_seed_are_alike():
    blocks = torch.cat([uniform(0, ids(300), draw, (4,)) for draw in range(30)])
    assert len(blocks.unique(dim=0)) == 300 * 30


def test_no_two_blocks_of_neighbouring_seeds_are_alike():
    blocks = torch.cat([uniform(seed, ids(300), 0, (4,)) for seed in range(-10, 20)])
    assert len(blocks.unique(dim=0)) == 300 * 30


def test_no_block_continues_another():
    longs = uniform(0, ids(300), 0, (64,)).unfold(1, 4, 1).reshape(-1, 4)
    assert len(longs.unique(dim=0)) == 300 * 61


# --- seeds ---


@pytest.mark.parametrize("seed", SEEDS, ids=str)
def test_any_integer_is_a_seed(seed):
    block = uniform(seed, ids(3), 0, (4,))
    assert ((block >= 0) & (block < 1)).all()
    assert torch.equal(block, uniform(seed, ids(3), 0, (4,)))
    assert not torch.equal(block, uniform(seed + 1, ids(3), 0, (4,)))


@pytest.mark.parametrize("seed", SEEDS, ids=str)
def test_derived_seeds_are_seeds_of_their_own(seed):
    derived = [derive(seed, i) for i in range(200)]
    assert derived[0] == seed
    assert len(set(derived)) == 200
    assert derived == [derive(seed, i) for i in range(200)]
    assert all(isinstance(item, int) for item in derived)


def test_derived_seeds_of_neighbouring_seeds_do_not_meet():
    assert len({derive(seed, i) for seed in range(50) for i in range(50)}) == 2500
