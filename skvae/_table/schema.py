"""What ``fit`` learned about the columns: kind, location, scale, resolution."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from skvae._table.reading import RawTable
from skvae._table.scores import Knots, learn_knots

Array = NDArray[np.float64]

CONTINUOUS = "continuous"
BINARY = "binary"

# a floor of the decoder's scale, in standard deviations, for columns of any resolution:
# float32 standardised values carry about seven digits
SMALLEST_SCALE = 1e-4
# no floor hides more than half of a column's spread, however rare its second value
LARGEST_FLOOR = 0.5


@dataclass(frozen=True)
class Column:
    """One column: ``shift`` and ``scale`` standardise it; binary ones keep 0 and 1.

    ``resolution`` is the standard deviation, in standardised units, of a value rounded
    as this column is: what no decoder may claim to know better. ``knots`` map
    standardised values to normal scores; without them there is no second encoding.
    """

    name: Hashable
    kind: str
    dtype: str
    shift: float
    scale: float
    resolution: float
    knots: Knots = ()


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

    def of_kind(self, kind: str) -> tuple[int, ...]:
        """Positions of the columns of one kind."""
        return tuple(i for i, column in enumerate(self.columns) if column.kind == kind)


def learn_schema(
    table: RawTable,
    weight: Array,
    *,
    density: bool,
    scored: bool = False,
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
        Whether the columns get a density: then a constant numeric column, whose
        density would be infinite, is refused. Else it is encoded as 0.
    scored : bool
        Whether numeric columns are encoded as normal scores, too.
    kinds : mapping of str to str, optional
        Kinds of columns, where they are not to be inferred.
    name : str
        The table's name in messages.

    Raises
    ------
    ValueError
        If a column has no observed cell, is constant and numeric under ``density``, or
        is to be binary and holds other values than 0 and 1.
    """
    observed = ~np.isnan(table.values)
    empty = [table.names[i] for i in np.flatnonzero(~observed.any(axis=0))]
    if empty:
        raise ValueError(
            f"{name} has no observed value in column {empty}; expected at least one. "
            "Leave it out."
        )
    columns = tuple(
        _learn_column(table, i, weight, _kind(table, i, density, kinds or {}, name))
        for i in range(len(table.names))
    )
    constant = [c.name for c in columns if c.kind == CONTINUOUS and c.scale == 0.0]
    if density and constant:
        raise ValueError(
            f"{name} has constant column {constant}; expected at least two distinct "
            "values, since the density of a constant is infinite. Leave it out."
        )
    usable = [_usable(column) for column in columns]
    if scored:
        usable = [_scored(c, table.values[:, i], weight) for i, c in enumerate(usable)]
    return Schema(tuple(usable), table.frame is not None)


def _kind(
    table: RawTable, i: int, density: bool, kinds: Mapping[Hashable, str], name: str
) -> str:
    """Take the kind asked for, or infer it: 0/1 columns with a density are binary."""
    cells = table.values[:, i]
    strange = cells[~np.isnan(cells) & ~np.isin(cells, (0.0, 1.0))]
    kind = kinds.get(table.names[i])
    if kind == BINARY and len(strange):
        raise ValueError(
            f"{name} column {table.names[i]!r} is to have a Bernoulli likelihood; "
            f"expected 0, 1 or NaN, got {strange[0]:g}."
        )
    if kind is not None:
        return kind
    is_bool = table.dtypes[i] in ("bool", "boolean")
    return BINARY if is_bool or (density and not len(strange)) else CONTINUOUS


def _learn_column(table: RawTable, i: int, weight: Array, kind: str) -> Column:
    cells = table.values[:, i]
    seen = ~np.isnan(cells)
    values, weights = cells[seen], weight[seen]
    dtype = table.dtypes[i]
    if kind == BINARY:
        return Column(table.names[i], BINARY, dtype, 0.0, 1.0, 1.0)
    shift = float(np.average(values, weights=weights))
    unit = np.abs(values - shift).max() or 1.0  # squares of 1e200 would overflow
    variance = np.average(((values - shift) / unit) ** 2, weights=weights)
    scale = float(unit * np.sqrt(variance))
    # what is left of a constant after rounding is not a scale
    if scale <= 1e-12 * np.abs(values).max(initial=0.0):
        return Column(table.names[i], CONTINUOUS, dtype, shift, 0.0, 1.0)
    resolution = np.clip(
        rounding_error(values, weights) / scale, SMALLEST_SCALE, LARGEST_FLOOR
    )
    return Column(table.names[i], CONTINUOUS, dtype, shift, scale, float(resolution))


def _usable(column: Column) -> Column:
    """Give a constant condition column the scale 1, so that it encodes as 0."""
    if column.scale > 0.0:
        return column
    return Column(column.name, column.kind, column.dtype, column.shift, 1.0, 1.0)


def _scored(column: Column, cells: Array, weight: Array) -> Column:
    """Add normal scores to a numeric column."""
    if column.kind != CONTINUOUS:
        return column
    seen = ~np.isnan(cells)
    standardised = (cells[seen] - column.shift) / column.scale
    return replace(column, knots=learn_knots(standardised, weight[seen]))


def rounding_error(values: Array, weight: Array | None = None) -> float:
    """Estimate the standard deviation of the rounding of ``values``, in their units.

    The median over rows of the gap to the nearest other value is the step of a rounded
    column, and next to nothing in a column that is not rounded; uniform rounding over a
    step h has the standard deviation h / √12. It scales with the values.
    """
    distinct, place = np.unique(values, return_inverse=True)
    if len(distinct) < 2:
        return 0.0
    gaps = np.diff(distinct)
    nearest = np.minimum(np.append(gaps, np.inf), np.insert(gaps, 0, np.inf))
    order = np.argsort(nearest)
    share = np.cumsum(np.bincount(place.ravel(), weight)[order])
    median = nearest[order][np.searchsorted(share, 0.5 * share[-1])]
    return float(median) / np.sqrt(12.0)
