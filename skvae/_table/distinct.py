"""The different values of a column, but for what floating point leaves of a sum."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MOST = [0.05, 0.95]  # a few extremes would make everything else look close
# two values are one, which float64 has left apart as it does 0.3 and 0.1 + 0.2, where
# they are as close as that in their own size and in the range of most rows
DUST = 1e-9
AT_ZERO = 1e-3  # of that, in that range, where their own size says nothing


def distinct_values(values: Array) -> tuple[Array, NDArray[np.intp]]:
    """Return the different values, rising, and for each cell (N,) which of them it is.

    Of values that are no further apart than rounding the most frequent stands for all.
    """
    distinct, place, count = np.unique(values, return_inverse=True, return_counts=True)
    low, high = DUST * np.quantile(values, MOST, method="nearest")
    size = np.maximum(np.abs(distinct[1:]), np.abs(distinct[:-1]))
    dust = np.clip(DUST * size, AT_ZERO * (high - low), high - low)
    with np.errstate(over="ignore"):  # 1e308 and its opposite: apart
        apart = np.insert(np.diff(distinct) > dust, 0, True)
    if apart.all():
        return distinct, place
    group = np.cumsum(apart) - 1
    order = np.lexsort((-count, group))
    first = np.searchsorted(group[order], np.arange(group[-1] + 1))
    return distinct[order][first], group[place]
