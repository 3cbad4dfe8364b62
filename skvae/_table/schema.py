"""What ``fit`` learned about the columns: kind, location, scale, resolution."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from skvae._table.distinct import distinct_values
from skvae._table.reading import Labels, Levels, RawTable
from skvae._table.scores import Knots, learn_knots
from skvae._table.warps import Identity, Log, Warp, warp_for, weighted_quantiles
from skvae._warnings import warn

Array = NDArray[np.float64]

CONTINUOUS = "continuous"
POSITIVE = "positive"
COUNT = "count"
BINARY = "binary"
ORDINAL = "ordinal"
CATEGORICAL = "categorical"

IDENTITY = Identity()
NUMERIC = (CONTINUOUS, POSITIVE, COUNT)
DISCRETE = (ORDINAL, CATEGORICAL)  # encoded as positions among the categories

# a floor of the decoder's scale, in standard deviations, for columns of any resolution:
# float32 standardised values carry about seven digits
SMALLEST_SCALE = 1e-4
# no floor hides more than half of a column's spread, however rare its second value
LARGEST_FLOOR = 0.5
EXACT_FLOATS = 2.0**53  # the first integer that float64 takes for its neighbour
# of a column; what is rarer shares the last code
MOST_CODES = 256
# so many different texts in as many rows are names of the rows
FEWEST_NAMES = 20
# values recur where each occurs so often on average, and there are no more of them
OFTEN, MOST_RECURRING = 3, 1000


@dataclass(frozen=True)
class Column:
    """One column and its encoding.

    Numeric columns are standardised by ``shift`` and ``scale`` after their ``warp``,
    binary ones keep 0 and 1, discrete ones become positions in
    ``categories``. ``resolution`` is the standard deviation, in standardised units, of
    a value rounded as this column is: what no decoder may claim to know better.
    ``knots`` map standardised values to normal scores; without them there is no second
    encoding.

    ``lattice`` holds the values of a numeric column whose values recur, in original
    units: a draw from it is one of them. ``span`` are the least and the greatest value
    of a numeric column, in original units: new rows stay within.

    Of more than ``MOST_CODES`` categories the rarest share the last code; ``pooled``
    holds the share that each of them has of it.
    """

    name: Hashable
    kind: str
    dtype: str
    shift: float = 0.0
    scale: float = 1.0
    resolution: float = 1.0
    warp: Warp = IDENTITY
    knots: Knots = ()
    categories: Labels = ()
    pooled: tuple[float, ...] = ()
    lattice: tuple[float, ...] = ()
    span: tuple[float, float] = (-np.inf, np.inf)
    levels: Levels | None = None  # what a pandas category declares

    @property
    def n_codes(self) -> int:
        """How many codes a discrete column has; 0 for other kinds."""
        return len(self.categories) - max(len(self.pooled) - 1, 0)


@dataclass(frozen=True)
class Schema:
    """The columns of a table, in order, and whether it came as a DataFrame."""

    columns: tuple[Column, ...]
    is_frame: bool

    @property
    def scored(self) -> tuple[int, ...]:
        """Positions of the columns that are encoded as normal scores, too."""
        return tuple(i for i, column in enumerate(self.columns) if column.knots)

    @property
    def width(self) -> int:
        """Columns of the encoded table."""
        return len(self.columns) + len(self.scored)

    @property
    def names(self) -> tuple[Hashable, ...]:
        """Column names."""
        return tuple(column.name for column in self.columns)

    @property
    def shift(self) -> Array:
        """Location of each column: (D,)."""
        return np.array([column.shift for column in self.columns])

    @property
    def scale(self) -> Array:
        """Scale of each column: (D,)."""
        return np.array([column.scale for column in self.columns])

    @property
    def n_codes(self) -> tuple[int, ...]:
        """Codes of each encoded column, 0 for those that hold numbers: (width,)."""
        return (*(column.n_codes for column in self.columns), *(0,) * len(self.scored))

    @property
    def distinct(self) -> tuple[bool, ...]:
        """Whether the values of each encoded column hardly recur: (width,)."""
        whole = [c.kind in NUMERIC and not c.lattice for c in self.columns]
        return (*whole, *(whole[i] for i in self.scored))

    def widened(self, table: RawTable) -> "Schema":
        """Return the schema with the ``span`` of further rows, too."""
        columns = [
            replace(column, span=_span(cells, column.span))
            if column.kind in NUMERIC
            else column
            for column, cells in zip(self.columns, table.values.T, strict=True)
        ]
        return replace(self, columns=tuple(columns))

    def of_kind(self, *kinds: str) -> tuple[int, ...]:
        """Positions of the columns of some kinds."""
        return tuple(i for i, column in enumerate(self.columns) if column.kind in kinds)


def learn_schema(
    table: RawTable,
    weight: Array,
    *,
    density: bool,
    constants: bool = False,
    scored: bool = False,
    novelties: bool = False,
    kinds: Mapping[Hashable, str] | None = None,
    name: str = "X",
) -> Schema:
    """Learn kinds and scales from rows of positive ``weight``.

    Parameters
    ----------
    table : RawTable
        Finite cells, NaN where missing.
    weight : ndarray of shape (n_rows,)
        A row of weight w counts as w rows.
    density : bool
        Whether the columns get a density. Then numbers that are all 0 or 1 are binary,
        and columns with heavy tails are modelled on the scale of an asinh, where a few
        extremes do not crowd the others together, both unless a kind is asked for.
    constants : bool
        Whether a constant numeric column is kept under ``density``, with scale 1 in its
        own units and the largest floor. Else it is refused, since its density would be
        infinite. Without ``density`` it is encoded as 0, as are its new values.
    scored : bool
        Whether numeric columns are encoded as normal scores, too.
    novelties : bool
        Whether rows to come may be unlike any here: what ``density`` infers from the
        values is then not inferred.
    kinds : mapping of str to str, optional
        Kinds of columns, where they are not to be inferred.
    name : str
        The table's name in messages.

    Raises
    ------
    ValueError
        If a column has no observed cell, holds values that the kind asked for does not
        have or, under ``density``, that float64 cannot tell apart, or is constant
        without ``constants``.
    """
    observed = ~np.isnan(table.values)
    empty = [table.names[i] for i in np.flatnonzero(~observed.any(axis=0))]
    if empty:
        raise ValueError(
            f"{name} has no observed value in column {empty}; expected at least one. "
            "Leave it out."
        )
    inferred = density and not novelties
    columns = []
    for i, column in enumerate(table.names):
        asked = (kinds or {}).get(column)
        kind = _kind(table, i, inferred, constants, asked, name)
        columns.append(_learn_column(table, i, weight, kind, inferred and not asked))
        _warn_of_names(columns[-1], table, i, name)
    still = [i for i, c in enumerate(columns) if c.kind in NUMERIC and c.scale == 0.0]
    if density:
        _check_constants(columns, still, table.values, constants, name)
    else:
        _warn_of_constants(columns, still, table.values, name)
    usable = [
        _as_constant(c, table.values[:, i], density) if i in still else c
        for i, c in enumerate(columns)
    ]
    if scored:
        usable = [_scored(c, table.values[:, i], weight) for i, c in enumerate(usable)]
    return Schema(tuple(usable), table.frame is not None)


def _warn_of_names(column: Column, table: RawTable, i: int, name: str) -> None:
    """Warn of a column with many categories, or of text that no two rows share."""
    n = len(column.categories)
    what = f"{name} column {column.name!r} has {n} categories"
    n_seen = int((~np.isnan(table.values[:, i])).sum())
    if column.pooled:
        warn(
            f"{what}: the {MOST_CODES - 1} most frequent are modelled one by one, the "
            "others together, each with its share of them. Leave the column out if it "
            "names rows.",
            UserWarning,
        )
    elif i in table.labels and i not in table.levels and n == n_seen >= FEWEST_NAMES:
        warn(
            f"{what} in {n} rows, one each: nothing can be learned from it. Leave the "
            "column out if it names rows.",
            UserWarning,
        )


def _check_constants(
    columns: list[Column], still: list[int], values: Array, allowed: bool, name: str
) -> None:
    """Refuse columns ``still`` that are constant, or would be taken for it."""
    refused = differing(still, values) if allowed else still
    if refused:
        raise ValueError(
            f"{name} has constant column {[columns[i].name for i in refused]}; "
            "expected values that differ by more than 1e-12 of their size, since the "
            "density of a constant is infinite. Leave it out; where they do differ, "
            "subtract an offset."
        )


def _warn_of_constants(
    columns: list[Column], still: list[int], values: Array, name: str
) -> None:
    """Warn of conditions that are taken for constant, though they are not."""
    alike = [columns[i].name for i in differing(still, values)]
    if alike:
        warn(
            f"{name} column {alike} has values that differ by no more than 1e-12 of "
            "their size: taken for constant, nothing is learned from it. Where the "
            "differences matter, subtract an offset.",
            UserWarning,
        )


def differing(still: list[int], values: Array) -> list[int]:
    """Columns without a scale that hold different values nevertheless."""
    return [i for i in still if np.nanmin(values[:, i]) != np.nanmax(values[:, i])]


def _as_constant(column: Column, values: Array, density: bool) -> Column:
    """Give a constant its own units, and a floor that forgives half of one.

    No other value is drawn. A condition, of which nothing can be learned, encodes as 0
    whatever value a new row has.
    """
    value = float(np.nanmin(values))  # the mean may be off by a rounding
    shift = float(column.warp.forward(np.array(value)))
    scale = 1.0 if density else np.inf
    return replace(
        column, shift=shift, scale=scale, resolution=LARGEST_FLOOR, lattice=(value,)
    )


def _kind(
    table: RawTable,
    i: int,
    infer_binary: bool,
    constants: bool,
    asked: str | None,
    name: str,
) -> str:
    """Check the kind asked for, or infer it: booleans are binary, 0/1 where asked."""
    where = f"{name} column {table.names[i]!r}"
    if asked == CATEGORICAL and (np.abs(table.values[:, i]) >= EXACT_FLOATS).any():
        raise ValueError(
            f"{where} is to be categorical and holds numbers of 2**53 and more, which "
            "floats do not tell apart. Convert it with astype(str)."
        )
    if i in table.labels:
        if asked in NUMERIC or asked == BINARY:
            raise ValueError(
                f"{where} holds text or categories; expected numbers for a likelihood "
                f"of {asked} values. Leave its likelihood at 'auto' or 'categorical'."
            )
        ordered = i in table.levels and table.levels[i].ordered
        return ORDINAL if ordered else CATEGORICAL
    cells = table.values[:, i]
    cells = cells[~np.isnan(cells)]
    strange = cells[~np.isin(cells, (0.0, 1.0))]
    if asked is None:
        is_bool = table.dtypes[i] in ("bool", "boolean")
        if constants and not is_bool and len(np.unique(cells)) == 1:
            return CONTINUOUS  # a constant 0 or 1 is to be drawn as it is
        return BINARY if is_bool or (infer_binary and not len(strange)) else CONTINUOUS
    refused = {
        BINARY: (strange, "have a Bernoulli likelihood; expected 0, 1 or NaN"),
        POSITIVE: (cells[cells <= 0], "be log-normal; expected positive numbers"),
        COUNT: (
            cells[(cells < 0) | (cells != np.round(cells))],
            "hold counts; expected integers >= 0",
        ),
    }
    wrong, expected = refused.get(asked, ((), ""))
    if len(wrong):
        raise ValueError(f"{where} is to {expected}, got {wrong[0]:g}.")
    return asked


def _learn_column(
    table: RawTable, i: int, weight: Array, kind: str, warped: bool
) -> Column:
    cells = table.values[:, i]
    seen = ~np.isnan(cells)
    values, weights = cells[seen], weight[seen]
    plain = Column(table.names[i], kind, table.dtypes[i])
    if kind == BINARY:
        return plain
    if kind in DISCRETE:
        return _with_categories(plain, table, i, values, weights)
    plain = replace(plain, lattice=recurring(values), span=_span(values))
    if kind == POSITIVE:
        plain = replace(plain, warp=Log())
    elif warped:
        _, scale = location_and_scale(values, weights)
        plain = replace(plain, warp=warp_for(values, weights, scale))
    values = plain.warp.forward(values)
    shift, scale = location_and_scale(values, weights)
    if scale == 0.0:
        return replace(plain, shift=shift, scale=0.0)
    resolution = np.clip(
        rounding_error(values, weights) / scale, SMALLEST_SCALE, LARGEST_FLOOR
    )
    return replace(plain, shift=shift, scale=scale, resolution=float(resolution))


def _span(
    cells: Array, before: tuple[float, float] | None = None
) -> tuple[float, float]:
    """Least and greatest of some cells, NaN where missing, and of those before."""
    seen = np.append(cells[~np.isnan(cells)], before or ())
    return float(seen.min()), float(seen.max())


def location_and_scale(values: Array, weight: Array) -> tuple[float, float]:
    """Weighted mean and standard deviation, the latter 0 for a constant."""
    shift = float(np.average(values, weights=weight))
    unit = np.abs(values - shift).max() or 1.0  # squares of 1e200 would overflow
    variance = np.average(((values - shift) / unit) ** 2, weights=weight)
    scale = float(unit * np.sqrt(variance))
    # what is left of a constant after rounding is not a scale
    if scale <= 1e-12 * np.abs(values).max(initial=0.0):
        return shift, 0.0
    return shift, scale


def _with_categories(
    plain: Column, table: RawTable, i: int, values: Array, weights: Array
) -> Column:
    """Learn the categories that occur: in their order, or by frequency if many."""
    distinct, place = np.unique(values, return_inverse=True)
    count = np.bincount(place.ravel(), weights)
    labels = table.labels.get(i)
    found = [float(v) if labels is None else labels[int(v)] for v in distinct]
    if plain.kind == CATEGORICAL and i not in table.levels:
        order = sorted(range(len(found)), key=lambda j: found[j])  # type: ignore[arg-type,return-value]
    else:
        order = list(range(len(found)))
    pooled: tuple[float, ...] = ()
    if len(found) > MOST_CODES:
        order = np.argsort(-count, kind="stable").tolist()
        rare = count[order[MOST_CODES - 1 :]]
        pooled = tuple((rare / rare.sum()).tolist())
    categories = tuple(found[j] for j in order)
    return replace(
        plain, categories=categories, pooled=pooled, levels=table.levels.get(i)
    )


def _scored(column: Column, cells: Array, weight: Array) -> Column:
    """Add normal scores to a numeric column."""
    if column.kind not in NUMERIC:
        return column
    seen = ~np.isnan(cells)
    standardised = (cells[seen] - column.shift) / column.scale
    return replace(column, knots=learn_knots(standardised, weight[seen]))


def recurring(values: Array) -> tuple[float, ...]:
    """Return the distinct values if they recur, else nothing."""
    distinct, _ = distinct_values(values)
    often = len(distinct) <= min(MOST_RECURRING, len(values) // OFTEN)
    return tuple(distinct.tolist()) if often else ()


def rounding_error(values: Array, weight: Array | None = None) -> float:
    """Estimate the standard deviation of the rounding of ``values``, in their units.

    The median over rows of the gap to the nearest other value is the step of a rounded
    column, and next to nothing in a column that is not rounded; uniform rounding over a
    step h has the standard deviation h / √12. It scales with the values. What floating
    point leaves of sums of rounded numbers is no gap.
    """
    distinct, place = distinct_values(values)
    if len(distinct) < 2:
        return 0.0
    gaps = np.diff(distinct)
    nearest = np.minimum(np.append(gaps, np.inf), np.insert(gaps, 0, np.inf))
    count = np.bincount(place, weight).astype(np.float64)
    (median,) = weighted_quantiles(nearest, count, [0.5])
    return float(median) / np.sqrt(12.0)
