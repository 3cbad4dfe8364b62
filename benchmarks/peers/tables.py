"""Tables of numbers and text between environments of different versions, as JSON.

Numbers come back to the last bit, text as it was, holes as ``NaN``, columns in order.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


def pack(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Columns as lists, ``None`` where a cell is missing; the index is left out."""
    columns = []
    for name in table:
        cells, numeric = table[name], pd.api.types.is_numeric_dtype(table[name])
        values = [
            None if hole else float(cell) if numeric else str(cell)
            for cell, hole in zip(cells, cells.isna(), strict=True)
        ]
        columns.append({"name": str(name), "numeric": numeric, "cells": values})
    return columns


def unpack(columns: list[dict[str, Any]]) -> pd.DataFrame:
    """Numbers as floats, text as objects, whatever the version of pandas."""
    return pd.DataFrame(
        {
            column["name"]: pd.Series(
                [np.nan if cell is None else cell for cell in column["cells"]],
                dtype="float64" if column["numeric"] else object,
            )
            for column in columns
        }
    )


def write(path: Path, tables: dict[str, pd.DataFrame], **more: object) -> None:
    """Write tables under their names, with what JSON can hold beside them."""
    packed = {name: pack(table) for name, table in tables.items()}
    path.write_text(json.dumps({"tables": packed, **more}), encoding="utf-8")


def read(path: Path) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    """Read tables and what was beside them."""
    content = json.loads(path.read_text(encoding="utf-8"))
    packed = content.pop("tables")
    return {name: unpack(columns) for name, columns in packed.items()}, content
