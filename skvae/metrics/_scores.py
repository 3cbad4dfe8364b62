"""Proper scores: y and a distribution, draws or quantiles in; units of y out.

Letters: N rows, O outputs, S draws, Q quantiles. Lower is better.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skvae._predictive import PredictiveDistribution, Random
from skvae.metrics import _checks

Array = NDArray[np.float64]
Predictive = PredictiveDistribution | ArrayLike


def crps_score(
    y_true: ArrayLike,
    predictive: Predictive,
    *,
    estimator: str = "fair",
    sample_weight: ArrayLike | None = None,
    multioutput: str | ArrayLike = "uniform_average",
) -> float | Array:
    """Mean continuous ranked probability score, a proper score of each output.

    It generalises the absolute error, which it is for a prediction without spread.

    Parameters
    ----------
    y_true : array-like of shape (n,) or (n, n_outputs)
        Observed values.
    predictive : PredictiveDistribution or array-like of draws
        A distribution is scored by its ``crps``: in closed form up to 64 components,
        beyond with an error below 1e-4 of E|Y - Y'| / 2. Draws come first, (n_draws, n)
        or (n_draws, n, n_outputs), as from ``CVAERegressor.sample``.
    estimator : {"fair", "nrg"}, default="fair"
        With draws: ``"fair"`` is an unbiased estimate of the score of the distribution
        that was drawn from [2]_; ``"nrg"`` is the score of the draws themselves, a
        step function, and favours distributions that are too narrow. The names are
        those of the package scoringrules.
    sample_weight : array-like of shape (n,), optional
        Weights of the rows.
    multioutput : {"raw_values", "uniform_average"} or array-like of shape (n_outputs,)
        Whether to return one score per output or their mean, plain or weighted.

    Returns
    -------
    score : float or ndarray of shape (n_outputs,)
        In the units of y. Lower is better; 0 is best, though ``"fair"`` may fall a
        little below it by chance.

    Raises
    ------
    ValueError
        If shapes do not fit, values are not finite, or an option is unknown.

    See Also
    --------
    energy_score : The same for all outputs jointly.

    References
    ----------
    .. [1] Gneiting, Raftery (2007), Strictly proper scoring rules, prediction, and
       estimation, eq. 21 with the sign reversed. doi:10.1198/016214506000001437
    .. [2] Ferro (2014), Fair scores for ensemble forecasts. doi:10.1002/qj.2270

    Examples
    --------
    >>> from skvae.metrics import crps_score
    >>> crps_score([0.0, 1.0], [[0.0, 2.0], [1.0, 2.0]], estimator="nrg")
    0.625
    """
    _checks.check_estimator(estimator)
    y = _checks.check_y(y_true)
    if isinstance(predictive, PredictiveDistribution):
        values = predictive.crps(_checks.check_distribution(predictive, y))
        values = values.reshape(y.shape)
    else:
        values = _ensemble_crps(y, _checks.check_draws(predictive, y), estimator)
    return _checks.average_outputs(
        _checks.average_rows(values, sample_weight), multioutput
    )


def energy_score(
    y_true: ArrayLike,
    predictive: Predictive,
    *,
    estimator: str = "fair",
    n_samples: int = 256,
    random_state: int | Random | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Mean energy score, a proper score of all outputs jointly: E|Y - y| - E|Y - Y'|/2.

    The norm is Euclidean, so outputs should share a unit. For one output it is the
    continuous ranked probability score.

    Parameters
    ----------
    y_true : array-like of shape (n,) or (n, n_outputs)
        Observed values.
    predictive : PredictiveDistribution or array-like of draws
        Draws come first, (n_draws, n) or (n_draws, n, n_outputs), as from
        ``CVAERegressor.sample``; a distribution is drawn from.
    estimator : {"fair", "nrg"}, default="fair"
        As in `crps_score`.
    n_samples : int, default=256
        Draws for each row from a distribution; the time grows with their square.
    random_state : int, RandomState, Generator or None, default=None
        Seed of these draws.
    sample_weight : array-like of shape (n,), optional
        Weights of the rows.

    Returns
    -------
    score : float
        In the units of y. Lower is better.

    Raises
    ------
    ValueError
        If shapes do not fit, values are not finite, or an option is unknown.

    References
    ----------
    Gneiting, Raftery (2007), Strictly proper scoring rules, prediction, and estimation,
    eq. 22 with beta = 1 and the sign reversed. doi:10.1198/016214506000001437

    Examples
    --------
    >>> from skvae.metrics import energy_score
    >>> draws = [[[0.0, 0.0]], [[6.0, 8.0]]]  # two draws of one row with two outputs
    >>> energy_score([[3.0, 4.0]], draws, estimator="nrg")
    2.5
    """
    _checks.check_estimator(estimator)
    y = _checks.check_y(y_true)
    if isinstance(predictive, PredictiveDistribution):
        _checks.check_distribution(predictive, y)
        n_samples = _checks.check_count(n_samples, "n_samples")
        predictive = predictive.sample(n_samples, random_state)
    values = _ensemble_energy(y, _checks.check_draws(predictive, y), estimator)
    return float(_checks.average_rows(values, sample_weight))


