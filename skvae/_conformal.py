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

# ends of intervals have their tail probability to 1e-10 of it: so much farther out, a
# target that ties with a score of calibration is inside
OUTWARD = 1e-8


def calibrated_tails(scores: Array, coverage: float) -> Array:
    """Probability to leave out on either side, so that ``coverage`` holds: (O,).

    ``scores`` (N, O) are tail probabilities in ascending order. Of them that of rank
    k = floor((1 - coverage) (N + 1)), next to nothing outward: a new score is below it
    with probability k / (N + 1) at most.
    """
    n_rows = len(scores)
    # (1 - 0.9) * 10 is 0.99...98 in floats
    rank = math.floor((1.0 - coverage) * (n_rows + 1) + 1e-9)
    if rank < 1:
        needed = math.ceil(1.0 / (1.0 - coverage) - 1.0 - 1e-9)
        raise ValueError(
            f"coverage={coverage} needs at least {needed} rows in conformalize; there "
            f"were {n_rows}. Calibrate with more rows, or ask for less coverage."
        )
    return scores[min(rank, n_rows) - 1] * (1.0 - OUTWARD)
