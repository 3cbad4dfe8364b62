"""The different values of a column, but for what floating point leaves of a sum."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# of the size of nearly all cells: values as close as that may be one, which float64 has
# left apart as it does 0.3 and 0.1 + 0.2; terms of a sum may be 1000 times as large
DUST, NEARLY_ALL = 1e-12, 0.95
# where it is rounding, no values are only so many times further apart
CLEARANCE = 1e3


def distinct_values(values: Array) -> tuple[Array, NDArray[np.intp]]:
    """Return the different values, rising, and for each cell (N,) which of them it is.

    Of values that only rounding has left apart the most frequent stands for all.
    Integers, and values at all distances from each other, are what they are.
    """
    distinct, place, count = np.unique(values, return_inverse=True, return_counts=True)
    dust = DUST * np.quantile(np.abs(values), NEARLY_ALL, method="nearest")
    with np.errstate(over="ignore"):  # 1e308 and its opposite: apart
        gaps = np.diff(distinct)
    whole = distinct == np.round(distinct)
    close = (gaps <= dust) & ~(whole[1:] & whole[:-1])
    between = (gaps > dust) & (gaps <= CLEARANCE * dust)
    if not close.any() or close.all() or between.any():
        return distinct, place
    group = np.insert(np.cumsum(~close), 0, 0)
    order = np.lexsort((-count, group))
    first = np.searchsorted(group[order], np.arange(group[-1] + 1))
    return distinct[order][first], group[place]
