"""The mixture prior: its density, its draws, its fit, and what it is good for."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.datasets import load_iris, load_wine

from skvae import VAETransformer
from skvae._engine.aggregate import fit_mixture
from skvae._engine.distributions import Gaussian, GaussianMixture

quick = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def mixture():
    """Two members, three components, two dimensions."""
    weight = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]).double()
    mean, log_var = 2 * normal(2, 3, 2), 0.5 * normal(2, 3, 2, seed=1)
    return GaussianMixture(weight.log(), mean, log_var)


def scipy_density(prior, member, z):
    """Density of one member at ``z`` (M, L)."""
    parts = zip(
        prior.log_weight[member].exp().tolist(),
        prior.mean[member].numpy(),
        prior.log_var[member].exp().numpy(),
        strict=True,
    )
    return sum(w * multivariate_normal(m, np.diag(v)).pdf(z) for w, m, v in parts)


def test_the_density_is_that_of_its_components():
    prior, z = mixture(), 2 * normal(2, 4, 5, 2, seed=3)
    log_prob = prior.log_prob(z).numpy()
    for member in range(2):
        expected = np.log(scipy_density(prior, member, z[member].numpy()))
        np.testing.assert_allclose(log_prob[member], expected, rtol=1e-10)


def test_a_single_standard_component_is_the_standard_normal():
    zeros = torch.zeros(2, 1, 2).double()
    prior = GaussianMixture(torch.zeros(2, 1).double(), zeros, zeros)
    plain, z = Gaussian(zeros, zeros), normal(2, 4, 1, 2, seed=3)
    torch.testing.assert_close(prior.log_prob(z), plain.log_prob(z))
    torch.testing.assert_close(prior.log_prob_each(z), plain.log_prob_each(z))


def test_the_density_of_the_first_dimension_is_the_integral_over_the_other():
    prior, first = mixture(), torch.tensor([-1.0, 0.0, 2.0]).double()
    grid = torch.linspace(-12, 12, 2401, dtype=torch.float64)
    z = torch.cartesian_prod(first, grid).view(1, -1, 1, 2).expand(2, -1, -1, -1)
    joint = prior.log_prob(z).exp().view(2, 3, -1)
    integral = torch.trapezoid(joint, grid, dim=-1)
    alone = prior.log_prob_each(z).exp()[..., 0, 0].view(2, 3, -1)[..., 0]
    torch.testing.assert_close(alone, integral, rtol=1e-6, atol=1e-9)


def test_what_the_dimensions_add_is_the_whole():
    prior, z = mixture(), 2 * normal(2, 4, 5, 2, seed=3)
    torch.testing.assert_close(prior.log_prob_each(z).sum(-1), prior.log_prob(z))


def moments(prior, member):
    weight = prior.log_weight[member].exp().unsqueeze(-1)
    mean = (weight * prior.mean[member]).sum(0)
    second = prior.mean[member].square() + prior.log_var[member].exp()
    return mean, (weight * second).sum(0) - mean.square()


@pytest.mark.parametrize("how", ["sample", "at"])
def test_draws_have_the_moments_of_the_mixture(how):
    """20 000 draws: means within 0.08 and variances within 8 %, over 4 errors each."""
    prior, n = mixture(), 20_000
    noise = normal(1, n, 1, 2, seed=4)
    z = prior.sample(n, 1, generator()) if how == "sample" else prior.at(noise)
    assert z.shape == (2, n, 1, 2)
    for member in range(2):
        mean, variance = moments(prior, member)
        torch.testing.assert_close(z[member, :, 0].mean(0), mean, atol=0.08, rtol=0)
        torch.testing.assert_close(z[member, :, 0].var(0), variance, atol=0, rtol=0.08)


def test_draws_differ_between_rows_where_they_are_fresh():
    z = mixture().sample(50, 3, generator())
    assert z.shape == (2, 50, 3, 2)
    assert (z[:, :, 0] != z[:, :, 1]).all()


def test_the_components_of_separate_clusters_are_found():
    """Clusters at 0 and at (6, -6), 1000 rows each: means and weights within 0.15."""
    centres = torch.tensor([[0.0, 0.0], [6.0, -6.0]]).double()
    z = torch.cat([0.5 * normal(1000, 2, seed=s) + c for s, c in enumerate(centres)])
    found = fit_mixture(z.unsqueeze(0), torch.ones(2000).double(), generator())
    weight = found.log_weight[0].exp()
    torch.testing.assert_close(weight.sum(), torch.tensor(1.0).double())
    near = (found.mean[0].unsqueeze(1) - centres).norm(dim=-1).argmin(1)
    for cluster, centre in enumerate(centres):
        mine = weight * (near == cluster)
        assert mine.sum().item() == pytest.approx(0.5, abs=0.15)
        mean = (mine.unsqueeze(-1) * found.mean[0]).sum(0) / mine.sum()
        torch.testing.assert_close(mean, centre, atol=0.15, rtol=0)


def test_rows_count_by_their_weights():
    z = torch.cat([normal(100, 2), normal(100, 2, seed=1) + 8.0]).unsqueeze(0)
    weight = torch.cat([torch.full((100,), 3.0), torch.ones(100)]).double()
    found = fit_mixture(z, weight, generator())
    low = found.mean[0, :, 0] < 4.0
    assert found.log_weight[0].exp()[low].sum().item() == pytest.approx(0.75, abs=0.03)


def test_a_fit_raises_the_density_of_new_draws_of_a_curved_aggregate():
    angle = 3 * torch.rand(2000, generator=generator(), dtype=torch.float64)
    ring = 2 * torch.stack([angle.cos(), angle.sin()], -1) + 0.1 * normal(2000, 2)
    old, new = ring[:1000].unsqueeze(0), ring[1000:].view(1, 1000, 1, 2)
    found = fit_mixture(old, torch.ones(1000).double(), generator())
    zeros = torch.zeros(1, 1, 2).double()
    gain = found.log_prob(new).mean() - Gaussian(zeros, zeros).log_prob(new).mean()
    assert gain > 1.0


SETTINGS = {
    "n_components": 4,
    "hidden_layer_sizes": (64,),
    "n_estimators": 2,
    "max_iter": 80,
    "random_state": 0,
}


@quick
@pytest.mark.parametrize("load", [load_iris, load_wine])
def test_rows_are_likelier_under_the_mixture_and_networks_are_the_same(load):
    X = load().data
    order = np.random.default_rng(0).permutation(len(X))
    X, held_out = X[order[:-40]], X[order[-40:]]
    plain = VAETransformer(**SETTINGS).fit(X)
    mixed = VAETransformer(**SETTINGS, prior="mixture").fit(X)
    np.testing.assert_array_equal(mixed.learned_.weights, plain.learned_.weights)
    assert mixed.score(X) > plain.score(X)
    assert mixed.score(held_out) > plain.score(held_out) - 0.1
    np.testing.assert_allclose(mixed.transform(X), plain.transform(X))
    assert (mixed.kl_per_dimension_ >= -0.05).all()


@quick
def test_the_density_under_the_mixture_integrates_to_one():
    """One column: trapezoid rule over 400 points, 512 draws of z each."""
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(-2, 0.5, 150), rng.normal(2, 0.5, 150)])[:, None]
    settings = SETTINGS | {"n_components": 1, "n_samples": 512, "prior": "mixture"}
    model = VAETransformer(**settings).fit(X)
    grid = np.linspace(-8, 8, 400)
    mass = np.trapezoid(np.exp(model.score_samples(grid[:, None])), grid)
    assert mass == pytest.approx(1.0, abs=0.02)
    drawn = model.sample(4000, random_state=0)
    below = np.trapezoid(
        np.exp(model.score_samples(grid[grid <= 0, None])), grid[grid <= 0]
    )
    assert (drawn <= 0).mean() == pytest.approx(below, abs=0.04)
    assert math.isfinite(model.score(X))
