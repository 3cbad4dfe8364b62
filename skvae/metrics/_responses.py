"""What a fitted estimator predicts for X, as a distribution or log density of y.

Pipelines, searches and targets transformed in a linear way are walked through to the
regressor inside, since they forward neither ``predict_distribution`` nor the ``y`` of
``score_samples``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.compose import TransformedTargetRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    RobustScaler,
    StandardScaler,
)
from sklearn.utils.validation import check_is_fitted

from skvae._mixture import MixtureComponents
from skvae._predictive import PredictiveDistribution, independent_normals
from skvae.metrics import _checks

Array = NDArray[np.float64]

LINEAR = StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler
FAR = 2.0**40  # a slope measured between -FAR and FAR is exact to rounding


@dataclass(frozen=True)
class Inside:
    """The regressor inside, its features, and its target: (y - shift) / scale."""

    estimator: Any
    X: Any
    shift: Array  # (1,) or (O,)
    scale: Array  # (1,) or (O,), > 0

    @property
    def keeps_target(self) -> bool:
        """Whether the target is y itself."""
        return not self.shift.any() and bool((self.scale == 1.0).all())


@dataclass(frozen=True)
class Rescaled:
    """Components of some rows, from units of a scaled target back to those of y."""

    blocks: Callable[[slice], MixtureComponents]
    shift: Array
    scale: Array

    def __call__(self, rows: slice) -> MixtureComponents:
        """Components of some rows in the units of y."""
        return self.blocks(rows).rescaled(self.shift, self.scale)


def predict_distribution(estimator: Any, X: ArrayLike) -> PredictiveDistribution:
    """Distribution that a fitted estimator predicts for each row, in the units of y."""
    return _distribution(walk_in(estimator, X))


def _distribution(inside: Inside) -> PredictiveDistribution:
    """Distribution of the regressor inside, in the units of y."""
    distribution = _own_distribution(inside.estimator, inside.X)
    if inside.keeps_target:
        return distribution
    return PredictiveDistribution(
        Rescaled(distribution._blocks, inside.shift, inside.scale),
        distribution.n_rows,
        distribution.n_outputs,
        distribution.single_output,
        distribution._row_elements,
    )


def predict_interval(estimator: Any, X: ArrayLike, coverage: float) -> Array:
    """Central interval of each row, in the units of y: (N, 2) or (N, 2, O).

    The estimator's own ``predict_interval`` where it has one, which may be calibrated.
    """
    inside = walk_in(estimator, X)
    if not _accepts(inside.estimator, "predict_interval", "coverage"):
        return _distribution(inside).interval(coverage)
    interval = inside.estimator.predict_interval(inside.X, coverage=coverage)
    return interval * inside.scale + inside.shift


def log_density(estimator: Any, X: ArrayLike, y: Array) -> Array:
    """Log density of each row of ``y``, (N,), by the estimator's own estimate.

    That is ``score_samples(X, y)`` where there is one, else the ``log_prob`` of the
    predicted distribution.
    """
    inside = walk_in(estimator, X)
    target = (y - inside.shift) / inside.scale
    if _accepts(inside.estimator, "score_samples", "y"):
        log_prob = inside.estimator.score_samples(inside.X, target)
    else:
        distribution = _own_distribution(inside.estimator, inside.X)
        values = _checks.check_distribution(distribution, _checks.check_y(target))
        log_prob = distribution.log_prob(values)
    return log_prob - np.log(inside.scale).sum()


def walk_in(estimator: Any, X: ArrayLike) -> Inside:
    """Find the regressor inside pipelines, searches and transformed targets."""
    shift, scale = np.zeros(1), np.ones(1)
    while True:
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif isinstance(estimator, FrozenEstimator):
            estimator = estimator.estimator
        elif isinstance(estimator, Pipeline):
            if len(estimator) > 1:
                X = estimator[:-1].transform(X)
            estimator = estimator[-1]
        elif isinstance(estimator, TransformedTargetRegressor):
            check_is_fitted(estimator)
            more_shift, more_scale = _shift_and_scale(estimator.transformer_)
            shift, scale = shift + scale * more_shift, scale * more_scale
            estimator = estimator.regressor_
        else:
            return Inside(estimator, X, shift, scale)


def _shift_and_scale(transformer: Any) -> tuple[Array, Array]:
    """Of y = shift + scale * target, per output."""
    kind = type(transformer)
    if kind is FunctionTransformer:
        if transformer.func is None and transformer.inverse_func is None:
            return np.zeros(1), np.ones(1)
    elif kind in LINEAR and not getattr(transformer, "clip", False):
        points = np.array([[0.0], [-FAR], [FAR]])
        points = np.repeat(points, transformer.n_features_in_, axis=1)
        shift, low, high = transformer.inverse_transform(points)
        return shift, (high - low) / (2.0 * FAR)
    names = ", ".join(linear.__name__ for linear in LINEAR)
    raise TypeError(
        f"A distribution cannot be mapped exactly through the {kind.__name__} of a "
        f"TransformedTargetRegressor. Use one of {names} (without clip), or fit the "
        "regressor on y as it is: those of skvae scale y themselves."
    )


def _own_distribution(estimator: Any, X: ArrayLike) -> PredictiveDistribution:
    """Distribution of an estimator that is no wrapper, in the units of its target."""
    if hasattr(estimator, "predict_distribution"):
        return estimator.predict_distribution(X)
    if _accepts(estimator, "predict", "return_std"):
        mean, std = estimator.predict(X, return_std=True)
        if not np.min(std) > 0:
            raise ValueError(
                f"{type(estimator).__name__} predicts a standard deviation of "
                f"{np.min(std):.6g}; a density needs one > 0 in each row. Give the "
                "model a noise term, or leave it out of the comparison."
            )
        return independent_normals(mean, std)
    raise TypeError(
        f"{type(estimator).__name__} predicts no distribution: it has neither "
        "predict_distribution(X) nor predict(X, return_std=True). Use an estimator "
        "that has, such as skvae.CVAERegressor, alone or in a Pipeline; a search must "
        "be fitted with refit, so that it has best_estimator_."
    )


def _accepts(estimator: Any, method: str, parameter: str) -> bool:
    function = getattr(estimator, method, None)
    return function is not None and parameter in inspect.signature(function).parameters
