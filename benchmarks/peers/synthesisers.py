"""Makers of rows to compare with: a table in, as many new rows out.

Tables have no holes; text columns are categories.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm
from sklearn.neighbors import NearestNeighbors

from skvae import VAETransformer

N_NEIGHBOURS = 5
Maker = Callable[[pd.DataFrame, int, dict[str, Any]], pd.DataFrame]


def categories(table: pd.DataFrame) -> list[str]:
    """Names of the columns of text."""
    return [c for c in table if not pd.api.types.is_numeric_dtype(table[c])]


def skvae_rows(table: pd.DataFrame, seed: int, options: dict[str, Any]) -> pd.DataFrame:
    """`VAETransformer` with the library's defaults, and what ``--set`` changes."""
    model = VAETransformer(random_state=seed, **options).fit(table)
    return model.sample(len(table), random_state=seed)


def mixture_prior_rows(
    table: pd.DataFrame, seed: int, options: dict[str, Any]
) -> pd.DataFrame:
    """`VAETransformer(prior="mixture")`, the rest as in the library."""
    return skvae_rows(table, seed, {"prior": "mixture"} | options)


def autoregressive_rows(
    table: pd.DataFrame, seed: int, options: dict[str, Any]
) -> pd.DataFrame:
    """`VAETransformer(decoder="autoregressive")`, the rest as in the library."""
    return skvae_rows(table, seed, {"decoder": "autoregressive"} | options)


def longer_rows(
    table: pd.DataFrame, seed: int, options: dict[str, Any]
) -> pd.DataFrame:
    """`skvae-autoregressive` with `early_stopping=False`: all rows, longer."""
    return autoregressive_rows(table, seed, {"early_stopping": False} | options)


def copula_rows(table: pd.DataFrame, seed: int, _: dict[str, Any]) -> pd.DataFrame:
    """Gaussian copula: empirical marginals, categories as intervals; own code."""
    rng = np.random.default_rng(seed)
    ordered = {c: np.sort(table[c].to_numpy()) for c in table}
    scores = {}
    for column in table:
        left = np.searchsorted(ordered[column], table[column], side="left")
        right = np.searchsorted(ordered[column], table[column], side="right")
        place = rng.uniform(left, right) / len(table)  # ties are spread at random
        scores[column] = norm.ppf(np.clip(place, 1e-6, 1 - 1e-6))
    correlation = np.corrcoef(np.column_stack(list(scores.values())), rowvar=False)
    draws = rng.multivariate_normal(np.zeros(len(correlation)), correlation, len(table))
    rank = np.minimum((norm.cdf(draws) * len(table)).astype(int), len(table) - 1)
    return pd.DataFrame({c: ordered[c][rank[:, i]] for i, c in enumerate(table)})


def smote_rows(table: pd.DataFrame, seed: int, _: dict[str, Any]) -> pd.DataFrame:
    """SMOTE's interpolation (Chawla et al. 2002) of random rows; own code.

    A point on the way from a row to one of its 5 nearest neighbours; categories of
    whichever of both is nearer.
    """
    rng = np.random.default_rng(seed)
    encoded = pd.get_dummies(table, columns=categories(table), dtype=float)
    scaled = (encoded - encoded.mean()) / encoded.std().replace(0.0, 1.0)
    search = NearestNeighbors(n_neighbors=N_NEIGHBOURS + 1).fit(scaled)
    near = search.kneighbors(scaled, return_distance=False)[:, 1:]
    row = rng.integers(len(table), size=len(table))
    other = near[row, rng.integers(N_NEIGHBOURS, size=len(table))]
    way = rng.random(len(table))
    made = {}
    for column in table:
        begin, end = (table[column].to_numpy()[rows] for rows in (row, other))
        if column in categories(table):
            made[column] = np.where(way < 0.5, begin, end)
        else:
            between = begin + way * (end - begin)
            whole = pd.api.types.is_integer_dtype(table[column])
            made[column] = np.round(between) if whole else between
    return pd.DataFrame(made).astype(table.dtypes)


def ctgan_rows(name: str) -> Maker:
    """Make a maker from a class of the package ctgan."""

    def rows(table: pd.DataFrame, seed: int, _: dict[str, Any]) -> pd.DataFrame:
        import ctgan
        import torch

        np.random.seed(seed)  # noqa: NPY002 - it has no seed of its own
        torch.manual_seed(seed)
        model = getattr(ctgan, name)()
        model.fit(table, discrete_columns=categories(table))
        return model.sample(len(table))

    rows.__doc__ = f"ctgan.{name} with its defaults, 300 epochs."
    return rows


MAKERS: dict[str, Maker] = {
    "skvae": skvae_rows,
    "skvae-mixture-prior": mixture_prior_rows,
    "skvae-autoregressive": autoregressive_rows,
    "skvae-autoregressive-longer": longer_rows,
    "gaussian-copula": copula_rows,
    "smote": smote_rows,
    "tvae": ctgan_rows("TVAE"),
    "ctgan": ctgan_rows("CTGAN"),
}
