"""New rows of a table: how like the real ones they are, and what they are good for.

Run ``python -m benchmarks.synthesis --data DIR`` (see ``--help``) in an environment
that has sdmetrics, and ctgan for the peers of that name; they are not among skvae's
extras, since both hold pandas back. The tables go to standard output and to
``benchmarks/results/synthesis.json`` and ``.md``.
"""

import argparse
import sys
import time
import warnings
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from benchmarks import command, report
from benchmarks.data import data_folder, read_table
from benchmarks.environment import describe
from benchmarks.peers.synthesisers import MAKERS, categories

SETS = ("adult", "california_housing")
TEST_SHARE = 0.25
MORE = 8  # times as many new rows: the most that TabDDPM's search may take


@dataclass(frozen=True)
class Row:
    """One method on one set and seed; errors are 1 - score, 0 is best."""

    set: str
    method: str
    seed: int
    training_rows: int
    shapes: float
    trends: float
    real: float  # AUROC or R² on real test rows, trained on real rows
    synthetic: float  # trained on as many new rows
    more: float  # trained on MORE times as many
    copies: float  # share of new rows nearer to a training row than to a test row
    seconds: float


FIGURES = {  # of a row, and how they are shown
    "shapes": ".1%",
    "trends": ".1%",
    "real": ".3f",
    "synthetic": ".3f",
    "more": ".3f",
    "copies": ".1%",
    "seconds": ".0f",
}


def load(folder: Path, name: str, n_rows: int) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Rows without holes, at most ``n_rows`` drawn with seed 0, the target last."""
    table, about = read_table(folder, name)
    table = table.dropna()
    target = table.pop(about["target"])
    table[about["target"]] = target
    order = np.random.default_rng(0).permutation(len(table))[:n_rows]
    return table.iloc[order].reset_index(drop=True), about


def likeness(real: pd.DataFrame, made: pd.DataFrame) -> tuple[float, float]:
    """Errors of column shapes and of pair trends by sdmetrics."""
    from sdmetrics.reports.single_table import QualityReport

    kinds = {
        c: {"sdtype": "categorical" if c in categories(real) else "numerical"}
        for c in real
    }
    quality = QualityReport()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quality.generate(real, made, {"columns": kinds}, verbose=False)
    scores = quality.get_properties().set_index("Property")["Score"]
    return 1.0 - scores["Column Shapes"], 1.0 - scores["Column Pair Trends"]


def usefulness(
    train: pd.DataFrame, test: pd.DataFrame, target: str, task: str
) -> float:
    """AUROC, or R², on ``test`` of gradient boosting fitted to ``train``."""
    text = categories(test)
    as_category = {
        c: pd.CategoricalDtype(sorted(set(train[c]) | set(test[c]))) for c in text
    }
    train, test = train.astype(as_category), test.astype(as_category)
    X, X_test = (t.drop(columns=target) for t in (train, test))
    if task == "regression":
        model = HistGradientBoostingRegressor(random_state=0).fit(X, train[target])
        return float(model.score(X_test, test[target]))
    if train[target].nunique() < 2:
        return 0.5
    classifier = HistGradientBoostingClassifier(random_state=0).fit(X, train[target])
    chance = classifier.predict_proba(X_test)[:, 1]
    return float(roc_auc_score(test[target] == classifier.classes_[1], chance))


def copies(train: pd.DataFrame, test: pd.DataFrame, made: pd.DataFrame) -> float:
    """Share of new rows nearer to a training row than to one of as many test rows.

    0.5 where nothing is copied; Euclidean distance of standardised columns, categories
    as indicators.
    """
    n = min(len(train), len(test), len(made))
    parts = [train.head(n), test.head(n), made.head(n)]
    encoded = pd.get_dummies(pd.concat(parts), columns=categories(train), dtype=float)
    scaled = encoded / encoded.head(n).std().replace(0.0, 1.0)
    blocks = np.split(scaled.to_numpy(), [n, 2 * n])
    near = [
        NearestNeighbors(n_neighbors=1).fit(b).kneighbors(blocks[2])[0][:, 0]
        for b in blocks[:2]
    ]
    return float(np.mean((near[0] < near[1]) + 0.5 * (near[0] == near[1])))


def run_one(
    name: str,
    table: pd.DataFrame,
    about: dict[str, Any],
    method: str,
    seed: int,
    options: dict[str, Any],
) -> Row:
    """Make rows from one random part of a table and compare them with the rest."""
    order = np.random.default_rng(seed).permutation(len(table))
    n_test = round(TEST_SHARE * len(table))
    test, train = (
        table.iloc[rows].reset_index(drop=True)
        for rows in (order[:n_test], order[n_test:])
    )
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = MAKERS[method](train, seed, options)
        made = source(len(train))
        seconds = time.perf_counter() - started
        many = source(MORE * len(train))
    shapes, trends = likeness(train, made)
    target, task = about["target"], about["task"]
    return Row(
        set=name,
        method=method,
        seed=seed,
        training_rows=len(train),
        shapes=shapes,
        trends=trends,
        real=usefulness(train, test, target, task),
        synthetic=usefulness(made, test, target, task),
        more=usefulness(many, test, target, task),
        copies=copies(train, test, made),
        seconds=seconds,
    )


def table_of(rows: list[Row]) -> str:
    """One line a set and method: means over the seeds."""
    header = ["set", "method", "seeds", "shapes error", "pair trends error"]
    header += ["trained on real", "on as many new", f"on {MORE} times as many"]
    header += ["nearer to training rows", "seconds"]
    lines = []
    for name, method in dict.fromkeys((row.set, row.method) for row in rows):
        mine = [asdict(r) for r in rows if (r.set, r.method) == (name, method)]
        mean = {key: float(np.mean([row[key] for row in mine])) for key in FIGURES}
        line = [name, method, str(len(mine))]
        line += [f"{mean[key]:{shown}}" for key, shown in FIGURES.items()]
        lines.append(line)
    return report.markdown(header, lines)


def page(rows: list[Row], about: dict[str, Any]) -> str:
    """Markdown page: the table, then how it came about."""
    return f"""# New rows

