"""p(x | z, c) of cells: pure functions of the decoder's raw outputs.

A likelihood serves d columns. It turns raw outputs (..., n_outputs + n_constants) into
named parameters, one block of d a parameter where all columns have the same number, and
answers questions about each cell: log density in nats, expectation, a draw. Units are
those of the encoded table: standardised for numeric columns, 0/1 for binary ones, codes
for discrete ones.
"""

from collections.abc import Callable

import torch

from skvae._engine.config import HeadConfig
from skvae._engine.likelihoods.base import Continuous, Likelihood
from skvae._engine.likelihoods.chance import SharedChance
from skvae._engine.likelihoods.counts import NegativeBinomialHead, PoissonHead
from skvae._engine.likelihoods.discrete import BernoulliHead, CategoricalHead
from skvae._engine.likelihoods.numeric import (
    FixedGaussianHead,
    GaussianMixtureHead,
    LogNormalHead,
    Mixture,
    StudentTHead,
)

__all__ = [
    "Continuous",
    "GaussianMixtureHead",
    "Likelihood",
    "Mixture",
    "SharedChance",
    "build",
]

Numbers = Callable[[tuple[float, ...]], torch.Tensor]

BUILDERS: dict[str, Callable[[HeadConfig, Numbers], Likelihood]] = {
    "gaussian": lambda c, t: GaussianMixtureHead(t(c.min_scale), 1, c.width),
    "gaussian_fixed": lambda c, t: FixedGaussianHead(t(c.min_scale), c.width),
    "mixture": lambda c, t: GaussianMixtureHead(t(c.min_scale), c.n_mixtures, c.width),
    "student_t": lambda c, t: StudentTHead(t(c.min_scale), c.width),
    "lognormal": lambda c, t: LogNormalHead(t(c.min_scale), t(c.scale), c.width),
    "bernoulli": lambda c, t: BernoulliHead(len(c.columns)),
    "categorical": lambda c, t: CategoricalHead(
        c.n_codes, t(c.last_share or (1.0,) * len(c.n_codes))
    ),
    "poisson": lambda c, t: PoissonHead(t(c.shift), t(c.scale)),
    "negative_binomial": lambda c, t: NegativeBinomialHead(t(c.shift), t(c.scale)),
}


def build(config: HeadConfig, device: torch.device, dtype: torch.dtype) -> Likelihood:
    """Build the likelihood that a head asks for."""

    def numbers(values: tuple[float, ...]) -> torch.Tensor:
        return torch.tensor(values, device=device, dtype=dtype)

    return BUILDERS[config.name](config, numbers)
