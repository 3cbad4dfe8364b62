"""Maths of Gaussian mixtures, many at once: arrays of components in, values out.

Joint over outputs: N rows, M equal-weight draws, O outputs, K components each. One
output on its own is a plain mixture: R = N O of them, J = M K components, P panels.
Everything is float64 numpy in the units of y; probabilities in nats.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.polynomial.legendre import leggauss
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

Array = NDArray[np.float64]

SQRT_2PI = math.sqrt(2.0 * math.pi)
LOG_SQRT_2PI = math.log(SQRT_2PI)
# Up to this many components the double sum of the crps is cheaper than quadrature.
MAX_PAIRED_COMPONENTS = 64
# Beyond 8.5 standard deviations a normal cdf is 0 or 1 to within 1e-17.
TAIL = 8.5
# Relative error allowed to the quadrature of the crps; 1e-4 is what is promised.
SPREAD_TOLERANCE = 2e-5
# Highest-density regions: a panel is split until the trapezoid of its density gives
# its mass to 1e-5 (0.1 standard deviations wide at a normal's mode) and to 2 %, so
# that wide panels of low density are right too, up to a limit.
MASS_TOLERANCE, NEGLIGIBLE_MASS, MAX_PANELS = 1e-5, 1e-8, 1024
# Size of the temporaries made by one call to `_knots`, in elements.
GATHER_ELEMENTS = 2**18
# Five nodes on [0, 1]: exact for the square of a quartic.
GAUSS_RULE = [(0.5 + 0.5 * t, 0.5 * w) for t, w in zip(*leggauss(5), strict=True)]


@dataclass(frozen=True)
class MixtureComponents:
    """A block of rows: each row an equal-weight mixture over M draws.

    An element of that mixture is a product over outputs of K-component Gaussian
    mixtures: ``p(y) = 1/M sum_m prod_o sum_k w[m, o, k] N(y_o; mean, scale**2)``.
    """

    weights: NDArray[np.floating]  # (N, M, O, K), sum to one over K
    means: NDArray[np.floating]  # (N, M, O, K), original y units
    scales: NDArray[np.floating]  # (N, M, O, K), standard deviations, > 0

    def __getitem__(self, rows: slice) -> "MixtureComponents":
        """Select rows."""
        return MixtureComponents(*(part[rows] for part in vars(self).values()))

    def rescaled(self, shift: Array, scale: Array) -> "MixtureComponents":
        """Components of ``scale * y + shift``; shift and scale of shape (O,)."""
        shift, scale = shift[:, None], scale[:, None]
        means = self.means * scale + shift
        return MixtureComponents(self.weights, means, self.scales * scale)


class Mixture(NamedTuple):
    """R mixtures of J normals: weights (sum to one), means, scales (> 0), (R, J) each.

    Functions that take a point ``y`` per mixture also broadcast: many points against
    one mixture (R = 1).
    """

    weights: Array
    means: Array
    scales: Array

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> "Mixture":
        """Select mixtures by index or mask."""
        return Mixture(*(part[rows] for part in self))

    def mirrored(self) -> "Mixture":
        """Mixtures of -y: upper tails become lower ones, which floats resolve."""
        return Mixture(self.weights, -self.means, self.scales)


class Panels(NamedTuple):
    """Panels that tile the support of each mixture; (P,) and (P, 4).

    An end is described by four numbers: position, cdf F, density f, and the integral
    of F from minus infinity to the position.
    """

    row: NDArray[np.int64]
    left: Array
    right: Array


def _average(weights: Array, values: Array) -> Array:
    return np.einsum("rj,rj->r", np.broadcast_to(weights, values.shape), values)


def _standardised(y: Array, mixture: Mixture) -> tuple[Array, Array]:
    """Return z = (y - mean) / scale and the standard normal density at z, (R, J)."""
    with np.errstate(over="ignore"):  # |z| > 1e154 squares to inf: the density is 0
        z = (y[:, None] - mixture.means) / mixture.scales
        return z, np.exp(-0.5 * z * z) / SQRT_2PI


def mixture_cdf(y: Array, mixture: Mixture) -> Array:
    """Probability of a value <= ``y``, (R,)."""
    z = (y[:, None] - mixture.means) / mixture.scales
    # weights add up to 1 but for rounding
    return np.minimum(_average(mixture.weights, ndtr(z)), 1.0)


def tail_probability(y: Array, mixture: Mixture) -> Array:
    """Probability beyond ``y`` on its nearer side, min(F, 1 - F), (R,)."""
    above = mixture_cdf(-y, mixture.mirrored())
    return np.minimum(mixture_cdf(y, mixture), above)


def mixture_cdf_pdf(y: Array, mixture: Mixture) -> tuple[Array, Array]:
    """Cdf and density at ``y``, (R,) each."""
    z, phi = _standardised(y, mixture)
    weights = mixture.weights
    return _average(weights, ndtr(z)), _average(weights / mixture.scales, phi)


def mixture_moments(mixture: Mixture) -> tuple[Array, Array]:
    """Mean and standard deviation (law of total variance), (R,) each."""
    mean = _average(mixture.weights, mixture.means)
    offsets = mixture.means - mean[:, None]
    # squares of 1e-200 or 1e200 would vanish or overflow: in units of a power of two
    widest = np.maximum(np.abs(offsets), mixture.scales).max(axis=1)
    unit = np.ldexp(1.0, np.frexp(widest)[1] - 1)
    square = (mixture.scales / unit[:, None]) ** 2 + (offsets / unit[:, None]) ** 2
    return mean, unit * np.sqrt(_average(mixture.weights, square))


def mixture_quantile(q: float | Array, mixture: Mixture) -> Array:
    """Quantile of each mixture, (R,): Newton steps kept inside a shrinking bracket.

    One level ``q`` for all, or one for each, (R,).

    The quantile lies between the smallest and the largest quantile of the components.
    Iteration ends when |F - q| <= 1e-10 min(q, 1 - q), or when the bracket is down to
    neighbouring floats, which is all that a needle-thin component allows.
    """
    q = np.broadcast_to(q, len(mixture.means))
    ends = mixture.means + mixture.scales * ndtri(q)[:, None]
    low, high = ends.min(axis=1), ends.max(axis=1)
    mean, std = mixture_moments(mixture)
    y = np.clip(mean + std * ndtri(q), low, high)
    last_step = high - low
    result, active = y.copy(), np.arange(len(y))
    tolerance = np.maximum(1e-10 * np.minimum(q, 1.0 - q), 4e-16 * q)
    for _ in range(200):  # bisection alone needs about 60
        cdf, pdf = mixture_cdf_pdf(y, mixture)
        gap = cdf - q
        low, high = np.where(gap < 0, y, low), np.where(gap >= 0, y, high)
        result[active] = y
        narrow = high - low <= 4e-16 * np.maximum(np.abs(low), np.abs(high))
        going = (np.abs(gap) > tolerance) & ~narrow
        if not going.any():
            break
        active, mixture = active[going], mixture.take(going)
        q, tolerance = q[going], tolerance[going]
        y, low, high, last_step = (v[going] for v in (y, low, high, last_step))
        proposal = _newton_or_bisect(y, low, high, gap[going], pdf[going], last_step)
        last_step, y = np.abs(proposal - y), proposal
    return result


def _newton_or_bisect(
    y: Array, low: Array, high: Array, gap: Array, pdf: Array, last_step: Array
) -> Array:
    """Take the Newton step where it stays inside and halves the last one."""
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        newton = y - gap / pdf
        good = (newton > low) & (newton < high)
        good &= np.abs(newton - y) < 0.5 * last_step
    return np.where(good, newton, 0.5 * (low + high))


def _absolute_normal(mean: Array, scale: Array) -> Array:
    """E|V| for V ~ N(mean, scale^2): the function A of Grimit et al. (2006)."""
    with np.errstate(over="ignore"):
        z = mean / scale
        density = np.exp(-0.5 * z * z) / SQRT_2PI
    return 2.0 * scale * density + mean * (2.0 * ndtr(z) - 1.0)


def expected_distance(y: Array, mixture: Mixture) -> Array:
    """E|Y - y| under each mixture, (R,), closed form."""
    distances = _absolute_normal(y[:, None] - mixture.means, mixture.scales)
    return _average(mixture.weights, distances)


def half_spread(mixture: Mixture) -> Array:
    """E|Y - Y'| / 2 of two independent draws, (R,): the crps is E|Y - y| minus this."""
    if mixture.means.shape[1] <= MAX_PAIRED_COMPONENTS:
        return half_spread_closed_form(mixture)
    return half_spread_quadrature(mixture)


