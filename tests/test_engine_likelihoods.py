"""Likelihoods against scipy, their draws against their densities, and the latent."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import expit

from skvae._engine import likelihoods
from skvae._engine.config import HeadConfig
from skvae._engine.distributions import Gaussian
from skvae._engine.likelihoods.counts import SMALLEST_RATE
from skvae._engine.likelihoods.numeric import (
    LARGEST_EXPONENT,
    LEAST_FREEDOM,
    STARTING_FREEDOM,
    UNIT_SOFTPLUS,
)
from skvae._engine.priors import gaussian_from

CPU = torch.device("cpu")
FLOORS = (0.1, 1e-3, 0.5)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


SHIFT, SCALE = (4.0, 30.0, 0.5), (3.0, 20.0, 1.0)
CODES = (2, 5, 3)


def head(name, n_mixtures=1, floors=FLOORS, n_codes=CODES):
    columns = tuple(range(len(floors)))
    config = HeadConfig(name, columns, floors, n_mixtures, SHIFT, SCALE, n_codes)
    return likelihoods.build(config, CPU, torch.float64)


def raw_outputs(likelihood, *shape, seed=0):
    """Raw outputs of a decoder, and constants, for some rows."""
    return normal(*shape, likelihood.n_outputs + likelihood.n_constants, seed=seed)


NUMERIC = [head("gaussian"), head("mixture", 4)]
OTHER_NUMERIC = [head("gaussian_fixed"), head("student_t"), head("lognormal")]
COUNTS = [head("poisson"), head("negative_binomial")]
ORDERED = [*NUMERIC, *OTHER_NUMERIC, head("bernoulli"), *COUNTS]
ALL = [*ORDERED, head("categorical"), head("categorical", n_codes=(4, 4, 4))]


def cells(likelihood, *shape):
    """Cells that a likelihood can hold."""
    return likelihood.sample(raw_outputs(likelihood, *shape, seed=5), generator(6))


def softplus(x):
    return np.logaddexp(0.0, x)


def scipy_log_pdf(parts, x):
    """Log density of a mixture of normals, component by component."""
    log_pdf = stats.norm.logpdf(
        x[..., None, :], parts.mean.numpy(), parts.scale.numpy()
    )
    return np.logaddexp.reduce(parts.log_weight.numpy() + log_pdf, axis=-2)


# -- densities -------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", ALL)
def test_one_row_of_outputs_serves_many_rows_of_cells(likelihood):
    raw, x = raw_outputs(likelihood, 4, 1), cells(likelihood, 6)
    each = likelihood.log_prob(raw.expand(4, 6, -1), x.expand(4, 6, -1))
    torch.testing.assert_close(likelihood.log_prob(raw, x), each)


@pytest.mark.parametrize("likelihood", ALL)
def test_a_log_density_is_natural_parameters_times_statistics(likelihood):
    """Gaussians and discrete cells are of the exponential family; sums are not."""
    raw, x = raw_outputs(likelihood, 20), cells(likelihood, 20)
    natural, statistics = likelihood.natural(raw), likelihood.statistics(x)
    if natural is None:
        assert likelihood in (NUMERIC[1], OTHER_NUMERIC[1], *COUNTS)
        return
    product = (natural * statistics).sum(-1)
    torch.testing.assert_close(product, likelihood.log_prob(raw, x))


@pytest.mark.parametrize("likelihood", NUMERIC)
def test_the_log_density_of_a_numeric_cell_is_scipys(likelihood):
    raw, x = 3 * normal(50, likelihood.n_outputs), 3 * normal(50, 3, seed=1)
    expected = scipy_log_pdf(likelihood.mixture(raw), x.numpy())
    log_prob = likelihood.log_prob(raw, x)
    np.testing.assert_allclose(log_prob.numpy(), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("likelihood", NUMERIC)
def test_residuals_are_normal_scores_of_the_distribution(likelihood):
    """Against scipy, in tails of either side, too."""
    raw, x = normal(50, likelihood.n_outputs), 8 * normal(50, 3, seed=1)
    parts, values = likelihood.mixture(raw), x.numpy()[:, None]
    mean, scale = parts.mean.numpy(), parts.scale.numpy()
    weight = parts.log_weight.exp().numpy()
    below = (weight * stats.norm.cdf(values, mean, scale)).sum(axis=1)
    above = (weight * stats.norm.sf(values, mean, scale)).sum(axis=1)
    expected = np.where(below < 0.5, stats.norm.ppf(below), stats.norm.isf(above))
    found = likelihood.residuals(raw, x).numpy()
    usual = np.minimum(below, above) > 1e-250
    assert usual.mean() > 0.8
    assert np.abs(expected[usual]).max() > 12
    np.testing.assert_allclose(found[usual], expected[usual], rtol=1e-8, atol=1e-8)
    assert np.isfinite(found).all()


TIED = [*NUMERIC, head("gaussian_fixed"), head("lognormal")]


@pytest.mark.parametrize("likelihood", TIED)
def test_cells_have_the_residuals_that_they_are_made_of(likelihood):
    """Those that are wanted, at two draws of the outputs each."""
    raw = torch.stack([raw_outputs(likelihood, 40), raw_outputs(likelihood, 40) - 0.3])
    e, wanted = normal(2 * 40, 3, seed=1).view(2, 40, 3), normal(40, 3, seed=2) > 0
    x = likelihood.cells(raw, e, wanted)
    found = likelihood.residuals(raw, x)[:, wanted]
    torch.testing.assert_close(found, e[:, wanted], rtol=0, atol=1e-6)


@pytest.mark.parametrize("spread", [1.0, 4.0])
def test_cells_of_narrow_components_are_found_too(spread):
    """Newton's method alone goes round in circles for some of 60,000 cells."""
    likelihood = likelihoods.build(
        HeadConfig("mixture", (0, 1, 2), (0.01,) * 3, 5), CPU, torch.float64
    )
    raw = spread * normal(20_000, likelihood.n_outputs)
    e = normal(20_000, 3, seed=1)
    x = likelihood.cells(raw, e, torch.ones(20_000, 3) > 0)
    torch.testing.assert_close(likelihood.residuals(raw, x), e, rtol=0, atol=1e-6)


