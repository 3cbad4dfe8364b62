"""Likelihoods of counts, which come standardised like other numeric columns.

Their masses are worked out in double precision: terms of large counts nearly cancel.
"""

import torch
from torch import Generator, Tensor

from skvae._engine.likelihoods.base import Averaged
from skvae._engine.likelihoods.chance import gamma, poisson
from skvae._engine.likelihoods.numeric import positive

SMALLEST_RATE = 1e-6
LEAST_EXCESS = 1e-3  # variance over the mean, as a fraction of it, where r begins
MOST_LOG_SIZE = 30.0


class PoissonHead(Averaged):
    """Counts with a rate; ``shift`` and ``scale`` (d,) are those of the encoding."""

    n_blocks = 1

    def __init__(self, shift: Tensor, scale: Tensor) -> None:
        self.shift, self.scale = shift.double(), scale.double()
        self.n_outputs = self.n_blocks * len(shift)
        self.n_expectations = len(shift)

    def _rate(self, raw: Tensor) -> Tensor:
        """Return expected counts (..., d), the mean of the column at outputs of 0."""
        return self.shift * positive(raw.double()) + SMALLEST_RATE

    def _counts(self, x: Tensor) -> Tensor:
        return (x * self.scale + self.shift).round()

    def _encoded(self, counts: Tensor, like: Tensor) -> Tensor:
        return ((counts - self.shift) / self.scale).to(like.dtype)

    def log_prob(self, raw: Tensor, x: Tensor) -> Tensor:
        """Log mass of cells ``x`` (..., d), in nats: (..., d)."""
        rate, k = self._rate(raw), self._counts(x)
        return (k * rate.log() - rate - torch.lgamma(k + 1.0)).to(raw.dtype)

    def expectation(self, raw: Tensor) -> Tensor:
        """Return expected cells (..., d)."""
        return self._encoded(self._rate(raw), raw)

    def sample(self, raw: Tensor, generator: Generator) -> Tensor:
        """Draw cells (..., d)."""
        return self._encoded(poisson(self._rate(raw), generator), raw)


class NegativeBinomialHead(PoissonHead):
    """Counts with a mean and a size r: the variance is mean + mean² / r.

    At outputs of 0 mean and variance are those of the column; r moves by factors, since
    what is nearly Poisson needs one as large as the mean.
    """

    n_blocks = 2

    def _parameters(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        raw_rate, raw_size = raw.chunk(2, dim=-1)
        excess = self.scale.square() - self.shift  # of the variance over Poisson's
        excess = excess.clamp(min=LEAST_EXCESS * self.shift + SMALLEST_RATE)
        factor = raw_size.double().clamp(-MOST_LOG_SIZE, MOST_LOG_SIZE).exp()
        size = self.shift.square() / excess * factor
        return self._rate(raw_rate), size + SMALLEST_RATE

    def log_prob(self, raw: Tensor, x: Tensor) -> Tensor:
        """Log mass of cells ``x`` (..., d), in nats: (..., d)."""
        rate, size = self._parameters(raw)
        k = self._counts(x)
        ways = torch.lgamma(k + size) - torch.lgamma(size) - torch.lgamma(k + 1.0)
        total = (rate + size).log()
        log_prob = ways + size * (size.log() - total) + k * (rate.log() - total)
        return log_prob.to(raw.dtype)

    def expectation(self, raw: Tensor) -> Tensor:
        """Return expected cells (..., d)."""
        return self._encoded(self._parameters(raw)[0], raw)

    def sample(self, raw: Tensor, generator: Generator) -> Tensor:
        """Draw cells (..., d): a Poisson count of a gamma rate."""
        rate, size = self._parameters(raw)
        rates = gamma(size, generator) * rate / size
        return self._encoded(poisson(rates, generator), raw)
