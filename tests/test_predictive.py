"""Predictive distributions: closed forms, and properties true of every mixture."""

import pickle

import numpy as np
import pytest
from scipy import stats

from skvae import _mixture
from skvae._mixture import Mixture
from skvae._predictive import MixtureComponents, PredictiveDistribution

N, M, O, K = 4, 5, 2, 3  # noqa: E741 - letters of the module under test


def components(shape=(N, M, O, K), seed=0):
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.ones(shape[-1]), shape[:-1])
    # a shift common to the outputs of a draw makes the outputs dependent
    means = rng.normal(size=shape) + 3 * rng.normal(size=(*shape[:2], 1, 1))
    return weights, means, np.exp(0.4 * rng.normal(size=shape) - 0.5)


def build(shape=(N, M, O, K), seed=0, **kwargs):
    return PredictiveDistribution.from_components(*components(shape, seed), **kwargs)


def normals(mean, scale):
    """One normal per row."""
    mean, scale = (np.reshape(v, (-1, 1, 1, 1)) for v in (mean, scale))
    return PredictiveDistribution.from_components(np.ones(mean.shape), mean, scale)


def single(weights, means, scales):
    """One row, one output, one draw."""
    parts = (np.reshape(v, (1, 1, 1, -1)) for v in (weights, means, scales))
    return PredictiveDistribution.from_components(*parts)


def one_row_at_a_time(distribution):
    """Same rows, with a claimed row size so large that every chunk is one row."""
    d = distribution
    return PredictiveDistribution(
        d._blocks, d.n_rows, d.n_outputs, d.single_output, row_elements=2**40
    )


def mass(intervals, distribution):
    low, high = distribution.cdf(intervals.T[..., None])[..., 0]
    return (high - low).sum()


# --- closed forms -----------------------------------------------------------------


def test_one_component_is_the_normal_distribution():
    mean, scale = np.array([-1.0, 0.0, 50.0]), np.array([0.1, 1.0, 20.0])
    y = mean + scale * np.array([-2.0, 0.3, 1.1])
    ours, scipys = normals(mean, scale), stats.norm(mean, scale)
    z = (y - mean) / scale
    crps = scale * (
        z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi)
    )  # Gneiting and Raftery (2007), sec. 4.2
    np.testing.assert_allclose(ours.mean(), mean)
    np.testing.assert_allclose(ours.std(), scale)
    np.testing.assert_allclose(ours.var(), scale**2)
    np.testing.assert_allclose(ours.cov(), scale[:, None, None] ** 2)
    np.testing.assert_allclose(ours.cdf(y), scipys.cdf(y))
    np.testing.assert_allclose(ours.pdf(y), scipys.pdf(y))
    np.testing.assert_allclose(ours.log_prob(y), scipys.logpdf(y))
    np.testing.assert_allclose(ours.crps(y), crps)
    np.testing.assert_allclose(ours.quantile(0.01), scipys.ppf(0.01))
    np.testing.assert_allclose(ours.interval(0.8), np.stack(scipys.interval(0.8), 1))


def test_moments_match_the_direct_formula():
    weights, means, scales = components()
    flat = (weights * means).sum(-1)  # (N, M, O)
    mean = flat.mean(1)
    second = (weights * (scales**2 + means**2)).sum(-1).mean(1)  # E[y_o^2]
    cross = np.einsum("nmo,nmp->nop", flat, flat) / M  # E[y_o y_p], o != p
    expected = cross - mean[:, :, None] * mean[:, None, :]
    diagonal = np.arange(O)
    expected[:, diagonal, diagonal] = second - mean**2
    ours = build()
    np.testing.assert_allclose(ours.mean(), mean)
    np.testing.assert_allclose(ours.cov(), expected)
    np.testing.assert_allclose(ours.var(), expected[:, diagonal, diagonal])
    np.testing.assert_allclose(ours.std(), np.sqrt(ours.var()))


