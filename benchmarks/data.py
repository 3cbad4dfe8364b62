"""Benchmark data: a folder of npz files in; tables and published splits out.

Layout: ``DIR/uci/NAME.npz`` with ``X`` (n, d), ``y`` (n,) and ``test``, one row of
packed bits per split that marks its test rows.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

VARIABLE = "SKVAE_DATA"


@dataclass(frozen=True)
class RegressionSet:
    """Features (n, d), target (n,) and the row numbers of each (train, test) split."""

    X: NDArray[np.float64]
    y: NDArray[np.float64]
    splits: list[tuple[NDArray[np.intp], NDArray[np.intp]]]


def data_folder(given: str | None = None) -> Path:
    """Folder of the benchmark data: ``given``, else what ``SKVAE_DATA`` names.

    Raises
    ------
    FileNotFoundError
        If neither is there, or it has no folder ``uci``.
    """
    name = given or os.environ.get(VARIABLE)
    if not name:
        raise FileNotFoundError(
            f"No benchmark data: give their folder as --data DIR or in {VARIABLE}."
        )
    folder = Path(name)
    if not (folder / "uci").is_dir():
        raise FileNotFoundError(
            f"{folder} has no folder 'uci' of npz files: --data (or {VARIABLE}) must "
            "name the folder above it."
        )
    return folder


def load_uci(folder: Path, name: str) -> RegressionSet:
    """Read one set with its PBP splits (Hernández-Lobato & Adams 2015).

    Raises
    ------
    FileNotFoundError
        If there is no such set; the message lists those that are there.
    """
    path = folder / "uci" / f"{name}.npz"
    if not path.is_file():
        there = sorted(file.stem for file in path.parent.glob("*.npz"))
        raise FileNotFoundError(f"No set {name!r} in {path.parent}; there are {there}.")
    with np.load(path) as arrays:
        X, y, packed = arrays["X"], arrays["y"], arrays["test"]
    is_test = np.unpackbits(packed, axis=1)[:, : len(y)].astype(bool)
    splits = [(np.flatnonzero(~rows), np.flatnonzero(rows)) for rows in is_test]
    return RegressionSet(X.astype(np.float64), y.astype(np.float64), splits)
