"""p(x | z, c) of one cell: a pure function of the decoder's raw outputs.

A likelihood serves d columns. It turns raw outputs (..., n_outputs) into named
parameters, one block of d a parameter, and answers four questions about each cell: log
density in nats, mean, a draw, and (for numeric cells) the Gaussian mixture that it is.
Units are those of the encoded table: standardised for numeric columns, 0/1 for binary
ones.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor
from torch.nn import functional

from skvae._engine.config import HeadConfig
from skvae._engine.distributions import LOG_2PI

# softplus(0.54) = 1: a scale starts at the standard deviation of the column
UNIT_SOFTPLUS = math.log(math.e - 1.0)


@dataclass(frozen=True)
class Mixture:
    """Per cell a Gaussian mixture: each field of shape (..., K, d)."""

    log_weight: Tensor
    mean: Tensor
    scale: Tensor


class Likelihood(Protocol):
    """What the model asks of a likelihood."""

    n_outputs: int

    def log_prob(self, raw: Tensor, x: Tensor) -> Tensor: ...
    def mean(self, raw: Tensor) -> Tensor: ...
    def sample(self, raw: Tensor, generator: Generator) -> Tensor: ...


def gaussian_log_prob(x: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Log density of N(mean, scale²) at ``x``, elementwise, in nats."""
    return -0.5 * (((x - mean) / scale).square() + LOG_2PI) - scale.log()


class GaussianMixtureHead:
    """K Gaussians a column (K = 1: one Gaussian), each with its mean and scale.

    Bishop (1994), Mixture density networks, eq. 22-24. Scales are floored at
    ``min_scale``, in standardised units; ``spread`` sets the components apart at the
    start of training.
    """

    def __init__(self, min_scale: Tensor, n_mixtures: int) -> None:
        self.min_scale = min_scale  # (d,)
        self.n_mixtures = n_mixtures
        offsets = torch.linspace(-1.0, 1.0, n_mixtures) if n_mixtures > 1 else [0.0]
        self.spread = torch.as_tensor(offsets).to(min_scale).unsqueeze(-1)  # (K, 1)
        self.n_outputs = len(min_scale) * (3 * n_mixtures if n_mixtures > 1 else 2)

    def mixture(self, raw: Tensor) -> Mixture:
        """Raw outputs (..., n_outputs) as a mixture (..., K, d)."""
        blocks = raw.unflatten(-1, (-1, len(self.min_scale)))
        if self.n_mixtures == 1:
            mean, raw_scale = blocks.split(1, dim=-2)
            log_weight = torch.zeros_like(mean)
        else:
            logits, mean, raw_scale = blocks.split(self.n_mixtures, dim=-2)
            log_weight = functional.log_softmax(logits, dim=-2)
        scale = functional.softplus(raw_scale + UNIT_SOFTPLUS)
        return Mixture(log_weight, mean + self.spread, self.min_scale + scale)

    def log_prob(self, raw: Tensor, x: Tensor) -> Tensor:
        """Log density of cells ``x`` (..., d), in nats: (..., d)."""
        parts = self.mixture(raw)
        log_prob = gaussian_log_prob(x.unsqueeze(-2), parts.mean, parts.scale)
        if self.n_mixtures == 1:
            return log_prob.squeeze(-2)
        return torch.logsumexp(parts.log_weight + log_prob, dim=-2)

    def mean(self, raw: Tensor) -> Tensor:
        """Return expected cells (..., d): Σ π μ, without drawing a component."""
        parts = self.mixture(raw)
        return (parts.log_weight.exp() * parts.mean).sum(-2)

    def sample(self, raw: Tensor, generator: Generator) -> Tensor:
        """Draw cells (..., d): a component, then its Gaussian."""
        parts = self.mixture(raw)
        cumulative = parts.log_weight.exp().cumsum(-2)
        u = _uniform(cumulative[..., :1, :], generator)
        pick = (u > cumulative[..., :-1, :]).sum(-2, keepdim=True)
        mean = parts.mean.gather(-2, pick).squeeze(-2)
        scale = parts.scale.gather(-2, pick).squeeze(-2)
        noise = torch.randn(
            mean.shape, generator=generator, dtype=mean.dtype, device=mean.device
        )
        return mean + scale * noise


class BernoulliHead:
    """0/1 columns; their one parameter is the log-odds."""

    def __init__(self, n_columns: int) -> None:
        self.n_outputs = n_columns

    def log_prob(self, raw: Tensor, x: Tensor) -> Tensor:
        """Log mass of cells ``x`` in {0, 1} (..., d), in nats: (..., d)."""
        return x * raw - functional.softplus(raw)

    def mean(self, raw: Tensor) -> Tensor:
        """P(x = 1): (..., d)."""
        return raw.sigmoid()

    def sample(self, raw: Tensor, generator: Generator) -> Tensor:
        """Draw cells in {0, 1}: (..., d)."""
        probability = self.mean(raw)
        return (_uniform(probability, generator) < probability).to(raw.dtype)


def _uniform(like: Tensor, generator: Generator) -> Tensor:
    return torch.rand(
        like.shape, generator=generator, dtype=like.dtype, device=like.device
    )


def build(config: HeadConfig, device: torch.device, dtype: torch.dtype) -> Likelihood:
    """Build the likelihood that a head asks for."""
    if config.name == "bernoulli":
        return BernoulliHead(len(config.columns))
    floor = torch.tensor(config.min_scale, device=device, dtype=dtype)
    n_mixtures = config.n_mixtures if config.name == "mixture" else 1
    return GaussianMixtureHead(floor, n_mixtures)
