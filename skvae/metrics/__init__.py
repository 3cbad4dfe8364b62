"""Metrics of predicted distributions, and scorers that ask an estimator for one.

Distributions, draws, quantiles or intervals and the true y go in; numbers in the units
of y, or in nats, come out.

Scorers are for ``scoring=...`` of scikit-learn, where more is better:
``neg_log_likelihood_scorer`` gives minus the negative log-likelihood, which is the mean
log density of y in nats, ``neg_crps_scorer`` minus the mean CRPS in the units of y.
"""

from skvae.metrics._calibration import (
    calibration_error,
    interval_coverage,
    pit_values,
)
from skvae.metrics._scorers import (
    DistributionScorer,
    make_coverage_scorer,
    make_pinball_scorer,
    neg_crps_scorer,
    neg_log_likelihood_scorer,
)
from skvae.metrics._scores import crps_score, energy_score, pinball

__all__ = [
    "DistributionScorer",
    "calibration_error",
    "crps_score",
    "energy_score",
    "interval_coverage",
    "make_coverage_scorer",
    "make_pinball_scorer",
    "neg_crps_scorer",
    "neg_log_likelihood_scorer",
    "pinball",
    "pit_values",
]