def test_moments_match_large_samples():
    """Within 5 standard errors, estimated from 40 batches of 1000 draws."""
    ours = build()
    draws = ours.sample(40_000, random_state=0).reshape(40, 1000, N, O)
    for estimate, exact in [
        (draws.mean(1), ours.mean()),
        (draws.var(1, ddof=1), ours.var()),
        (np.stack([[np.cov(b[:, i].T) for i in range(N)] for b in draws]), ours.cov()),
    ]:
        error = estimate.std(0, ddof=1) / np.sqrt(40)
        assert (np.abs(estimate.mean(0) - exact) < 5 * error).all()


def test_marginals_agree_with_scipy_and_the_joint_is_not_their_product():
    weights, means, scales = components()
    ours = build()
    y = ours.mean() + 0.7
    z = (y[:, None, :, None], means, scales)
    cdf = (weights * stats.norm.cdf(*z)).sum(-1).mean(1)
    marginal = (weights * stats.norm.pdf(*z)).sum(-1).mean(1)  # (N, O)
    joint = (weights * stats.norm.pdf(*z)).sum(-1).prod(-1).mean(-1)
    assert np.abs(ours.cov()[:, 0, 1]).min() > 0.5  # the data are dependent
    np.testing.assert_allclose(ours.cdf(y), cdf)
    np.testing.assert_allclose(ours.log_prob(y), np.log(joint))
    gap = np.log(marginal).sum(-1) - ours.log_prob(y)
    assert np.abs(gap).min() > 0.01


# --- densities --------------------------------------------------------------------


def test_density_of_one_output_integrates_to_one():
    ours = build((N, M, 1, K))
    width = 20 * ours.std()
    grid = ours.mean() + np.linspace(-1, 1, 8001)[:, None] * width  # (G, N)
    # the trapezoid rule is spectrally accurate for a density that vanishes at the ends
    np.testing.assert_allclose(np.trapezoid(ours.pdf(grid), grid, axis=0), 1, atol=1e-9)


def test_density_of_two_outputs_integrates_to_one_over_a_grid():
    ours = build()
    axis = np.linspace(-20, 20, 301)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1)[:, :, None, :]
    density = ours.pdf(np.broadcast_to(grid, (301, 301, N, O)))
    assert density.shape == (301, 301, N)
    total = density.sum((0, 1)) * (axis[1] - axis[0]) ** 2
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_log_prob_is_finite_and_right_far_in_the_tails():
    ours = build(seed=3)
    far = ours.mean() + 100 * ours.std()
    assert np.isfinite(ours.log_prob(far)).all()
    assert (ours.pdf(far) == 0).all()  # the log is needed here
    alone = normals([0.0], [1.0])
    np.testing.assert_allclose(alone.log_prob([1e5]), stats.norm.logpdf(1e5))


@pytest.mark.parametrize("huge", [np.inf, -np.inf, 1e200])
def test_log_prob_beyond_floating_point_is_minus_infinity(huge):
    assert normals([0.0], [1.0]).log_prob([huge]) == -np.inf


@pytest.mark.parametrize("unit", [2.0**-660, 2.0**660])
def test_moments_and_quantiles_are_right_in_units_whose_squares_are_not(unit):
    """A power of two changes no digit; 2^660 is about 5e198."""
    weights, means, scales = components()
    plain = build()
    ours = PredictiveDistribution.from_components(weights, unit * means, unit * scales)
    np.testing.assert_array_equal(ours.mean(), unit * plain.mean())
    np.testing.assert_array_equal(ours.std(), unit * plain.std())
    levels = [0.1, 0.5, 0.99]
    np.testing.assert_allclose(
        ours.quantile(levels), unit * plain.quantile(levels), rtol=1e-9
    )


def test_weight_of_zero_removes_a_component():
    ours = single([1.0, 0.0], [0.0, 9.0], [1.0, 1e-3])
    np.testing.assert_allclose(ours.log_prob([9.0]), stats.norm.logpdf(9.0))
    assert (ours.sample(2000, random_state=0) < 8).all()


