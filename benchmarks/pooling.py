"""Regression on multiply imputed tables, pooled by Rubin's rules; the truth is known.

Run ``python -m benchmarks.pooling`` (see ``--help``). Two correlated normal features
and a target linear in them; the linear imputer is the model that the tables come from,
and so the best that can be had. The table goes to standard output and to
``benchmarks/results/pooling.json`` and ``.md``.
"""

import argparse
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from scipy import special, stats
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer

from benchmarks import command, report
from benchmarks.environment import describe
from skvae import VAEImputer

Array = NDArray[np.float64]

N_ROWS = 600
COEFFICIENTS = (1.0, -0.5)
CORRELATION = 0.6  # of the features
NOISE = 0.5
N_IMPUTATIONS = 20
COVERAGE = 0.95


@dataclass(frozen=True)
class Row:
    """Pooled coefficients of one table, their standard errors and intervals."""

    holes: str
    method: str
    seed: int
    estimate: list[float]
    error: list[float]
    low: list[float]
    high: list[float]


# -- tables --------------------------------------------------------------------------


def draw(n_rows: int, rng: np.random.Generator) -> Array:
    """Columns x1, x2 and y = x1 - 0.5 x2 + noise."""
    x = rng.multivariate_normal([0, 0], [[1, CORRELATION], [CORRELATION, 1]], n_rows)
    y = x @ np.array(COEFFICIENTS) + NOISE * rng.normal(size=n_rows)
    return np.column_stack([x, y])


def anywhere(table: Array, rng: np.random.Generator) -> Array:
    """Remove 30 % of all cells."""
    return np.where(rng.random(table.shape) < 0.3, np.nan, table)


def by_target(table: Array, rng: np.random.Generator) -> Array:
    """Remove x2, the likelier the larger y is: half of its cells."""
    y = table[:, 2]
    table = table.copy()
    chance = special.expit(2.0 * (y - y.mean()) / y.std())
    table[rng.random(len(y)) < chance, 1] = np.nan
    return table


HOLES: dict[str, Callable[[Array, np.random.Generator], Array]] = {
    "30 % anywhere": anywhere,
    "x2, by the size of y": by_target,
}

# -- methods: a table with holes, and without, to completed ones -----------------------


def no_holes(holes: Array, whole: Array, seed: int) -> list[Array]:
    """Return the table before cells were removed."""
    return [whole]


def complete_cases(holes: Array, whole: Array, seed: int) -> list[Array]:
    """Keep the rows without holes."""
    return [holes[~np.isnan(holes).any(axis=1)]]


def linear(holes: Array, whole: Array, seed: int) -> list[Array]:
    """Draw by `IterativeImputer(sample_posterior=True)`, a fit for each imputation."""
    seeds = np.random.default_rng(seed).integers(2**31, size=N_IMPUTATIONS)
    return [
        IterativeImputer(sample_posterior=True, random_state=int(s)).fit_transform(
            holes
        )
        for s in seeds
    ]


def skvae(holes: Array, whole: Array, seed: int) -> list[Array]:
    """Draw by `VAEImputer` with the library's defaults, one fit."""
    imputer = VAEImputer(random_state=seed).fit(holes)
    return imputer.impute(holes, N_IMPUTATIONS, random_state=seed)


METHODS: dict[str, Callable[[Array, Array, int], list[Array]]] = {
    "no-holes": no_holes,
    "complete-cases": complete_cases,
    "linear": linear,
    "skvae": skvae,
}


# -- pooling -------------------------------------------------------------------------


def regression(table: Array) -> tuple[Array, Array]:
    """Least squares of the last column on the others: coefficients and variances."""
    design = np.column_stack([np.ones(len(table)), table[:, :-1]])
    coefficients, squares, *_ = np.linalg.lstsq(design, table[:, -1])
    freedom = len(table) - design.shape[1]
    inverse = np.linalg.inv(design.T @ design)
    return coefficients[1:], squares[0] / freedom * np.diag(inverse)[1:]


def pool(tables: list[Array]) -> dict[str, list[float]]:
    """Rubin (1987), Multiple imputation for nonresponse in surveys, eq. 3.1.2-3.1.8."""
    fits = [regression(table) for table in tables]
    estimates, variances = (np.array(part) for part in zip(*fits, strict=True))
    estimate, within, n = estimates.mean(axis=0), variances.mean(axis=0), len(tables)
    between = (1 + 1 / n) * estimates.var(axis=0, ddof=1) if n > 1 else 0.0 * within
    with np.errstate(divide="ignore"):
        freedom = (n - 1) * (1 + within / between) ** 2 if n > 1 else np.inf
    error = np.sqrt(within + between)
    half = stats.t.ppf((1 + COVERAGE) / 2, freedom) * error
    parts = {
        "estimate": estimate,
        "error": error,
        "low": estimate - half,
        "high": estimate + half,
    }
    return {name: part.tolist() for name, part in parts.items()}


def run_one(name: str, method: str, seed: int) -> Row:
    """Draw a table, remove cells, complete it, fit and pool."""
    rng = np.random.default_rng(seed)
    whole = draw(N_ROWS, rng)
    holes = HOLES[name](whole, rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tables = METHODS[method](holes, whole, seed)
    return Row(name, method, seed, **pool(tables))


# -- the page ------------------------------------------------------------------------


def table_of(rows: list[Row]) -> str:
    """One line a mechanism and method: mean ± standard error over the tables."""
    header = ["holes", "method", "tables"]
    for i, truth in enumerate(COEFFICIENTS, start=1):
        header += [f"x{i} ({truth:g})", "95 % interval covers"]
    lines = []
    for name, method in dict.fromkeys((row.holes, row.method) for row in rows):
        mine = [row for row in rows if (row.holes, row.method) == (name, method)]
        line = [name, method, str(len(mine))]
        for i, truth in enumerate(COEFFICIENTS):
            values = np.array([row.estimate[i] for row in mine])
            error = report.standard_error(values)
            line.append(
                report.in_words({"mean": values.mean(), "standard_error": error})
            )
            covered = np.mean([row.low[i] <= truth <= row.high[i] for row in mine])
            line.append(f"{covered:.2f}")
        lines.append(line)
    return report.markdown(header, lines)


def page(rows: list[Row], about: dict[str, Any]) -> str:
    """Markdown page: the table, then how it came about."""
    return f"""# Regression on completed tables

{table_of(rows)}

Coefficients of y on x1 and x2, {N_ROWS} rows, pooled over {N_IMPUTATIONS} imputations;
the truth in brackets; mean ± standard error over the tables. All methods of a seed have
the same table and holes. "linear" assumes what is true of these tables.

{report.method_list(about)}

{report.provenance(about)}"""


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = command.make_parser("pooling", __doc__)
    parser.add_argument("--tables", type=int, default=20, help="how many")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--jobs", type=int, default=1, help="tables at a time")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> None:
    """Run the benchmark; print and store the table."""
    options = parse_arguments(arguments)
    about: dict[str, Any] = {
        "command": command.shown_command("pooling", arguments, {}),
        "seed": 0,
        "parameters": {},
        "jobs": options.jobs,
        "methods": {m: METHODS[m].__doc__ for m in options.methods},
        **describe(),
    }
    work = [
        delayed(run_one)(name, method, seed)
        for name in HOLES
        for method in options.methods
        for seed in range(options.tables)
    ]
    rows: list[Row] = []
    for row in Parallel(n_jobs=options.jobs, return_as="generator")(work):
        rows.append(row)
        report.write("pooling", about, rows, page(rows, about))
    print(table_of(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
