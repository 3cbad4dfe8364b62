"""Priors fitted to the aggregate posterior, once the networks have settled.

The bound is highest, over priors, at the mixture of all posteriors (Hoffman & Johnson
2016, eq. 6; Tomczak & Welling 2018, eq. 7); a mixture of a few Gaussians stands in for
it. Fitting it after training leaves training as it is (Ghosh et al. 2020, sec. 4).
"""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional

from skvae._engine.distributions import GaussianMixture

ROWS_PER_COMPONENT, MOST_COMPONENTS = 40, 64
ITERATIONS = 100
# rows of a standard normal that every component has seen beside its own, and the
# smallest variance: no component closes in on a few rows
SHRINKAGE = 2.0
SMALLEST_VARIANCE = 1e-3
CODE_SHRINKAGE = 1.0  # rows of the codes' overall frequencies that every class has seen


def n_components(n_rows: int) -> int:
    """Components that so many rows can tell apart."""
    return max(1, min(n_rows // ROWS_PER_COMPONENT, MOST_COMPONENTS))


def fit_mixture(z: Tensor, weight: Tensor, generator: Generator) -> GaussianMixture:
    """Fit K Gaussians to draws ``z`` (E, N, L) of rows of ``weight`` (N,), by EM.

    Dempster, Laird, Rubin (1977); variances are shrunk towards 1 and the weights
    towards each other.
    """
    n_members, n_rows, _ = z.shape
    weight = weight / weight.mean()  # as in training
    n = n_components(n_rows)
    start = torch.stack(
        [
            torch.randperm(n_rows, generator=generator, device=z.device)[:n]
            for _ in range(n_members)
        ]
    )
    member = torch.arange(n_members, device=z.device).unsqueeze(1)
    mixture = GaussianMixture(
        z.new_full((n_members, n), -math.log(n)),
        z[member, start] if n > 1 else z.mean(1, keepdim=True),
        torch.zeros_like(z[:, :n]),
    )
    for _ in range(ITERATIONS):
        mixture = _step(mixture, z, weight)
    return mixture


def _step(mixture: GaussianMixture, z: Tensor, weight: Tensor) -> GaussianMixture:
    """One step of expectation and maximisation."""
    shares = mixture.log_parts(z).softmax(-1) * weight.view(1, -1, 1)  # (E, N, K)
    count = shares.sum(1).unsqueeze(-1)  # (E, K, 1)
    mean = shares.mT @ z / count.clamp(min=1e-9)
    square = shares.mT @ z.square() - count * mean.square()
    variance = (square + SHRINKAGE) / (count + SHRINKAGE)
    return GaussianMixture(
        _log_weight(count.squeeze(-1)),
        mean,
        variance.clamp(min=SMALLEST_VARIANCE).log(),
    )


def _log_weight(count: Tensor) -> Tensor:
    """Log weights of components that so many rows (E, K) belong to."""
    mass = count + SHRINKAGE
    return (mass / mass.sum(-1, keepdim=True)).log()


def fit_classes(
    index: Tensor, n_codes: int, weight: Tensor, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Fit latent classes to codes ``index`` (E, N, M) by EM, rows of ``weight`` (N,).

    Lazarsfeld & Henry (1968): in each of C classes the positions are independent.
    Return log weights (E, C) and log probabilities (E, C, M, K).
    """
    n_members, n_rows, _ = index.shape
    weight = weight / weight.mean()
    n = n_components(n_rows)
    one_hot = functional.one_hot(index, n_codes).to(weight.dtype)  # (E, N, M, K)
    rows = one_hot.flatten(2)
    overall = (rows * weight.view(1, -1, 1)).mean(1, keepdim=True)  # (E, 1, M·K)
    start = torch.rand(
        (n_members, n_rows, n),
        generator=generator,
        device=index.device,
        dtype=torch.float32,
    )
    shares = start.to(weight).square()
    shares = shares / shares.sum(-1, keepdim=True)
    for _ in range(ITERATIONS):
        shares = shares * weight.view(1, -1, 1)
        count = shares.sum(1)  # (E, C)
        table = shares.mT @ rows + CODE_SHRINKAGE * overall + 1e-6
        table = table.view(n_members, n, -1, n_codes)
        log_table = (table / table.sum(-1, keepdim=True)).log()
        log_weight = _log_weight(count)
        log_joint = log_weight.unsqueeze(1) + rows @ log_table.flatten(2).mT
        shares = log_joint.softmax(-1)
    return log_weight, log_table
