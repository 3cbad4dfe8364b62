"""Scorers: a fitted estimator, X and y in; a number of which more is better out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.metadata_routing import MetadataRequest

from skvae._predictive import _check_coverage
from skvae.metrics import _calibration, _checks, _responses, _scores


@dataclass(frozen=True)
class DistributionScorer:
    """Score the distribution that an estimator predicts; for ``scoring=...``.

    Works in ``cross_validate``, ``GridSearchCV``, ``permutation_importance`` and
    wherever else scikit-learn takes a scorer, with every estimator that has
    ``predict_distribution(X)``, or ``predict(X, return_std=True)``, which is read as
    a normal distribution: ``BayesianRidge``, ``GaussianProcessRegressor`` (whose
    standard deviation has the noise only with a ``WhiteKernel``). These may stand in a
    ``Pipeline``, a fitted search, or a ``TransformedTargetRegressor`` that scales
    linearly.

    Immutable; made by `make_pinball_scorer` and `make_coverage_scorer`, or there
    already: `neg_log_likelihood_scorer`, `neg_crps_scorer`.

    Parameters
    ----------
    name : str
        What ``repr`` shows.
    evaluate : callable
        ``evaluate(estimator, X, y, sample_weight, **options)`` gives the score. The
        scorer pickles if ``evaluate`` does.
    options : tuple of (name, value) pairs, default=()
        Further arguments of ``evaluate``.
    sample_weight : bool, str or None, default=None
        Request of the metadata routing, see `set_score_request`.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import BayesianRidge
    >>> from sklearn.model_selection import cross_validate
    >>> from skvae.metrics import neg_crps_scorer, neg_log_likelihood_scorer
    >>> X, y = load_diabetes(return_X_y=True)
    >>> scoring = {"crps": neg_crps_scorer, "nll": neg_log_likelihood_scorer}
    >>> scores = cross_validate(BayesianRidge(), X, y, scoring=scoring, cv=3)
    >>> print(scores["test_crps"].mean().round(1), scores["test_nll"].mean().round(2))
    -31.3 -5.43
    """

    name: str
    evaluate: Callable[..., float]
    options: tuple[tuple[str, Any], ...] = ()
    sample_weight: bool | str | None = None

    def __call__(
        self,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Score a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            Fitted.
        X : array-like of shape (n, n_features)
        y : array-like of shape (n,) or (n, n_outputs)
        sample_weight : array-like of shape (n,), optional

        Returns
        -------
        score : float
            Higher is better.

        Raises
        ------
        TypeError
            If the estimator predicts no distribution, or the target went through a
            transformer that is not linear.
        ValueError
            If ``y`` or ``sample_weight`` has another shape or is not finite.
        """
        return self.evaluate(estimator, X, y, sample_weight, **dict(self.options))

    def __repr__(self) -> str:
        options = ", ".join(f"{key}={value!r}" for key, value in self.options)
        call = f"({options})" if options else ""
        if self.sample_weight is None:
            return self.name + call
        request = f".set_score_request(sample_weight={self.sample_weight!r})"
        return self.name + call + request

    def set_score_request(
        self, *, sample_weight: bool | str | None
    ) -> DistributionScorer:
        """Return a copy that requests ``sample_weight`` from the metadata routing.

        Parameters
        ----------
        sample_weight : bool, str or None
            True to be given the weights, False to do without; a str requests them by
            another name; None raises an error where weights are given.

        Returns
        -------
        scorer : DistributionScorer
            A copy, since others may use this scorer too.
        """
        return replace(self, sample_weight=sample_weight)

    def get_metadata_routing(self) -> MetadataRequest:
        """Return what the scorer requests, as scikit-learn's routing asks for it.

        Returns
        -------
        routing : MetadataRequest
        """
        request = MetadataRequest(owner=repr(self))
        request.score.add_request(param="sample_weight", alias=self.sample_weight)
        return request

    def _accept_sample_weight(self) -> bool:
        """Answer a question of scikit-learn's searches where routing is off."""
        return True


