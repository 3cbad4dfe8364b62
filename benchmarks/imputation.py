"""Imputation: complete rows that were not in the fit, beside other imputers.

Run ``python -m benchmarks.imputation --data DIR`` (see ``--help``). Methods learn from
80 % of the rows and complete the rest; cells are removed from both. The error of
numeric cells is in training standard deviations. The library's defaults, one setting
for all sets. The tables go to standard output and, with every single run, to
``benchmarks/results/imputation.json`` and ``.md``.
"""

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from benchmarks import command, report
from benchmarks.data import data_folder
from benchmarks.environment import describe
from benchmarks.imputers import ELSEWHERE, METHODS, Skvae
from benchmarks.measure import fresh_context
from benchmarks.peers.elsewhere import how_to_give, versions_there
from benchmarks.removal import MECHANISMS, SETS, Task, load_set, make_task
from skvae import VAEImputer

SETTINGS = ("mcar-10", "mcar-30", "mcar-50", "mar-30", "mnar-30")
N_SEEDS = 1
N_DRAWS = 100
COVERAGE = 0.9

# -- one fit -------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """What one method gave on one task.

    ``rmse`` in training standard deviations over removed numeric cells, ``accuracy``
    over removed categories, ``coverage`` of 90 % intervals of drawn numeric cells.
    """

    set: str
    setting: str
    method: str
    seed: int
    training_rows: int
    rmse: float
    accuracy: float | None
    coverage: float | None
    fit_seconds: float
    transform_seconds: float


def run(
    name: str,
    table: pd.DataFrame,
    setting: str,
    method: str,
    seed: int,
    parameters: dict[str, Any],
) -> Row:
    """Fit one method to the training rows of one task and score what it completes.

    A method in another process has measured its seconds itself.
    """
    mechanism, rate = setting.split("-")
    task = make_task(table, mechanism, int(rate) / 100, seed)
    model = METHODS[method].make(seed, parameters)
    started = time.perf_counter()
    model.fit(task.train)
    fitted = time.perf_counter()
    completed = model.complete(task.test)
    ended = time.perf_counter()
    seconds = getattr(model, "seconds", (fitted - started, ended - fitted))
    drawn = model.draws(task.test, N_DRAWS, seed) if isinstance(model, Skvae) else None
    return Row(
        set=name,
        setting=setting,
        method=method,
        seed=seed,
        training_rows=len(task.train),
        rmse=rmse(task, completed),
        accuracy=accuracy(task, completed),
        coverage=None if drawn is None else coverage(task, drawn),
        fit_seconds=seconds[0],
        transform_seconds=seconds[1],
    )


def removed_numbers(task: Task, table: pd.DataFrame) -> np.ndarray:
    """Cut the removed numeric cells, in training standard deviations."""
    numeric = [table.columns.get_loc(n) for n in task.numeric]
    scaled = (table[task.numeric] / task.scale.replace(0.0, 1.0)).to_numpy(np.float64)
    return scaled[task.removed[:, numeric]]


def rmse(task: Task, completed: pd.DataFrame) -> float:
    """Root mean squared error over the removed numeric cells."""
    error = removed_numbers(task, completed) - removed_numbers(task, task.truth)
    return float(np.sqrt(np.mean(error**2)))


def accuracy(task: Task, completed: pd.DataFrame) -> float | None:
    """Share of the removed categories that are right; None without any."""
    names = task.categorical
    removed = task.removed[:, [completed.columns.get_loc(n) for n in names]]
    if not removed.any():
        return None
    right = completed[names].to_numpy(object) == task.truth[names].to_numpy(object)
    return float(right[removed].mean())


def coverage(task: Task, drawn: list[pd.DataFrame]) -> float:
    """Share of the removed numeric cells between the 5 % and 95 % points of draws.

    By their rank among the draws. Where draws equal the cell, as in columns of a few
    values, it is spread evenly over their ranks: an interval of such values holds more
    than nine of ten cells however right it is.
    """
    cells = np.stack([removed_numbers(task, table) for table in drawn])
    truth = removed_numbers(task, task.truth)
    n_ranks = len(cells) + 1
    low = (cells < truth).sum(axis=0) / n_ranks
    high = ((cells <= truth).sum(axis=0) + 1) / n_ranks
    tails = (1 - COVERAGE) / 2
    inside = np.minimum(high, 1 - tails) - np.maximum(low, tails)
    return float(np.mean(inside.clip(min=0) / (high - low)))


def run_alone(*arguments: object) -> Row:
    """`run` in a process of its own, on one thread."""
    with ProcessPoolExecutor(1, mp_context=fresh_context()) as pool:
        return pool.submit(run, *arguments).result()


# -- tables --------------------------------------------------------------------------


def means(rows: list[Row], setting: str, measure: str) -> pd.DataFrame:
    """Mean over seeds, sets by methods; empty columns where nobody has a figure."""
    mine = pd.DataFrame([vars(row) for row in rows if row.setting == setting])
    mine = mine.astype({measure: float})
    table = mine.pivot_table(measure, "set", "method", sort=False, dropna=False)
    return table.reindex(columns=[m for m in METHODS if m in table])


def by_set(rows: list[Row], setting: str, measure: str) -> str:
    """Return a line a set, a column a method, the best bold."""
    table = means(rows, setting, measure).dropna(how="all")
    best = table.min(axis=1) if measure == "rmse" else table.max(axis=1)
    lines = [
        [str(name)]
        + [
            "" if np.isnan(v) else f"**{v:.3f}**" if v == best[name] else f"{v:.3f}"
            for v in values
        ]
        for name, values in table.iterrows()
    ]
    return report.markdown(["set", *table.columns], lines)


def summary(rows: list[Row], setting: str) -> pd.DataFrame:
    """Means and mean ranks over the sets that every method has completed."""
    errors = means(rows, setting, "rmse").dropna()
    right = means(rows, setting, "accuracy").dropna()
    ranks = rankdata(errors, axis=1).mean(axis=0)
    table = pd.DataFrame({"rmse": errors.mean(), "rank": ranks})
    table["accuracy"] = right.mean()
    if "skvae" in errors:
        wins = errors.lt(errors["skvae"], axis=0).sum()
        table["skvae better on"] = (len(errors) - wins).astype(int).astype(str)
        table["skvae better on"] += f" of {len(errors)}"
        table.loc["skvae", "skvae better on"] = ""
        cover = means(rows, setting, "coverage")["skvae"]
        table.loc["skvae", "coverage"] = cover.mean()
    seconds = means(rows, setting, "fit_seconds").loc[errors.index]
    table["fit, s"] = seconds.mean()
    return table


def overview(rows: list[Row], setting: str) -> str:
    """Return a line a method: means over sets."""
    table = summary(rows, setting)
    lines = [
        [str(name)]
        + [
            v if isinstance(v, str) else "" if np.isnan(v) else f"{v:.3f}"
            for v in values
        ]
        for name, values in table.iterrows()
    ]
    return report.markdown(["method", *map(str, table.columns)], lines)


def tables(rows: list[Row]) -> str:
    """All tables, setting by setting."""
    parts = []
    for setting in dict.fromkeys(row.setting for row in rows):
        parts.append(f"## {setting.upper()} %\n\n{overview(rows, setting)}")
        parts.append(f"RMSE by set:\n\n{by_set(rows, setting, 'rmse')}")
        if not means(rows, setting, "accuracy").isna().all(axis=None):
            shown = by_set(rows, setting, "accuracy")
            parts.append(f"Accuracy by set:\n\n{shown}")
        if any(row.coverage is not None for row in rows):
            cover = means(rows, setting, "coverage").get("skvae", pd.Series())
            text = ", ".join(f"{n} {v:.3f}" for n, v in cover.dropna().items())
            parts.append(f"90 % intervals of {N_DRAWS} draws cover: {text}.")
    return "\n\n".join(parts)


def page(rows: list[Row], about: dict[str, Any]) -> str:
    """Markdown page: the tables, then how they came about."""
    rules = "\n".join(
        f"- {name}: {' '.join((rule.__doc__ or '').split())}"
        for name, rule in MECHANISMS.items()
    )
    return f"""# Imputation of unseen rows