@pytest.mark.parametrize("likelihood", TIED)
def test_residuals_of_draws_are_standard_normal(likelihood):
    """Bound: the Kolmogorov-Smirnov statistic of 3000 that one in 10,000 exceeds."""
    raw = raw_outputs(likelihood, 1000)
    e = likelihood.residuals(raw, likelihood.sample(raw, generator()))
    statistic = stats.kstest(e.flatten().numpy(), "norm").statistic
    assert statistic < stats.kstwo.isf(1e-4, e.numel())


@pytest.mark.parametrize("name", ["gaussian", "gaussian_fixed", "mixture"])
def test_width_is_noise_added_to_the_cells(name):
    """The density with a width is that of x + noise: the mean over draws of noise."""
    config = HeadConfig(name, (0,), (0.3,), 2 if name == "mixture" else 1)
    plain = likelihoods.build(config, CPU, torch.float64)
    wide = likelihoods.build(replace(config, width=0.5), CPU, torch.float64)
    raw = normal(1, plain.n_outputs + plain.n_constants)
    noise = 0.5 * torch.as_tensor(stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000))
    for x in (-1.0, 0.2, 3.0):
        mean = plain.log_prob(raw, (x + noise).unsqueeze(-1)).exp().mean().log()
        at = torch.tensor([[x]], dtype=torch.float64)
        assert float(wide.log_prob(raw, at)) == pytest.approx(float(mean), abs=1e-3)


def test_one_gaussian_takes_its_mean_from_the_decoder_as_it_is():
    likelihood = head("gaussian")
    raw = normal(5, 6)
    assert torch.equal(likelihood.mixture(raw).mean, raw[:, None, :3])
    assert torch.equal(likelihood.point(likelihood.expectation(raw)), raw[:, :3])


def test_the_log_mass_of_a_binary_cell_is_scipys():
    logit, x = 2 * normal(50, 3), (normal(50, 3, seed=1) > 0).double()
    log_prob = head("bernoulli").log_prob(logit, x)
    expected = stats.bernoulli.logpmf(x.numpy(), expit(logit.numpy()))
    np.testing.assert_allclose(log_prob.numpy(), expected, rtol=1e-9)


def test_binary_log_odds_far_out_stay_finite():
    logit = torch.tensor([[800.0, -800.0]]).double()
    wrong = head("bernoulli", floors=FLOORS[:2]).log_prob(
        logit, torch.tensor([[0.0, 1.0]])
    )
    torch.testing.assert_close(wrong, torch.tensor([[-800.0, -800.0]]).double())


