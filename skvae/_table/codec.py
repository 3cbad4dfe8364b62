"""Encode a table by its schema, and decode arrays into the columns of ``fit``."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skvae._table.reading import Labels, RawTable
from skvae._table.schema import (
    BINARY,
    CONTINUOUS,
    COUNT,
    DISCRETE,
    NUMERIC,
    POSITIVE,
    Column,
    Schema,
)
from skvae._table.scores import normal_scores
from skvae._warnings import warn

Array = NDArray[np.float64]
Rows = Array | pd.DataFrame  # rows as the user knows them

# standard deviations: the square of a cell further off would overflow
FARTHEST = 1e100


def encode(
    schema: Schema, table: RawTable, name: str = "X", unknown: str = "warn"
) -> Array:
    """Standardise numeric columns, code discrete ones; append normal scores.

    Numbers beyond ``FARTHEST`` count as being there.

    (N, D), or (N, D + scored columns) where the schema has scores; NaN where missing.
    Categories that ``fit`` has not seen are missing, with a warning unless ``unknown``
    is "ignore".

    Raises
    ------
    ValueError
        If a column has changed its kind or holds what its kind does not have, or,
        under ``unknown="error"``, a category that ``fit`` has not seen.
    """
    cells = table.values.copy()
    for i, column in enumerate(schema.columns):
        where = f"{name} column {column.name!r}"
        if column.kind in DISCRETE:
            positions = _positions(column, table, i, where, unknown)
            cells[:, i] = np.minimum(positions, column.n_codes - 1)
            continue
        _check_numbers(column, table, i, where)
        if column.kind == BINARY:
            cells[:, i] = _zeros_and_ones(cells[:, i], where, unknown)
        cells[:, i] = column.warp.forward(cells[:, i])
    cells = ((cells - schema.shift) / schema.scale).clip(-FARTHEST, FARTHEST)
    scores = [
        normal_scores(schema.columns[i].knots, cells[:, i]) for i in schema.scored
    ]
    return np.column_stack([cells, *scores]) if scores else cells


def _check_numbers(column: Column, table: RawTable, i: int, where: str) -> None:
    """Refuse cells of column ``i`` that its kind does not have."""
    if i in table.labels and not np.isnan(table.values[:, i]).all():
        text = str(table.labels[i][0])
        raise ValueError(
            f"{where} was numeric in fit; got text or categories such as {text!r}. "
            "Convert it with pandas.to_numeric, or refit."
        )
    cells = table.values[:, i]
    cells = cells[~np.isnan(cells)]
    strange, expected = {
        POSITIVE: (cells <= 0.0, "log-normal in fit; expected positive numbers"),
        COUNT: (
            (cells < 0.0) | (cells != np.round(cells)),
            "a count in fit; expected integers >= 0",
        ),
    }.get(column.kind, (np.zeros(len(cells), dtype=bool), ""))
    if strange.any():
        raise ValueError(
            f"{where} was {expected} or NaN, got {cells[strange][0]:g}. Refit on rows "
            "that hold such values."
        )


def _zeros_and_ones(cells: Array, where: str, unknown: str) -> Array:
    """Cells of a column that was binary in ``fit``; others are missing."""
    strange = ~np.isin(cells, (0.0, 1.0)) & ~np.isnan(cells)
    if strange.any():
        _meet_unknown(np.unique(cells[strange]).tolist(), where, unknown)
    return np.where(strange, np.nan, cells)


def _positions(
    column: Column, table: RawTable, i: int, where: str, unknown: str
) -> Array:
    """Position of each cell among the categories of ``fit``; NaN where missing."""
    cells = table.values[:, i]
    seen = ~np.isnan(cells)
    distinct = np.unique(cells[seen])
    local = table.labels.get(i)
    found: Labels = tuple(
        float(v) if local is None else local[int(v)] for v in distinct
    )
    texts = {isinstance(label, str) for label in column.categories}
    if found and texts.isdisjoint({isinstance(label, str) for label in found}):
        kind = "text" if True in texts else "numbers"
        raise ValueError(
            f"{where} held {kind} in fit, such as {column.categories[0]!r}; got "
            f"{found[0]!r}. Convert it, or refit."
        )
    place = {label: float(j) for j, label in enumerate(column.categories)}
    strange = [label for label in found if label not in place]
    if strange:
        _meet_unknown(strange, where, unknown)
    positions = np.full(len(cells), np.nan)
    codes = np.array([place.get(label, np.nan) for label in found])
    positions[seen] = codes[np.searchsorted(distinct, cells[seen])]
    return positions


def _meet_unknown(labels: list, where: str, unknown: str) -> None:  # type: ignore[type-arg]
    # codes are floats inside: 7 is not to be shown as 7.0, nor 1234567 as 1.23e6
    cells = [
        int(cell) if isinstance(cell, float) and cell.is_integer() else cell
        for cell in labels[:5]
    ]
    shown = ", ".join(map(repr, cells))
    more = f" and {len(labels) - 5} more" if len(labels) > 5 else ""
    message = f"{where} has categories that fit has not seen: {shown}{more}."
    if unknown == "error":
        raise ValueError(
            f"{message} Set handle_unknown='warn' to take them as missing."
        )
    if unknown == "warn":
        warn(
            f"{message} The model takes them for missing; where rows are completed, "
            "the cells themselves stay.",
            UserWarning,
        )


def decode_array(schema: Schema, values: Array) -> Array:
    """Return cells (..., D) to the units of ``fit``; codes stay, rounded."""
    out = values * schema.scale + schema.shift
    for i in schema.of_kind(*NUMERIC):
        out[..., i] = schema.columns[i].warp.inverse(out[..., i])
    for i in schema.of_kind(BINARY, *DISCRETE):
        out[..., i] = np.round(out[..., i])
    return out


def decode(
    schema: Schema,
    values: Array,
    index: pd.Index | None = None,
    rng: np.random.Generator | None = None,
    within: bool = False,
) -> Rows:
    """Return encoded rows (N, D) as ``fit`` saw them: DataFrame or array.

    With ``rng`` they are draws: of rare categories that share a code it picks one, and
    a value of a column whose values recur becomes the nearest of them. Without it they
    are expectations, and the category is the most frequent. A constant stays one.
    ``within`` puts numbers beyond all that ``fit`` has seen at the nearest of those.
    """
    cells = decode_array(schema, values)
    if within:
        for i in schema.of_kind(*NUMERIC):
            cells[..., i] = cells[..., i].clip(*schema.columns[i].span)
    columns = {
        column.name: _restore(column, cells[:, i], rng)
        for i, column in enumerate(schema.columns)
    }
    if schema.is_frame:
        frame = pd.DataFrame(columns)
        return frame if index is None else frame.set_axis(index)
    if schema.of_kind(*DISCRETE) and any(c.dtype == "object" for c in schema.columns):
        out = np.empty(cells.shape, dtype=object)
        for i, column in enumerate(columns.values()):
            out[:, i] = np.asarray(column, dtype=object)
        return out
    cells = np.column_stack(
        [np.asarray(column, dtype=np.float64) for column in columns.values()]
    )
    dtype = np.result_type(*{np.dtype(column.dtype) for column in schema.columns})
    return cells.astype(np.float32 if dtype == np.float32 else np.float64)


def _restore(
    column: Column, cells: Array, rng: np.random.Generator | None
) -> pd.Series | pd.api.extensions.ExtensionArray:
    """Return one decoded column in the dtype of ``fit``."""
    if column.kind not in DISCRETE:
        drawn = column.lattice and (rng is not None or len(column.lattice) == 1)
        return _as_dtype(_nearest(column, cells) if drawn else cells, column.dtype)
    positions = cells.astype(int)
    if column.pooled and rng is not None:
        shared = positions == column.n_codes - 1
        rare = rng.choice(len(column.pooled), size=int(shared.sum()), p=column.pooled)
        positions[shared] += rare
    labels = pd.Series(column.categories, dtype=object).take(positions)
    if column.levels is not None:
        dtype = pd.CategoricalDtype(list(column.levels.values), column.levels.ordered)
        return pd.Categorical(labels, dtype=dtype)
    if isinstance(column.categories[0], str):
        text = pd.api.types.pandas_dtype(column.dtype)
        return pd.Series(labels.to_numpy(), dtype=text)
    return _as_dtype(labels.to_numpy(dtype=np.float64), column.dtype)


def _nearest(column: Column, cells: Array) -> Array:
    """Return the nearest value of the lattice for each cell."""
    values = np.array(column.lattice)
    middles = 0.5 * (values[1:] + values[:-1])
    return values[np.searchsorted(middles, cells)]


def _as_dtype(cells: Array, dtype: str) -> pd.api.extensions.ExtensionArray:
    target = pd.api.types.pandas_dtype(dtype)
    series = pd.Series(cells)
    if pd.api.types.is_bool_dtype(target):
        return (series >= 0.5).astype(target).array
    if pd.api.types.is_integer_dtype(target):
        info = np.iinfo(target.type)
        # float(2**63 - 1) is 2**63, one too many: the float below it is the largest
        largest = min(float(info.max), np.nextafter(float(info.max) + 1, 0))
        series = series.round().clip(float(info.min), largest)
    return series.astype(target).array


def fill(table: RawTable, completed: Rows) -> Rows:
    """Copy ``table`` with its missing cells from ``completed``.

    Observed cells are returned bit for bit.
    """
    missing = np.isnan(table.values)
    if table.frame is None and not isinstance(completed, pd.DataFrame):
        dtype = object if completed.dtype == object else table.dtypes[0]
        return np.where(missing, completed, seen_array(table)).astype(dtype)
    rows = pd.DataFrame(completed)
    out = rows.copy() if table.frame is None else table.frame.copy()
    for i, label in enumerate(out.columns):
        column = out.iloc[:, i]
        if table.frame is None:
            seen = (
                pd.Series(seen_array(table)[:, i]).astype(column.dtype).array
                if i in table.labels
                else _as_dtype(table.values[:, i], str(column.dtype))
            )
            out[label] = column.where(missing[:, i], seen)
        elif missing[:, i].any():
            out[label] = _filled(column, missing[:, i], rows.iloc[:, i])
    return out


def _filled(
    column: pd.Series, missing: NDArray[np.bool_], completed: pd.Series
) -> pd.Series:
    """Fill a column: in the dtype of ``fit`` where that holds its cells, or its own."""
    completed = completed.set_axis(column.index)
    seen = column[~missing]
    if holds(completed.dtype, seen):
        cells = completed.astype(object)
        cells[~missing] = seen.astype(object)
        return cells.astype(completed.dtype)
    if isinstance(column.dtype, pd.CategoricalDtype):
        labels = pd.Index(completed[missing].unique())
        new = labels.difference(column.cat.categories, sort=False)
        column = column.cat.add_categories(new)
        return column.mask(missing, completed.astype(column.dtype))
    if pd.api.types.is_numeric_dtype(completed.dtype):
        numbers = completed.to_numpy(dtype=np.float64)
        return column.mask(missing, _as_dtype(numbers, str(column.dtype)))
    return column.mask(missing, completed.astype(column.dtype))


def holds(dtype: Any, seen: pd.Series) -> bool:
    """Whether cells keep their values when they become ``dtype``."""
    if len(seen) == 0 or seen.dtype == dtype:
        return True
    if isinstance(dtype, pd.CategoricalDtype):
        return bool(seen.isin(dtype.categories).all())
    if isinstance(seen.dtype, pd.CategoricalDtype):
        return False
    try:
        return bool((seen.astype(dtype).astype(object) == seen.astype(object)).all())
    except (TypeError, ValueError, OverflowError):
        return False


def seen_array(table: RawTable) -> NDArray[np.generic]:
    """Cells of a table that was an array, as they stood in it."""
    return table.values if table.objects is None else table.objects


def log_scale(schema: Schema, table: RawTable) -> Array:
    """Log Jacobian of each cell's encoding: (N, D), 0 where missing or discrete.

    log p(x) in original units is the encoded log density minus this. For categories
    that share a code it is minus the log of the share that each has of it.
    """
    jacobian = np.zeros(table.values.shape)
    for i in schema.of_kind(CONTINUOUS, POSITIVE):  # a count has a mass in any units
        column = schema.columns[i]
        slope = column.warp.log_slope(table.values[:, i])
        jacobian[:, i] = np.log(column.scale) - slope
    for i, column in enumerate(schema.columns):
        if column.pooled:
            where = f"column {column.name!r}"
            positions = _positions(column, table, i, where, "ignore")
            rare = np.nan_to_num(positions - (column.n_codes - 1), nan=-1.0).astype(int)
            share = np.log(column.pooled)[np.clip(rare, 0, None)]
            jacobian[:, i] = np.where(rare >= 0, -share, 0.0)
    return np.where(np.isnan(table.values), 0.0, jacobian)