def test_units_change_log_prob_by_the_jacobian():
    weights, means, scales = components()
    ours = build()
    scaled = PredictiveDistribution.from_components(weights, 1e3 * means, 1e3 * scales)
    y = ours.mean() + 0.3
    shift = scaled.log_prob(1e3 * y) - ours.log_prob(y)
    np.testing.assert_allclose(shift, -O * np.log(1000))
    np.testing.assert_allclose(scaled.crps(1e3 * y), 1e3 * ours.crps(y))


# --- quantiles --------------------------------------------------------------------


@pytest.mark.parametrize("q", [1e-9, 0.001, 0.25, 0.5, 0.9, 1 - 1e-7])
def test_cdf_inverts_quantile(q):
    ours = build((20, M, O, K), seed=1)
    np.testing.assert_allclose(ours.cdf(ours.quantile(q)), q, rtol=1e-8, atol=0)


def test_quantile_inverts_cdf():
    ours = build((1, M, 1, K))
    for y in ours.sample(20, random_state=1):
        np.testing.assert_allclose(ours.quantile(float(ours.cdf(y)[0])), y, atol=1e-8)


def test_quantile_survives_needles_gaps_and_scales_far_apart():
    mixture = nasty_mixtures()["wide"]
    for q in (0.01, 0.5, 0.99):
        y = _mixture.mixture_quantile(q, mixture)
        below, above = np.nextafter(y, -np.inf), np.nextafter(y, np.inf)
        slack = 1e-9
        assert (_mixture.mixture_cdf(below, mixture) <= q + slack).all()
        assert (_mixture.mixture_cdf(above, mixture) >= q - slack).all()


def test_interval_is_a_pair_of_quantiles():
    ours = build()
    np.testing.assert_allclose(ours.interval(0.8), ours.quantile([0.1, 0.9]))
    held = ours.cdf(np.moveaxis(ours.interval(0.8), 1, 0))
    np.testing.assert_allclose(held[1] - held[0], 0.8)


# --- crps -------------------------------------------------------------------------


def nasty_mixtures(n_components=70, n_rows=6):
    """Mixtures with more components than the closed form is used for."""
    rng = np.random.default_rng(5)
    shape = (n_rows, n_components)
    weights = rng.dirichlet(np.full(n_components, 0.2), shape[0])
    means, plain = rng.normal(size=shape), np.exp(0.3 * rng.normal(size=shape))
    half = np.where(np.arange(n_components) % 2, 1.0, 1e-6)  # needles on a broad base
    far = means * 10 ** rng.uniform(-3, 4, shape)
    return {
        "plain": Mixture(weights, means, plain),
        "needles": Mixture(weights, means, np.full(shape, 1e-4)),
        "wide": Mixture(weights, means, 10 ** rng.uniform(-6, 3, size=shape)),
        "spike": Mixture(weights, np.where(half < 1, 0.3, means), plain * half),
        "far": Mixture(weights, far, plain),
        "far spikes": Mixture(weights, far, plain * half),
        "far wide": Mixture(weights, far, 10 ** rng.uniform(-8, 3, size=shape)),
        "offset": Mixture(weights, means + 1e6, plain),
    }


@pytest.mark.parametrize("name", list(nasty_mixtures()))
def test_crps_quadrature_matches_the_closed_form(name):
    mixture = nasty_mixtures()[name]
    np.testing.assert_allclose(
        _mixture.half_spread_quadrature(mixture),
        _mixture.half_spread_closed_form(mixture),
        rtol=1e-4,
    )