def half_spread_closed_form(mixture: Mixture) -> Array:
    """E|Y - Y'| / 2 as a double sum over components, (R,).

    Grimit et al. (2006), second term of eq. 5. doi:10.1256/qj.05.235
    """
    weights, means, scales = mixture
    total = np.zeros(len(means))
    for j in range(means.shape[1]):
        column = slice(j, j + 1)
        spread = np.hypot(scales, scales[:, column])
        distances = _absolute_normal(means - means[:, column], spread)
        total += weights[:, j] * _average(weights, distances)
    return 0.5 * total


def half_spread_quadrature(mixture: Mixture) -> Array:
    """E|Y - Y'| / 2 = integral of F (1 - F) by adaptive panels, (R,).

    On a panel the mean of F is known exactly, so only the spread of F about that mean
    is approximated; it is of second order in the mass of the panel and bounded by
    (max - mean)(mean - min) (Bhatia and Davis, 2000, Am. Math.
    Monthly 107), so that needles cannot hide between nodes.
    """

    def needs_split(panels: Panels) -> NDArray[np.bool_]:
        value, error = _panel_spread(panels)
        tolerance = SPREAD_TOLERANCE * np.bincount(panels.row, value)
        count = np.bincount(panels.row)
        unfinished = np.bincount(panels.row, error) > tolerance
        return unfinished[panels.row] & (error > (tolerance / count)[panels.row])

    panels = refine_panels(mixture, needs_split, max_rounds=60)
    return np.bincount(panels.row, _panel_spread(panels)[0])


