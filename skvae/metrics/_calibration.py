"""Calibration: y and an interval, a distribution or draws in; probabilities out.

Letters: N rows, O outputs, S draws, Q levels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skvae._predictive import PredictiveDistribution, Random, _random_source
from skvae.metrics import _checks

Array = NDArray[np.float64]
Predictive = PredictiveDistribution | ArrayLike


def interval_coverage(
    y_true: ArrayLike,
    interval: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    multioutput: str | ArrayLike = "uniform_average",
) -> float | Array:
    """Fraction of the observed values that lie inside their intervals, ends included.

    No score to maximise: wide intervals hold everything. Compare it with the coverage
    that was asked for.

    Parameters
    ----------
    y_true : array-like of shape (n,) or (n, n_outputs)
        Observed values.
    interval : array-like of shape (n, 2) or (n, 2, n_outputs)
        Lower and upper end, as from ``predict_interval``; may be infinite.
    sample_weight : array-like of shape (n,), optional
        Weights of the rows.
    multioutput : {"raw_values", "uniform_average"} or array-like of shape (n_outputs,)
        Whether to return one fraction per output or their mean, plain or weighted.

    Returns
    -------
    coverage : float or ndarray of shape (n_outputs,)
        In [0, 1].

    Raises
    ------
    ValueError
        If shapes do not fit, or an interval has NaN or its upper end first.

    Examples
    --------
    >>> from skvae.metrics import interval_coverage
    >>> interval_coverage([1.0, 5.0], [[0.0, 2.0], [0.0, 2.0]])
    0.5
    """
    y = _checks.check_y(y_true)
    ends = _checks.check_interval(interval, y)
    inside = (ends[:, 0] <= y) & (y <= ends[:, 1])  # (N, O)
    return _checks.average_outputs(
        _checks.average_rows(inside.astype(np.float64), sample_weight), multioutput
    )


def pit_values(
    y_true: ArrayLike,
    predictive: Predictive,
    *,
    random_state: int | Random | None = None,
) -> Array:
    """Probability integral transform: the predicted cdf at each observed value.

    Uniform on [0, 1] where predictions are calibrated; a histogram shaped like a U says
    that they are too narrow, one like a dome that they are too wide.

    Parameters
    ----------
    y_true : array-like of shape (n,) or (n, n_outputs)
        Observed values.
    predictive : PredictiveDistribution or array-like of draws
        Draws come first, (n_draws, n) or (n_draws, n, n_outputs), as from
        ``CVAERegressor.sample``.
    random_state : int, RandomState, Generator or None, default=None
        With draws, ``y_true`` falls into one of n_draws + 1 gaps of equal probability.
        None returns the middle of the gap; otherwise a random point in it, which is
        exactly uniform for calibrated predictions. No effect on a distribution.

    Returns
    -------
    pit : ndarray of the shape of ``y_true``
        In [0, 1].

    Raises
    ------
    ValueError
        If shapes do not fit, or values are not finite.

    References
    ----------
    Gneiting, Balabdaoui, Raftery (2007), Probabilistic forecasts, calibration and
    sharpness, sec. 3.1. doi:10.1111/j.1467-9868.2007.00587.x

    Examples
    --------
    >>> from skvae.metrics import pit_values
    >>> print(pit_values([0.0, 9.0], [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]))
    [0.125 0.875]
    """
    y = _checks.check_y(y_true)
    if isinstance(predictive, PredictiveDistribution):
        pit = predictive.cdf(_checks.check_distribution(predictive, y))
    else:
        pit = _rank_in_draws(y, _checks.check_draws(predictive, y), random_state)
    return pit.reshape(np.shape(y_true))


def calibration_error(
    y_true: ArrayLike,
    predictive: Predictive,
    *,
    n_levels: int = 19,
    sample_weight: ArrayLike | None = None,
    multioutput: str | ArrayLike = "uniform_average",
) -> float | Array:
    """Mean absolute difference between predicted probabilities and their frequencies.

    For each level p the fraction of values below the predicted p-quantile should be p.
    A prediction that ignores the features can be calibrated too: read this beside a
    proper score such as `crps_score`.

    Parameters
    ----------
    y_true : array-like of shape (n,) or (n, n_outputs)
        Observed values.
    predictive : PredictiveDistribution or array-like of draws
        As in `pit_values`.
    n_levels : int, default=19
        Evenly spaced levels inside (0, 1); 19 are 0.05, 0.10, ..., 0.95.
    sample_weight : array-like of shape (n,), optional
        Weights of the rows.
    multioutput : {"raw_values", "uniform_average"} or array-like of shape (n_outputs,)
        Whether to return one error per output or their mean, plain or weighted.

    Returns
    -------
    error : float or ndarray of shape (n_outputs,)
        In [0, 0.5]. Lower is better; about 0.3 / sqrt(n) remains by chance.

    Raises
    ------
    ValueError
        If shapes do not fit, values are not finite, or ``n_levels`` is no count.

    References
    ----------
    Kuleshov, Fenner, Ermon (2018), Accurate uncertainties for deep learning using
    calibrated regression, who square the differences. arXiv:1807.00263

    Examples
    --------
    >>> from skvae.metrics import calibration_error
    >>> draws = [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]
    >>> print(round(calibration_error([0.0, 9.0], draws), 3))
    0.163
    """
    n_levels = _checks.check_count(n_levels, "n_levels")
    levels = np.arange(1, n_levels + 1) / (n_levels + 1)
    errors = level_errors(pit_values(y_true, predictive), levels, sample_weight)
    return _checks.average_outputs(errors, multioutput)


def level_errors(
    pit: Array, levels: Array, sample_weight: ArrayLike | None = None
) -> Array:
    """Mean distance of levels and the shares of PIT values below them, per output."""
    pit = pit.reshape(len(pit), 1, -1)  # (N, 1, O)
    below = (pit <= levels[:, None]).astype(np.float64)  # (N, Q, O)
    gaps = np.abs(_checks.average_rows(below, sample_weight) - levels[:, None])
    return gaps.mean(axis=0)


def _rank_in_draws(y: Array, draws: Array, random_state: int | Random | None) -> Array:
    """Place of ``y`` in the gaps between draws, as a probability: (N, O)."""
    below, ties = (draws < y).sum(axis=0), (draws == y).sum(axis=0)
    within = 0.5
    if random_state is not None:
        within = _random_source(random_state).random(y.shape)
    return (below + within * (ties + 1)) / (len(draws) + 1)
