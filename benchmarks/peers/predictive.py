"""Predictive answers of three kinds: Gaussians, quantiles and samples.

All answer the same questions, those of `Predictive`, in the units of y. Gaussians are
skvae's own mixtures with one component, so that their scores are its closed forms.
Where a method gives no density, the rule that makes one stands in the docstring.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from skvae import CVAERegressor, PredictiveDistribution
from skvae._table.schema import rounding_error
from skvae.metrics._calibration import level_errors

Array = NDArray[np.float64]

# levels of [0, level] at which the calibration of PIT values is read
CALIBRATION_LEVELS = np.linspace(0.05, 0.95, 19)
# nothing may be claimed to be known better than this, in standard deviations of y
SMALLEST_SCALE = 1e-3
# no exponential tail is shorter than this, in standard deviations of y: tied quantiles
# would make it so short that the likelihood of a set is that of its worst row
SHORTEST_TAIL = 0.05
# levels of the pinball losses whose mean is a crps
N_PINBALL = 500


class Predictive(Protocol):
    """Distribution of y for each of N rows; (N,) each, in nats or units of y."""

    def mean(self) -> Array:
        """Compute the expected value."""
        ...

    def log_prob(self, y: Array) -> Array:
        """Log density of y in nats."""
        ...

    def cdf(self, y: Array) -> Array:
        """Probability of a value <= y: the PIT value of y."""
        ...

    def interval(self, coverage: float) -> Array:
        """Central interval, (N, 2)."""
        ...

    def crps(self, y: Array) -> Array:
        """Continuous ranked probability score; lower is better."""
        ...


def calibration_error(pit: Array) -> float:
    """Mean distance of a level and the share of PIT values below it; 0 is best."""
    return float(level_errors(pit, CALIBRATION_LEVELS)[0])


def smallest_scale(y: Array) -> float:
    """Return the standard deviation below which no density may go, in units of y.

    The rounding error of the training target, by the rule of skvae's
    ``min_scale="auto"``, and at least 0.001 of its standard deviation. Without it ties
    among quantiles or samples would be densities without bound.
    """
    rounding = rounding_error(y, np.ones_like(y))
    return max(float(rounding), SMALLEST_SCALE * float(y.std()))


@dataclass(frozen=True)
class Latent:
    """What a fitted `CVAERegressor` says about rows X.

    The likelihood is ``score_samples``, its importance-weighted estimate; the rest is
    of its predictive mixture over fixed draws.
    """

    model: CVAERegressor
    X: Array

    def mean(self) -> Array:
        """Compute the expected value."""
        return self.model.predict(self.X)

    def log_prob(self, y: Array) -> Array:
        """Log density of y in nats."""
        return self.model.score_samples(self.X, y)

    def cdf(self, y: Array) -> Array:
        """Probability of a value <= y."""
        return self.model.predict_distribution(self.X).cdf(y)

    def interval(self, coverage: float) -> Array:
        """Central interval, (N, 2)."""
        return self.model.predict_interval(self.X, coverage=coverage)

    def crps(self, y: Array) -> Array:
        """Continuous ranked probability score, closed form."""
        return self.model.predict_distribution(self.X).crps(y)


@dataclass(frozen=True)
class Quantiles:
    """Quantiles at Q levels, with the rule that makes a distribution of them.

    Rows are sorted, which undoes crossings [1]_. Between neighbouring levels the
    quantile function is linear, so the density is constant there; as a density a piece
    is no narrower than a uniform of standard deviation ``floor``. Beyond the outermost
    levels the tails are exponential, with the scale that a tail from the median on
    would need to reach the outermost quantile, and at least 0.05 ``spread``. The crps
    is twice the mean pinball loss [2]_ of that quantile function at 500 even levels.

    Parameters
    ----------
    levels : ndarray of shape (Q,)
        Rising, in (0, 1), with 0.5 inside.
    values : ndarray of shape (N, Q)
        In the units of y.
    floor : float
        See `smallest_scale`.
    spread : float
        Standard deviation of the training target.
    centre : ndarray of shape (N,), optional
        The method's own mean; otherwise that of the distribution.

    References
    ----------
    .. [1] Chernozhukov, Fernández-Val, Galichon (2010). doi:10.3982/ECTA7880
    .. [2] Laio, Tamea (2007). doi:10.5194/hess-11-1267-2007
    """

    levels: Array
    values: Array
    floor: float
    spread: float
    centre: Array | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", np.sort(self.values, axis=1))

    def mean(self) -> Array:
        """Compute the expected value."""
        if self.centre is not None:
            return self.centre
        return self._quantile(_even_levels()).mean(axis=1)

    def log_prob(self, y: Array) -> Array:
        """Log density of y in nats."""
        left, right = self._pieces()
        at = y[:, None]
        # halves: a value where two pieces meet is in one, not in both
        inside = 0.5 * ((left <= at) & (at < right)) + 0.5 * (
            (left < at) & (at <= right)
        )
        density = (np.diff(self.levels) * inside / (right - left)).sum(axis=1)
        lower, upper = self._tail_scales()
        below, above = self._beyond(y)
        log_below = np.log(self.levels[0] / lower) - below / lower
        log_above = np.log((1.0 - self.levels[-1]) / upper) - above / upper
        with np.errstate(divide="ignore"):
            parts = [
                np.log(density),
                np.where(below > 0.0, log_below, -np.inf),
                np.where(above > 0.0, log_above, -np.inf),
            ]
        return np.logaddexp.reduce(parts)

    def cdf(self, y: Array) -> Array:
        """Probability of a value <= y."""
        left, right = self._pieces()
        risen = np.clip((y[:, None] - left) / (right - left), 0.0, 1.0)
        lower, upper = self._tail_scales()
        below, above = self._beyond(y)
        return (
            self.levels[0] * np.exp(-below / lower)
            + (np.diff(self.levels) * risen).sum(axis=1)
            - (1.0 - self.levels[-1]) * np.expm1(-above / upper)
        )

    def interval(self, coverage: float) -> Array:
        """Central interval, (N, 2)."""
        return self._quantile(_ends(coverage))

    def crps(self, y: Array) -> Array:
        """Twice the mean pinball loss."""
        p = _even_levels()
        gap = y[:, None] - self._quantile(p)
        return 2.0 * np.where(gap > 0.0, p * gap, (p - 1.0) * gap).mean(axis=1)

    def _quantile(self, p: Array) -> Array:
        """Quantiles at levels p (K,): (N, K)."""
        k = np.searchsorted(self.levels, p, side="right") - 1
        k = np.clip(k, 0, len(self.levels) - 2)
        fraction = (p - self.levels[k]) / np.diff(self.levels)[k]
        inner = self.values[:, k] + np.clip(fraction, 0.0, 1.0) * self._gaps()[:, k]
        lower, upper = self._tail_scales()
        below = np.log(np.minimum(p / self.levels[0], 1.0))
        above = np.log(np.minimum((1.0 - p) / (1.0 - self.levels[-1]), 1.0))
        return inner + np.outer(lower, below) - np.outer(upper, above)

    def _gaps(self) -> Array:
        return np.diff(self.values, axis=1)  # (N, Q - 1)

    def _pieces(self) -> tuple[Array, Array]:
        """Left and right ends of the uniform pieces, (N, Q - 1) each."""
        left, right = self.values[:, :-1], self.values[:, 1:]
        middle, half = 0.5 * (left + right), math.sqrt(3.0) * self.floor
        return np.minimum(left, middle - half), np.maximum(right, middle + half)

    def _tail_scales(self) -> tuple[Array, Array]:
        """Scales of the lower and the upper tail, (N,) each."""
        values, levels = self.values, self.levels
        median = values[:, np.abs(levels - 0.5).argmin()]
        lower = (median - values[:, 0]) / math.log(0.5 / levels[0])
        upper = (values[:, -1] - median) / math.log(0.5 / (1.0 - levels[-1]))
        shortest = SHORTEST_TAIL * self.spread
        return np.maximum(lower, shortest), np.maximum(upper, shortest)

    def _beyond(self, y: Array) -> tuple[Array, Array]:
        """How far y is below the first and above the last quantile, (N,) each, >= 0."""
        below = np.maximum(self.values[:, 0] - y, 0.0)
        return below, np.maximum(y - self.values[:, -1], 0.0)


@dataclass(frozen=True)
class Samples:
    """Draws, (N, S): scores of the draws themselves, and a kernel density for the NLL.

    The density is a Gaussian kernel density estimate, row by row, with Silverman's
    bandwidth, 0.9 min(std, IQR / 1.34) S^(-1/5) [1]_, which single far draws do not
    widen, and at least ``floor``. The crps is the fair one of an
    ensemble: its expectation does not depend on S [2]_. PIT values and the ends of
    intervals are ranks among S + 1 even places; ties count half.

    References
    ----------
    .. [1] Silverman (1986), Density estimation, eq. 3.31.
    .. [2] Ferro (2014). doi:10.1002/qj.2270
    """

    values: Array
    floor: float

    def mean(self) -> Array:
        """Compute the mean of the draws."""
        return self.values.mean(axis=1)

    def log_prob(self, y: Array) -> Array:
        """Log of the kernel density at y, in nats."""
        n_draws = self.values.shape[1]
        lower, upper = np.quantile(self.values, [0.25, 0.75], axis=1)
        spread = np.minimum(self.values.std(axis=1, ddof=1), (upper - lower) / 1.34)
        bandwidth = 0.9 * spread * n_draws**-0.2
        means = self.values[:, None, None, :]
        scales = np.maximum(bandwidth, self.floor)[:, None, None, None]
        kernels = PredictiveDistribution.from_components(
            np.full(means.shape, 1.0 / n_draws),
            means,
            np.broadcast_to(scales, means.shape),
        )
        return kernels.log_prob(y)

    def cdf(self, y: Array) -> Array:
        """Rank of y among the draws, in (0, 1)."""
        below = (self.values < y[:, None]).sum(axis=1)
        ties = (self.values == y[:, None]).sum(axis=1)
        return (below + 0.5 * ties + 0.5) / (self.values.shape[1] + 1)

    def interval(self, coverage: float) -> Array:
        """Central interval between order statistics, (N, 2)."""
        return np.quantile(self.values, _ends(coverage), axis=1, method="weibull").T

    def crps(self, y: Array) -> Array:
        """Fair crps: E|Y - y| - E|Y - Y'| / 2 over distinct draws."""
        n_draws = self.values.shape[1]
        ranks = 2.0 * np.arange(1, n_draws + 1) - n_draws - 1.0
        pairs = np.sort(self.values, axis=1) @ ranks  # sum over pairs of |Y - Y'|
        distance = np.abs(self.values - y[:, None]).mean(axis=1)
        return distance - pairs / (n_draws * (n_draws - 1))


def _even_levels() -> Array:
    return (np.arange(N_PINBALL) + 0.5) / N_PINBALL


def _ends(coverage: float) -> Array:
    return np.array([(1.0 - coverage) / 2.0, (1.0 + coverage) / 2.0])