@pytest.mark.parametrize("likelihood", NUMERIC)
def test_the_density_of_a_numeric_cell_integrates_to_one(likelihood):
    """The trapezoid rule is exact far beyond 1e-6 for normals wider than two steps."""
    raw = normal(6, likelihood.n_outputs)
    raw[..., -3 * likelihood.n_mixtures :] = 0.5  # no component thinner than the grid
    parts = likelihood.mixture(raw)
    grid = torch.linspace(-40, 40, 8001, dtype=torch.float64)
    assert parts.scale.min() > 2 * (grid[1] - grid[0])
    x = grid.view(-1, 1, 1).expand(-1, 6, 3)
    density = likelihood.log_prob(raw.expand(8001, -1, -1), x).exp()
    mass = torch.trapezoid(density, grid, dim=0)
    torch.testing.assert_close(mass, torch.ones_like(mass), rtol=0, atol=1e-6)


def test_the_masses_of_a_binary_cell_sum_to_one():
    raw = 5 * normal(20, 3)
    both = [head("bernoulli").log_prob(raw, torch.full((20, 3), v)) for v in (0.0, 1.0)]
    total = torch.stack(both).exp().sum(0)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=1e-12, atol=0)


@pytest.mark.parametrize("likelihood", NUMERIC)
def test_mixture_weights_sum_to_one(likelihood):
    weight = likelihood.mixture(4 * normal(9, likelihood.n_outputs)).log_weight.exp()
    torch.testing.assert_close(weight.sum(-2), torch.ones(9, 3).double())


@pytest.mark.parametrize("likelihood", NUMERIC)
def test_no_scale_falls_below_its_columns_floor(likelihood):
    """A decoder that asks for a scale of 0 gets the floor itself; others get more."""
    raw = normal(9, likelihood.n_outputs)
    raw[..., -3 * likelihood.n_mixtures :] = -1000.0
    scale = likelihood.mixture(raw).scale
    floor = torch.tensor(FLOORS, dtype=torch.float64).expand_as(scale)
    torch.testing.assert_close(scale, floor, rtol=1e-12, atol=0)
    raw[..., -3 * likelihood.n_mixtures :] = -2.0
    assert (likelihood.mixture(raw).scale > floor).all()


def test_a_new_decoder_starts_at_the_scale_of_the_standardised_column():
    scale = head("gaussian").mixture(torch.zeros(6).double()).scale[0]
    torch.testing.assert_close(scale, 1.0 + torch.tensor(FLOORS, dtype=torch.float64))


def test_components_of_a_new_mixture_start_apart():
    means = head("mixture", 4).mixture(torch.zeros(36).double()).mean
    assert (means.diff(dim=-2) > 0.1).all()


def test_the_log_density_of_students_t_is_scipys():
    likelihood = head("student_t")
    raw, x = raw_outputs(likelihood, 50), 3 * normal(50, 3, seed=1)
    mean, raw_scale, raw_freedom = (part.numpy() for part in raw.chunk(3, dim=-1))
    scale = np.array(FLOORS) + softplus(raw_scale + UNIT_SOFTPLUS)
    freedom = LEAST_FREEDOM + softplus(raw_freedom + STARTING_FREEDOM)
    expected = stats.t.logpdf(x.numpy(), freedom, mean, scale)
    np.testing.assert_allclose(likelihood.log_prob(raw, x), expected, rtol=1e-9)


def test_the_log_density_of_a_gaussian_of_one_scale_is_scipys():
    likelihood = head("gaussian_fixed")
    assert likelihood.n_constants == 3
    raw, x = raw_outputs(likelihood, 50), 3 * normal(50, 3, seed=1)
    mean, raw_scale = (part.numpy() for part in raw.chunk(2, dim=-1))
    scale = np.array(FLOORS) + softplus(raw_scale + UNIT_SOFTPLUS)
    expected = stats.norm.logpdf(x.numpy(), mean, scale)
    np.testing.assert_allclose(likelihood.log_prob(raw, x), expected, rtol=1e-9)


