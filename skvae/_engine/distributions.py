"""Densities of the latent: diagonal Gaussians, one a row, and mixtures of them."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Generator, Tensor

LOG_2PI = math.log(2 * math.pi)


class Density(ABC):
    """A density of z for each member and row; one for all rows has N = 1.

    Draws are images of standard normals, so that the same ones serve every row.
    """

    smooth = True  # whether log p has derivatives to climb along

    @abstractmethod
    def at(self, noise: Tensor) -> Tensor:
        """Map standard normals (E or 1, S, N or 1, L) to draws (E, S, N, L)."""

    @abstractmethod
    def log_prob_each(self, z: Tensor) -> Tensor:
        """Nats that each dimension of ``z`` adds to its log density: (E, S, N, L)."""

    @abstractmethod
    def detached(self) -> "Density":
        """Return the same density, with parameters that no gradient reaches."""

    def asked(self) -> "Density":
        """Return the density as it is after training, for most the same."""
        return self

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density of ``z`` (E, S, N, L), in nats: (E, S, N)."""
        return self.log_prob_each(z).sum(-1)

    def mean_of(self, noise: Tensor) -> Tensor:
        """Mean (E, N, L), from ``noise`` where it has no closed form."""
        return self.at(noise).mean(1)

    def moments_of(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance (E, N, L), from ``noise`` where there is no closed form."""
        z = self.at(noise)
        return z.mean(1), z.var(1, unbiased=False)

    def kl_each(self, other: "Density", z: Tensor) -> Tensor:
        """KL divergence from ``other``, in nats, as it adds up over dimensions.

        From draws ``z`` of this density where it has no closed form: (E, N, L).
        """
        return (self.log_prob_each(z) - other.log_prob_each(z)).mean(1)

    def kl(self, other: "Density", z: Tensor) -> Tensor:
        """KL divergence from ``other``, in nats: (E, N)."""
        return (self.log_prob(z) - other.log_prob(z)).mean(1)

    def cost(self, other: "Density", z: Tensor) -> Tensor:
        """Return what training adds to -log p(x | z), for most the KL: (E, N)."""
        return self.kl(other, z)

    def sample(self, n_draws: int, n_rows: int, generator: Generator) -> Tensor:
        """Draw (E, S, N, L), the same noise for all members."""
        like = self._like()
        noise = torch.randn(
            (1, n_draws, n_rows, like.shape[-1]),
            generator=generator,
            device=like.device,
            dtype=like.dtype,
        )
        return self.at(noise)

    @abstractmethod
    def _like(self) -> Tensor:
        """Return a tensor of the latent's size, type and place: (..., L)."""


@dataclass(frozen=True)
class Gaussian(Density):
    """Independent normals; ``mean`` and ``log_var`` of shape (E, N, L)."""

    mean: Tensor
    log_var: Tensor

    def at(self, noise: Tensor) -> Tensor:
        """Map standard normals (E or 1, S, N or 1, L) to draws (E, S, N, L)."""
        scale = (0.5 * self.log_var).exp()
        return self.mean.unsqueeze(1) + noise * scale.unsqueeze(1)

    def log_prob_each(self, z: Tensor) -> Tensor:
        """Log density of each dimension of ``z``, in nats: (E, S, N, L)."""
        log_var = self.log_var.unsqueeze(1)
        squares = (z - self.mean.unsqueeze(1)).square() * (-log_var).exp()
        return -0.5 * (LOG_2PI + log_var + squares)

    def detached(self) -> "Gaussian":
        """Return the same density, with parameters that no gradient reaches."""
        return Gaussian(self.mean.detach(), self.log_var.detach())

    def mean_of(self, noise: Tensor) -> Tensor:
        """Mean (E, N, L)."""
        return self.mean

    def moments_of(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance (E, N, L)."""
        return self.mean, self.log_var.exp()

    def kl_each(self, other: Density, z: Tensor) -> Tensor:
        """KL divergence from ``other`` in each dimension, in nats: (E, N, L)."""
        if not isinstance(other, Gaussian):
            return super().kl_each(other, z)
        gap = (self.mean - other.mean).square() + self.log_var.exp()
        log_ratio = other.log_var - self.log_var
        return 0.5 * (log_ratio + gap * (-other.log_var).exp() - 1.0)

    def kl(self, other: Density, z: Tensor) -> Tensor:
        """KL divergence from ``other``, in nats: (E, N)."""
        if not isinstance(other, Gaussian):
            return super().kl(other, z)
        return self.kl_each(other, z).sum(-1)

    def _like(self) -> Tensor:
        return self.mean


@dataclass(frozen=True)
class GaussianMixture(Density):
    """A mixture of K diagonal Gaussians for each member, the same for all rows."""

    log_weight: Tensor  # (E, K)
    mean: Tensor  # (E, K, L)
    log_var: Tensor  # (E, K, L)

    def at(self, noise: Tensor) -> Tensor:
        """Map standard normals (1, S, N or 1, L) to draws (E, S, N or 1, L).

        Draws are dealt out to the components in the shares of their weights.
        """
        return self._drawn(deal(self.log_weight, noise.shape[1]).unsqueeze(-1), noise)

    def sample(self, n_draws: int, n_rows: int, generator: Generator) -> Tensor:
        """Draw (E, S, N, L), the same chance for all members."""
        size = (1, n_draws, n_rows, 1 + self.mean.shape[-1])
        device, dtype = self.mean.device, self.mean.dtype
        draws = torch.randn(size, generator=generator, device=device, dtype=dtype)
        place = torch.special.ndtr(draws[..., 0]).flatten(1)  # uniform
        chosen = pick(self.log_weight.exp(), place.expand(len(self.mean), -1))
        return self._drawn(chosen.view(-1, n_draws, n_rows), draws[..., 1:])

    def _drawn(self, chosen: Tensor, noise: Tensor) -> Tensor:
        """Draws of components (E, S, N or 1): (E, S, N or 1, L)."""
        member = torch.arange(len(self.mean), device=chosen.device).view(-1, 1, 1)
        scale = (0.5 * self.log_var[member, chosen]).exp()
        return self.mean[member, chosen] + noise * scale

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

    def log_prob_each(self, z: Tensor) -> Tensor:
        """Nats that each dimension of ``z`` adds, given those before it."""
        flat = z.flatten(1, 2)

        def part(d: int) -> Tensor:
            """Log density of one dimension under each component: (E, M, K)."""
            mean, log_var = (t[:, None, :, d] for t in (self.mean, self.log_var))
            squares = (flat[..., d : d + 1] - mean).square() * (-log_var).exp()
            return -0.5 * (LOG_2PI + log_var + squares)

        parts = (part(d) for d in range(z.shape[-1]))
        return gains(self.log_weight.unsqueeze(1), parts).view(z.shape)

    def flipped(self) -> "GaussianMixture":
        """Return the mixture of the dimensions in reverse order."""
        return GaussianMixture(
            self.log_weight, self.mean.flip(-1), self.log_var.flip(-1)
        )

    def detached(self) -> "GaussianMixture":
        """Return the same density, with parameters that no gradient reaches."""
        fields = (self.log_weight, self.mean, self.log_var)
        return GaussianMixture(*(field.detach() for field in fields))

    def _like(self) -> Tensor:
        return self.mean


def gains(log_weight: Tensor, parts: Iterable[Tensor]) -> Tensor:
    """Nats that each of n ``parts`` (..., K) adds, given those before it: (..., n).

    Within each of K components of ``log_weight`` the parts are independent.
    """
    totals = [t.logsumexp(-1) for t in accumulate(parts, initial=log_weight)][1:]
    before = [torch.zeros_like(totals[0]), *totals[:-1]]
    return torch.stack([b - a for a, b in zip(before, totals, strict=True)], dim=-1)


def pick(probabilities: Tensor, place: Tensor) -> Tensor:
    """Categories at uniform ``place`` (..., M) of probabilities (..., K): (..., M)."""
    cumulative = probabilities.cumsum(-1).contiguous()
    last = cumulative.shape[-1] - 1
    return torch.searchsorted(cumulative, place.contiguous()).clamp(max=last)


def deal(log_weight: Tensor, n_draws: int) -> Tensor:
    """Deal draws out to components in the shares of their weights: (E, S)."""
    order = torch.arange(n_draws, device=log_weight.device, dtype=torch.float32)
    place = ((order + 0.5) / n_draws).to(log_weight)
    return pick(log_weight.exp(), place.expand(len(log_weight), -1))
