"""Other fixed draws of z for a fitted model: how much its answers hang on them."""

from copy import copy
from dataclasses import replace

import numpy as np

from benchmarks.peers.predictive import Array
from skvae import CVAERegressor
from skvae._engine import door

N_SETS = 4


def redrawn(model: CVAERegressor, seed: int, times: int = 1) -> CVAERegressor:
    """Copy a fitted model, its networks with other draws, or ``times`` as many."""
    other, learned = copy(model), model.learned_
    n_draws, n_components = learned.draws.shape
    if n_components:
        draws = door.normal_draws(times * n_draws, n_components, seed)
        other.learned_ = replace(learned, draws=draws)
    return other


def monte_carlo_errors(
    model: CVAERegressor, X: Array, y: Array
) -> tuple[float, float, float]:
    """Compute errors of a row: median and mean of log p, mean of the prediction.

    Standard deviations over sets of draws, in nats; that of the prediction as a
    fraction of the predictive standard deviation.
    """
    models = [redrawn(model, 1000 + seed) for seed in range(N_SETS)]
    log_prob = np.std([m.score_samples(X, y) for m in models], axis=0, ddof=1)
    predicted = np.std([m.predict(X) for m in models], axis=0, ddof=1)
    relative = predicted / model.predict(X, return_std=True)[1]
    return float(np.median(log_prob)), float(log_prob.mean()), float(relative.mean())
