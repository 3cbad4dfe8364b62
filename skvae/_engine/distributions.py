"""Distributions of the latent: diagonal Gaussians over members, rows and dimensions."""

import math
from dataclasses import dataclass

from torch import Tensor

LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class Gaussian:
    """Independent normals; ``mean`` and ``log_var`` of shape (E, N, L)."""

    mean: Tensor
    log_var: Tensor

    def at(self, noise: Tensor) -> Tensor:
        """Map standard normals (E or 1, S, N or 1, L) to draws (E, S, N, L)."""
        scale = (0.5 * self.log_var).exp()
        return self.mean.unsqueeze(1) + noise * scale.unsqueeze(1)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density of ``z`` (E, S, N, L), in nats: (E, S, N)."""
        log_var = self.log_var.unsqueeze(1)
        squares = (z - self.mean.unsqueeze(1)).square() * (-log_var).exp()
        return -0.5 * (LOG_2PI + log_var + squares).sum(-1)

    def kl(self, other: "Gaussian") -> Tensor:
        """KL divergence from ``other`` in each dimension, in nats: (E, N, L)."""
        gap = (self.mean - other.mean).square() + self.log_var.exp()
        log_ratio = other.log_var - self.log_var
        return 0.5 * (log_ratio + gap * (-other.log_var).exp() - 1.0)
