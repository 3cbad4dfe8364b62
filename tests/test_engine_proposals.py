"""Proposals for importance sampling: densities, shares, and the Laplace one."""

import math

import pytest
import torch

from skvae._engine.distributions import Gaussian
from skvae._engine.proposals import Mixture, laplace

E, N, L = 2, 3, 2


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def gaussian(seed):
    return Gaussian(normal(E, N, L, seed=seed), normal(E, N, L, seed=seed + 1))


class Quadratic:
    """A Gaussian of full covariance, as a log density without its constant."""

    def __init__(self, precision, mean):
        self.precision, self.mean = precision, mean  # (L, L), (L,)

    def __call__(self, z):
        gap = z - self.mean
        return -0.5 * torch.einsum("...i,ij,...j->...", gap, self.precision, gap)


SHARP = Quadratic(
    torch.tensor([[40.0, -30.0], [-30.0, 30.0]], dtype=torch.float64),
    torch.tensor([0.7, -1.2], dtype=torch.float64),
)


def standard():
    zeros = torch.zeros(E, N, L, dtype=torch.float64)
    return Gaussian(zeros, zeros)


def test_the_laplace_approximation_of_a_gaussian_is_that_gaussian_a_little_wider():
    near = laplace(SHARP, standard(), gaussian(3).mean)
    torch.testing.assert_close(near.mode, SHARP.mean.expand(E, N, L))
    covariance = near.axes @ torch.diag_embed(near.scale.square()) @ near.axes.mT
    exact = 1.1**2 * torch.linalg.inv(SHARP.precision)
    torch.testing.assert_close(covariance, exact.expand(E, N, L, L))


def test_it_does_not_depend_on_the_units_of_the_prior():
    """The same density of u under a prior with another mean and scale."""
    prior = gaussian(5)
    scale = (0.5 * prior.log_var).exp()

    def moved(z):
        return SHARP((z - prior.mean.unsqueeze(1)) / scale.unsqueeze(1))

    start = gaussian(7)
    there = Gaussian(prior.mean + scale * start.mean, prior.log_var + start.log_var)
    plain, other = (
        laplace(SHARP, standard(), start.mean),
        laplace(moved, prior, there.mean),
    )
    torch.testing.assert_close(other.mode, plain.mode)
    torch.testing.assert_close(other.scale, plain.scale)


def test_where_the_density_is_flat_it_is_no_wider_than_the_prior():
    flat = laplace(lambda z: -1e-3 * z.square().sum(-1), standard(), gaussian(3).mean)
    torch.testing.assert_close(flat.scale, torch.full_like(flat.scale, 1.1))


def test_it_climbs_to_a_mode_from_afar():
    """log 1 / (1 + |z - 3|²): not concave where the search begins, 8 away."""

    def peak(z):
        return -(1 + (z - 3.0).square().sum(-1)).log()

    start = Gaussian(torch.full((E, N, L), -5.0, dtype=torch.float64), normal(E, N, L))
    near = laplace(peak, standard(), start.mean)
    begun, ended = (peak(u.unsqueeze(1)) for u in (start.mean, near.mode))
    assert (ended > begun + 2.0).all()


def test_a_density_that_is_not_finite_gives_a_usable_proposal():
    def broken(z):
        return z.square().sum(-1) * torch.nan

    near = laplace(broken, standard(), gaussian(3).mean)
    assert near.at(normal(1, 8, 1, L)).isfinite().all()


@pytest.mark.parametrize("kind", ["laplace", "mixture"])
def test_a_proposal_draws_from_its_density(kind):
    """The mean of r / q over draws of q is 1, for a narrow normalised r.

    Bound: 5 standard errors of 100 000 draws.
    """
    prior, posterior = standard(), Gaussian(*(0.3 * normal(2, E, N, L, seed=9)))
    near = laplace(SHARP, prior, posterior.mean)
    n = 100_000
    parts = [(0.5, near), (0.3, posterior), (0.2, prior)]
    proposal = {"laplace": near, "mixture": Mixture.of(n, parts)}[kind]
    z = proposal.at(normal(1, n, 1, L, seed=2))
    # where the proposal itself is, so that the weights are bounded
    centre = z[:, :100].mean(1, keepdim=True)
    target = -0.5 * ((z - centre) / 0.05).square().sum(-1)
    target = target - L * math.log(0.05 * math.sqrt(2 * math.pi))
    weights = (target - proposal.log_prob(z)).exp()
    error = weights.std(1) / math.sqrt(n)
    assert (error < 0.1).all()
    assert ((weights.mean(1) - 1).abs() < 5 * error).all()


@pytest.mark.parametrize(
    ("n_draws", "counts"), [(512, [384, 64, 64]), (4, [3, 1]), (1, [1])]
)
def test_shares_become_whole_numbers_of_draws(n_draws, counts):
    shares = [(0.75, standard()), (0.125, gaussian(1)), (0.125, gaussian(2))]
    mixture = Mixture.of(n_draws, shares)
    assert [count for count, _ in mixture.parts] == counts
    assert mixture.at(normal(1, n_draws, 1, L)).shape == (E, n_draws, N, L)
