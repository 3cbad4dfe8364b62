"""The distribution predicted for each row: Gaussian mixtures in, numbers out.

Components flow in on demand, a chunk of rows at a time; moments, quantiles, densities,
scores, regions and draws flow out, float64 in the original units of y. Letters as in
`skvae._mixture`: N rows, M draws (members x draws of z), O outputs, K components.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skvae import _mixture
from skvae._mixture import Array, Mixture, MixtureComponents

# Elements of a chunk's arrays. About eight temporaries of that size are alive at the
# worst moment, so a chunk works on at most 2**23 float64 (64 MB).
CHUNK_ELEMENTS = 2**20
# What a row costs besides its components: panels of the quadrature and of the regions.
PANEL_ELEMENTS = 2**11

Random = np.random.Generator | np.random.RandomState


@dataclass(frozen=True)
class _ArrayBlocks:
    """Components in hand, as a callable that pickles."""

    components: MixtureComponents

    def __call__(self, rows: slice) -> MixtureComponents:
        return self.components[rows]


class PredictiveDistribution:
    """Predictive distribution p(y | x) of each row: a mixture of Gaussians.

    Each row is an equal-weight mixture over M draws; given a draw the outputs are
    independent Gaussian mixtures. Outputs are therefore dependent through the draw,
    and each marginal is a plain Gaussian mixture. Components are made on demand and
    rows are processed in chunks, so that memory stays bounded.

    Parameters
    ----------
    blocks : callable
        Maps a slice of rows to their `MixtureComponents`. The distribution pickles
        if ``blocks`` does.
    n_rows, n_outputs : int
        Rows and outputs described.
    single_output : bool
        Whether y was 1-D in ``fit``: the output axis is then absent everywhere but
        in `cov`.
    row_elements : int
        M * O * K, the number of components behind one row; sets the size of chunks.

    Attributes
    ----------
    n_rows, n_outputs : int
        As given.
    single_output : bool
        As given.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae import PredictiveDistribution
    >>> means = np.array([-2.0, 2.0]).reshape(1, 1, 1, 2)  # one row, K = 2
    >>> distribution = PredictiveDistribution.from_components(
    ...     np.full(means.shape, 0.5), means, np.full(means.shape, 0.5)
    ... )
    >>> distribution
    PredictiveDistribution(n_rows=1, n_outputs=1)
    >>> print(distribution.std().round(3))
    [2.062]
    >>> print(distribution.highest_density_region(0.9)[0].round(2))
    [[-2.82 -1.18]
     [ 1.18  2.82]]
    """

    def __init__(
        self,
        blocks: Callable[[slice], MixtureComponents],
        n_rows: int,
        n_outputs: int,
        single_output: bool,
        row_elements: int,
    ):
        if n_rows < 1:
            raise ValueError(f"A distribution needs at least one row, got {n_rows}.")
        if single_output and n_outputs != 1:
            raise ValueError(f"single_output=True needs 1 output, got {n_outputs}.")
        self.n_rows = n_rows
        self.n_outputs = n_outputs
        self.single_output = single_output
        self._blocks = blocks
        self._row_elements = row_elements

    @classmethod
    def from_components(
        cls,
        weights: ArrayLike,
        means: ArrayLike,
        scales: ArrayLike,
        single_output: bool | None = None,
    ) -> PredictiveDistribution:
        """Make a distribution from arrays in hand.

        Parameters
        ----------
        weights, means, scales : array-like of shape (n, n_draws, n_outputs, n_mixtures)
            Weights sum to one over the last axis; means and scales (standard
            deviations) are in the units of y.
        single_output : bool, default=None
            Whether to drop the output axis; None drops it when there is one output.

        Returns
        -------
        distribution : PredictiveDistribution

        Raises
        ------
        ValueError
            If shapes differ or are not 4-D, values are not finite, weights are
            negative or do not sum to one, or scales are not positive.
        """
        components = MixtureComponents(
            *(np.array(part, dtype=np.float64) for part in (weights, means, scales))
        )
        _check_components(components)
        n_rows, n_draws, n_outputs, n_mixtures = components.means.shape
        if single_output is None:
            single_output = n_outputs == 1
        row_elements = n_draws * n_outputs * n_mixtures
        blocks = _ArrayBlocks(components)
        return cls(blocks, n_rows, n_outputs, single_output, row_elements)

    def __len__(self) -> int:
        return self.n_rows

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"{name}(n_rows={self.n_rows}, n_outputs={self.n_outputs})"

    def mean(self) -> Array:
        """Compute the expected value.

        Returns
        -------
        mean : ndarray of shape (n,) or (n, n_outputs)
            In the units of y.
        """
        return self._moments()[0]

    def var(self) -> Array:
        """Variance of each output, by the law of total variance.

        Returns
        -------
        var : ndarray of shape (n,) or (n, n_outputs)
            In squared units of y.
        """
        return self.std() ** 2

    def std(self) -> Array:
        """Compute the standard deviation of each output.

        Returns
        -------
        std : ndarray of shape (n,) or (n, n_outputs)
            In the units of y.
        """
        return self._moments()[1]

    def cov(self) -> Array:
        """Covariance between outputs: mean inner variance plus covariance of means.

        Returns
        -------
        cov : ndarray of shape (n, n_outputs, n_outputs)
            In squared units of y; three axes even for a single output.
        """
        return self._map_rows(lambda block, rows: _mixture.covariance(block))

    def cdf(self, y: ArrayLike) -> Array:
        """Probability of a value <= y, of each output on its own.

        Parameters
        ----------
        y : array-like of shape (..., n) or (..., n, n_outputs)
            One value per row, in the units of y; leading axes make a grid.

        Returns
        -------
        cdf : ndarray of the shape of y
            In [0, 1].

        Raises
        ------
        ValueError
            If y has another shape, or NaN.
        """
        return self._map_marginal_values(y, _mixture.mixture_cdf)

    def tail_probability(self, y: ArrayLike) -> Array:
        """Probability beyond y on its nearer side, of each output on its own.

        Parameters
        ----------
        y : array-like of shape (..., n) or (..., n, n_outputs)
            One value per row, in the units of y; leading axes make a grid.

        Returns
        -------
        tail : ndarray of the shape of y
            ``min(cdf(y), 1 - cdf(y))``, in [0, 0.5], with as many digits in the upper
            tail as in the lower one. Higher is more typical; `central_interval` with
            this tail has an end at y.

        Raises
        ------
        ValueError
            If y has another shape, or NaN.
        """
        return self._map_marginal_values(y, _mixture.tail_probability)

    def log_prob(self, y: ArrayLike) -> Array:
        """Log density of y, jointly over outputs.

        Parameters
        ----------
        y : array-like of shape (..., n) or (..., n, n_outputs)
            One value per row, in the units of y; leading axes make a grid.

        Returns
        -------
        log_prob : ndarray of shape (..., n)
            In nats, for the original units of y. Higher is more typical.

        Raises
        ------
        ValueError
            If y has another shape, or NaN.
        """
        values, lead = self._check_y(y)  # (G, N, O)
        result = self._map_rows(
            lambda block, rows: _mixture.joint_log_prob(values[:, rows], block)
        )
        return np.moveaxis(result, 0, -1).reshape(*lead, self.n_rows)

    def pdf(self, y: ArrayLike) -> Array:
        """Density of y, jointly over outputs.

        Parameters
        ----------
        y : array-like of shape (..., n) or (..., n, n_outputs)
            One value per row, in the units of y; leading axes make a grid.

        Returns
        -------
        pdf : ndarray of shape (..., n)
            Per unit of y (per product of units for several outputs).

        Raises
        ------
        ValueError
            If y has another shape, or NaN.
        """
        return np.exp(self.log_prob(y))

    def quantile(self, q: float | Sequence[float]) -> Array:
        """Quantiles of each output, by root finding on the exact cdf.

        Parameters
        ----------
        q : float or sequence of n_quantiles floats
            Probabilities in (0, 1).

        Returns
        -------
        quantile : ndarray of shape (n[, n_outputs]) or (n, n_quantiles[, n_outputs])
            In the units of y; ``cdf(quantile(q))`` is q to 1e-10, or as near as
            neighbouring floats allow.

        Raises
        ------
        ValueError
            If q is not in (0, 1) or has more than one axis.
        """
        levels = check_levels(q)

        def solve(mixture: Mixture) -> list[Array]:
            return [_mixture.mixture_quantile(p, mixture) for p in levels.ravel()]

        result = self._squeeze(self._map_marginals(solve))  # (N, Q[, O])
        return result if levels.ndim else result[:, 0]

    def interval(self, coverage: float = 0.9) -> Array:
        """Central interval of each output: equal probability on either side.

        Parameters
        ----------
        coverage : float, default=0.9
            Probability inside, in (0, 1).

        Returns
        -------
        interval : ndarray of shape (n, 2) or (n, 2, n_outputs)
            Lower and upper end, in the units of y.

        Raises
        ------
        ValueError
            If coverage is not in (0, 1).
        """
        _check_coverage(coverage)
        return self.central_interval(np.full(self.n_outputs, (1.0 - coverage) / 2.0))

    def central_interval(self, tails: ArrayLike) -> Array:
        """Interval with a probability beyond either end that each output has to itself.

        Parameters
        ----------
        tails : array-like of shape (n_outputs,)
            Probability beyond each end, in (0, 0.5]; 0 gives an infinite interval.

        Returns
        -------
        interval : ndarray of shape (n, 2) or (n, 2, n_outputs)
            Lower and upper end, in the units of y.

        Raises
        ------
        ValueError
            If there is not one tail for each output, or it is outside [0, 0.5].
        """
        tail = _check_tails(tails, self.n_outputs)
        inside = np.where(tail > 0, tail, 0.5)

        def solve(mixture: Mixture) -> list[Array]:
            levels = np.tile(inside, len(mixture.means) // self.n_outputs)
            upper = -_mixture.mixture_quantile(levels, mixture.mirrored())
            return [_mixture.mixture_quantile(levels, mixture), upper]

        ends = self._map_marginals(solve)  # (N, 2, O)
        ends[:, :, tail == 0] = np.array([[-np.inf], [np.inf]])
        return self._squeeze(ends)

    def crps(self, y: ArrayLike) -> Array:
        """Continuous ranked probability score of each output: E|Y - y| - E|Y - Y'|/2.

        Closed form up to 64 components; beyond, the second term (which y does not
        enter) is integrated with a relative error below 1e-4.

        Parameters
        ----------
        y : array-like of shape (..., n) or (..., n, n_outputs)
            One value per row, in the units of y; leading axes make a grid.

        Returns
        -------
        crps : ndarray of the shape of y
            In the units of y, >= 0. Lower is better.

        Raises
        ------
        ValueError
            If y has another shape, or NaN.

        References
        ----------
        Grimit, Gneiting, Berrocal, Johnson (2006), eq. 5. doi:10.1256/qj.05.235
        """
        half_spread = self._map_marginals(_mixture.half_spread, PANEL_ELEMENTS)
        distance = self._map_marginal_values(y, _mixture.expected_distance)
        return distance - self._squeeze(half_spread[:, 0])

    def sample(
        self, n_samples: int = 1, random_state: int | Random | None = None
    ) -> Array:
        """Independent draws: a draw of z, then a component and a value per output.

        Parameters
        ----------
        n_samples : int, default=1
            Draws for each row.
        random_state : int, RandomState, Generator or None, default=None
            The same seed gives the same draws however rows are chunked; None draws
            anew each time.

        Returns
        -------
        samples : ndarray of shape (n_samples, n) or (n_samples, n, n_outputs)
            In the units of y, joint over outputs.

        Raises
        ------
        ValueError
            If n_samples is not a positive integer.
        """
        is_integer = isinstance(n_samples, int | np.integer)
        if not is_integer or isinstance(n_samples, bool) or n_samples < 1:
            raise ValueError(f"n_samples must be an int >= 1, got {n_samples!r}.")
        random = _random_source(random_state)
        n_uniforms = 1 + 2 * self.n_outputs

        def draw(block: MixtureComponents, rows: slice) -> Array:
            # Rows come first, so that chunks take the numbers in one fixed order.
            size = (len(block.means), n_samples, n_uniforms)
            return _mixture.ancestral_draws(block, random.random(size))  # (N, S, O)

        draws = self._map_rows(draw, 2 * n_samples * n_uniforms)
        return self._squeeze(np.swapaxes(draws, 0, 1))

    def highest_density_region(
        self, coverage: float = 0.9
    ) -> list[Array] | list[list[Array]]:
        """Smallest set that holds ``coverage``: where the marginal density is high.

        Parameters
        ----------
        coverage : float, default=0.9
            Probability inside, in (0, 1).

        Returns
        -------
        region : list over rows of ndarray of shape (n_intervals, 2)
            Intervals in ascending order, in the units of y; with an output axis a
            list of lists, ``region[row][output]``. Their mass under the exact cdf is
            ``coverage`` to 1e-6, unless components are as thin as the spacing of
            floats; the ends are where a density interpolated on adaptive panels
            crosses the level, about 0.01 standard deviations from the ideal ends.

        Raises
        ------
        ValueError
            If coverage is not in (0, 1).

        References
        ----------
        Hyndman (1996), Computing and graphing highest density regions.
        doi:10.1080/00031305.1996.10474359
        """
        _check_coverage(coverage)
        regions: list[Array] = []
        for _, block in self._chunks(PANEL_ELEMENTS):
            found = _mixture.highest_density_intervals(
                _mixture.marginals(block), coverage
            )
            regions.extend(found)
        if self.single_output:
            return regions
        width = self.n_outputs
        return [regions[i : i + width] for i in range(0, len(regions), width)]

    def _chunks(
        self, extra_elements: int = 0
    ) -> Iterator[tuple[slice, MixtureComponents]]:
        """Yield slices of rows with their components in float64, weights normalised."""
        per_row = max(self._row_elements, extra_elements * self.n_outputs, 1)
        size = max(1, CHUNK_ELEMENTS // per_row)
        for start in range(0, self.n_rows, size):
            rows = slice(start, min(start + size, self.n_rows))
            block = self._blocks(rows)
            weights = np.asarray(block.weights, dtype=np.float64)
            yield (
                rows,
                MixtureComponents(
                    weights / weights.sum(axis=-1, keepdims=True),
                    np.asarray(block.means, dtype=np.float64),
                    np.asarray(block.scales, dtype=np.float64),
                ),
            )

    def _map_rows(
        self,
        function: Callable[[MixtureComponents, slice], Array],
        extra_elements: int = 0,
    ) -> Array:
        """Apply ``function(block, rows)`` to chunks and join along the rows."""
        chunks = self._chunks(extra_elements)
        return np.concatenate([function(block, rows) for rows, block in chunks])

    def _map_marginals(
        self, function: Callable[[Mixture], Any], extra_elements: int = 0
    ) -> Array:
        """Values of each marginal: ``function`` gives (R,) or A x (R,); (N, A, O)."""

        def apply(block: MixtureComponents, rows: slice) -> Array:
            values = np.atleast_2d(function(_mixture.marginals(block)))  # (A, N·O)
            values = values.reshape(len(values), -1, self.n_outputs)
            return np.swapaxes(values, 0, 1)

        return self._map_rows(apply, extra_elements)

    def _map_marginal_values(
        self, y: ArrayLike, function: Callable[[Array, Mixture], Array]
    ) -> Array:
        """Apply ``function(y, mixture)`` to each marginal, keeping the shape of y."""
        values, lead = self._check_y(y)  # (G, N, O)

        def apply(block: MixtureComponents, rows: slice) -> Array:
            mixture = _mixture.marginals(block)
            result = [function(point.ravel(), mixture) for point in values[:, rows]]
            shape = (len(values), len(block.means), self.n_outputs)
            return np.swapaxes(np.reshape(result, shape), 0, 1)

        result = np.swapaxes(self._map_rows(apply), 0, 1)  # (G, N, O)
        return self._squeeze(result.reshape(*lead, self.n_rows, self.n_outputs))

    def _moments(self) -> tuple[Array, Array]:
        """Means and standard deviations of the outputs, which one pass gives."""
        moments = self._map_marginals(_mixture.mixture_moments)
        return self._squeeze(moments[:, 0]), self._squeeze(moments[:, 1])

    def _squeeze(self, values: Array) -> Array:
        return values[..., 0] if self.single_output else values

    def _check_y(self, y: ArrayLike) -> tuple[Array, tuple[int, ...]]:
        """Return y as (G, N, O) and its leading axes."""
        try:
            values = np.asarray(y, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"y must be numbers, got {type(y).__name__}.") from error
        row = (self.n_rows,) if self.single_output else (self.n_rows, self.n_outputs)
        if values.shape[-len(row) :] != row:
            wanted = ", ".join(map(str, row))
            raise ValueError(
                f"y must have shape ({wanted}), or (..., {wanted}) for a grid, as this "
                f"distribution has {self.n_rows} rows; got shape {values.shape}."
            )
        if np.isnan(values).any():
            n_missing = int(np.isnan(values).sum())
            raise ValueError(f"y must have no NaN, got {n_missing} NaN values.")
        lead = values.shape[: -len(row)]
        return values.reshape(-1, self.n_rows, self.n_outputs), lead


def independent_normals(mean: ArrayLike, std: ArrayLike) -> PredictiveDistribution:
    """One normal distribution for each row and output, (N,) or (N, O)."""
    shape = (len(np.asarray(mean)), 1, -1, 1)
    means, scales = np.reshape(mean, shape), np.reshape(std, shape)
    return PredictiveDistribution.from_components(
        np.ones(means.shape), means, scales, single_output=np.ndim(mean) == 1
    )


def _random_source(random_state: int | Random | None) -> Random:
    if isinstance(random_state, Random):
        return random_state
    try:
        seed = None if random_state is None else operator.index(random_state)
        return np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "random_state must be None, an int >= 0, a RandomState or a Generator, "
            f"got {random_state!r}."
        ) from error


def _check_components(components: MixtureComponents) -> None:
    parts = vars(components)
    shapes = {name: part.shape for name, part in parts.items()}
    if len(set(shapes.values())) > 1 or components.means.ndim != 4:
        raise ValueError(
            "weights, means and scales must have one shape (n_rows, n_draws, n_outputs,"
            f" n_mixtures), got {shapes}."
        )
    for name, part in parts.items():
        if not np.isfinite(part).all():
            n_bad = int((~np.isfinite(part)).sum())
            raise ValueError(f"{name} must be finite, got {n_bad} values that are not.")
    if (components.weights < 0).any():
        smallest = components.weights.min()
        raise ValueError(f"weights must be non-negative, got {smallest:.6g}.")
    worst = np.abs(components.weights.sum(axis=-1) - 1.0).max(initial=0.0)
    if worst > 1e-6:
        raise ValueError(
            "weights must sum to 1 over the last axis, got sums that differ from 1 by "
            f"up to {worst:.6g}."
        )
    if (components.scales <= 0).any():
        raise ValueError(f"scales must be > 0, got {components.scales.min():.6g}.")


def check_levels(q: float | Sequence[float] | Array, name: str = "q") -> Array:
    """Levels of quantiles as an array, one or several."""
    shape = f"{name} must be a number or a 1-D sequence, got {q!r}."
    try:
        levels = np.asarray(q, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(shape) from error
    if levels.ndim > 1 or levels.size == 0:
        raise ValueError(shape)
    if not ((levels > 0) & (levels < 1)).all():
        raise ValueError(f"{name} must lie strictly between 0 and 1, got {q!r}.")
    return levels


def _check_coverage(coverage: float) -> None:
    if not isinstance(coverage, Real) or not 0 < coverage < 1:
        raise ValueError(
            f"coverage must lie strictly between 0 and 1, got {coverage!r}."
        )


def _check_tails(tails: ArrayLike, n_outputs: int) -> Array:
    """Return one tail probability for each output, (O,)."""
    tail = np.asarray(tails, dtype=np.float64)
    if tail.shape != (n_outputs,) or not ((tail >= 0) & (tail <= 0.5)).all():
        raise ValueError(
            f"tails must be {n_outputs} number(s) in [0, 0.5], one for each output; "
            f"got {tails!r}."
        )
    return tail