def test_the_log_mass_of_a_poisson_count_is_scipys():
    likelihood, counts = head("poisson"), np.arange(150)[:, None] * [1, 20, 1]
    raw = raw_outputs(likelihood, 150)
    x = torch.tensor((counts - np.array(SHIFT)) / SCALE)
    rate = np.array(SHIFT) * softplus(raw.numpy() + UNIT_SOFTPLUS) + SMALLEST_RATE
    expected = stats.poisson.logpmf(counts, rate)
    np.testing.assert_allclose(likelihood.log_prob(raw, x), expected, rtol=1e-8)


def test_the_log_mass_of_a_negative_binomial_count_is_scipys():
    likelihood, counts = head("negative_binomial"), np.arange(150)[:, None] * [1, 20, 1]
    raw = raw_outputs(likelihood, 150)
    x = torch.tensor((counts - np.array(SHIFT)) / SCALE)
    raw_rate, raw_size = (part.numpy() for part in raw.chunk(2, dim=-1))
    rate = np.array(SHIFT) * softplus(raw_rate + UNIT_SOFTPLUS) + SMALLEST_RATE
    size = starting_size() * np.exp(raw_size) + SMALLEST_RATE
    expected = stats.nbinom.logpmf(counts, size, size / (size + rate))
    np.testing.assert_allclose(likelihood.log_prob(raw, x), expected, rtol=1e-7)


def starting_size():
    """r of which mean + mean² / r is the variance, next to Poisson's at the least."""
    shift, scale = np.array(SHIFT), np.array(SCALE)
    return shift**2 / np.maximum(scale**2 - shift, 1e-3 * shift + 1e-6)


@pytest.mark.parametrize("mean", [1e2, 1e4, 1e6])
def test_a_negative_binomial_begins_next_to_poisson_where_counts_are(mean):
    """The variance is 1.001 times the mean: the masses differ by 5e-4 nats at most."""
    config = HeadConfig("negative_binomial", (0,), shift=(mean,), scale=(mean**0.5,))
    likelihood = likelihoods.build(config, CPU, torch.float64)
    k = np.round(mean + np.linspace(-1, 1, 9) * mean**0.5)
    x = torch.tensor((k - mean) / mean**0.5).unsqueeze(-1)
    mass = likelihood.log_prob(torch.zeros(9, 2).double(), x).squeeze(-1)
    np.testing.assert_allclose(mass, stats.poisson.logpmf(k, mean), atol=6e-4)


