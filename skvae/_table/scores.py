"""Normal scores: a column's ranks, spread as a standard normal would spread them.

They show a network where the rows are: skewed and heavy-tailed columns, whose
standardised values crowd together, come out even. Gorishniy, Rubachev, Khrulkov,
Babenko (2021), sec. 4.4, transform features so. arXiv:2106.11959
"""

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from skvae._table.distinct import distinct_values

Array = NDArray[np.float64]
Knots = tuple[tuple[float, float], ...]  # (value, score), rising in both

SMALLEST_RANK = 2.0**-50
ROWS_PER_KNOT = 30  # a map that followed every row would be as rough as they are
FEWEST_KNOTS, MOST_KNOTS = 32, 1000


def learn_knots(values: Array, weight: Array) -> Knots:
    """Knots of the map from values to normal scores; none for fewer than 3 values.

    The score of a value is the normal quantile of its rank, the middle one where rows
    tie. Columns of many values keep knots at even steps of the score.
    """
    distinct, place = distinct_values(values)
    if len(distinct) < 3:
        return ()
    share = np.bincount(place, weight)
    rank = (np.cumsum(share) - 0.5 * share) / share.sum()
    # at the ends there may be rows of next to no weight
    rank = rank.clip(SMALLEST_RANK, 1.0 - SMALLEST_RANK)
    normal = NormalDist()
    n_knots = max(FEWEST_KNOTS, min(len(distinct) // ROWS_PER_KNOT, MOST_KNOTS))
    if len(distinct) <= n_knots:
        scores = np.array([normal.inv_cdf(p) for p in rank])
    else:
        ends = normal.inv_cdf(rank[0]), normal.inv_cdf(rank[-1])
        scores = np.linspace(*ends, n_knots)
        levels = [normal.cdf(score) for score in scores]
        distinct = np.interp(levels, rank, distinct)
    return tuple(zip(distinct.tolist(), scores.tolist(), strict=True))


def normal_scores(knots: Knots, cells: Array) -> Array:
    """Scores of ``cells`` (N,), linear between knots; ``NaN`` stays ``NaN``.

    Beyond the outermost knots the score is theirs.
    """
    values, scores = np.array(knots).T
    return np.interp(cells, values, scores)
