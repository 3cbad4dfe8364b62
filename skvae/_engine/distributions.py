"""Distributions of the latent: diagonal Gaussians, one a row, and mixtures of them."""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

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
        return self.log_prob_each(z).sum(-1)

    def log_prob_each(self, z: Tensor) -> Tensor:
        """Log density of each dimension of ``z``, in nats: (E, S, N, L)."""
        log_var = self.log_var.unsqueeze(1)
        squares = (z - self.mean.unsqueeze(1)).square() * (-log_var).exp()
        return -0.5 * (LOG_2PI + log_var + squares)

    def kl(self, other: "Gaussian") -> Tensor:
        """KL divergence from ``other`` in each dimension, in nats: (E, N, L)."""
        gap = (self.mean - other.mean).square() + self.log_var.exp()
        log_ratio = other.log_var - self.log_var
        return 0.5 * (log_ratio + gap * (-other.log_var).exp() - 1.0)

    def sample(self, n_draws: int, generator: Generator) -> Tensor:
        """Draw (E, S, N, L), the same noise for all members."""
        return self.at(_noise(n_draws, self.mean, generator))


@dataclass(frozen=True)
class GaussianMixture:
    """A mixture of K diagonal Gaussians for each member, the same for all rows."""

    log_weight: Tensor  # (E, K)
    mean: Tensor  # (E, K, L)
    log_var: Tensor  # (E, K, L)
    n_rows: int = 1

    def at(self, noise: Tensor) -> Tensor:
        """Map standard normals (1, S, N or 1, L) to draws (E, S, N, L).

        Draws are dealt out to the components in the shares of their weights.
        """
        n_draws = noise.shape[1]
        place = (torch.arange(n_draws, device=noise.device) + 0.5) / n_draws
        pick = self._pick(place.to(noise).expand(len(self.mean), -1))  # (E, S)
        return self._drawn(pick.unsqueeze(-1), noise).expand(-1, -1, self.n_rows, -1)

    def sample(self, n_draws: int, generator: Generator) -> Tensor:
        """Draw (E, S, N, L), the same chance for all members."""
        device, dtype = self.mean.device, self.mean.dtype
        shape = (1, n_draws, self.n_rows)
        u = torch.rand(shape, generator=generator, device=device, dtype=dtype)
        like = self.mean.new_empty(1, self.n_rows, self.mean.shape[-1])
        pick = self._pick(u.flatten(1).expand(len(self.mean), -1))
        return self._drawn(pick.view(-1, *shape[1:]), _noise(n_draws, like, generator))

    def _pick(self, u: Tensor) -> Tensor:
        """Components at places (E, M) of the cumulative weights."""
        cumulative = self.log_weight.exp().cumsum(-1).contiguous()
        last = cumulative.shape[-1] - 1
        return torch.searchsorted(cumulative, u.contiguous()).clamp(max=last)

    def _drawn(self, pick: Tensor, noise: Tensor) -> Tensor:
        """Draws of components (E, S, N or 1): (E, S, N or 1, L)."""
        member = torch.arange(len(self.mean), device=pick.device).view(-1, 1, 1)
        scale = (0.5 * self.log_var[member, pick]).exp()
        return self.mean[member, pick] + noise * scale

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density of ``z`` (E, S, N, L), in nats: (E, S, N)."""
        return self.log_parts(z.flatten(1, 2)).logsumexp(-1).view(z.shape[:-1])

    def log_parts(self, z: Tensor) -> Tensor:
        """Log of weight and density of each component at ``z`` (E, M, L): (E, M, K)."""
        precision = (-self.log_var).exp()
        const = (LOG_2PI + self.log_var + self.mean.square() * precision).sum(-1)
        squares = torch.bmm(z.square(), precision.mT) + const.unsqueeze(1)
        cross = torch.bmm(z, (self.mean * precision).mT)
        return self.log_weight.unsqueeze(1) + cross - 0.5 * squares

    def marginal_log_prob(self, z: Tensor) -> Tensor:
        """Log density of each dimension of ``z`` alone: (E, S, N, L)."""
        mean, log_var = (t[:, None, None] for t in (self.mean, self.log_var))
        squares = (z.unsqueeze(-2) - mean).square() * (-log_var).exp()
        logs = -0.5 * (LOG_2PI + log_var + squares)  # (E, S, N, K, L)
        return (self.log_weight[:, None, None, :, None] + logs).logsumexp(-2)


def _noise(n_draws: int, like: Tensor, generator: Generator) -> Tensor:
    """Draw standard normals for rows ``like`` (E, N, L): (1, S, N, L)."""
    return torch.randn(
        (1, n_draws, *like.shape[1:]),
        generator=generator,
        device=like.device,
        dtype=like.dtype,
    )
