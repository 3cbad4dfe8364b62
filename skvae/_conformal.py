"""Distributional conformal prediction: a cdf in, levels with guaranteed coverage out.

The tail probability of y under its predictive distribution, min(F(y), 1 - F(y)), is the
conformity score. If new rows are exchangeable with the rows of calibration, a new score
is as likely to fall at any rank among theirs, however wrong F is. Chernozhukov,
Wüthrich, Zhu (2021), Distributional conformal prediction, alg. 1. arXiv:1909.07889
"""

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


def tail_probabilities(cdf: Array) -> Array:
    """Probability beyond y, on its nearer side, in ascending order: (N, O).

    ``cdf`` (N, O) holds F(y) of each row and output.
    """
    return np.sort(np.minimum(cdf, 1.0 - cdf), axis=0)


def calibrated_tails(tails: Array, coverage: float) -> Array:
    """Probability to leave out on either side, so that ``coverage`` holds: (O,).

    The score of rank k = floor((1 - coverage) (N + 1)): a new score is below it with
    probability k / (N + 1) at most.
    """
    n_rows = len(tails)
    # (1 - 0.9) * 10 is 0.99...98 in floats
    rank = math.floor((1.0 - coverage) * (n_rows + 1) + 1e-9)
    if rank < 1:
        needed = math.ceil(1.0 / (1.0 - coverage) - 1.0 - 1e-9)
        raise ValueError(
            f"coverage={coverage} needs at least {needed} rows in conformalize; there "
            f"were {n_rows}. Calibrate with more rows, or ask for less coverage."
        )
    return tails[rank - 1]
