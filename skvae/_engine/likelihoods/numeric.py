"""Likelihoods of numeric columns: Gaussian, its mixtures, Student's t, log-normal."""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from skvae._engine.distributions import LOG_2PI
from skvae._engine.likelihoods.base import Averaged
from skvae._engine.likelihoods.chance import gamma, normal, uniform

# softplus(0.54) = 1: a scale starts at the standard deviation of the column
UNIT_SOFTPLUS = math.log(math.e - 1.0)
LEAST_ABOVE = 1e-6  # of a scale above its floor, so that the raw output is finite
# degrees of freedom: above 2, so that there is a variance, and about 7 at the start
LEAST_FREEDOM, STARTING_FREEDOM = 2.0, 5.0
# of an expectation exp(m + s² / 2): finite in float32
LARGEST_EXPONENT = 60.0
# normal scores up to 37, and how near to one its cell is, after so many steps at most
SMALLEST_TAIL = 1e-300
CLOSE, QUANTILE_STEPS = 1e-10, 40


@dataclass(frozen=True)
class Mixture:
    """Per cell a Gaussian mixture: each field of shape (..., K, d)."""

    log_weight: Tensor
    mean: Tensor
    scale: Tensor


def gaussian_log_prob(x: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Log density of N(mean, scale²) at ``x``, elementwise, in nats."""
    return -0.5 * (((x - mean) / scale).square() + LOG_2PI) - scale.log()


def gaussian_natural(mean: Tensor, scale: Tensor) -> Tensor:
    """Natural parameters of N(mean, scale²), for 1, x and x²: (..., 3)."""
    precision = scale.pow(-2)
    constant = -0.5 * (mean.square() * precision + LOG_2PI) - scale.log()
    return torch.stack([constant, mean * precision, -0.5 * precision], dim=-1)


def gaussian_statistics(x: Tensor) -> Tensor:
    """1, x, x²: (..., 3)."""
    return torch.stack([torch.ones_like(x), x, x.square()], dim=-1)


def tails(parts: Mixture, x: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities of a mixture below and above ``x`` (..., d): 2 of (..., d)."""
    z = (x.unsqueeze(-2) - parts.mean) / (math.sqrt(2.0) * parts.scale)
    half = 0.5 * parts.log_weight.exp()
    # torch.special.ndtr is 0 below -8.3
    return (half * torch.erfc(-z)).sum(-2), (half * torch.erfc(z)).sum(-2)


def normal_score(below: Tensor, above: Tensor) -> Tensor:
    """Return the normal quantile of a probability, worked out from its smaller side."""
    least = max(SMALLEST_TAIL, torch.finfo(below.dtype).tiny)
    side = torch.minimum(below, above).clamp(min=least)
    return torch.special.ndtri(side).abs() * torch.sign(below - above)


def quantile(parts: Mixture, score: Tensor) -> Tensor:
    """Return where a mixture's normal score is ``score`` (..., d): (..., d).

    Between the quantiles of the components; by Newton's method, halving the interval
    where a step leaves it or the last one has not halved the gap: around a narrow
    component steps may go round in a circle.
    """
    found = parts.mean + parts.scale * score.unsqueeze(-2)
    low, high = found.amin(-2), found.amax(-2)
    x = (parts.log_weight.exp() * found).sum(-2)
    gap = torch.full_like(x, torch.inf)
    close = max(CLOSE, 10 * torch.finfo(x.dtype).eps)
    for _ in range(QUANTILE_STEPS):
        reached = normal_score(*tails(parts, x))
        before, gap = gap, (reached - score).abs()
        if (gap < close).all():
            break
        below = reached < score
        low, high = torch.where(below, x, low), torch.where(below, high, x)
        # log of the slope of the score: density over that of the score
        log_prob = gaussian_log_prob(x.unsqueeze(-2), parts.mean, parts.scale)
        log_slope = torch.logsumexp(parts.log_weight + log_prob, dim=-2)
        log_slope = log_slope + 0.5 * (reached.square() + LOG_2PI)
        step = x - (reached - score) * (-log_slope).exp()
        nears = (step >= low) & (step <= high) & (gap <= 0.5 * before)
        x = torch.where(nears, step, torch.where(gap < close, x, 0.5 * (low + high)))
    return x


def positive(raw: Tensor) -> Tensor:
    """Softplus, 1 at 0."""
    return functional.softplus(raw + UNIT_SOFTPLUS)


def scale_from(raw: Tensor, min_scale: Tensor, width: float) -> Tensor:
    """Scale (..., d) of at least ``min_scale``, convolved with noise of ``width``."""
    scale = min_scale + positive(raw)
    return scale.square().add(width * width).sqrt() if width > 0.0 else scale


def raw_scale_of(scale: Tensor, min_scale: Tensor) -> Tensor:
    """Raw output whose scale is ``scale``, or the least that there is."""
    above = (scale - min_scale).clamp(min=LEAST_ABOVE)
    return above + torch.log(-torch.expm1(-above)) - UNIT_SOFTPLUS


class GaussianMixtureHead(Averaged):
    """K Gaussians a column (K = 1: one Gaussian), each with its mean and scale.

    Bishop (1994), Mixture density networks, eq. 22-24. Scales are floored at
    ``min_scale``, in standardised units; ``spread`` sets the components apart at the
    start of training. Noise of ``width``, if any, is added to every draw.
    """

    def __init__(self, min_scale: Tensor, n_mixtures: int, width: float = 0.0) -> None:
        self.min_scale = min_scale  # (d,)
        self.width = width
        self.n_expectations = len(min_scale)
        self.n_mixtures = n_mixtures
        offsets = torch.zeros(1, dtype=torch.float32)
        if n_mixtures > 1:
            offsets = torch.linspace(-1.0, 1.0, n_mixtures, dtype=torch.float32)
        self.spread = offsets.to(min_scale).unsqueeze(-1)  # (K, 1)
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
        scale = scale_from(raw_scale, self.min_scale, self.width)
        return Mixture(log_weight, mean + self.spread, scale)

    def raw(self, mean: Tensor, scale: Tensor) -> Tensor:
        """Raw outputs (n_outputs,) of one Gaussian of such moments (d,)."""
        assert self.n_mixtures == 1
        return torch.cat([mean, raw_scale_of(scale, self.min_scale)])

    def log_prob(self, raw: Tensor, x: Tensor) -> Tensor:
        """Log density of cells ``x`` (..., d), in nats: (..., d)."""
        parts = self.mixture(raw)
        log_prob = gaussian_log_prob(x.unsqueeze(-2), parts.mean, parts.scale)
        if self.n_mixtures == 1:
            return log_prob.squeeze(-2)
        return torch.logsumexp(parts.log_weight + log_prob, dim=-2)

    def natural(self, raw: Tensor) -> Tensor | None:
        """Natural parameters of a single Gaussian (..., d, 3); a mixture has none."""
        if self.n_mixtures > 1:
            return None
        parts = self.mixture(raw)
        return gaussian_natural(parts.mean.squeeze(-2), parts.scale.squeeze(-2))

    def statistics(self, x: Tensor) -> Tensor:
        """1, x, x² of cells (..., d): (..., d, 3)."""
        return gaussian_statistics(x)

    def residuals(self, raw: Tensor, x: Tensor) -> Tensor:
        """Return normal scores of cells ``x`` (..., d): (..., d)."""
        parts = self.mixture(raw)
        if self.n_mixtures == 1:
            return ((x.unsqueeze(-2) - parts.mean) / parts.scale).squeeze(-2)
        return normal_score(*tails(parts, x))

    def cells(self, raw: Tensor, residuals: Tensor, wanted: Tensor) -> Tensor:
        """Cells (..., N, d) of such normal scores, where ``wanted`` (N, d) is true.

        Elsewhere anything: each cell takes a search.
        """
        parts = self.mixture(raw)
        if self.n_mixtures == 1:
            found = parts.mean + parts.scale * residuals.unsqueeze(-2)
            return found.squeeze(-2)
        row, column = wanted.nonzero(as_tuple=True)

        def pick(field: Tensor) -> Tensor:
            return field.mT[..., row, column, :].mT.contiguous()

        chosen = Mixture(*map(pick, (parts.log_weight, parts.mean, parts.scale)))
        cells = residuals.clone()
        cells[..., row, column] = quantile(chosen, residuals[..., row, column])
        return cells

    def expectation(self, raw: Tensor) -> Tensor:
        """Return expected cells (..., d): Σ π μ, without drawing a component."""
        parts = self.mixture(raw)
        return (parts.log_weight.exp() * parts.mean).sum(-2)

    def sample(self, raw: Tensor, generator: Generator) -> Tensor:
        """Draw cells (..., d): a component, then its Gaussian."""
        parts = self.mixture(raw)
        cumulative = parts.log_weight.exp().cumsum(-2)
        u = uniform(cumulative[..., :1, :], generator)
        pick = (u > cumulative[..., :-1, :]).sum(-2, keepdim=True)
        mean = parts.mean.gather(-2, pick).squeeze(-2)
        scale = parts.scale.gather(-2, pick).squeeze(-2)
        return mean + scale * normal(mean, generator)


class FixedGaussianHead(Averaged):
    """One Gaussian a column whose scale is the same for all rows, and learned.

    The noise of probabilistic principal components, one a column: Tipping & Bishop
    (1999), eq. 2.
    """

    def __init__(self, min_scale: Tensor, width: float = 0.0) -> None:
        self.min_scale = min_scale  # (d,)
        self.width = width
        self.n_outputs = self.n_constants = self.n_expectations = len(min_scale)

    def _parameters(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        mean, raw_scale = raw.chunk(2, dim=-1)
        return mean, scale_from(raw_scale, self.min_scale, self.width)

    def log_prob(self, raw: Tensor, x: Tensor) -> Tensor:
        """Log density of cells ``x`` (..., d), in nats: (..., d)."""
        return gaussian_log_prob(x, *self._parameters(raw))

    def natural(self, raw: Tensor) -> Tensor:
        """Natural parameters (..., d, 3)."""
        return gaussian_natural(*self._parameters(raw))

    def statistics(self, x: Tensor) -> Tensor:
        """1, x, x² of cells (..., d): (..., d, 3)."""
        return gaussian_statistics(x)

    def residuals(self, raw: Tensor, x: Tensor) -> Tensor:
        """Return normal scores of cells ``x`` (..., d): (..., d)."""
        mean, scale = self._parameters(raw)
        return (x - mean) / scale

    def cells(self, raw: Tensor, residuals: Tensor, wanted: Tensor) -> Tensor:
        """Cells (..., N, d) of such normal scores, wanted ones and others."""
        mean, scale = self._parameters(raw)
        return mean + scale * residuals

    def expectation(self, raw: Tensor) -> Tensor:
        """Return expected cells (..., d)."""
        return self._parameters(raw)[0]

    def sample(self, raw: Tensor, generator: Generator) -> Tensor:
        """Draw cells (..., d)."""
        mean, scale = self._parameters(raw)
        return mean + scale * normal(mean, generator)


class StudentTHead(Averaged):
    """Student's t: a location and a scale a cell, degrees of freedom a column."""

    def __init__(self, min_scale: Tensor, width: float = 0.0) -> None:
        self.min_scale = min_scale  # (d,)
        self.width = width
        self.n_constants = self.n_expectations = len(min_scale)
        self.n_outputs = 2 * len(min_scale)

    def _parameters(self, raw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, raw_scale, raw_freedom = raw.chunk(3, dim=-1)
        freedom = LEAST_FREEDOM + functional.softplus(raw_freedom + STARTING_FREEDOM)
        return mean, scale_from(raw_scale, self.min_scale, self.width), freedom

    def log_prob(self, raw: Tensor, x: Tensor) -> Tensor:
        """Log density of cells ``x`` (..., d), in nats: (..., d)."""
        mean, scale, freedom = self._parameters(raw)
        half = 0.5 * (freedom + 1.0)
        squares = ((x - mean) / scale).square() / freedom
        norm = torch.lgamma(half) - torch.lgamma(0.5 * freedom)
        norm = norm - 0.5 * (freedom * math.pi).log() - scale.log()
        return norm - half * squares.log1p()

    def expectation(self, raw: Tensor) -> Tensor:
        """Return expected cells (..., d)."""
        return self._parameters(raw)[0]

    def sample(self, raw: Tensor, generator: Generator) -> Tensor:
        """Draw cells (..., d): a normal over the root of a scaled chi-square."""
        mean, scale, freedom = self._parameters(raw)
        spread = gamma(0.5 * freedom.expand(mean.shape), generator) / (0.5 * freedom)
        return mean + scale * normal(mean, generator) * spread.rsqrt()


class LogNormalHead(GaussianMixtureHead):
    """A Gaussian of the encoded logarithm, whose expectation is that of the value.

    ``unit`` is the standard deviation of the logarithm, which the encoding divides by.
    """

    def __init__(self, min_scale: Tensor, unit: Tensor, width: float = 0.0) -> None:
        super().__init__(min_scale, 1, width)
        self.unit = unit  # (d,)

    def expectation(self, raw: Tensor) -> Tensor:
        """Return E[exp(unit x)]: (..., d)."""
        parts = self.mixture(raw)
        mean, scale = parts.mean.squeeze(-2), parts.scale.squeeze(-2)
        exponent = self.unit * mean + 0.5 * (self.unit * scale).square()
        return exponent.clamp(max=LARGEST_EXPONENT).exp()

    def expectation_of(self, x: Tensor) -> Tensor:
        """Return exp(unit x): (..., d)."""
        return (self.unit * x).clamp(max=LARGEST_EXPONENT).exp()

    def point(self, expectation: Tensor) -> Tensor:
        """Return the cells whose decoded value is the expectation."""
        return expectation.log() / self.unit