def make_pinball_scorer(quantiles: float | Sequence[float]) -> DistributionScorer:
    """Make a scorer of predicted quantiles: minus the mean pinball loss.

    Parameters
    ----------
    quantiles : float or sequence of float
        Levels in (0, 1).

    Returns
    -------
    scorer : DistributionScorer
        In the units of y; mean over levels and outputs.

    Raises
    ------
    ValueError
        If a level is outside (0, 1).

    See Also
    --------
    pinball : The loss.

    Examples
    --------
    >>> from skvae.metrics import make_pinball_scorer
    >>> make_pinball_scorer([0.1, 0.9])
    make_pinball_scorer(quantiles=(0.1, 0.9))
    """
    levels = tuple(_checks.check_levels(quantiles).tolist())
    options = (("quantiles", levels),)
    return DistributionScorer("make_pinball_scorer", _neg_pinball, options)


def make_coverage_scorer(coverage: float = 0.9) -> DistributionScorer:
    """Make a scorer of central intervals: minus the error of their coverage.

    The intervals are those of the estimator's ``predict_interval`` where it has one,
    after ``conformalize`` the calibrated ones, else of its predicted distribution. The
    score is ``-abs(fraction inside - coverage)``, so that neither too wide nor too
    narrow intervals win; `interval_coverage` gives the fraction itself. A prediction
    that ignores the features can have perfect coverage: choose models by a proper
    score, such as `neg_crps_scorer`, and read this beside it.

    Parameters
    ----------
    coverage : float, default=0.9
        Probability that the intervals should hold, in (0, 1).

    Returns
    -------
    scorer : DistributionScorer
        In [-1, 0]; mean over outputs.

    Raises
    ------
    ValueError
        If ``coverage`` is outside (0, 1).

    Examples
    --------
    >>> from skvae.metrics import make_coverage_scorer
    >>> make_coverage_scorer(0.8)
    make_coverage_scorer(coverage=0.8)
    """
    _check_coverage(coverage)
    options = (("coverage", float(coverage)),)
    return DistributionScorer("make_coverage_scorer", _neg_coverage_error, options)


def _log_likelihood(
    estimator: Any, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None
) -> float:
    """Mean log density of y, jointly over outputs, in nats per row."""
    observed = _checks.check_y(y).reshape(np.shape(y))
    log_prob = _responses.log_density(estimator, X, observed)
    return float(_checks.average_rows(log_prob, sample_weight))


def _neg_crps(
    estimator: Any, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None
) -> float:
    distribution = _responses.predict_distribution(estimator, X)
    return -_scores.crps_score(y, distribution, sample_weight=sample_weight)


def _neg_pinball(
    estimator: Any,
    X: ArrayLike,
    y: ArrayLike,
    sample_weight: ArrayLike | None,
    quantiles: tuple[float, ...],
) -> float:
    values = _responses.predict_distribution(estimator, X).quantile(quantiles)
    return -_scores.pinball(y, values, quantiles=quantiles, sample_weight=sample_weight)


def _neg_coverage_error(
    estimator: Any,
    X: ArrayLike,
    y: ArrayLike,
    sample_weight: ArrayLike | None,
    coverage: float,
) -> float:
    interval = _responses.predict_interval(estimator, X, coverage)
    fractions = _calibration.interval_coverage(
        y, interval, sample_weight=sample_weight, multioutput="raw_values"
    )
    return -float(np.abs(fractions - coverage).mean())


#: Mean log density log p(y | X), jointly over outputs: nats per row in the units of y.
#: As of every scorer whose name begins with ``neg_``, the value is the loss with its
#: sign reversed, here the negative log-likelihood. The estimator's own
#: ``score_samples(X, y)`` where it has one, else the density of its distribution.
neg_log_likelihood_scorer = DistributionScorer(
    "neg_log_likelihood_scorer", _log_likelihood
)

#: Minus the continuous ranked probability score, in the units of y; mean over outputs.
neg_crps_scorer = DistributionScorer("neg_crps_scorer", _neg_crps)