def _panel_spread(panels: Panels) -> tuple[Array, Array]:
    """Integral of F (1 - F) over each panel and an estimate of its error, (P,) each."""
    width, mass, mean_rise = _panel_shape(panels)
    start = panels.left[:, 1]
    mean_cdf = start + mass * mean_rise
    bound = mean_rise * (1.0 - mean_rise)
    smooth = np.minimum(_quartic_variance(panels, width, mass, mean_rise), bound)
    # `bound / 3` is the variance of a straight line: the two agree on smooth panels.
    error = width * mass**2 * np.minimum(bound, np.abs(smooth - bound / 3.0))
    return width * (mean_cdf * (1.0 - mean_cdf) - mass**2 * smooth), error


def _panel_shape(panels: Panels) -> tuple[Array, Array, Array]:
    """Width and mass of each panel, and how far F has risen on average, in [0, 1]."""
    width, mass, _, area = (panels.right - panels.left).T
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_rise = (area / width - panels.left[:, 1]) / mass
        rounding = 2e-16 * panels.right[:, 3] / (width * mass)
    # Empty panels, and those too thin for floating point: a straight line.
    mean_rise = np.where(rounding < 0.01, mean_rise, 0.5)
    return width, mass, np.clip(mean_rise, 0.0, 1.0)


def _quartic_variance(
    panels: Panels, width: Array, mass: Array, mean_rise: Array
) -> Array:
    """Variance over a panel of the quartic with the rise, end slopes and mean of F."""
    scale = width / np.maximum(mass, 1e-300)
    slope_0, slope_1 = panels.left[:, 2] * scale, panels.right[:, 2] * scale
    bump = 30.0 * (mean_rise - 0.5 - (slope_0 - slope_1) / 12.0)
    variance = np.zeros_like(width)
    for t, weight in GAUSS_RULE:
        rise = t * t * (3.0 - 2.0 * t) + bump * (t * (1.0 - t)) ** 2
        rise += slope_0 * t * (1.0 - t) ** 2 - slope_1 * t * t * (1.0 - t)
        variance += weight * (rise - mean_rise) ** 2
    return variance