def pinball(
    y_true: ArrayLike,
    quantile_predictions: ArrayLike,
    *,
    quantiles: float | Sequence[float],
    sample_weight: ArrayLike | None = None,
    multioutput: str | ArrayLike = "uniform_average",
) -> float | Array:
    """Mean pinball loss over rows and levels, a proper score of predicted quantiles.

    Twice the mean over many even levels approaches the continuous ranked probability
    score.

    Parameters
    ----------
    y_true : array-like of shape (n,) or (n, n_outputs)
        Observed values.
    quantile_predictions : array-like, (n, n_quantiles) or (n, n_quantiles, n_outputs)
        As ``CVAERegressor.predict(X, quantiles=quantiles)`` returns them.
    quantiles : sequence of n_quantiles floats
        Levels in (0, 1), in the order of the predictions.
    sample_weight : array-like of shape (n,), optional
        Weights of the rows.
    multioutput : {"raw_values", "uniform_average"} or array-like of shape (n_outputs,)
        Whether to return one loss per output or their mean, plain or weighted.

    Returns
    -------
    loss : float or ndarray of shape (n_outputs,)
        In the units of y, >= 0. Lower is better.

    Raises
    ------
    ValueError
        If shapes do not fit, values are not finite, or a level is outside (0, 1).

    See Also
    --------
    sklearn.metrics.mean_pinball_loss : The loss of one level.

    References
    ----------
    Gneiting, Raftery (2007), Strictly proper scoring rules, prediction, and estimation,
    sec. 6.1. doi:10.1198/016214506000001437

    Examples
    --------
    >>> from skvae.metrics import pinball
    >>> pinball([1.0, 3.0], [[0.0, 2.0], [2.0, 5.0]], quantiles=[0.25, 0.75])
    0.3125
    """
    y, levels = _checks.check_y(y_true), _checks.check_levels(quantiles)
    predictions = _checks.check_quantile_predictions(quantile_predictions, levels, y)
    gap = y[:, None] - predictions  # (N, Q, O)
    losses = np.maximum(levels[:, None] * gap, (levels[:, None] - 1.0) * gap)
    return _checks.average_outputs(
        _checks.average_rows(losses.mean(axis=1), sample_weight), multioutput
    )


def _ensemble_crps(y: Array, draws: Array, estimator: str) -> Array:
    """E|Y - y| - E|Y - Y'|/2 over draws (S, N, O), by sorting: (N, O)."""
    n = len(draws)
    rank = 2.0 * np.arange(1, n + 1) - n - 1.0  # sum of |Y - Y'| = 2 sum of rank * Y
    centred = np.sort(draws - y, axis=0)
    spread = np.tensordot(rank, centred, axes=1)
    return np.abs(centred).mean(axis=0) - spread / _checks.n_pairs(n, estimator)


def _ensemble_energy(y: Array, draws: Array, estimator: str) -> Array:
    """E|Y - y| - E|Y - Y'|/2 over draws (S, N, O), Euclidean norm: (N,)."""
    n = len(draws)
    spread = np.zeros(len(y))
    for lag in range(1, n):
        spread += np.linalg.norm(draws[lag:] - draws[:-lag], axis=-1).sum(axis=0)
    distance = np.linalg.norm(draws - y, axis=-1).mean(axis=0)
    return distance - spread / _checks.n_pairs(n, estimator)