{table_of(rows)}

Errors are 1 minus sdmetrics' Column Shapes and Column Pair Trends against the training
rows. "Trained on": AUROC (adult) or R² (california_housing) on real test rows of
gradient boosting, fitted to real or to new rows; {MORE} times as many are the most
that the search of Kotelnikov et al. (2023, TabDDPM) may take. "Nearer to training
rows": share of new rows whose nearest training row is nearer than the nearest of as
many test rows; 50 % where nothing is copied. A quarter of the rows, drawn anew with
each seed, is the test.

{report.method_list(about)}

{report.provenance(about)}"""


def in_one_line(text: str | None) -> str:
    """Words of a docstring."""
    return " ".join((text or "").split())


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = command.make_parser("synthesis", __doc__)
    command.add_data(parser)
    parser.add_argument("--sets", nargs="+", default=list(SETS), metavar="SET")
    parser.add_argument("--methods", nargs="+", default=list(MAKERS), choices=MAKERS)
    parser.add_argument("--rows", type=int, default=50_000, help="of a table, at most")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--jobs", type=int, default=1, help="fits at a time")
    command.add_overrides(parser)
    parser.add_argument("--name", default="synthesis", help="of the result files")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> None:
    """Run the benchmark; print and store the table."""
    options = parse_arguments(arguments)
    folder, changed = data_folder(options.data), dict(options.overrides)
    about: dict[str, Any] = {
        "command": command.shown_command("synthesis", arguments, {"DIR": options.data}),
        "seed": 0,
        "parameters": changed,
        "jobs": options.jobs,
        "methods": {m: in_one_line(MAKERS[m].__doc__) for m in options.methods},
        **describe(),
    }
    about["versions"] |= {"sdmetrics": version("sdmetrics")}
    work = [
        delayed(run_one)(name, *load(folder, name, options.rows), method, seed, changed)
        for name in options.sets
        for method in options.methods
        for seed in range(options.seeds)
    ]
    rows: list[Row] = []
    for row in Parallel(n_jobs=options.jobs, return_as="generator")(work):
        rows.append(row)
        print(f"{row.set:<20} {row.method:<16} {row.shapes:.3f} {row.trends:.3f}")
        report.write(options.name, about, rows, page(rows, about))
    print(f"\n{table_of(rows)}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (FileNotFoundError, ModuleNotFoundError) as error:
        sys.exit(str(error))