@pytest.mark.parametrize("width", [1e-2, 1e-5, 1e-10])
def test_crps_quadrature_finds_a_needle_of_any_width(width, monkeypatch):
    """The number of points where the cdf is asked for does not grow: 40 suffice."""
    asked = []
    knots = _mixture._knots
    monkeypatch.setattr(
        _mixture, "_knots", lambda y, *args: asked.extend(y) or knots(y, *args)
    )
    weights, means, scales = [0.5, 0.5], [0.3, 0.0], [width, 1.0]
    mixture = Mixture(*(np.array([part]) for part in (weights, means, scales)))
    np.testing.assert_allclose(
        _mixture.half_spread_quadrature(mixture),
        _mixture.half_spread_closed_form(mixture),
        rtol=2e-5,
    )
    assert len(asked) <= 40


def test_crps_quadrature_is_of_high_order_on_a_smooth_cdf():
    """E|Y - Y'| / 2 of a standard normal is 1 / sqrt(pi); panels are 1 wide."""
    normal = Mixture(*(np.full((1, 1), value) for value in (1.0, 0.0, 1.0)))
    row = np.zeros(17, dtype=int)
    knots = _mixture._knots(np.linspace(-8, 8, 17), row, normal)
    value, error = _mixture._panel_spread(
        _mixture.Panels(row[1:], knots[:-1], knots[1:])
    )
    assert value.sum() == pytest.approx(1 / np.sqrt(np.pi), rel=1e-5)
    assert abs(value.sum() - 1 / np.sqrt(np.pi)) < error.sum() < 1e-3


def test_crps_does_not_change_when_components_are_replicated():
    """40 replicas pass the limit of the closed form and take the other path."""
    parts = components((N, M, O, K))
    assert M * K < _mixture.MAX_PAIRED_COMPONENTS < 40 * M * K
    many = (np.tile(part, (1, 40, 1, 1)) for part in parts)
    y = build().mean() + 0.5
    expected = build().crps(y)
    result = PredictiveDistribution.from_components(*many).crps(y)
    np.testing.assert_allclose(result, expected, rtol=2e-4)


def test_crps_matches_monte_carlo():
    """Within 5 standard errors of E|Y - y| - E|Y - Y'| / 2 over 100,000 pairs."""
    ours = build()
    y = ours.mean() + 1.0
    first, second = ours.sample(200_000, random_state=0).reshape(2, -1, N, O)
    terms = np.abs(first - y) - 0.5 * np.abs(first - second)
    error = terms.std(0) / np.sqrt(len(terms))
    assert (np.abs(terms.mean(0) - ours.crps(y)) < 5 * error).all()


# --- samples ----------------------------------------------------------------------


def test_samples_follow_the_marginals_and_the_dependence():
    """Kolmogorov-Smirnov at level 1e-4; correlation within 0.03 (about 5 errors)."""
    ours = build()
    draws = ours.sample(20_000, random_state=2)
    uniform = ours.cdf(draws)
    for i in range(N):
        for o in range(O):
            assert stats.kstest(uniform[:, i, o], "uniform").pvalue > 1e-4
        cov = ours.cov()[i]
        correlation = cov[0, 1] / np.sqrt(cov[0, 0] * cov[1, 1])
        sampled = np.corrcoef(draws[:, i].T)[0, 1]
        assert abs(sampled - correlation) < 0.03


@pytest.mark.parametrize("make", [int, np.random.RandomState, np.random.default_rng])
def test_the_same_seed_gives_the_same_draws_in_any_chunks(make):
    ours = build()
    first = ours.sample(7, random_state=make(3))
    again = ours.sample(7, random_state=make(3))
    in_chunks = one_row_at_a_time(ours).sample(7, random_state=make(3))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, in_chunks)
    assert not np.array_equal(first, ours.sample(7, random_state=make(4)))


def test_without_a_seed_draws_differ_and_a_generator_moves_on():
    ours = build()
    assert not np.array_equal(ours.sample(), ours.sample())
    generator = np.random.default_rng(0)
    assert not np.array_equal(ours.sample(1, generator), ours.sample(1, generator))


# --- highest-density regions ------------------------------------------------------


