"""Arguments of the metrics in, float64 arrays with an output axis out; and averages.

Letters: N rows, O outputs, S draws, Q quantiles. Every refusal names the argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skvae._predictive import PredictiveDistribution

Array = NDArray[np.float64]


def check_y(y_true: ArrayLike) -> Array:
    """Observed values, (N, O)."""
    y = _with_output_axis(y_true, "y_true", "n")
    _check_finite(y, "y_true")
    if len(y) == 0:
        raise ValueError(f"y_true must have at least one row, got shape {y.shape}.")
    return y


def check_draws(predictive: ArrayLike, y: Array) -> Array:
    """Draws of every row, (S, N, O)."""
    draws = _with_output_axis(predictive, "predictive", "n_draws", "n")
    _check_finite(draws, "predictive")
    if draws.shape[1:] != y.shape or len(draws) == 0:
        raise ValueError(
            f"predictive must hold draws of the {y.shape[0]} rows and {y.shape[1]} "
            f"output(s) of y_true, draws first: (n_draws, {y.shape[0]}, {y.shape[1]}); "
            f"got {draws.shape}. Move the axis of the draws to the front."
        )
    return draws


def check_distribution(distribution: PredictiveDistribution, y: Array) -> Array:
    """Observed values in the shape that ``distribution`` takes."""
    described = distribution.n_rows, distribution.n_outputs
    if described != y.shape:
        raise ValueError(
            f"predictive describes {described[0]} rows and {described[1]} output(s); "
            f"y_true has {y.shape[0]} and {y.shape[1]}. Give both for the same rows."
        )
    return y[:, 0] if distribution.single_output else y


def check_quantile_predictions(values: ArrayLike, levels: Array, y: Array) -> Array:
    """Predicted quantiles, (N, Q, O)."""
    name = "quantile_predictions"
    predictions = _with_output_axis(values, name, "n", "n_quantiles")
    _check_finite(predictions, name)
    _check_middle_axis(predictions, name, "one per level of quantiles", len(levels), y)
    return predictions


def check_interval(interval: ArrayLike, y: Array) -> Array:
    """Lower and upper ends, (N, 2, O); they may be infinite."""
    ends = _with_output_axis(interval, "interval", "n", "2")
    _check_middle_axis(ends, "interval", "lower and upper end", 2, y)
    if np.isnan(ends).any():
        raise ValueError(f"interval must have no NaN, got {np.isnan(ends).sum()} NaN.")
    crossed = int((ends[:, 0] > ends[:, 1]).sum())
    if crossed:
        raise ValueError(
            "interval must have its lower end first, got "
            f"{crossed} interval(s) whose lower end exceeds the upper one. Sort them: "
            "np.sort(interval, axis=1)."
        )
    return ends


def check_levels(quantiles: float | Sequence[float]) -> Array:
    """Probabilities, (Q,)."""
    levels = np.atleast_1d(_numbers(quantiles, "quantiles"))
    if levels.ndim != 1 or levels.size == 0 or not ((levels > 0) & (levels < 1)).all():
        raise ValueError(
            "quantiles must be one or more numbers strictly between 0 and 1, "
            f"got {quantiles!r}."
        )
    return levels


def check_count(value: int, name: str) -> int:
    """Return a positive integer."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be an int >= 1, got {value!r}.")
    return int(value)


def check_estimator(estimator: str) -> None:
    """Refuse unknown names of ensemble estimators."""
    if estimator not in ("fair", "nrg"):
        raise ValueError(f"estimator must be 'fair' or 'nrg', got {estimator!r}.")


def n_pairs(n_draws: int, estimator: str) -> int:
    """Ordered pairs that E|Y - Y'| averages over: "fair" leaves out Y' = Y."""
    if estimator == "nrg":
        return n_draws**2
    if n_draws == 1:
        raise ValueError(
            "estimator='fair' needs at least 2 draws, got 1. Give more draws, or pass "
            "estimator='nrg'."
        )
    return n_draws * (n_draws - 1)


def average_rows(values: Array, sample_weight: ArrayLike | None) -> Array:
    """Weighted mean over the first axis; what a row of weight 0 holds is ignored."""
    if sample_weight is None:
        return values.mean(axis=0)
    weight = _check_weights(sample_weight, "sample_weight", len(values), "row")
    kept = weight > 0  # 0 * inf is NaN
    return np.average(values[kept], axis=0, weights=weight[kept])


def average_outputs(values: Array, multioutput: str | ArrayLike) -> float | Array:
    """Combine one value per output, (O,), as scikit-learn's regression metrics do."""
    if not isinstance(multioutput, str):
        weight = _check_weights(multioutput, "multioutput", len(values), "output")
        return float(np.average(values, weights=weight))
    if multioutput == "raw_values":
        return values
    if multioutput == "uniform_average":
        return float(values.mean())
    raise ValueError(
        "multioutput must be 'raw_values', 'uniform_average' or one weight per output, "
        f"got {multioutput!r}."
    )


def _numbers(values: ArrayLike, name: str) -> Array:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} must be an array of numbers, got {type(values).__name__}."
        ) from error


def _with_output_axis(values: ArrayLike, name: str, *axes: str) -> Array:
    """Append the axis of a single output where it is absent."""
    array = _numbers(values, name)
    if array.ndim == len(axes):
        return array[..., None]
    if array.ndim != len(axes) + 1:
        raise ValueError(
            f"{name} must have shape ({', '.join(axes)}) or "
            f"({', '.join(axes)}, n_outputs), got {array.shape}."
        )
    return array


def _check_finite(array: Array, name: str) -> None:
    n_bad = int((~np.isfinite(array)).sum())
    if n_bad:
        raise ValueError(
            f"{name} must be finite, got {n_bad} values that are NaN or infinite. "
            "Leave those rows out."
        )


def _check_middle_axis(array: Array, name: str, what: str, size: int, y: Array) -> None:
    wanted = (y.shape[0], size, y.shape[1])
    if array.shape != wanted:
        raise ValueError(
            f"{name} must have shape {wanted} for this y_true: rows, {what}, outputs "
            f"(the last axis may be absent for one output); got {array.shape}."
        )


def _check_weights(weights: ArrayLike, name: str, size: int, what: str) -> Array:
    array = _numbers(weights, name)
    if array.shape != (size,):
        raise ValueError(
            f"{name} must have one weight per {what}, shape ({size},); "
            f"got {array.shape}."
        )
    if not (np.isfinite(array) & (array >= 0)).all() or array.sum() == 0:
        raise ValueError(
            f"{name} must be finite and non-negative with a positive sum, got values "
            f"from {array.min()} to {array.max()}."
        )
    return array
