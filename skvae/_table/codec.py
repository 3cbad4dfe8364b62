"""Encode a table by its schema, and decode arrays into the columns of ``fit``."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skvae._table.reading import RawTable
from skvae._table.schema import BINARY, CONTINUOUS, Schema
from skvae._table.scores import normal_scores

Array = NDArray[np.float64]
Rows = Array | pd.DataFrame  # rows as the user knows them


def encode(schema: Schema, table: RawTable, name: str = "X") -> Array:
    """Standardise numeric columns, check binary ones; append normal scores.

    (N, D), or (N, D + scored columns) where the schema has scores; NaN where missing.

    Raises
    ------
    ValueError
        If a binary column holds a value other than 0 and 1.
    """
    for i in schema.of_kind(BINARY):
        cells = table.values[:, i]
        strange = cells[~np.isnan(cells) & ~np.isin(cells, (0.0, 1.0))]
        if len(strange):
            raise ValueError(
                f"{name} column {schema.columns[i].name!r} was binary in fit; expected "
                f"0, 1 or NaN, got {strange[0]:g}. Refit on rows that hold such values."
            )
    cells = (table.values - schema.shift) / schema.scale
    scores = [
        normal_scores(schema.columns[i].knots, cells[:, i]) for i in schema.scored
    ]
    return np.column_stack([cells, *scores]) if scores else cells


def decode_array(schema: Schema, values: Array) -> Array:
    """Return cells (..., D) to the units of ``fit``; binary ones are rounded."""
    out = values * schema.scale + schema.shift
    for i in schema.of_kind(BINARY):
        out[..., i] = np.round(out[..., i])
    return out


def decode(schema: Schema, values: Array, index: pd.Index | None = None) -> Rows:
    """Return encoded rows (N, D) as ``fit`` saw them: DataFrame or array."""
    cells = decode_array(schema, values)
    if not schema.is_frame:
        dtype = np.result_type(*{np.dtype(column.dtype) for column in schema.columns})
        return cells.astype(np.float32 if dtype == np.float32 else np.float64)
    columns = {
        column.name: _as_dtype(cells[:, i], column.dtype)
        for i, column in enumerate(schema.columns)
    }
    return pd.DataFrame(columns, index=index)


def _as_dtype(cells: Array, dtype: str) -> pd.Series:
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
        return np.where(missing, completed, table.values).astype(table.dtypes[0])
    rows = pd.DataFrame(completed)
    out = rows.copy() if table.frame is None else table.frame.copy()
    for i, label in enumerate(out.columns):
        column = out.iloc[:, i]
        if table.frame is None:
            seen = _as_dtype(table.values[:, i], str(column.dtype))
            out[label] = column.where(missing[:, i], seen)
        elif missing[:, i].any():
            source = rows.iloc[:, i].astype(column.dtype)
            out[label] = column.mask(missing[:, i], source.array)
    return out


def log_scale(schema: Schema, table: RawTable) -> Array:
    """Log Jacobian of each cell's encoding: (N, D), 0 where missing or binary.

    log p(x) in original units is the encoded log density minus this.
    """
    continuous = np.zeros(len(schema.columns))
    numeric = list(schema.of_kind(CONTINUOUS))
    continuous[numeric] = np.log(schema.scale[numeric])
    return np.where(np.isnan(table.values), 0.0, continuous)
