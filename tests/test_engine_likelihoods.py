"""Likelihoods against scipy, their draws against their densities, and the latent."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import expit

from skvae._engine import likelihoods
from skvae._engine.config import HeadConfig
from skvae._engine.distributions import Gaussian
from skvae._engine.priors import gaussian_from

CPU = torch.device("cpu")
FLOORS = (0.1, 1e-3, 0.5)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def head(name, n_mixtures=1, floors=FLOORS):
    columns = tuple(range(len(floors)))
    floors = () if name == "bernoulli" else floors
    config = HeadConfig(name, columns, floors, n_mixtures)
    return likelihoods.build(config, CPU, torch.float64)


NUMERIC = [head("gaussian"), head("mixture", 4)]
ALL = [*NUMERIC, head("bernoulli")]


def scipy_log_pdf(parts, x):
    """Log density of a mixture of normals, component by component."""
    log_pdf = stats.norm.logpdf(
        x[..., None, :], parts.mean.numpy(), parts.scale.numpy()
    )
    return np.logaddexp.reduce(parts.log_weight.numpy() + log_pdf, axis=-2)


# -- densities -------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", NUMERIC)
def test_the_log_density_of_a_numeric_cell_is_scipys(likelihood):
    raw, x = 3 * normal(50, likelihood.n_outputs), 3 * normal(50, 3, seed=1)
    expected = scipy_log_pdf(likelihood.mixture(raw), x.numpy())
    log_prob = likelihood.log_prob(raw, x)
    np.testing.assert_allclose(log_prob.numpy(), expected, rtol=1e-10, atol=1e-10)


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


# -- draws -----------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", ALL)
def test_draws_have_the_mean_that_the_likelihood_states(likelihood):
    """Bound: 5 standard errors of the mean of 20 000 draws, for each of 12 cells."""
    raw = normal(4, likelihood.n_outputs)
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
    raw = normal(50, likelihood.n_outputs)
    first, again, other = (likelihood.sample(raw, generator(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


# -- gradients -------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", ALL)
def test_gradients_are_those_of_finite_differences(likelihood):
    raw = normal(2, likelihood.n_outputs).requires_grad_()
    x = (normal(2, 3, seed=1) > 0).double()
    assert torch.autograd.gradcheck(lambda r: likelihood.log_prob(r, x), raw)


# -- the latent ------------------------------------------------------------------


def gaussian(seed):
    return Gaussian(normal(2, 5, 3, seed=seed), normal(2, 5, 3, seed=seed + 1))


def torch_normal(g):
    return torch.distributions.Normal(g.mean, (0.5 * g.log_var).exp())


def test_the_kl_of_two_gaussians_is_torchs():
    q, p = gaussian(0), gaussian(2)
    expected = torch.distributions.kl_divergence(torch_normal(q), torch_normal(p))
    torch.testing.assert_close(q.kl(p), expected, rtol=1e-10, atol=1e-12)


def test_the_kl_of_a_gaussian_from_itself_is_zero():
    q = gaussian(0)
    torch.testing.assert_close(q.kl(q), torch.zeros_like(q.mean), rtol=0, atol=1e-14)


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
