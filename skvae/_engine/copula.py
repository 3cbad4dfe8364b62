"""A Gaussian copula of what z leaves of numeric cells: their residuals may go together.

Given z the decoder has cells independent. A residual is the normal score of a cell
under p(x_d | z). Here the residuals of a row are N(0, R) with one R for all rows,
fitted after training; what each cell is given z stays as it is. Song (2000),
Multivariate dispersion models generated from Gaussian copula, sec. 2.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from skvae._engine.likelihoods.chance import normal

ITERATIONS = 60
# rows of independent residuals that R has seen beside its own, a column
SHRINKAGE = 2.0
# rows that an earlier fit counts for in one to a further chunk
REMEMBERED = 500.0
LARGEST_RESIDUAL = 5.0  # to the fit, which single cells would decide
JITTER = 1e-9  # added to variances before their root is taken
MATRIX_ELEMENTS = 2**18  # of the matrices of rows with holes that are at work together


@dataclass(frozen=True)
class Copula:
    """N(0, R) of the residuals of rows, each (N, d) with its cells that are there.

    One row, N = 1, stands for any number with the same cells.
    """

    correlation: Tensor  # (d, d)
    known: Tensor  # (N, d), 1 where observed
    inverse: Tensor  # (N, d, d), of R among observed residuals, 1 for the others
    log_det: Tensor  # (N,), of that part of R

    @classmethod
    def of(cls, correlation: Tensor, known: Tensor) -> "Copula":
        """Prepare for rows in which ``known`` (N, d) are there."""
        both = known.unsqueeze(-1) * known.unsqueeze(-2)
        part = correlation * both + torch.diag_embed(1.0 - known)
        root = torch.linalg.cholesky(part)
        log_det = 2.0 * root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return cls(correlation, known, torch.cholesky_inverse(root), log_det)

    def log_density(self, residuals: Tensor) -> Tensor:
        """Log of the joint density over the product of its margins: (..., N).

        ``residuals`` (..., N, d).
        """
        e = residuals * self.known
        squares = self._times(e, self.inverse)
        return -0.5 * (self.log_det + (e * (squares - e)).sum(-1))

    def mean(self, residuals: Tensor) -> Tensor:
        """Return residuals (..., N, d) with missing ones expected given the others."""
        e = residuals * self.known
        expected = self._times(e, self.inverse) * self.known @ self.correlation
        return torch.where(self.known > 0, residuals, expected)

    @property
    def covariance(self) -> Tensor:
        """Covariance of missing residuals given the others, 0 elsewhere: (N, d, d)."""
        known = self.known.unsqueeze(-1)
        across = known * self.correlation
        explained = across.mT @ self.inverse @ across
        missing = 1.0 - known
        return (self.correlation - explained) * missing * missing.mT

    @property
    def scale(self) -> Tensor:
        """Standard deviation of a missing residual given the others, else 0: (N, d)."""
        return self.covariance.diagonal(dim1=-2, dim2=-1).clamp(min=0.0).sqrt()

    def draw(self, residuals: Tensor, generator: Generator) -> Tensor:
        """Draw missing residuals given the others; ``residuals`` (..., N, d)."""
        padding = torch.diag_embed(self.known + JITTER)
        root = torch.linalg.cholesky(self.covariance + padding)
        noise = self._times(normal(residuals, generator), root.mT)
        drawn = self.mean(residuals) + noise
        return torch.where(self.known > 0, residuals, drawn)

    @staticmethod
    def _times(e: Tensor, matrices: Tensor) -> Tensor:
        """Rows (..., N, d) times a matrix each (N, d, d)."""
        return torch.einsum("...ni,nij->...nj", e, matrices)


def fit(
    residuals: Tensor, known: Tensor, weight: Tensor, before: Tensor | None = None
) -> Tensor:
    """Fit R to S equally likely draws of residuals (S, N, d), rows of ``weight`` (N,).

    By EM (Dempster, Laird, Rubin 1977): a draw counts by its posterior under R, missing
    residuals by their first two moments. The steps are few on purpose: R and z explain
    the same, and with many R runs away from what the draws of z can follow
    (benchmarks/record/imputer.md). A further chunk of rows goes on from the R
    ``before``.
    """
    size = residuals.shape[-1]
    identity = torch.eye(size, dtype=residuals.dtype, device=residuals.device)
    n_rows, prior, correlation = len(weight), SHRINKAGE * size * identity, identity
    if before is not None:
        # in the long run as many rows of independence beside the others
        share = n_rows / (REMEMBERED + n_rows)
        prior, correlation = REMEMBERED * before + share * prior, before
    residuals = residuals.clamp(-LARGEST_RESIDUAL, LARGEST_RESIDUAL)
    weight = weight / weight.mean()
    parts = [
        (residuals[:, rows], pattern, weight[rows]) for rows, pattern in groups(known)
    ]
    for _ in range(ITERATIONS):
        moments = prior
        for e, pattern, w in parts:
            moments = moments + _moments(e, Copula.of(correlation, pattern), w)
        scale = moments.diagonal().sqrt()
        correlation = moments / scale.outer(scale)
    return correlation


def _moments(residuals: Tensor, copula: Copula, weight: Tensor) -> Tensor:
    """Sum of the expected products of residuals of rows: (d, d)."""
    shares = copula.log_density(residuals).softmax(0) * weight  # (S, N)
    filled = copula.mean(residuals)
    weighted = shares.unsqueeze(-1) * filled
    squares = weighted.flatten(0, 1).T @ filled.flatten(0, 1)
    return squares + (weight.view(-1, 1, 1) * copula.covariance).sum(0)


def groups(known: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows, and what they know (N, d): a single row for all that are complete."""
    complete = (known > 0).all(-1)
    if complete.any():
        yield complete.nonzero()[:, 0], torch.ones_like(known[:1])
    holes = (~complete).nonzero()[:, 0]
    for rows in holes.split(max(1, MATRIX_ELEMENTS // known.shape[1] ** 2)):
        if len(rows):
            yield rows, known[rows]