def refine_panels(
    mixture: Mixture,
    needs_split: Callable[[Panels], NDArray[np.bool_]],
    max_rounds: int,
) -> Panels:
    """Split panels while ``needs_split`` says so, each at its conditional mean.

    E[Y | Y in panel] follows from F and its integral at the two ends. It is where the
    mass is: a panel that holds one needle is cut at the needle, whatever its width.
    """
    row = np.arange(len(mixture.means))
    low = (mixture.means - TAIL * mixture.scales).min(axis=1)
    high = (mixture.means + TAIL * mixture.scales).max(axis=1)
    panels = Panels(row, _knots(low, row, mixture), _knots(high, row, mixture))
    for _ in range(max_rounds):
        split = needs_split(panels)
        if not split.any():
            break
        row, left, right = (part[split] for part in panels)
        width, _, mean_rise = _panel_shape(Panels(row, left, right))
        cut = right[:, 0] - width * mean_rise
        inside = (cut > left[:, 0]) & (cut < right[:, 0])  # else a needle at an end
        cut = np.where(inside, cut, 0.5 * (left[:, 0] + right[:, 0]))
        middle = _knots(cut, row, mixture)
        kept = tuple(part[~split] for part in panels)
        new = ((row, left, middle), (row, middle, right))
        panels = Panels(*map(np.concatenate, zip(kept, *new, strict=True)))
    return panels


