"""The geometry of the four norms, as properties of projections, steps, random points and clamped candidates."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from norm_rows import ALL, DUALS, EPS, SIZES, each_convex_norm, each_norm, ids, noise, radii, rows, values
from scipy import optimize, stats

from attacks import L0, L1, L2, NORMS, Linf, Norm
from attacks.geometry.rows import column, flat

# --- size ---


@each_norm
@given(delta=rows())
def test_measure_and_dual_are_the_textbook_formulas(norm, delta):
    for measured, formula in ((norm.measure(delta), SIZES), (norm.dual(delta), DUALS)):
        assert measured.dtype == delta.dtype
        assert measured.tolist() == pytest.approx([formula[norm.name](row) for row in delta.numpy()], abs=1e-12)


# --- steepest ---


@each_convex_norm
@given(gradient=rows(), eps=st.floats(0.015625, 1, width=32))
def test_steepest_attains_the_dual_norm(norm, gradient, eps):
    step = norm.steepest(gradient, eps)
    assert (norm.measure(step) <= eps * (1 + 1e-12)).all()
    for g, s in zip(gradient.numpy(), step.numpy(), strict=True):
        assert g @ s == pytest.approx(eps * DUALS[norm.name](g), rel=1e-9, abs=1e-12)


@given(gradient=rows(), eps=radii)
def test_l1_steepest_is_the_best_of_the_ball_within_the_box(gradient, eps):
    for g, s in zip(gradient.numpy(), L1().steepest(gradient, eps).numpy(), strict=True):
        costs = np.abs(g) / (np.abs(g).max() or 1)  # to the solver, costs of less than 1e-7 are none
        best = -optimize.linprog(-costs, A_ub=np.ones((1, len(g))), b_ub=[eps], bounds=(0, 1)).fun
        assert np.sign(g) * costs @ s == pytest.approx(best, abs=1e-6)
        assert SIZES["l1"](s) <= eps * (1 + 1e-12)
        assert SIZES["linf"](s) <= 1


@given(gradient=rows(), eps=st.integers(1, 8))
def test_l0_steepest_is_the_best_of_the_ball_within_the_box(gradient, eps):
    for g, s in zip(gradient.numpy(), L0().steepest(gradient, eps).numpy(), strict=True):
        choices = combinations(range(len(g)), min(eps, len(g)))
        assert g @ s == pytest.approx(max(np.abs(g[list(places)]).sum() for places in choices), abs=1e-12)
        assert SIZES["l0"](s) <= eps
        assert SIZES["linf"](s) <= 1


@each_norm
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_gradient_of_zero_gives_no_step(norm, dtype):
    step = norm.steepest(torch.zeros(2, 3, 2, 2, dtype=dtype), 1.0)
    assert torch.equal(step, torch.zeros(2, 3, 2, 2, dtype=dtype))
    assert norm.dual(torch.zeros(2, 3, dtype=dtype)).tolist() == [0, 0]


@each_norm
@pytest.mark.parametrize("scale", [1e-25, 1e-38, 1e30])
def test_a_tiny_or_huge_gradient_gives_the_same_step(norm, scale):
    gradient = torch.tensor([[3.0, -4.0, 0.5]])
    torch.testing.assert_close(norm.steepest(gradient * scale, 1.0), norm.steepest(gradient, 1.0))


# --- random points ---


@each_norm
@pytest.mark.parametrize("eps", [0.03, 0.9, 2.0, 3.5])
def test_random_points_lie_in_the_ball(norm, eps):
    points = norm.random((2, 3), eps, seed=1, ids=ids(500), draw=0)
    assert points.shape == (500, 2, 3)
    assert (norm.measure(points) <= eps * (1 + 1e-6)).all()


@each_convex_norm
@pytest.mark.parametrize("width", [1, 5])
def test_random_points_are_uniform(norm, width):
    points = norm.random((width,), 0.5, seed=2, ids=ids(4000), draw=0)
    # Of a ball in D dimensions the part within radius r has a share r^D of the volume.
    share = ((norm.measure(points) / 0.5) ** width).numpy()
    assert stats.kstest(share, "uniform").pvalue > 1e-3
    for value in points.T.numpy():
        assert stats.binomtest(int((value > 0).sum()), 4000).pvalue > 1e-3
        assert stats.kstest(value, points[:, 0].numpy()).pvalue > 1e-3
    assert np.abs(np.corrcoef(points.T.numpy()) - np.eye(width)).max() < 0.08


def test_random_points_of_l0_change_as_many_values_as_allowed_anywhere():
    points = L0().random((2, 5), 3, seed=0, ids=ids(3000), draw=0)
    assert (L0().measure(points) == 3).all()
    changed = (flat(points) != 0).sum(0)
    assert stats.chisquare(changed.numpy()).pvalue > 1e-3
    assert stats.kstest(points[points != 0].numpy(), "uniform", (-1, 2)).pvalue > 1e-3


@each_norm
@pytest.mark.parametrize("extreme", [0.0, 1 - 2**-24], ids=["smallest", "largest"])
@pytest.mark.parametrize("place", [0, 2, -1, slice(None)], ids=str)
def test_random_points_are_finite_at_the_ends_of_the_generator(norm, extreme, place, monkeypatch):
    def drawn(seed, ids, draw, shape):
        block = torch.full((len(ids), *shape), 0.25)
        block.view(len(ids), -1)[:, place] = extreme
        return block

    monkeypatch.setattr(f"{type(norm).__module__}.uniform", drawn, raising=False)
    point = norm.random((2, 3), 2.0, seed=0, ids=ids(2), draw=0)
    assert point.isfinite().all()
    assert (norm.measure(point) <= 2 * (1 + 1e-6)).all()


@each_norm
def test_random_points_belong_to_seed_image_and_draw(norm):
    def point(**changed):
        return norm.random((4, 5), 3.0, **({"seed": 0, "ids": ids(3), "draw": 0} | changed))

    assert torch.equal(point(), point())
    assert torch.equal(point()[[2]], point(ids=ids(1, start=2)))
    assert not torch.equal(point(), point(seed=1))
    assert not torch.equal(point(), point(draw=1))


# --- batches ---


@each_norm
@pytest.mark.parametrize("shape", [(6,), (2, 3), (2, 3, 4), (1, 2, 3, 2)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_shape_is_one_row_an_image(norm, shape, dtype):
    delta = noise(4, *shape, dtype=dtype)
    flattened = delta.flatten(1)
    assert torch.equal(norm.measure(delta), norm.measure(flattened))
    assert torch.equal(norm.dual(delta), norm.dual(flattened))
    for function in (norm.project, norm.steepest):
        result = function(delta, 2.0)
        assert (result.shape, result.dtype) == (delta.shape, dtype)
        assert torch.equal(result.flatten(1), function(flattened, 2.0))
    assert norm.random(shape, 2.0, seed=0, ids=ids(4), draw=0).shape == delta.shape


@each_norm
def test_each_image_may_have_its_own_eps(norm):
    delta, eps = noise(3, 2, 4), torch.tensor([1.0, 2.5, 4.0])
    for function in (norm.project, norm.steepest):
        together = function(delta, eps)
        for i in range(3):
            assert torch.equal(together[i : i + 1], function(delta[i : i + 1], float(eps[i])))
    together = norm.random((2, 4), eps, seed=0, ids=ids(3), draw=0)
    for i in range(3):
        assert torch.equal(together[[i]], norm.random((2, 4), float(eps[i]), seed=0, ids=ids(1, i), draw=0))


@each_norm
def test_an_eps_of_another_dtype_keeps_that_of_the_images(norm):
    eps = torch.tensor([1.0, 2.0], dtype=torch.float64)
    assert norm.project(noise(2, 3), eps).dtype == torch.float32
    assert norm.steepest(noise(2, 3), eps).dtype == torch.float32
    assert norm.project(noise(2, 3).double(), eps.float()).dtype == torch.float64


@each_norm
@pytest.mark.parametrize("eps", [1.0, torch.zeros(0)], ids=["number", "tensor"])
def test_empty_batches_stay_empty(norm, eps):
    nothing = torch.zeros(0, 3, 2, 2)
    assert norm.measure(nothing).shape == norm.dual(nothing).shape == (0,)
    for result in (
        norm.project(nothing, eps),
        norm.steepest(nothing, eps),
        norm.random((3, 2, 2), eps, seed=0, ids=ids(0), draw=0),
        norm.step(nothing, nothing, eps),
        norm.within(nothing, nothing, eps),
    ):
        assert result.shape == nothing.shape


@each_norm
def test_arguments_are_not_changed(norm):
    delta, eps = noise(3, 8), torch.full((3,), 2.0)
    before = delta.clone()
    norm.measure(delta), norm.dual(delta), norm.project(delta, eps), norm.steepest(delta, eps)
    x = before.abs().clamp(0, 1)
    image = x.clone()
    norm.step(x, delta, eps), norm.within(x, x, eps)
    assert torch.equal(delta, before)
    assert torch.equal(x, image)
    assert eps.tolist() == [2, 2, 2]


def test_flat_and_column():
    assert flat(torch.zeros(2, 3, 4)).shape == (2, 12)
    assert flat(torch.zeros(0, 3, 4)).shape == (0, 12)
    like = torch.zeros(2, 3, 4, dtype=torch.float64)
    spread = column(torch.tensor([1.0, 2.0]), like)
    assert (spread.shape, spread.dtype) == ((2, 1, 1), torch.float64)
    assert (spread + like)[1].unique().tolist() == [2.0]
    assert column(0.5, like).flatten().tolist() == [0.5, 0.5]


# --- in the box ---


@each_norm
@given(data=st.data(), eps=radii)
def test_within_leaves_neither_ball_nor_box(norm, data, eps):
    x = data.draw(rows(st.floats(0, 1, width=32) | st.sampled_from([0.0, 1.0])))
    delta = data.draw(st.lists(values, min_size=x.numel(), max_size=x.numel()))
    x_adv = x + torch.tensor(delta, dtype=x.dtype).view_as(x)
    result = norm.within(x, x_adv, eps)
    assert (result >= 0).all()
    assert (result <= 1).all()
    assert (norm.measure(result - x) <= eps * (1 + 1e-12) + 1e-12).all()
    inside = (norm.measure(x_adv - x) <= eps * (1 - 1e-9)) & ((x_adv >= 0) & (x_adv <= 1)).all(1)
    torch.testing.assert_close(result[inside], x_adv[inside], rtol=0, atol=1e-15)


@each_norm
def test_float32_candidates_overshoot_by_rounding_at_most(norm):
    x = torch.rand(20, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    eps = EPS[norm.name]
    result = norm.within(x, x + noise(20, 3, 8, 8), eps)
    assert (norm.measure(result - x) <= eps * (1 + 1e-5)).all()


@pytest.mark.parametrize("norm", [L2(), L1(), L0()], ids=lambda norm: norm.name)
def test_descent_passes_over_values_at_the_end_of_their_range(norm):
    x = torch.tensor([[0.0, 1.0, 0.5, 0.5, 0.0, 1.0]])
    gradient = torch.tensor([[9.0, -9.0, 1.0, -2.0, -3.0, 4.0]])
    # The first two would leave the box at once; the last two are at an end too, but move inwards.
    step = norm.step(x, gradient, 2.0)
    assert step[0, :2].tolist() == [0, 0]
    assert torch.equal(step, norm.steepest(torch.tensor([[0.0, 0.0, -1.0, 2.0, 3.0, -4.0]]), 2.0))
    assert norm.measure(step).item() == pytest.approx(2)


def test_within_in_l1_is_the_nearest_point_of_ball_and_box():
    generator = torch.Generator().manual_seed(0)
    x, delta = torch.rand(40, 6, generator=generator).double(), noise(40, 6, dtype=torch.float64)
    result = L1().within(x, x + delta, 1.0)
    distance = (result - x - delta).square().sum(1)
    for seed in range(300):
        # Any other point of both; clamping keeps what the projection gives in the ball.
        other = (x + L1().random((6,), 1.0, seed, ids(40), 0)).clamp(0, 1)
        closer = (result + 0.05 * (other - result)).clamp(0, 1)
        for point in (other, closer):
            assert ((point - x - delta).square().sum(1) >= distance - 1e-9).all()


def test_an_l1_step_goes_in_equal_parts_to_the_values_that_count_most():
    x, gradient = torch.full((2, 10), 0.5), noise(2, 10)
    step = L1().step(x, gradient, 0.5, torch.tensor([0.3, 0.5]))
    for row, count in ((0, 3), (1, 5)):
        chosen = gradient[row].abs().topk(count).indices
        expected = torch.zeros(10).scatter(0, chosen, -gradient[row].sign()[chosen] * 0.5 / count)
        torch.testing.assert_close(step[row], expected)
    # No value can change by more than 1, so a long step takes more of them.
    assert L0().measure(L1().step(x, gradient, 3.5)).tolist() == [4, 4]


def test_descent_in_linf_moves_every_value():
    x, gradient = torch.tensor([[0.0, 1.0, 0.5]]), torch.tensor([[9.0, -9.0, 1.0]])
    assert Linf().step(x, gradient, 0.1).tolist() == [pytest.approx([-0.1, 0.1, -0.1])]


@each_norm
def test_descent_lowers_a_linear_loss(norm):
    x, gradient = torch.rand(4, 9, generator=torch.Generator().manual_seed(0)), noise(4, 9)
    step = norm.step(x, gradient, 1.0)
    assert ((step * gradient).sum(1) < 0).all()


def test_the_table_names_every_norm():
    assert {name: kind() for name, kind in NORMS.items()} == {norm.name: norm for norm in ALL}
    assert all(isinstance(norm, Norm) for norm in ALL)


def test_of_equal_values_the_first_stay_and_each_row_keeps_its_own_number():
    delta = torch.tensor([[0.2, -0.2, 0.2, 0.1], [0.3, 0.2, 0.2, 0.2], [0.0, 0.0, 0.4, 0.0], [0.1, 0.2, 0.3, 0.4]])
    kept = L0().project(delta, torch.tensor([2.0, 3.9, 2.0, 0.0]))
    expected = [[0.2, -0.2, 0.0, 0.0], [0.3, 0.2, 0.2, 0.0], [0.0, 0.0, 0.4, 0.0], [0.0, 0.0, 0.0, 0.0]]
    torch.testing.assert_close(kept, torch.tensor(expected))


@pytest.mark.parametrize(("norm", "eps"), [(L1(), 50.0), (L2(), 0.1), (L2(), 0.4)])
def test_equal_changes_of_the_values_of_a_photograph_stay_in_the_ball(norm, eps):
    """Bytes with the same change are rounded alike, and half a float each is more than a judge lets pass."""
    drawn = torch.Generator().manual_seed(0)
    x = torch.randint(128, 255, (2, 3, 200, 200), generator=drawn) / 255
    signs = torch.randn(x.shape, generator=drawn).sign()
    x_adv = norm.within(x, x + signs * (1.0001 * eps / norm.measure(signs)[0]), eps)
    size = norm.measure(x_adv.double() - x.double())
    assert (size <= eps * (1 + 1e-5) + 1e-6).all()
    assert (size > 0.999 * eps).all()