@pytest.mark.parametrize("name", ["poisson", "negative_binomial"])
def test_large_counts_keep_their_digits_in_single_precision(name):
    """Terms of 1e8 nearly cancel: in float32 throughout the error would be nats."""
    config = HeadConfig(name, (0,), shift=(1e7,), scale=(1e4,))
    single = likelihoods.build(config, CPU, torch.float32)
    double = likelihoods.build(config, CPU, torch.float64)
    raw = torch.zeros(5, single.n_outputs)
    x = torch.linspace(-1, 1, 5).unsqueeze(-1)
    exact = double.log_prob(raw.double(), x.double())
    torch.testing.assert_close(
        single.log_prob(raw, x).double(), exact, atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("n_codes", [CODES, (4, 4, 4)])
def test_the_log_masses_of_a_discrete_cell_are_a_softmax_of_its_own_logits(n_codes):
    likelihood = head("categorical", n_codes=n_codes)
    raw = raw_outputs(likelihood, 20)
    start = 0
    for column, k in enumerate(n_codes):
        expected = raw[:, start : start + k].log_softmax(-1)
        start += k
        for code in range(k):
            x = torch.zeros(20, 3, dtype=torch.float64)
            x[:, column] = code
            log_prob = likelihood.log_prob(raw, x)[:, column]
            torch.testing.assert_close(log_prob, expected[:, code])


def test_the_point_of_a_discrete_cell_is_its_mode():
    likelihood = head("categorical")
    raw = torch.tensor([[0.0, 1.0, 0.0, 0.0, 3.0, 0.0, 0.0, 2.0, 0.0, 0.0]]).double()
    modes = likelihood.point(likelihood.expectation(raw))
    assert modes.tolist() == [[1.0, 2.0, 0.0]]


def test_averaging_comes_before_the_mode():
    """Of (.9, .1, 0), (0, .4, .6), (0, .4, .6) the mean is (.3, .3, .4)."""
    likelihood = head("categorical", floors=(0.1,), n_codes=(3,))
    p = torch.tensor([[0.9, 0.1, 0.0], [0.0, 0.42, 0.58], [0.0, 0.42, 0.58]]).double()
    averaged = likelihood.expectation((p + 1e-12).log()).mean(0)
    assert likelihood.point(averaged).item() == 2.0


def test_the_point_of_a_log_normal_cell_decodes_to_its_mean():
    """E[exp(s x)] of x ~ N(m, t²) is exp(s m + s² t² / 2)."""
    likelihood = head("lognormal")
    raw = raw_outputs(likelihood, 4)
    parts, unit = likelihood.mixture(raw), torch.tensor(SCALE).double()
    mean, scale = parts.mean[:, 0], parts.scale[:, 0]
    expected = (unit * mean + 0.5 * (unit * scale) ** 2).clamp(max=LARGEST_EXPONENT)
    point = likelihood.point(likelihood.expectation(raw))
    torch.testing.assert_close(unit * point, expected)


def test_draws_of_a_discrete_cell_have_its_masses():
    """Chi-square of 20 000 draws a column against the masses: p > 1e-4."""
    likelihood = head("categorical")
    raw = raw_outputs(likelihood)
    draws = likelihood.sample(raw.expand(20_000, -1), generator())
    start = 0
    for column, k in enumerate(CODES):
        mass = raw[start : start + k].softmax(-1).numpy()
        start += k
        counts = np.bincount(draws[:, column].long().numpy(), minlength=k)
        assert stats.chisquare(counts, 20_000 * mass).pvalue > 1e-4


def test_no_code_beyond_a_columns_last_is_drawn():
    likelihood = head("categorical")
    draws = likelihood.sample(raw_outputs(likelihood, 5000), generator())
    assert draws.max(0).values.tolist() == [k - 1 for k in CODES]


def test_draws_of_students_t_follow_the_density():
    """The cdf maps draws to uniforms: Kolmogorov-Smirnov, p > 1e-4."""
    likelihood = head("student_t")
    raw = raw_outputs(likelihood)
    raw[-3:] = -5.0  # few degrees of freedom
    draws = likelihood.sample(raw.expand(5000, -1), generator()).numpy()
    mean, raw_scale, raw_freedom = (part.numpy() for part in raw.chunk(3, dim=-1))
    scale = np.array(FLOORS) + softplus(raw_scale + UNIT_SOFTPLUS)
    freedom = LEAST_FREEDOM + softplus(raw_freedom + STARTING_FREEDOM)
    uniform = stats.t.cdf(draws, freedom, mean, scale)
    for column in range(3):
        assert stats.kstest(uniform[:, column], "uniform").pvalue > 1e-4


@pytest.mark.parametrize(
    ("name", "variance"),
    [("poisson", lambda m, r: m), ("negative_binomial", lambda m, r: m + m**2 / r)],
)
def test_draws_of_counts_are_counts_with_their_variance(name, variance):
    """Variance of 50 000 draws within 10 %: more than 5 standard errors here."""
    likelihood = head(name)
    raw = torch.zeros(likelihood.n_outputs).double()
    raw[3:] = 2.0  # the size, where there is one
    draws = likelihood.sample(raw.expand(50_000, -1), generator()).numpy()
    counts = draws * SCALE + np.array(SHIFT)
    np.testing.assert_allclose(counts, np.round(counts), atol=1e-6)
    assert counts.min() >= -1e-6
    expected = variance(np.array(SHIFT), starting_size() * np.exp(2.0))
    np.testing.assert_allclose(counts.var(axis=0), expected, rtol=0.1)


# -- draws -----------------------------------------------------------------------


MEANS = [*NUMERIC, *OTHER_NUMERIC[:2], head("bernoulli"), *COUNTS]


@pytest.mark.parametrize("likelihood", MEANS)
def test_draws_have_the_mean_that_the_likelihood_states(likelihood):
    """Bound: 5 standard errors of the mean of 20 000 draws, for each of 12 cells."""
    raw = raw_outputs(likelihood, 4)
    draws = likelihood.sample(raw.expand(20_000, -1, -1), generator())
    error = (draws.mean(0) - likelihood.point(likelihood.expectation(raw))).abs()
    assert (error < 5 * draws.std(0) / math.sqrt(20_000)).all()


@pytest.mark.parametrize("likelihood", NUMERIC)
def test_draws_follow_the_density(likelihood):
    """The cdf of the mixture maps draws to uniforms: Kolmogorov-Smirnov, p > 1e-4."""
    raw = 2 * normal(likelihood.n_outputs)
    draws = likelihood.sample(raw.expand(5000, -1), generator()).numpy()
    parts = likelihood.mixture(raw)
    weight = parts.log_weight.exp().numpy()
    for d in range(3):
        cdf = stats.norm.cdf(draws[:, d, None], parts.mean[:, d], parts.scale[:, d])
        uniform = (weight[:, d] * cdf).sum(axis=-1)
        assert stats.kstest(uniform, "uniform").pvalue > 1e-4


def test_draws_of_a_binary_cell_are_zeros_and_ones():
    draws = head("bernoulli").sample(normal(50, 3), generator())
    assert set(draws.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("likelihood", ALL)
def test_draws_are_fixed_by_their_generator(likelihood):
    raw = raw_outputs(likelihood, 50)
    first, again, other = (likelihood.sample(raw, generator(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


# -- gradients -------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", ALL)
def test_gradients_are_those_of_finite_differences(likelihood):
    raw = raw_outputs(likelihood, 2).requires_grad_()
    x = cells(likelihood, 2)
    assert torch.autograd.gradcheck(lambda r: likelihood.log_prob(r, x), raw)


# -- the latent ------------------------------------------------------------------


def gaussian(seed):
    return Gaussian(normal(2, 5, 3, seed=seed), normal(2, 5, 3, seed=seed + 1))


def torch_normal(g):
    return torch.distributions.Normal(g.mean, (0.5 * g.log_var).exp())


def test_the_kl_of_two_gaussians_is_torchs():
    q, p = gaussian(0), gaussian(2)
    expected = torch.distributions.kl_divergence(torch_normal(q), torch_normal(p))
    z = normal(2, 4, 5, 3, seed=7)  # of no account where there is a closed form
    torch.testing.assert_close(q.kl_each(p, z), expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(q.kl(p, z), expected.sum(-1), rtol=1e-10, atol=1e-12)


def test_the_kl_of_a_gaussian_from_itself_is_zero():
    q = gaussian(0)
    kl = q.kl_each(q, q.mean.unsqueeze(1))
    torch.testing.assert_close(kl, torch.zeros_like(q.mean), rtol=0, atol=1e-14)


def test_the_log_density_of_a_latent_is_torchs():
    q, z = gaussian(0), normal(2, 4, 5, 3, seed=7)
    expected = torch_normal(q).log_prob(z.transpose(0, 1)).sum(-1).transpose(0, 1)
    torch.testing.assert_close(q.log_prob(z), expected, rtol=1e-10, atol=1e-12)


def test_standard_normal_noise_becomes_draws_of_the_gaussian():
    q, noise = gaussian(0), normal(1, 4, 1, 3, seed=7)
    z = q.at(noise)
    assert z.shape == (2, 4, 5, 3)
    back = (z - q.mean.unsqueeze(1)) / (0.5 * q.log_var.unsqueeze(1)).exp()
    torch.testing.assert_close(back, noise.expand_as(back))


def test_the_log_variance_is_bounded_smoothly_and_untouched_near_zero():
    raw = torch.tensor([0.0, 0.0, 0.0, 1e4, -1e4, 0.01]).double().view(1, 1, 6)
    raw.requires_grad_()
    log_var = gaussian_from(raw).log_var
    assert log_var.isfinite().all()
    assert log_var[0, 0, 0] == -log_var[0, 0, 1] < 20  # exp(20 / 2): nothing overflows
    # the bound differs from the identity by a term of third order
    assert abs(log_var[0, 0, 2] - 0.01) < 0.01**3
    (gradient,) = torch.autograd.grad(log_var.sum(), raw)
    assert gradient.isfinite().all()


# -- configuration ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cauchy", (0,)), "likelihood must be one of .*gaussian.* got 'cauchy'"),
        (("gaussian", (0,), (0.0,)), r"min_scale must be .* \(0, inf\); got 0"),
        (("mixture", (0,), (0.1,), 0), r"n_mixtures must be an integer .* got 0"),
    ],
)
def test_a_wrong_setting_of_a_head_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        HeadConfig(*arguments)