def test_region_of_a_normal_is_its_central_interval():
    ours = normals([0.0, 5.0], [1.0, 1e-3])
    for region, central in zip(
        ours.highest_density_region(0.9), ours.interval(0.9), strict=True
    ):
        assert region.shape == (1, 2)
        np.testing.assert_allclose(
            (region[0] - central) / np.ptp(central), 0, atol=1e-3
        )


def test_region_of_a_bimodal_mixture_is_two_intervals_of_equal_density():
    ours = single([0.7, 0.3], [-3.0, 2.0], [0.5, 1.0])
    (region,) = ours.highest_density_region(0.9)
    assert region.shape == (2, 2)
    assert mass(region, ours) == pytest.approx(0.9, abs=1e-6)
    densities = ours.pdf(region.reshape(-1, 1))
    np.testing.assert_allclose(densities, densities.mean(), rtol=0.02)
    assert np.diff(region).sum() < np.ptp(ours.interval(0.9))


@pytest.mark.parametrize("coverage", [0.05, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("name", list(nasty_mixtures()))
def test_region_holds_its_mass_in_no_more_intervals_than_components(name, coverage):
    """A mixture of J normals has at most J modes, so a level set has J intervals."""
    mixture = nasty_mixtures(n_components=8, n_rows=20)[name]
    for i, region in enumerate(_mixture.highest_density_intervals(mixture, coverage)):
        ours = single(*(part[i] for part in mixture))
        assert mass(region, ours) == pytest.approx(coverage, abs=1e-3)
        assert (np.diff(region.ravel()) > 0).all()  # in order, apart, not empty
        assert len(region) <= 8


def test_region_of_more_needles_than_panels_holds_its_mass():
    rng = np.random.default_rng(0)
    means = rng.uniform(size=1500)
    ours = single(np.full(1500, 1 / 1500), means, np.full(1500, 1e-7))
    (region,) = ours.highest_density_region(0.9)
    assert len(means) > _mixture.MAX_PANELS
    assert mass(region, ours) == pytest.approx(0.9, abs=1e-3)


def test_needles_thinner_than_the_spacing_of_floats_act_as_points():
    """Two points at +-1e6 with equal weights: E|Y - y| - E|Y - Y'| / 2 = 5e5 at 1e6."""
    means = np.repeat([-1e6, 1e6], 40)  # 80 components: beyond the closed form
    ours = single(np.full(80, 1 / 80), means, np.full(80, 1e-13))
    np.testing.assert_allclose(ours.crps([1e6]), 5e5, rtol=1e-4)
    np.testing.assert_allclose(ours.interval(0.9), [[-1e6, 1e6]], rtol=1e-15)
    (region,) = ours.highest_density_region(0.9)
    np.testing.assert_allclose(np.abs(region), 1e6, rtol=1e-6)


# --- shapes, chunks, pickles ------------------------------------------------------


def test_shapes_with_an_output_axis():
    ours = build()
    assert len(ours) == N
    assert ours.n_outputs == O
    assert repr(ours) == "PredictiveDistribution(n_rows=4, n_outputs=2)"
    y = np.zeros((N, O))
    grid = np.zeros((6, N, O))
    assert ours.mean().shape == ours.var().shape == ours.std().shape == (N, O)
    assert ours.cov().shape == (N, O, O)
    assert ours.quantile(0.5).shape == (N, O)
    assert ours.quantile([0.5]).shape == (N, 1, O)
    assert ours.interval().shape == (N, 2, O)
    assert ours.sample().shape == (1, N, O)
    assert ours.log_prob(y).shape == ours.pdf(y).shape == (N,)
    assert ours.log_prob(grid).shape == ours.pdf(grid).shape == (6, N)
    assert ours.cdf(y).shape == ours.crps(y).shape == (N, O)
    assert ours.cdf(grid).shape == ours.crps(grid).shape == (6, N, O)
    region = ours.highest_density_region()
    assert [len(row) for row in region] == [O] * N
    assert region[0][0].shape[1] == 2


def test_shapes_without_an_output_axis():
    ours = build((N, M, 1, K))
    y, grid = np.zeros(N), np.zeros((6, N))
    assert ours.single_output
    assert ours.mean().shape == ours.var().shape == ours.std().shape == (N,)
    assert ours.cov().shape == (N, 1, 1)
    assert ours.quantile(0.5).shape == (N,)
    assert ours.quantile([0.1, 0.2, 0.3]).shape == (N, 3)
    assert ours.interval().shape == (N, 2)
    assert ours.sample(3).shape == (3, N)
    assert ours.log_prob(y).shape == ours.cdf(y).shape == ours.crps(y).shape == (N,)
    assert ours.log_prob(grid).shape == ours.cdf(grid).shape == (6, N)
    assert [row.shape[1] for row in ours.highest_density_region()] == [2] * N


def test_one_output_may_keep_its_axis():
    ours = build((N, M, 1, K), single_output=False)
    squeezed = build((N, M, 1, K))
    assert ours.mean().shape == (N, 1)
    np.testing.assert_array_equal(ours.mean()[:, 0], squeezed.mean())
    np.testing.assert_array_equal(
        ours.quantile([0.1, 0.9])[..., 0], squeezed.quantile([0.1, 0.9])
    )


def test_a_row_of_a_grid_equals_a_call_of_its_own():
    ours = build()
    grid = np.random.default_rng(0).normal(size=(3, N, O))
    for method in (ours.cdf, ours.pdf, ours.log_prob, ours.crps):
        np.testing.assert_array_equal(method(grid)[1], method(grid[1]))


def test_chunks_of_one_row_give_what_one_block_gives():
    ours = build((N, 50, O, K))  # 150 components: the quadrature is exercised too
    chunked = one_row_at_a_time(ours)
    assert len(list(ours._chunks())) == 1
    assert len(list(chunked._chunks())) == N
    y = np.random.default_rng(0).normal(size=(N, O))
    for name, args in [
        ("mean", ()),
        ("var", ()),
        ("cov", ()),
        ("cdf", (y,)),
        ("log_prob", (y,)),
        ("crps", (y,)),
        ("quantile", ([0.1, 0.7],)),
    ]:
        np.testing.assert_allclose(
            getattr(chunked, name)(*args), getattr(ours, name)(*args), rtol=1e-12
        )
    for ours_row, chunked_row in zip(
        ours.highest_density_region(), chunked.highest_density_region(), strict=True
    ):
        for a, b in zip(ours_row, chunked_row, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9)


def test_chunks_are_bounded_by_the_number_of_elements():
    asked = []

    def blocks(rows):
        asked.append(rows.stop - rows.start)
        shape = (asked[-1], 8, 1, 2)
        return MixtureComponents(np.full(shape, 0.5), np.zeros(shape), np.ones(shape))

    n_rows = 150_000
    ours = PredictiveDistribution(blocks, n_rows, 1, True, 16)
    assert ours.mean().shape == (n_rows,)
    assert sum(asked) == n_rows
    assert len(asked) > 1
    assert max(asked) * 16 <= 2**20


def test_blocks_in_single_precision_give_double_precision_results():
    parts = [part.astype(np.float32) for part in components()]
    block = MixtureComponents(*parts)
    ours = PredictiveDistribution(lambda rows: block[rows], N, O, False, M * O * K)
    assert ours.mean().dtype == ours.sample().dtype == np.float64
    np.testing.assert_allclose(ours.cdf(ours.quantile(0.3)), 0.3, rtol=1e-9)
    np.testing.assert_allclose(ours.cdf(np.full((N, O), np.inf)), 1, rtol=1e-15)


def test_pickle_keeps_every_result():
    ours = build()
    copy = pickle.loads(pickle.dumps(ours))
    np.testing.assert_array_equal(copy.mean(), ours.mean())
    np.testing.assert_array_equal(copy.sample(2, 0), ours.sample(2, 0))


def test_arrays_given_are_copied():
    weights, means, scales = components()
    ours = PredictiveDistribution.from_components(weights, means, scales)
    before = ours.mean()
    means += 1.0
    np.testing.assert_array_equal(ours.mean(), before)


# --- errors -----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["cdf", "pdf", "log_prob", "crps"])
@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros(N), r"y must have shape \(4, 2\).*got shape \(4,\)"),
        (np.zeros((3, O)), r"y must have shape \(4, 2\).*got shape \(3, 2\)"),
        (np.full((N, O), np.nan), "y must have no NaN, got 8 NaN"),
        ([["a"] * O] * N, "y must be numbers, got list"),
    ],
)
def test_bad_y_is_refused(method, y, message):
    with pytest.raises(ValueError, match=message):
        getattr(build(), method)(y)


