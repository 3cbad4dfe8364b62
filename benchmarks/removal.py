"""Tables to be completed: sets as DataFrames, rows split, cells removed by a rule."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit

from benchmarks.data import load_uci, read_table

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

MOST_ROWS = 2000  # of a set, drawn once with seed 0
TRAINING_SHARE = 0.8
COMPLETE_SHARE = 0.3  # of the columns under "mar", drawn for each seed
STEEPNESS = 2.0  # standard deviation of the log-odds of being removed

UCI = ("concrete", "energy", "yacht", "wine-quality-red", "kin8nm")
TABLES = (
    "breast_wdbc",
    "wine_white",
    "banknote",
    "california_housing",
    "letter",
    "titanic",
    "penguins",
    "adult",
    "diamonds",
)
SETS = (*UCI, *TABLES)


@dataclass(frozen=True)
class Task:
    """Rows to learn from and to complete; NaN where missing or removed."""

    train: pd.DataFrame
    test: pd.DataFrame
    truth: pd.DataFrame  # of the test rows
    removed: Mask  # of the test rows: the cells to be scored
    scale: pd.Series  # training standard deviations of the numeric columns

    @property
    def numeric(self) -> list[str]:
        """Names of the numeric columns."""
        return list(self.scale.index)

    @property
    def categorical(self) -> list[str]:
        """Names of the columns of text."""
        return [name for name in self.truth if name not in self.scale.index]


def load_set(folder: Path, name: str) -> pd.DataFrame:
    """Features and the target of a regression, numbers as floats, categories as text.

    At most ``MOST_ROWS`` rows. Class labels are left out.
    """
    if name in UCI:
        data = load_uci(folder, name)
        cells = np.column_stack([data.X, data.y])
        table = pd.DataFrame(cells).rename(columns=lambda i: f"x{i}")
    else:
        table, about = read_table(folder, name)
        numeric = [*about["numeric"]]
        if about["task"] == "regression" and about["target"] not in numeric:
            numeric.append(about["target"])
        texts = {c: table[c].astype("string") for c in about["categorical"]}
        table = table.assign(**texts)[[*numeric, *texts]]
        table = table.astype(dict.fromkeys(numeric, "float64"))
        table = table.astype(dict.fromkeys(texts, object))
        table = table.where(table.notna(), np.nan)
    kept = np.random.default_rng(0).permutation(len(table))[:MOST_ROWS]
    return table.iloc[kept].reset_index(drop=True)


def make_task(table: pd.DataFrame, mechanism: str, rate: float, seed: int) -> Task:
    """Split the rows and remove cells of both parts."""
    rng = np.random.default_rng(seed)
    removed = MECHANISMS[mechanism](_standardised(table, rng), rate, rng)
    removed &= table.notna().to_numpy()
    order = rng.permutation(len(table))
    n_train = round(TRAINING_SHARE * len(table))
    train, test = order[:n_train], order[n_train:]
    holes = table.mask(removed)
    numeric = table.select_dtypes("number")
    return Task(
        holes.iloc[train].reset_index(drop=True),
        holes.iloc[test].reset_index(drop=True),
        table.iloc[test].reset_index(drop=True),
        removed[test],
        numeric.iloc[train].std(ddof=0),
    )


def _standardised(table: pd.DataFrame, rng: np.random.Generator) -> Array:
    """Columns of mean 0 and variance 1; categories by numbers drawn for each."""
    columns = []
    for name in table:
        cells = table[name]
        if not pd.api.types.is_numeric_dtype(cells):
            codes, labels = pd.factorize(cells)
            numbers = np.append(rng.permutation(len(labels)).astype(float), np.nan)
            cells = pd.Series(numbers[codes])
        spread = cells.std(ddof=0)
        columns.append(((cells - cells.mean()) / spread).fillna(0.0).to_numpy())
    return np.column_stack(columns)


def mcar(cells: Array, rate: float, rng: np.random.Generator) -> Mask:
    """Remove every cell with the same probability."""
    return rng.random(cells.shape) < rate


def mar(cells: Array, rate: float, rng: np.random.Generator) -> Mask:
    """Remove by a logistic rule on other columns, which stay complete.

    0.3 of the columns stay; each of the others has log-odds linear in them, with
    normal coefficients, of standard deviation 2.
    """
    n_columns = cells.shape[1]
    n_complete = max(1, round(COMPLETE_SHARE * n_columns))
    complete = rng.permutation(n_columns)[:n_complete]
    logits = cells[:, complete] @ rng.normal(size=(n_complete, n_columns))
    removed = _remove(logits, rate, rng)
    removed[:, complete] = False
    return removed


def mnar(cells: Array, rate: float, rng: np.random.Generator) -> Mask:
    """Remove by a logistic rule on the cell itself: large values, or small ones.

    Which of the two is drawn for each column; log-odds of standard deviation 2.
    """
    return _remove(cells * rng.choice([-1.0, 1.0], size=cells.shape[1]), rate, rng)


def _remove(logits: Array, rate: float, rng: np.random.Generator) -> Mask:
    """Draw with log-odds of the spread wanted, shifted so that ``rate`` are removed."""
    spread = logits.std(axis=0)
    logits = STEEPNESS * logits / np.where(spread > 0, spread, 1.0)
    for j in range(logits.shape[1]):
        column = logits[:, j].copy()
        logits[:, j] += brentq(lambda b, c=column: expit(c + b).mean() - rate, -50, 50)
    return rng.random(logits.shape) < expit(logits)


MECHANISMS: dict[str, Callable[[Array, float, np.random.Generator], Mask]] = {
    "mcar": mcar,
    "mar": mar,
    "mnar": mnar,
}
