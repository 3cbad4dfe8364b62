"""Columns that need no model to be completed: empty ones, and those of one value."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skvae._table.codec import Rows, holds, seen_array
from skvae._table.reading import RawTable
from skvae._table.schema import differing, location_and_scale

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

TEXT_FILLER = "missing_value"  # of a column of text without a value


@dataclass(frozen=True)
class Plan:
    """How each column of a table gets its missing cells, by position.

    ``modelled`` columns get them from a model, those of ``fillers`` a constant each;
    ``dropped`` ones do not come out at all. ``dtypes`` are those of complete columns.
    """

    modelled: tuple[int, ...]
    fillers: dict[int, Hashable]
    dropped: tuple[int, ...]
    dtypes: tuple[str, ...]

    @property
    def kept(self) -> list[int]:
        """Positions of the columns that come out."""
        return sorted([*self.modelled, *self.fillers])


def learn_plan(table: RawTable, weight: Array, keep_empty: bool) -> Plan:
    """Tell columns that vary from those that are empty or constant.

    Raises
    ------
    ValueError
        If a column has values that differ, but by too little to be told apart.
    """
    modelled, fillers, dropped, constants = [], {}, [], []
    for i in range(table.values.shape[1]):
        seen = ~np.isnan(table.values[:, i])
        if not seen.any():
            if keep_empty:
                fillers[i] = _filler(table, i)
            else:
                dropped.append(i)
        elif _varies(table, i, weight[seen]):
            modelled.append(i)
        else:
            fillers[i] = _constant(table, i, int(seen.argmax()))
            constants.append(i)
    alike = differing(constants, table.values)
    if alike:
        raise ValueError(
            f"X column {[table.names[i] for i in alike]} has values that differ by no "
            "more than 1e-12 of their size; expected a constant, or values that can "
            "be told apart. Subtract an offset, or leave it out."
        )
    return Plan(tuple(modelled), fillers, tuple(dropped), table.dtypes)


def _constant(table: RawTable, i: int, row: int) -> Hashable:
    """Return the cell of a row as it stood in the table."""
    if table.frame is not None:
        return table.frame.iloc[row, i]
    cell = table.values[row, i]
    return table.labels[i][int(cell)] if i in table.labels else float(cell)


def _varies(table: RawTable, i: int, weight: Array) -> bool:
    cells = table.values[~np.isnan(table.values[:, i]), i]
    if len(np.unique(cells)) < 2:
        return False
    return i in table.labels or location_and_scale(cells, weight)[1] > 0.0


def _filler(table: RawTable, i: int) -> Hashable:
    """Return what stands for the cells of a column that has none: 0, or a text."""
    if i in table.levels:
        levels = table.levels[i].values
        return levels[0] if levels else TEXT_FILLER
    return TEXT_FILLER if i in table.labels or "str" in table.dtypes[i] else 0.0


def take_columns(table: RawTable, chosen: Sequence[int]) -> pd.DataFrame:
    """Columns of ``table`` as a DataFrame of its names and dtypes."""
    if table.frame is not None:
        return table.frame.iloc[:, list(chosen)]
    columns = {}
    for i in chosen:
        cells = table.values[:, i]
        if i in table.labels:
            labels = np.array([*table.labels[i], None], dtype=object)
            cells = labels[np.where(np.isnan(cells), -1, cells).astype(int)]
        elif table.dtypes[i] != "object":
            cells = cells.astype(table.dtypes[i])
        columns[table.names[i]] = cells
    return pd.DataFrame(columns, index=range(len(table.values)))


def complete(table: RawTable, plan: Plan, completed: pd.DataFrame | None) -> Rows:
    """Copy the kept columns of ``table`` without holes; observed cells bit for bit.

    ``completed`` are the modelled columns.
    """
    place = {i: j for j, i in enumerate(plan.modelled)}
    missing = np.isnan(table.values)
    if table.frame is not None:
        columns = {}
        for i in plan.kept:
            column = table.frame.iloc[:, i]
            if i in place:
                assert completed is not None
                column = completed.iloc[:, place[i]]
            elif missing[:, i].any():
                filler, dtype = plan.fillers[i], plan.dtypes[i]
                column = _filled(column, missing[:, i], filler, dtype)
            columns[table.names[i]] = column
        return pd.DataFrame(columns, index=table.frame.index)
    fills: dict[int, Any] = {}
    for i in plan.kept:
        if i in place:
            assert completed is not None
            fills[i] = completed.iloc[:, place[i]].to_numpy()[missing[:, i]]
        elif missing[:, i].any():
            fills[i] = np.array(plan.fillers[i])
    # rows without text may get some
    has_text = any(fill.dtype.kind in "OU" for fill in fills.values())
    cells: NDArray[Any] = seen_array(table)
    cells = cells.astype(object if has_text else table.dtypes[0])
    for i, fill in fills.items():
        cells[missing[:, i], i] = fill
    return cells[:, plan.kept]


def _filled(
    column: pd.Series, missing: Mask, filler: Hashable, dtype: str
) -> pd.Series:
    """Put ``filler`` into the missing cells; ``dtype`` is that of a complete column.

    Gaps had made objects or floats of booleans and integers.
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        if filler not in column.cat.categories:
            column = column.cat.add_categories([filler])
    elif pd.api.types.is_bool_dtype(column.dtype):
        filler = bool(filler)
    elif pd.api.types.is_integer_dtype(column.dtype):
        whole = int(filler)  # type: ignore[call-overload]
        if whole != filler:  # the constant of ``fit`` had decimals
            column = column.astype("Float64")
        else:
            filler = whole
    filled = column.mask(missing, filler)
    if dtype == "bool" or dtype.startswith(("int", "uint")):
        plain = np.dtype(dtype)
        return filled.astype(plain) if holds(plain, filled) else filled
    return filled


def append_indicators(rows: Rows, indicators: Mask, names: Sequence[str]) -> Rows:
    """Put 0/1 columns that tell where cells were missing beside completed rows.

    ``names`` are those of all columns, text throughout: scikit-learn does not take
    numbers beside the names of indicators.
    """
    if isinstance(rows, pd.DataFrame):
        added = pd.DataFrame(indicators, index=rows.index)
        both = pd.concat([rows, added], axis=1)
        return both.set_axis(list(names), axis=1)
    return np.hstack([rows, indicators.astype(rows.dtype)])
