"""A user's table as named float columns, or a refusal that names the column."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RawTable:
    """Columns as floats with ``NaN`` for missing, beside what they were."""

    values: Array  # (N, D)
    names: tuple[Hashable, ...]
    dtypes: tuple[str, ...]
    frame: pd.DataFrame | None  # the frame itself; None: it was an array


def is_frame(X: object) -> bool:
    """Whether ``X`` is a pandas DataFrame or another frame with named columns."""
    return isinstance(X, pd.DataFrame) or (
        hasattr(X, "columns") and hasattr(X, "dtypes")
    )


def read_frame(X: object, name: str = "X") -> RawTable:
    """Read a DataFrame whose columns are all numeric or boolean.

    Raises
    ------
    ValueError
        If a column name occurs twice, or a column holds anything else.
    """
    frame = X if isinstance(X, pd.DataFrame) else _to_pandas(X)
    names = list(frame.columns)
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()].unique().tolist()
        raise ValueError(
            f"{name} has more than one column named {twice}; give each its own name."
        )
    columns = [frame.iloc[:, i] for i in range(len(names))]
    refused = [
        f"{column!r} ({series.dtype})"
        for column, series in zip(names, columns, strict=True)
        if not _is_numeric(series)
    ]
    if refused:
        raise ValueError(
            f"{name} must have numeric or boolean columns; these are of another kind: "
            f"{', '.join(refused)}. Encode them first, for example with OrdinalEncoder "
            "or OneHotEncoder in a ColumnTransformer, or leave them out."
        )
    values = [s.to_numpy(dtype=np.float64, na_value=np.nan) for s in columns]
    return RawTable(
        np.stack(values, axis=1) if values else np.empty((len(frame), 0)),
        tuple(names),
        tuple(str(series.dtype) for series in columns),
        frame,
    )


def refuse_text(X: object, name: str = "X") -> None:
    """Refuse arrays of text or dates, naming the column.

    Raises
    ------
    ValueError
        If a cell is text, naming the column; if the array holds dates or durations.
    """
    if not isinstance(X, np.ndarray | list | tuple):
        return
    try:
        cells = np.asarray(X)
    except ValueError:  # ragged: left to scikit-learn's own message
        return
    if cells.dtype.kind in "mM":
        raise ValueError(
            f"{name} must be numeric; got dtype {cells.dtype}. Convert dates to "
            "numbers first, for example to days since a date."
        )
    if cells.dtype.kind not in "OUS":
        return
    columns = cells.reshape(len(cells), -1).T if cells.ndim else cells.reshape(1, 1)
    for i, column in enumerate(columns):
        text = [cell for cell in column if isinstance(cell, str | bytes)]
        if text:
            where = f"column 'x{i}'" if cells.ndim > 1 else "it"
            raise ValueError(
                f"{name} must be numeric; {where} holds text such as "
                f"{str(text[0])!r}. Encode it first, or leave it out."
            )


def read_array(values: Array, dtype: str) -> RawTable:
    """Name the columns of an array that is numeric already."""
    names = tuple(f"x{i}" for i in range(values.shape[1]))
    floats = np.asarray(values, dtype=np.float64)
    return RawTable(floats, names, (dtype,) * len(names), None)


def check_finite(table: RawTable, name: str = "X") -> None:
    """Refuse infinite values, naming their columns; ``NaN`` is data."""
    infinite = np.isinf(table.values).any(axis=0)
    if infinite.any():
        columns = [table.names[i] for i in np.flatnonzero(infinite)]
        raise ValueError(
            f"{name} contains infinity in column {columns}; expected finite numbers, "
            "or NaN where a value is missing."
        )


def _is_numeric(series: pd.Series) -> bool:
    dtype = series.dtype
    if pd.api.types.is_complex_dtype(dtype):
        return False
    return pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype)


def _to_pandas(X: object) -> pd.DataFrame:
    """Rebuild another library's frame (polars) column by column."""
    columns = list(X.columns)  # type: ignore[attr-defined]
    return pd.DataFrame({name: _to_series(X[name]) for name in columns})  # type: ignore[index]


def _to_series(column: Any) -> pd.Series:
    values = column.to_numpy()
    if values.dtype != object:
        return pd.Series(values)
    # booleans with holes, and all that is refused later by its dtype
    return pd.Series(column.to_list()).convert_dtypes()
