"""The shortest way to a hyperplane within the box, against general programming."""

import pytest
import torch
from norm_rows import SOLVERS
from oracles import images

from attacks import NORMS


def situation(count=12, values=7):
    x = images(count, (values,), seed=2, low=0, high=1)
    normal = torch.randn(count, values, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    room = torch.where(normal > 0, 1 - x, x)
    # From next to nothing to almost all that the box allows.
    return x, normal, (normal.abs() * room).sum(1) * torch.linspace(0.01, 0.99, count, dtype=torch.float64)


@pytest.mark.parametrize("norm", NORMS)
def test_is_the_shortest_way_and_gets_there(norm):
    x, normal, rise = situation()
    step = NORMS[norm]().to_plane(x, normal, rise)
    torch.testing.assert_close((normal * step).sum(1), rise)
    assert ((x + step >= -1e-12) & (x + step <= 1 + 1e-12)).all()
    for i, size in enumerate(NORMS[norm]().measure(step)):
        row = slice(i, i + 1)
        least = SOLVERS[norm](normal[row].numpy(), rise[row].numpy(), x[i].numpy())
        assert size.item() == pytest.approx(least, rel=1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_a_fall_is_a_rise_along_the_other_normal(norm):
    x, normal, rise = situation()
    assert torch.equal(NORMS[norm]().to_plane(x, -normal, -rise), NORMS[norm]().to_plane(x, normal, rise))


@pytest.mark.parametrize("norm", NORMS)
def test_what_is_out_of_reach_is_approached_as_far_as_the_box_allows(norm):
    x, normal, rise = situation()
    step = NORMS[norm]().to_plane(x, normal, 10 * rise.abs() + 100)
    torch.testing.assert_close(x + step, (normal > 0).double())
    assert torch.equal(NORMS[norm]().to_plane(x, torch.zeros_like(x), rise), torch.zeros_like(x))