def test_a_column_is_refused_where_y_was_one_dimensional():
    with pytest.raises(ValueError, match=r"y must have shape \(4\).*\(4, 1\)"):
        build((N, M, 1, K)).cdf(np.zeros((N, 1)))


@pytest.mark.parametrize("q", [0.0, 1.0, -0.1, np.nan, [0.5, 2.0]])
def test_quantile_levels_outside_the_open_interval_are_refused(q):
    with pytest.raises(ValueError, match="q must lie strictly between 0 and 1, got"):
        build().quantile(q)


@pytest.mark.parametrize("q", [[], [[0.5]]])
def test_quantile_levels_of_another_shape_are_refused(q):
    with pytest.raises(ValueError, match="q must be a number or a 1-D sequence, got"):
        build().quantile(q)


@pytest.mark.parametrize("method", ["interval", "highest_density_region"])
@pytest.mark.parametrize("coverage", [0.0, 1.0, 90, np.nan])
def test_coverage_outside_the_open_interval_is_refused(method, coverage):
    with pytest.raises(ValueError, match="coverage must lie strictly between 0 and 1"):
        getattr(build(), method)(coverage)


@pytest.mark.parametrize("n_samples", [0, -1, 2.0, "3", True])
def test_a_number_of_samples_that_is_no_count_is_refused(n_samples):
    with pytest.raises(ValueError, match="n_samples must be an int >= 1, got"):
        build().sample(n_samples)