{tables(rows)}

RMSE over removed numeric cells of the 20 % of rows that were not in the fit, in
training standard deviations; accuracy over removed categorical cells; mean over seeds,
then over the sets that all methods have completed. Rank by RMSE, 1 is best. Features
and the target of regressions, no class labels; at most 2000 rows of a set, drawn with
seed 0. Cells that are missing by nature stay missing and are not scored.

How cells were removed:

{rules}

One setting for all sets, nothing tuned. For scikit-learn's imputers numeric columns are
standardised; categories are codes by frequency, rounded, for the iterative ones, whose
rounds 0/1 columns that are missing together would hold where they start, and 0/1
columns (the ten most frequent values and the rest) for the others.

{report.method_list(about)}

{report.provenance(about)}"""


# -- the command line ----------------------------------------------------------------


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = command.make_parser("imputation", __doc__)
    command.add_data(parser)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument(
        "--settings", nargs="+", default=list(SETTINGS), metavar="MECHANISM-PERCENT"
    )
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=list(METHODS),
        help="default: all, but those of other environments only with their python",
    )
    for method in ELSEWHERE:
        parser.add_argument(
            f"--{method}-python",
            metavar="PATH",
            help=f"python of an environment that has {method}",
        )
    parser.add_argument("--seeds", type=int, default=N_SEEDS, help="how many")
    command.add_overrides(parser)
    parser.add_argument("--name", help="of the results")
    options = parser.parse_args(arguments)
    unknown = [name for name, python in pythons(options).items() if python is None]
    if options.methods is None:
        options.methods = [name for name in METHODS if name not in unknown]
    for method in unknown:
        if method in options.methods:
            parser.error(how_to_give(method))
    return options


def pythons(options: argparse.Namespace) -> dict[str, str | None]:
    """Paths that were given, for each method that needs one."""
    return {name: getattr(options, f"{name}_python") for name in ELSEWHERE}


def main(arguments: list[str]) -> None:
    """Run the benchmark; print and store the tables."""
    options = parse_arguments(arguments)
    folder, parameters = data_folder(options.data), dict(options.overrides)
    stem = command.file_stem(["imputation", *([options.name] if options.name else [])])
    paths = pythons(options)
    hidden = {f"{name.upper()}_PYTHON": path for name, path in paths.items()}
    about: dict[str, Any] = {
        "command": command.shown_command(
            "imputation", arguments, {"DIR": options.data, **hidden}
        ),
        "seed": f"0 to {options.seeds - 1}",
        "parameters": parameters,
        "all_parameters": VAEImputer(**parameters).get_params(),
        "jobs": 1,
        "methods": {name: METHODS[name].about for name in options.methods},
        **describe(),
    }
    about["versions"] = versions_elsewhere(options) | about["versions"]
    loaded = {name: load_set(folder, name) for name in options.sets}
    rows: list[Row] = []
    for setting in options.settings:
        for name, table in loaded.items():
            for seed in range(options.seeds):
                for method in options.methods:
                    elsewhere = {"python": paths[method]} if method in paths else None
                    given = elsewhere or parameters
                    row = run_alone(name, table, setting, method, seed, given)
                    rows.append(row)
                    print(line(row), flush=True)
            report.write(stem, about, rows, page(rows, about))
    print(f"\n{tables(rows)}\n\nstored: {stem}.json, {stem}.md")


def versions_elsewhere(options: argparse.Namespace) -> dict[str, str]:
    """Each method of another environment with its version and what it stands on."""
    versions = {}
    for method, python in pythons(options).items():
        if python is None or method not in options.methods:
            continue
        found = versions_there(method, python)
        own = found.pop(method)
        rest = ", ".join(f"{package} {known}" for package, known in found.items())
        versions[method] = f"{own} ({rest})"
    return versions


def line(row: Row) -> str:
    """One run in words."""
    figures = {"rmse": row.rmse, "accuracy": row.accuracy, "coverage": row.coverage}
    shown = "  ".join(f"{k} {v:.3f}" for k, v in figures.items() if v is not None)
    label = f"{row.setting:<8} {row.set:<19} {row.method:<11} seed {row.seed}"
    return f"{label}  {row.fit_seconds:6.1f} s  {shown}"


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (FileNotFoundError, ModuleNotFoundError) as error:
        sys.exit(str(error))
