"""Benchmark data: a folder of npz files in; tables and published splits out.

Layout: ``DIR/uci/NAME.npz`` with ``X`` (n, d), ``y`` (n,) and ``test``, one row of
packed bits per split that marks its test rows; ``DIR/tables/NAME.csv.gz`` and what its
columns are in ``DIR/tables/META.json``; ``DIR/adbench/NAME.npz`` with ``X`` (n, d) and
``y`` (n,), 1 for an anomaly.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

VARIABLE = "SKVAE_DATA"


@dataclass(frozen=True)
class RegressionSet:
    """Features (n, d), targets (n,) or (n, o), row numbers of each (train, test).

    Features are a DataFrame where some of them are categories.
    """

    X: NDArray[np.float64] | pd.DataFrame
    y: NDArray[np.float64]
    splits: list[tuple[NDArray[np.intp], NDArray[np.intp]]]

    def features(self, rows: NDArray[np.intp]) -> NDArray[np.float64] | pd.DataFrame:
        """Features of some rows."""
        return self.X.iloc[rows] if isinstance(self.X, pd.DataFrame) else self.X[rows]


def data_folder(given: str | None = None, kind: str = "uci") -> Path:
    """Folder of the benchmark data: ``given``, else what ``SKVAE_DATA`` names.

    Raises
    ------
    FileNotFoundError
        If neither is there, or it has no folder ``kind``.
    """
    name = given or os.environ.get(VARIABLE)
    if not name:
        raise FileNotFoundError(
            f"No benchmark data: give their folder as --data DIR or in {VARIABLE}."
        )
    folder = Path(name)
    if not (folder / kind).is_dir():
        raise FileNotFoundError(
            f"{folder} has no folder {kind!r} of npz files: --data (or {VARIABLE}) "
            "must name the folder above it."
        )
    return folder


def load_uci(folder: Path, name: str) -> RegressionSet:
    """Read one set with its PBP splits (Hernández-Lobato & Adams 2015).

    Raises
    ------
    FileNotFoundError
        If there is no such set; the message lists those that are there.
    """
    path = _existing(folder / "uci", name)
    with np.load(path) as arrays:
        X, y, packed = arrays["X"], arrays["y"], arrays["test"]
    is_test = np.unpackbits(packed, axis=1)[:, : len(y)].astype(bool)
    splits = [(np.flatnonzero(~rows), np.flatnonzero(rows)) for rows in is_test]
    return RegressionSet(X.astype(np.float64), y.astype(np.float64), splits)


def anomaly_sets(folder: Path) -> list[str]:
    """Names of the sets with labelled anomalies."""
    return sorted(path.stem for path in (folder / "adbench").glob("*.npz"))


def load_anomalies(folder: Path, name: str) -> tuple[NDArray[np.float64], NDArray]:
    """Read rows (n, d) and whether each is an anomaly (n,).

    Raises
    ------
    FileNotFoundError
        If there is no such set; the message lists those that are there.
    """
    path = _existing(folder / "adbench", name)
    with np.load(path) as arrays:
        return arrays["X"].astype(np.float64), arrays["y"].ravel() == 1


def load_table(folder: Path, name: str, n_splits: int) -> RegressionSet:
    """Read a regression table: all features and its target, random 90/10 splits.

    A set of UCI stands for a table, where there is none of that name.

    Raises
    ------
    FileNotFoundError
        If there is neither; the message lists the sets that are there.
    """
    if not _table_path(folder, name).is_file():
        data = load_uci(folder, name)
        return RegressionSet(data.X, data.y, _splits(len(data.y), n_splits))
    table, about = read_table(folder, name)
    X = table[about["numeric"]].astype("float64")
    for column in about["categorical"]:
        X[column] = table[column].astype("category")
    y = table[about["target"]].to_numpy(np.float64)
    return RegressionSet(X, y, _splits(len(y), n_splits))


def read_table(folder: Path, name: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read a table as it is, and what its columns are; only empty cells are missing."""
    about = json.loads((folder / "tables" / "META.json").read_text())[name]
    path = _table_path(folder, name)
    return pd.read_csv(path, keep_default_na=False, na_values=[""]), about


def _table_path(folder: Path, name: str) -> Path:
    return folder / "tables" / f"{name}.csv.gz"


def load_halves(folder: Path, name: str, n_splits: int, n_rows: int) -> RegressionSet:
    """Read a table as a joint problem: the second half of its columns given the first.

    Numeric columns, the target of a regression last; rows without holes, at most
    ``n_rows`` of them drawn with seed 0; random 90/10 splits.
    """
    values = _numeric_columns(folder, name)
    values = values[~np.isnan(values).any(axis=1)]
    kept = np.random.default_rng(0).permutation(len(values))[:n_rows]
    values, half = values[kept], values.shape[1] // 2
    splits = _splits(len(values), n_splits)
    return RegressionSet(values[:, :half], values[:, half:], splits)


def _existing(folder: Path, name: str) -> Path:
    """Path of the set of that name; without one, an error that lists the others."""
    path = folder / f"{name}.npz"
    if not path.is_file():
        there = sorted(file.stem for file in folder.glob("*.npz"))
        raise FileNotFoundError(f"No set {name!r} in {folder}; there are {there}.")
    return path


def _splits(
    n_rows: int, n_splits: int
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Random splits of 90/10, the seed of each its number."""
    orders = [
        np.random.default_rng(seed).permutation(n_rows) for seed in range(n_splits)
    ]
    n_train = round(0.9 * n_rows)
    return [(order[:n_train], order[n_train:]) for order in orders]


def _numeric_columns(folder: Path, name: str) -> NDArray[np.float64]:
    """Columns of a table, where there is none of a set of anomalies or of UCI."""
    is_table = _table_path(folder, name).is_file()
    anomalies = folder / "adbench" / f"{name}.npz"
    if not is_table and anomalies.is_file():
        with np.load(anomalies) as arrays:
            return arrays["X"].astype(np.float64)
    if not is_table:
        data = load_uci(folder, name)
        return np.column_stack([data.X, data.y])
    table, about = read_table(folder, name)
    columns = [*about["numeric"]]
    target = [about["target"]] if about["task"] == "regression" else []
    columns += [column for column in target if column not in columns]
    return table[columns].to_numpy(np.float64)
