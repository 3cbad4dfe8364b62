"""Makers of rows to compare with: a table in, a source of new rows out.

Tables have no holes; text columns are categories.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm
from sklearn.neighbors import NearestNeighbors

from skvae import VAETransformer

N_NEIGHBOURS = 5
Source = Callable[[int], pd.DataFrame]  # how many rows, to rows
Maker = Callable[[pd.DataFrame, int, dict[str, Any]], Source]


def categories(table: pd.DataFrame) -> list[str]:
    """Names of the columns of text."""
    return [c for c in table if not pd.api.types.is_numeric_dtype(table[c])]


def skvae_rows(table: pd.DataFrame, seed: int, options: dict[str, Any]) -> Source:
    """`VAETransformer` with the library's defaults, and what ``--set`` changes."""
    model = VAETransformer(random_state=seed, **options).fit(table)
    return partial(model.sample, random_state=seed)


def mixture_prior_rows(
    table: pd.DataFrame, seed: int, options: dict[str, Any]
) -> Source:
    """`VAETransformer(prior="mixture")`, the rest as in the library."""
    return skvae_rows(table, seed, {"prior": "mixture"} | options)


def autoregressive_rows(
    table: pd.DataFrame, seed: int, options: dict[str, Any]
) -> Source:
    """`VAETransformer(decoder="autoregressive")`, the rest as in the library."""
    return skvae_rows(table, seed, {"decoder": "autoregressive"} | options)


def copula_rows(table: pd.DataFrame, seed: int, _: dict[str, Any]) -> Source:
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

    def rows(n_rows: int) -> pd.DataFrame:
        draws = rng.multivariate_normal(np.zeros(len(correlation)), correlation, n_rows)
        rank = np.minimum((norm.cdf(draws) * len(table)).astype(int), len(table) - 1)
        return pd.DataFrame({c: ordered[c][rank[:, i]] for i, c in enumerate(table)})

    return rows


def smote_rows(table: pd.DataFrame, seed: int, _: dict[str, Any]) -> Source:
    """SMOTE's interpolation (Chawla et al. 2002) of random rows; own code.

    A point on the way from a row to one of its 5 nearest neighbours; categories of
    whichever of both is nearer.
    """
    rng = np.random.default_rng(seed)
    encoded = pd.get_dummies(table, columns=categories(table), dtype=float)
    scaled = (encoded - encoded.mean()) / encoded.std().replace(0.0, 1.0)
    search = NearestNeighbors(n_neighbors=N_NEIGHBOURS + 1).fit(scaled)
    near = search.kneighbors(scaled, return_distance=False)[:, 1:]

    def rows(n_rows: int) -> pd.DataFrame:
        row = rng.integers(len(table), size=n_rows)
        other = near[row, rng.integers(N_NEIGHBOURS, size=n_rows)]
        way = rng.random(n_rows)
        made = {}
        for column in table:
            begin, end = (table[column].to_numpy()[place] for place in (row, other))
            if column in categories(table):
                made[column] = np.where(way < 0.5, begin, end)
            else:
                between = begin + way * (end - begin)
                whole = pd.api.types.is_integer_dtype(table[column])
                made[column] = np.round(between) if whole else between
        return pd.DataFrame(made).astype(table.dtypes)

    return rows


def ctgan_rows(name: str) -> Maker:
    """Make a maker from a class of the package ctgan."""

    def maker(table: pd.DataFrame, seed: int, _: dict[str, Any]) -> Source:
        import ctgan
        import torch

        np.random.seed(seed)  # noqa: NPY002 - it has no seed of its own
        torch.manual_seed(seed)
        model = getattr(ctgan, name)()
        model.fit(table, discrete_columns=categories(table))
        return model.sample

    maker.__doc__ = f"ctgan.{name} with its defaults, 300 epochs."
    return maker


MAKERS: dict[str, Maker] = {
    "skvae": skvae_rows,
    "skvae-mixture-prior": mixture_prior_rows,
    "skvae-autoregressive": autoregressive_rows,
    "gaussian-copula": copula_rows,
    "smote": smote_rows,
    "tvae": ctgan_rows("TVAE"),
    "ctgan": ctgan_rows("CTGAN"),
}
