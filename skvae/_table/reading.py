"""A user's table as named columns of floats or of labels, or a refusal by name."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from numbers import Number
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]
Labels = tuple[Hashable, ...]

# dtypes of integers that polars and pandas call the same
NULLABLE = {f"{sign}Int{size}" for sign in ("", "U") for size in (8, 16, 32, 64)}


@dataclass(frozen=True)
class Levels:
    """The categories that a pandas dtype declares, in its order."""

    values: Labels
    ordered: bool


@dataclass(frozen=True)
class RawTable:
    """Columns as floats with ``NaN`` for missing, beside what they were.

    A column of labels (text, categories) holds positions in its entry of ``labels``.
    """

    values: Array  # (N, D)
    names: tuple[Hashable, ...]
    dtypes: tuple[str, ...]
    frame: pd.DataFrame | None  # the frame itself; None: it was an array
    labels: Mapping[int, Labels] = field(default_factory=dict)
    levels: Mapping[int, Levels] = field(default_factory=dict)  # of pandas categories
    objects: NDArray[np.object_] | None = None  # the array itself, if it held objects


def is_frame(X: object) -> bool:
    """Whether ``X`` is a pandas DataFrame or another frame with named columns."""
    return isinstance(X, pd.DataFrame) or (
        hasattr(X, "columns") and hasattr(X, "dtypes")
    )


def with_names(X: object, names: NDArray[Any] | None) -> Any:
    """Give an array the ``names`` of its columns, or take those of a frame away."""
    if names is None:
        return np.asarray(X) if is_frame(X) else X
    return pd.DataFrame(X, columns=names) if isinstance(X, np.ndarray) else X


def read_frame(X: object, name: str = "X") -> RawTable:
    """Read a DataFrame of numbers, booleans, text and categories.

    Raises
    ------
    ValueError
        If a column name occurs twice, or a column holds dates, durations, complex
        numbers or objects that are neither numbers nor text.
    """
    frame = X if isinstance(X, pd.DataFrame) else _to_pandas(X)
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()].unique().tolist()
        raise ValueError(
            f"{name} has more than one column named {twice}; give each its own name."
        )
    columns = [frame.iloc[:, i] for i in range(frame.shape[1])]
    return _table(columns, tuple(frame.columns), frame, name)


def read_objects(X: object, name: str = "X") -> RawTable:
    """Read an array of objects: numbers, booleans and text, column by column.

    Raises
    ------
    ValueError
        As ``read_frame``.
    """
    cells = np.asarray(X, dtype=object)
    columns = [pd.Series(cells[:, i]).infer_objects() for i in range(cells.shape[1])]
    table = _table(columns, _names(cells.shape[1]), None, name)
    return replace(table, dtypes=("object",) * len(columns), objects=cells)


def read_array(values: Array, dtype: str) -> RawTable:
    """Name the columns of an array that is numeric already."""
    names = _names(values.shape[1])
    floats = np.asarray(values, dtype=np.float64)
    return RawTable(floats, names, (dtype,) * len(names), None)


def holds_text(X: object) -> bool:
    """Whether ``X`` is an array, or a list of rows, with text or missing-value marks.

    Raises
    ------
    ValueError
        If it holds dates or durations.
    """
    if not isinstance(X, np.ndarray | list | tuple | pd.Series):
        return False
    try:
        cells = np.asarray(X)
    except ValueError:  # ragged: left to scikit-learn's own message
        return False
    if cells.dtype.kind in "mM":
        raise ValueError(
            f"X must hold numbers or text; got dtype {cells.dtype}. Convert dates to "
            "numbers first, for example to days since a date."
        )
    if cells.dtype.kind not in "OUS":
        return False
    # bytes and dates are for the columns' own refusals; None is a missing value
    known = Number | np.bool_ | None
    return any(not isinstance(cell, known) for cell in cells.ravel())


def refuse_text(X: object, name: str) -> None:
    """Refuse targets of text or dates.

    Raises
    ------
    ValueError
        Naming the first cell, or the column of a frame, that is no number.
    """
    if isinstance(X, pd.Series | pd.Index):
        X = X.to_frame(name=name if X.name is None else X.name)
    if is_frame(X):
        _refuse_text_columns(X, name)
        return
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
    dates = [c for c in cells.ravel() if isinstance(c, date | timedelta | pd.Period)]
    if dates:
        raise ValueError(
            f"{name} must be numeric; it holds dates or durations such as {dates[0]!s}."
            " Convert them to numbers first, for example to days since a date."
        )
    text = [cell for cell in cells.ravel() if isinstance(cell, str | bytes)]
    if text:
        raise ValueError(
            f"{name} must be numeric; it holds text such as {str(text[0])!r}. Encode "
            "it first, or leave it out."
        )


def _refuse_text_columns(X: object, name: str) -> None:
    """Refuse a frame of targets with a column of text or dates."""
    frame = X if isinstance(X, pd.DataFrame) else _to_pandas(X)
    for column, dtype in zip(frame.columns, frame.dtypes, strict=True):
        if dtype.kind in "mM" or isinstance(dtype, pd.PeriodDtype):
            raise ValueError(
                f"{name} must be numeric; column {column!r} is of dtype {dtype}. "
                "Convert dates and durations to numbers first, for example to days "
                "since a date."
            )
    table = read_frame(frame, name)
    for i, labels in table.labels.items():
        word = next((label for label in labels if isinstance(label, str)), None)
        if word is not None:  # categories may be numbers
            raise ValueError(
                f"{name} must be numeric; column {table.names[i]!r} holds text such as "
                f"{word!r}. Encode it first, or leave it out."
            )


def check_finite(table: RawTable, name: str = "X") -> None:
    """Refuse infinite values, naming their columns; ``NaN`` is data."""
    infinite = np.isinf(table.values).any(axis=0)
    if infinite.any():
        columns = [table.names[i] for i in np.flatnonzero(infinite)]
        raise ValueError(
            f"{name} contains infinity in column {columns}; expected finite numbers, "
            "or NaN where a value is missing."
        )


def check_known(table: RawTable, name: str) -> None:
    """Refuse missing and infinite targets, naming their columns."""
    for what, wrong in (
        ("NaN", np.isnan(table.values)),
        ("infinity", np.isinf(table.values)),
    ):
        if wrong.any():
            columns = [table.names[i] for i in np.flatnonzero(wrong.any(axis=0))]
            raise ValueError(
                f"{name} contains {what} in column {columns}, first in row "
                f"{int(wrong.any(axis=1).argmax())}; expected a finite number in every "
                "row. Leave such rows out."
            )


def take_rows(table: RawTable, keep: NDArray[np.bool_]) -> RawTable:
    """Keep the rows of ``table`` where ``keep`` is True."""
    if keep.all():
        return table
    return replace(
        table,
        values=table.values[keep],
        frame=None if table.frame is None else table.frame[keep],
        objects=None if table.objects is None else table.objects[keep],
    )


def _names(n_columns: int) -> tuple[Hashable, ...]:
    return tuple(f"x{i}" for i in range(n_columns))


def _table(
    columns: list[pd.Series],
    names: tuple[Hashable, ...],
    frame: pd.DataFrame | None,
    name: str,
) -> RawTable:
    """Bring columns together; text and categories as positions among their labels."""
    labels: dict[int, Labels] = {}
    levels: dict[int, Levels] = {}
    values = []
    for i, series in enumerate(columns):
        if _is_numeric(series):
            values.append(series.to_numpy(dtype=np.float64, na_value=np.nan))
            continue
        if isinstance(series.dtype, pd.CategoricalDtype):
            dtype = series.dtype
            levels[i] = Levels(tuple(dtype.categories), bool(dtype.ordered))
            codes, labels[i] = series.cat.codes.to_numpy(), levels[i].values
        else:
            _refuse_strange(series, names[i], name)
            codes, distinct = pd.factorize(series, use_na_sentinel=True)
            labels[i] = tuple(distinct.tolist())
        values.append(np.where(codes < 0, np.nan, codes.astype(np.float64)))
    n_rows = len(columns[0]) if columns else 0 if frame is None else len(frame)
    return RawTable(
        np.stack(values, axis=1) if values else np.empty((n_rows, 0)),
        names,
        tuple(_dtype_of(series) for series in columns),
        frame,
        labels,
        levels,
    )


def _dtype_of(series: pd.Series) -> str:
    """Name the dtype that complete cells have: objects may be booleans with holes."""
    if pd.api.types.is_object_dtype(series.dtype):
        inferred = series.dropna().infer_objects().dtype
        if pd.api.types.is_numeric_dtype(inferred):  # booleans, too
            return str(inferred)
    return str(series.dtype)


def _refuse_strange(series: pd.Series, column: Hashable, name: str) -> None:
    """Refuse a column that is neither numeric nor of text, saying what to do."""
    dtype = series.dtype
    where = f"{name} column {column!r}"
    if pd.api.types.is_complex_dtype(dtype):
        raise ValueError(
            f"{where} has complex numbers ({dtype}), which are not supported; expected "
            "numbers, booleans, text or categories. Give real and imaginary part a "
            "column each."
        )
    if not (pd.api.types.is_object_dtype(dtype) or pd.api.types.is_string_dtype(dtype)):
        raise ValueError(
            f"{where} is of dtype {dtype}; expected numbers, booleans, text or "
            "categories. Convert dates and durations to numbers first, for example to "
            "days since a date, or leave the column out."
        )
    for cell in series[series.notna()]:
        if not isinstance(cell, str | bool | np.bool_ | int | float | np.number):
            raise ValueError(
                f"{where} holds {cell!r} of type {type(cell).__name__}; expected "
                "numbers, booleans or text. Spread nested objects and dates over "
                "columns of their own, or leave the column out."
            )
    kinds = {isinstance(cell, str) for cell in series[series.notna()]}
    if len(kinds) > 1:
        text = next(cell for cell in series if isinstance(cell, str))
        number = next(c for c in series[series.notna()] if not isinstance(c, str))
        raise ValueError(
            f"{where} mixes text such as {text!r} with numbers such as {number!r}; "
            "expected one or the other. Convert it with astype(str) to make all "
            "values categories, or with pandas.to_numeric to make them numbers."
        )


def _is_numeric(series: pd.Series) -> bool:
    dtype = series.dtype
    if pd.api.types.is_complex_dtype(dtype):
        return False
    if isinstance(dtype, pd.CategoricalDtype):
        return False
    if pd.api.types.is_object_dtype(dtype):
        seen = series[series.notna()]
        numbers = bool | np.bool_ | int | float | np.number
        return all(isinstance(c, numbers) for c in seen)
    return pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype)


def _to_pandas(X: object) -> pd.DataFrame:
    """Rebuild another library's frame (polars) column by column."""
    columns = list(X.columns)  # type: ignore[attr-defined]
    return pd.DataFrame({name: _to_series(X[name]) for name in columns})  # type: ignore[index]