@pytest.mark.parametrize("random_state", ["seed", -1, 0.5])
def test_a_random_state_of_another_kind_is_refused(random_state):
    with pytest.raises(ValueError, match="random_state must be None, an int >= 0"):
        build().sample(1, random_state)


def spoil(name, value):
    parts = dict(zip(("weights", "means", "scales"), components(), strict=True))
    if np.ndim(value):
        parts[name] = value
    else:
        parts[name][0, 0, 0, 0] = value
    return parts


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("weights", np.ones((N, M, O, K + 1)), r"must have one shape.*\(4, 5, 2, 4\)"),
        ("means", np.nan, "means must be finite, got 1 values"),
        ("scales", np.inf, "scales must be finite, got 1 values"),
        ("weights", -0.25, r"weights must be non-negative, got -0\.25"),
        ("weights", 3.0, "weights must sum to 1 .* differ from 1 by up to"),
        ("scales", 0.0, "scales must be > 0, got 0"),
    ],
)
def test_bad_components_are_refused(name, value, message):
    with pytest.raises(ValueError, match=message):
        PredictiveDistribution.from_components(**spoil(name, value))


def test_components_that_are_not_four_dimensional_are_refused():
    parts = [part[0] for part in components()]
    with pytest.raises(ValueError, match=r"one shape \(n_rows, n_draws, n_outputs"):
        PredictiveDistribution.from_components(*parts)


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match="at least one row, got 0"):
        build((0, M, O, K))


def test_single_output_with_several_outputs_is_refused():
    with pytest.raises(ValueError, match="single_output=True needs 1 output, got 2"):
        build(single_output=True)
