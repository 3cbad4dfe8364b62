"""What training minimises: a loss in nats per row for each member, from named terms."""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from skvae._engine.config import TrainConfig
from skvae._engine.distributions import Gaussian


@dataclass(frozen=True)
class Terms:
    """The parts of log p(x, z | c) - log q(z | x, c) for draws z of the posterior."""

    log_lik: Tensor  # (E, S, N), log p(x | z, c), observed cells only
    z: Tensor  # (E, S, N, L)
    posterior: Gaussian
    prior: Gaussian

    def kl(self) -> Tensor:
        """KL(q || p) in each dimension, in nats: (E, N, L)."""
        return self.posterior.kl(self.prior)

    def log_weights(self, beta: Tensor | float = 1.0) -> Tensor:
        """Log importance weights, the latent's part scaled by ``beta``: (E, S, N)."""
        log_ratio = self.prior.log_prob(self.z) - self.posterior.log_prob(self.z)
        return self.log_lik + beta * log_ratio


def log_mean_exp(log_weights: Tensor, dim: int) -> Tensor:
    """Log of the mean of exp(``log_weights``) over ``dim``."""
    return torch.logsumexp(log_weights, dim) - math.log(log_weights.shape[dim])


class Objective(Protocol):
    """Terms, KL weight and row weights (E, N) to a loss (E,)."""

    def __call__(self, terms: Terms, beta: Tensor, weight: Tensor) -> Tensor: ...


class Elbo:
    """Negative evidence lower bound with an analytic KL.

    Kingma & Welling (2014), eq. 3; ``beta`` as in Higgins et al. (2017), eq. 4;
    ``free_bits`` nats of each dimension's mean KL cost nothing, as in Kingma et al.
    (2016), eq. 15.
    """

    def __init__(self, free_bits: float = 0.0) -> None:
        self.free_bits = free_bits

    def __call__(self, terms: Terms, beta: Tensor, weight: Tensor) -> Tensor:
        """Loss per member (E,)."""
        log_lik = (weight * terms.log_lik.mean(1)).mean(1)
        kl = (weight.unsqueeze(-1) * terms.kl()).mean(1)  # (E, L)
        if self.free_bits > 0:
            kl = kl.clamp(min=self.free_bits)
        return beta * kl.sum(-1) - log_lik


class Iwae:
    """Negative importance-weighted bound. Burda et al. (2016), eq. 8."""

    def __call__(self, terms: Terms, beta: Tensor, weight: Tensor) -> Tensor:
        """Loss per member (E,)."""
        return -(weight * log_mean_exp(terms.log_weights(beta), dim=1)).mean(1)


def build(config: TrainConfig) -> Objective:
    """Build the objective that a training configuration asks for."""
    return Iwae() if config.objective == "iwae" else Elbo(config.free_bits)