def _knots(y: Array, row: NDArray[np.int64], mixture: Mixture) -> Array:
    """Position, cdf, density and integral of the cdf at points of chosen rows, (P, 4).

    The integral of F up to y is E max(y - Y, 0) = sum_j w_j s_j (z Phi(z) + phi(z)).
    """
    size = max(1, GATHER_ELEMENTS // mixture.means.shape[1])
    knots = np.empty((len(y), 4))
    for start in range(0, len(y), size):
        part = slice(start, start + size)
        chosen = mixture.take(row[part])
        z, phi = _standardised(y[part], chosen)
        cdf = ndtr(z)
        knots[part, 0] = y[part]
        knots[part, 1] = _average(chosen.weights, cdf)
        knots[part, 2] = _average(chosen.weights / chosen.scales, phi)
        knots[part, 3] = _average(chosen.weights * chosen.scales, z * cdf + phi)
    return knots


def highest_density_intervals(mixture: Mixture, coverage: float) -> list[Array]:
    """Intervals above the density level that encloses ``coverage``: R arrays (k, 2).

    The density is interpolated linearly between adaptive points; the mass of the
    intervals is the exact cdf's. Hyndman (1996), doi:10.1080/00031305.1996.10474359
    """

    def needs_split(panels: Panels) -> NDArray[np.bool_]:
        width, mass, _ = _panel_shape(panels)
        trapezoid = 0.5 * width * (panels.left[:, 2] + panels.right[:, 2])
        allowed = np.minimum(MASS_TOLERANCE, 0.02 * mass + NEGLIGIBLE_MASS)
        coarse = np.abs(mass - trapezoid) > allowed
        return coarse & (np.bincount(panels.row) <= MAX_PANELS)[panels.row]

    panels = refine_panels(mixture, needs_split, max_rounds=60)
    order = np.lexsort((panels.left[:, 0], panels.row))
    y, density = _density_polygon(Panels(*(part[order] for part in panels)))
    ends = np.cumsum(np.bincount(panels.row))[:-1]
    polygons = zip(np.split(y, ends), np.split(density, ends), strict=True)
    return [
        _level_set(ys.ravel(), heights.ravel(), mixture.take(np.array([i])), coverage)
        for i, (ys, heights) in enumerate(polygons)
    ]


def _density_polygon(panels: Panels) -> tuple[Array, Array]:
    """Start, middle and end of each panel with the density there, (P, 3) each.

    The middle follows from the mass by Simpson's rule, so a panel that still hides a
    needle when refinement stops is high although both its ends are low.
    """
    width, mass, _ = _panel_shape(panels)
    (start, _, first, _), (end, _, last, _) = panels.left.T, panels.right.T
    with np.errstate(divide="ignore", invalid="ignore"):
        middle = 1.5 * mass / width - 0.25 * (first + last)
    rounded = (width == 0.0) | (mass < 1e-13)  # F has an absolute error of 1e-16
    middle = np.where(rounded, 0.5 * (first + last), middle)
    y = np.stack([start, 0.5 * (start + end), end], axis=1)
    return y, np.stack([first, np.maximum(middle, 0.0), last], axis=1)


def _level_set(y: Array, density: Array, mixture: Mixture, coverage: float) -> Array:
    """Intervals of one mixture whose exact mass is ``coverage``, (k, 2)."""

    def excess_mass(level: float) -> float:
        edges = _crossings(y, density, level).ravel()
        masses = mixture_cdf(edges, mixture).reshape(-1, 2)
        return float((masses[:, 1] - masses[:, 0]).sum()) - coverage

    levels = np.unique(np.append(density, 0.0))
    low, high = 0, len(levels) - 1
    while high - low > 1:  # the level lies between two neighbouring node densities
        middle = (low + high) // 2
        low, high = (middle, high) if excess_mass(levels[middle]) > 0 else (low, middle)
    level, above = levels[low], levels[high]
    if excess_mass(level) > 0 > excess_mass(above):  # else floats have run out
        level = brentq(excess_mass, level, above, xtol=1e-9 * above, rtol=1e-12)
    return _crossings(y, density, level)


def _crossings(y: Array, density: Array, level: float) -> Array:
    """Where the piecewise-linear density crosses ``level``: starts and ends, (k, 2)."""
    height = np.concatenate(([-1.0], density - level, [-1.0]))
    y = np.concatenate((y[:1], y, y[-1:]))  # the outermost nodes close open intervals
    at = np.flatnonzero((height[1:] > 0) != (height[:-1] > 0))
    fraction = height[at] / (height[at] - height[at + 1])
    return (y[at] + fraction * (y[at + 1] - y[at])).reshape(-1, 2)


def marginals(block: MixtureComponents) -> Mixture:
    """Each output on its own: N·O mixtures of J = M·K components."""
    n, m, o, k = block.means.shape
    parts = (block.weights / m, block.means, block.scales)
    return Mixture(*(np.swapaxes(part, 1, 2).reshape(n * o, m * k) for part in parts))


def covariance(block: MixtureComponents) -> Array:
    """Mean inner variance plus covariance of inner means, (N, O, O)."""
    weights, means, scales = block.weights, block.means, block.scales
    inner = (weights * means).sum(axis=-1)  # (N, M, O)
    inner_var = (weights * (scales**2 + (means - inner[..., None]) ** 2)).sum(axis=-1)
    centred = inner - inner.mean(axis=1, keepdims=True)
    between = np.einsum("nmo,nmp->nop", centred, centred) / inner.shape[1]
    within = inner_var.mean(axis=1)  # (N, O)
    return between + within[:, :, None] * np.eye(within.shape[1])


def joint_log_prob(y: Array, block: MixtureComponents) -> Array:
    """Log density of points (G, N, O), jointly over outputs: (N, G)."""
    with np.errstate(divide="ignore"):  # a weight of 0 is a log weight of -inf
        constant = np.log(block.weights) - np.log(block.scales) - LOG_SQRT_2PI
    log_n_draws = np.log(block.means.shape[1])
    result = np.empty(y.shape[1::-1])
    for g, point in enumerate(y):
        with np.errstate(over="ignore"):  # |z| > 1e154 squares to inf: log_prob -inf
            z = (point[:, None, :, None] - block.means) / block.scales
            elements = constant - 0.5 * z * z  # (N, M, O, K)
        per_draw = _log_sum_exp(elements).sum(axis=-1)  # (N, M)
        result[:, g] = _log_sum_exp(per_draw) - log_n_draws
    return result


def _log_sum_exp(values: Array) -> Array:
    largest = values.max(axis=-1, keepdims=True)
    largest = np.where(np.isfinite(largest), largest, 0.0)
    with np.errstate(divide="ignore"):
        return np.log(np.exp(values - largest).sum(axis=-1)) + largest[..., 0]


def ancestral_draws(block: MixtureComponents, uniform: Array) -> Array:
    """Turn uniforms (N, S, 1 + 2 O) into draws (N, S, O)."""
    n, m, o, k = block.means.shape
    row = np.arange(n)[:, None, None]
    output = np.arange(o)
    draw = (uniform[:, :, :1] * m).astype(np.intp)  # (N, S, 1)
    cumulative = np.cumsum(block.weights, axis=-1)
    choice = np.zeros((*uniform.shape[:2], o), dtype=np.intp)
    for j in range(k - 1):
        choice += uniform[:, :, 1 : 1 + o] >= cumulative[row, draw, output, j]
    # `random` can return 0, whose normal quantile is -inf.
    noise = ndtri(np.maximum(uniform[:, :, 1 + o :], 2.0**-54))
    chosen = row, draw, output, choice
    return block.means[chosen] + block.scales[chosen] * noise
