"""Methods that complete tables: each learns from one DataFrame and completes another.

For those of scikit-learn, which know numbers only, numeric columns are standardised.
Categories become codes by frequency, rounded back, for the iterative imputers: 0/1
columns of one category are missing together and sum to one, so that each round would
predict from the others what they already say. For the rest they become one 0/1 column
for each of the `MOST_LEVELS` most frequent values and one for all others; the largest
completed number, but for that one, gives the category back.

Those of `ELSEWHERE` run in environments of their own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

from benchmarks.peers.elsewhere import Elsewhere
from skvae import VAEImputer

Array = NDArray[np.float64]

MOST_LEVELS = 10
N_TREES = 50


class Method(Protocol):
    """What the benchmark asks of a method."""

    def fit(self, train: pd.DataFrame) -> None:
        """Learn from rows with holes."""

    def complete(self, test: pd.DataFrame) -> pd.DataFrame:
        """Return other rows without holes."""


class Skvae:
    """The library's imputer; ``draws`` gives multiple imputations."""

    def __init__(self, **parameters: Any) -> None:
        self.imputer = VAEImputer(**parameters)

    def fit(self, train: pd.DataFrame) -> None:
        """Learn from ``train``."""
        self.imputer.fit(train)

    def complete(self, test: pd.DataFrame) -> pd.DataFrame:
        """Fill in expected values and likeliest categories."""
        return self.imputer.transform(test)

    def draws(self, test: pd.DataFrame, n_draws: int, seed: int) -> list[pd.DataFrame]:
        """Draws of the missing cells."""
        return self.imputer.impute(test, n_draws, random_state=seed)


class Numbers:
    """An imputer of scikit-learn on standardised and coded columns."""

    def __init__(self, imputer: Any, one_hot: bool) -> None:
        self.imputer = imputer
        self.one_hot = one_hot

    def fit(self, train: pd.DataFrame) -> None:
        """Learn the coding and the imputer."""
        numeric = train.select_dtypes("number")
        self.mean, self.scale = numeric.mean(), numeric.std(ddof=0).replace(0.0, 1.0)
        self.levels = {
            name: np.array(train[name].value_counts().index, dtype=object)
            for name in train
            if name not in numeric
        }
        self.imputer.fit(self._coded(train))

    def _coded(self, table: pd.DataFrame) -> Array:
        names = self.mean.index
        parts = [((table[names] - self.mean) / self.scale).to_numpy(np.float64)]
        for name, levels in self.levels.items():
            codes = pd.Index(levels).get_indexer(table[name]).astype(float)
            codes[codes < 0] = np.nan
            parts.append(_one_hot(codes) if self.one_hot else codes[:, None])
        return np.hstack(parts)

    def complete(self, test: pd.DataFrame) -> pd.DataFrame:
        """Complete in the coding, and decode the missing cells."""
        coded = self.imputer.transform(self._coded(test))
        out = test.copy()
        names = self.mean.index
        numbers = coded[:, : len(names)] * self.scale.to_numpy() + self.mean.to_numpy()
        out[names] = test[names].fillna(
            pd.DataFrame(numbers, index=test.index, columns=names)
        )
        width = MOST_LEVELS + 1 if self.one_hot else 1
        for i, (name, levels) in enumerate(self.levels.items()):
            start = len(names) + i * width
            block = coded[:, start : start + width]
            if self.one_hot:
                codes = block[:, :-1].argmax(axis=1)
            else:
                codes = block[:, 0].round().astype(int)
            labels = levels[codes.clip(0, len(levels) - 1)]
            out[name] = test[name].where(test[name].notna(), labels)
        return out


def _one_hot(codes: Array) -> Array:
    """0/1 columns of the first codes and of the rest, ``NaN`` where missing."""
    columns = np.minimum(codes, MOST_LEVELS)[:, None] == np.arange(MOST_LEVELS + 1)
    return np.where(np.isnan(codes)[:, None], np.nan, columns.astype(float))


@dataclass(frozen=True)
class Entry:
    """How a method is made, in words and from a seed and keywords.

    The keywords are skvae's parameters, and ``python`` for a method in an environment
    of its own.
    """

    about: str
    make: Callable[[int, dict[str, Any]], Method]


METHODS = {
    "skvae": Entry(
        "VAEImputer, library defaults",
        lambda seed, given: Skvae(**{"random_state": seed} | given),
    ),
    "mean": Entry(
        "mean, most frequent category",
        lambda seed, given: Numbers(SimpleImputer(), True),
    ),
    "knn": Entry(
        "KNNImputer, 5 neighbours",
        lambda seed, given: Numbers(KNNImputer(), True),
    ),
    "ridge": Entry(
        "IterativeImputer, BayesianRidge, 10 rounds",
        lambda seed, given: Numbers(IterativeImputer(random_state=seed), False),
    ),
    "forest": Entry(
        f"IterativeImputer, ExtraTreesRegressor of {N_TREES} trees, 5 rounds, in the "
        "manner of missForest",
        lambda seed, given: Numbers(
            IterativeImputer(
                ExtraTreesRegressor(N_TREES, random_state=seed),
                max_iter=5,
                random_state=seed,
            ),
            False,
        ),
    ),
    "miceforest": Entry(
        "miceforest, chained forests of LightGBM, its defaults but 5 datasets of 5 "
        "iterations, numbers averaged, the most frequent of categories, which are "
        "drawn by their probability; with the iterations of new rows counted, which "
        "the package forgets",
        lambda seed, given: Elsewhere("miceforest", seed, given["python"]),
    ),
    "hyperimpute": Entry(
        "HyperImpute, its defaults: at most 40 iterations, a model a column chosen "
        "from linear ones, random forests, XGBoost and CatBoost; it cannot complete "
        "rows that were not in the fit, so that the rows to be completed, with their "
        "holes, are in the fit as well",
        lambda seed, given: Elsewhere("hyperimpute", seed, given["python"]),
    ),
}
ELSEWHERE = ("miceforest", "hyperimpute")
