"""Where to draw z from so that importance weights vary little."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from skvae._engine.distributions import LOG_2PI, Gaussian

NEWTON_STEPS = 8
WIDENED = 1.1  # standard deviations of the approximation: tails no lighter than p's
LARGEST_CURVATURE = 1e12

LogDensity = Callable[[Tensor], Tensor]  # z (E, S, N, L) to (E, S, N)


class Proposal(Protocol):
    """A density of z that can be drawn from."""

    def at(self, noise: Tensor) -> Tensor: ...
    def log_prob(self, z: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Mixture:
    """Several proposals, each with the number of draws that it gives.

    Hesterberg (1995), Weighted average importance sampling and defensive mixture
    distributions.
    """

    parts: Sequence[tuple[int, Proposal]]

    @classmethod
    def of(cls, n_draws: int, shares: Sequence[tuple[float, Proposal]]) -> "Mixture":
        """Divide ``n_draws`` among proposals; the first may get one more."""
        ends = [0]
        for i in range(len(shares)):
            ends.append(math.ceil(n_draws * sum(share for share, _ in shares[: i + 1])))
        counts = [b - a for a, b in pairwise(ends)]
        pairs = zip(counts, shares, strict=True)
        return cls([(count, part) for count, (_, part) in pairs if count])

    def at(self, noise: Tensor) -> Tensor:
        """Map noise (1, S, 1, L), cut in consecutive parts, to draws (E, S, N, L)."""
        cuts = noise.split([count for count, _ in self.parts], dim=1)
        drawn = [part.at(cut) for (_, part), cut in zip(self.parts, cuts, strict=True)]
        # a prior may be one for all rows
        n_rows = max(z.shape[2] for z in drawn)
        return torch.cat([z.expand(-1, -1, n_rows, -1) for z in drawn], dim=1)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density of ``z`` (E, S, N, L), in nats: (E, S, N)."""
        total = sum(count for count, _ in self.parts)
        logs = [part.log_prob(z) + math.log(n / total) for n, part in self.parts]
        return torch.stack(logs).logsumexp(0)


@dataclass(frozen=True)
class Laplace:
    """A Gaussian at a mode of a density of z, its covariance the inverse curvature.

    Lives in the coordinates u of ``prior``, z = mean + scale * u, where the curvature
    of the prior is 1: what a log-concave likelihood adds only sharpens it, so
    curvatures below 1 are raised to it.
    """

    prior: Gaussian
    mode: Tensor  # (E, N, L), u
    axes: Tensor  # (E, N, L, L), columns
    scale: Tensor  # (E, N, L), standard deviation along each axis, in u

    def at(self, noise: Tensor) -> Tensor:
        """Map noise (1, S, 1, L) to draws (E, S, N, L)."""
        steps = noise * self.scale.unsqueeze(1)
        u = self.mode.unsqueeze(1) + torch.einsum("enij,esnj->esni", self.axes, steps)
        return self.prior.at(u)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density of ``z`` (E, S, N, L), in nats: (E, S, N)."""
        prior_scale = (0.5 * self.prior.log_var).exp()
        u = (z - self.prior.mean.unsqueeze(1)) / prior_scale.unsqueeze(1)
        steps = torch.einsum("enij,esni->esnj", self.axes, u - self.mode.unsqueeze(1))
        squares = (steps / self.scale.unsqueeze(1)).square() + LOG_2PI
        log_volume = (self.scale.log() + 0.5 * self.prior.log_var).sum(-1)
        return -0.5 * squares.sum(-1) - log_volume.unsqueeze(1)


def variance_of_mean(proposal: Proposal, values: Tensor) -> Tensor:
    """Variance (E, N) of the mean over draws of ``values`` (E, S, N).

    Each part of a mixture gives its share of the draws without chance, so only the
    spread within the parts counts; a part of a single draw shows none, and all draws
    are then taken as alike.
    """
    n_draws = values.shape[1]
    counts = [n_draws]
    if isinstance(proposal, Mixture):
        counts = [count for count, _ in proposal.parts]
    parts = values.split(counts if min(counts) > 1 else n_draws, dim=1)
    return sum(part.shape[1] * part.var(dim=1) for part in parts) / n_draws**2


def laplace(log_density: LogDensity, prior: Gaussian, start: Tensor) -> Laplace:
    """Climb ``log_density`` from ``start`` (E, N, L) to a mode, and look around.

    Newton's method with the curvature made positive and a damping for each row, as in
    Levenberg & Marquardt: steps that do not rise are not taken.
    """
    scale = (0.5 * prior.log_var).exp()

    def of_u(u: Tensor) -> Tensor:
        return log_density((prior.mean + scale * u).unsqueeze(1))[:, 0]

    mode = (start - prior.mean) / scale
    value, slope, curvature = _derivatives(of_u, mode)
    damping = torch.full_like(value, 0.1)
    for _ in range(NEWTON_STEPS):
        strength, axes = _axes(curvature)
        along = (axes.mT @ slope.unsqueeze(-1)).squeeze(-1)
        steps = along / (strength.abs() + damping.unsqueeze(-1))
        new = mode + (axes @ steps.unsqueeze(-1)).squeeze(-1)
        new_value, new_slope, new_curvature = _derivatives(of_u, new)
        rises = new_value > value
        mode = torch.where(rises[..., None], new, mode)
        value = torch.where(rises, new_value, value)
        slope = torch.where(rises[..., None], new_slope, slope)
        curvature = torch.where(rises[..., None, None], new_curvature, curvature)
        damping = torch.where(rises, 0.3 * damping, 5.0 * damping).clamp(1e-4, 1e4)
    strength, axes = _axes(curvature)
    return Laplace(prior, mode, axes, WIDENED * strength.clamp(min=1.0).rsqrt())


def _derivatives(
    function: Callable[[Tensor], Tensor], u: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Value (E, N), gradient (E, N, L) and negative Hessian of ``function`` at u."""
    with torch.enable_grad():
        u = u.detach().requires_grad_()
        value = function(u)
        (slope,) = torch.autograd.grad(value.sum(), u, create_graph=True)
        rows = [
            torch.autograd.grad(slope[..., i].sum(), u, retain_graph=True)[0]
            for i in range(u.shape[-1])
        ]
    return value.detach(), slope.detach(), -torch.stack(rows, dim=-2)


def _axes(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (E, N, L) and eigenvectors (E, N, L, L), ascending."""
    largest = LARGEST_CURVATURE
    usable = matrix.nan_to_num(0.0, largest, -largest).clamp(-largest, largest)
    if matrix.device.type == "mps":  # which has no eigenvalues
        values, vectors = torch.linalg.eigh(usable.cpu())
        return values.to(matrix.device), vectors.to(matrix.device)
    return torch.linalg.eigh(usable)
