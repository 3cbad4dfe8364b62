"""One normal distribution of all cells, fitted by EM: what a latent has to better.

Little & Rubin (2002), Statistical analysis with missing data, sec. 11.2. Where the
table is one, there is nothing for z to tell, and networks that have to learn so keep
less to the line the fewer rows they see.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skvae._engine.config import ModelConfig
from skvae._engine.copula import Copula, groups
from skvae._engine.likelihoods import GaussianMixtureHead
from skvae._engine.likelihoods.numeric import gaussian_log_prob
from skvae._engine.model import LatentModel

ITERATIONS = 200
TOLERANCE = 1e-4  # of standardised means, scales and correlations
# a row of independent cells of variance 1 beside those of the table, so that no scale
# is 0 and R has a root
SHRINKAGE = 1.0


@dataclass(frozen=True)
class MultiNormal:
    """N(mean, diag(scale) R diag(scale)) of D cells."""

    mean: Tensor  # (D,)
    scale: Tensor  # (D,)
    correlation: Tensor  # R (D, D)

    @classmethod
    def fit(cls, x: Tensor, known: Tensor, weight: Tensor) -> "MultiNormal":
        """Fit to rows x (N, D) of ``weight`` (N,), ``known`` where it is 1, by EM."""
        n_rows, weight = len(weight), weight / weight.sum()
        mean, scale = torch.zeros_like(x[0]), torch.ones_like(x[0])
        identity = torch.eye(len(mean), dtype=x.dtype, device=x.device)
        found = cls(mean, scale, identity)
        parts = [(x[rows], known, weight[rows]) for rows, known in groups(known)]
        for _ in range(ITERATIONS):
            before, found = found, found._better(parts, SHRINKAGE / n_rows)
            if found._distance(before) < TOLERANCE:
                break
        return found

    def _better(
        self, parts: list[tuple[Tensor, Tensor, Tensor]], shrinkage: float
    ) -> "MultiNormal":
        """Take a step of EM; weights of the rows add up to 1."""
        shift, moments = torch.zeros_like(self.mean), torch.zeros_like(self.correlation)
        for x, known, weight in parts:
            copula = Copula.of(self.correlation, known)
            filled = copula.mean((x - self.mean) / self.scale)
            shift += weight @ filled
            moments += filled.T @ (weight.unsqueeze(1) * filled)
            moments += (weight.view(-1, 1, 1) * copula.covariance).sum(0)
        moments -= shift.outer(shift)
        moments += shrinkage * torch.diag(self.scale**-2)
        moments /= 1.0 + shrinkage
        growth = moments.diagonal().sqrt()
        return MultiNormal(
            self.mean + self.scale * shift,
            self.scale * growth,
            moments / growth.outer(growth),
        )

    def _distance(self, other: "MultiNormal") -> Tensor:
        """Return the largest change of a parameter, means in units of their scales."""
        changes = (
            (self.mean - other.mean) / self.scale,
            self.scale / other.scale - 1.0,
            self.correlation - other.correlation,
        )
        return torch.stack([change.abs().max() for change in changes]).max()

    def log_prob(self, x: Tensor, known: Tensor) -> Tensor:
        """Log density of the known cells of rows x (N, D), in nats: (N,)."""
        alone = gaussian_log_prob(x, self.mean, self.scale) * known
        log_prob = alone.sum(-1)
        residuals = (x - self.mean) / self.scale
        for rows, pattern in groups(known):
            tied = Copula.of(self.correlation, pattern).log_density(residuals[rows])
            log_prob[rows] += tied
        return log_prob

    def weights(self, model: LatentModel) -> Tensor:
        """Weights (1, P) under which ``model``, as configured here, has these cells."""
        outputs = self.mean.new_zeros(model.n_outputs)
        for head in model.heads:
            assert isinstance(head.likelihood, GaussianMixtureHead)
            own = self.mean[head.columns], self.scale[head.columns]
            outputs[head.slices[0]] = head.likelihood.raw(*own)
        return model.constant(outputs)


def configure(model: ModelConfig) -> ModelConfig:
    """Configure a model of the same columns, all of them numbers, whose z is idle."""
    heads = tuple(
        head if head.name == "lognormal" else replace(head, name="gaussian")
        for head in model.heads
    )
    return replace(
        model,
        heads=heads,
        hidden_layer_sizes=(),
        numeric_embedding=None,
        n_estimators=1,
        prior="normal",
        posterior="gaussian",
        latent="gaussian",
        layer_sizes=(),
    )