def to_polars(frame: pd.DataFrame) -> Any:
    """Rebuild a frame in polars, which on its own asks pyarrow to do so."""
    import polars as pl

    columns = {}
    for i, name in enumerate(frame.columns):
        column = frame.iloc[:, i]
        kind = getattr(pl, str(column.dtype)) if str(column.dtype) in NULLABLE else None
        if isinstance(column.dtype, pd.CategoricalDtype) and column.cat.ordered:
            kind = pl.Enum([str(level) for level in column.cat.categories])
        cells: Any = column.to_numpy()
        if not isinstance(column.dtype, np.dtype) or column.dtype.kind not in "biuf":
            cells = column.astype(object).where(column.notna(), None).tolist()
        columns[str(name)] = pl.Series(cells, dtype=kind)
    return pl.DataFrame(columns)


def _to_series(column: Any) -> pd.Series:
    values = column.to_numpy()
    if values.ndim != 1:  # nested, and refused as such
        return pd.Series(column.to_list(), dtype=object)
    dtype = str(column.dtype)
    if values.dtype.kind == "f" and dtype in NULLABLE:  # integers with holes
        return pd.Series(column.to_list(), dtype=dtype)
    if dtype.startswith("Enum"):
        levels = pd.CategoricalDtype(list(column.dtype.categories), ordered=True)
        return pd.Series(column.to_list(), dtype=levels)
    if values.dtype != object:
        return pd.Series(values)
    # booleans with holes, text, and all that is refused later by its dtype
    return pd.Series(column.to_list()).convert_dtypes()
