"""Few labels and many rows: accuracy beside scikit-learn's semi-supervised methods.

Run ``python -m benchmarks.semisupervised --data DIR`` (see ``--help``). Tables have
labels on a tenth of their training rows; MNIST, binarised, on ten images a digit, once
as pixels and once as latents of a ``VAETransformer`` fitted to the images without their
labels. The tables go to standard output and, with every single run, to
``benchmarks/results/semisupervised.json`` and ``.md``.
"""

import argparse
import sys
import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning

from benchmarks import command, report
from benchmarks.data import data_folder
from benchmarks.environment import describe
from benchmarks.labelling import IMAGES, METHODS, SETS, Task, make_task
from skvae import VAEClassifier

N_SEEDS = 2
OURS = "skvae"
TITLES = {
    "accuracy": "Accuracy on the test rows",
    "log_loss": "Log loss, nats",
    "fit_seconds": "Processor seconds of the fit",
}
SLOW = "self-training, boosting"  # of hundreds of columns


@dataclass(frozen=True)
class Row:
    """What one method gave on one task.

    ``log_loss`` in nats, ``fit_seconds`` of the processor, which others share.
    """

    set: str
    method: str
    seed: int
    training_rows: int
    labelled_rows: int
    accuracy: float
    log_loss: float
    fit_seconds: float


def run(
    name: str, task: Task, method: str, seed: int, parameters: dict[str, Any]
) -> Row:
    """Fit one method to the training rows of a task and score the test rows."""
    known = int((task.y >= 0).sum())
    chosen = METHODS[method]
    rows = task.labelled() if chosen.labelled_only else task
    model = chosen.make(seed, parameters, rows.X)
    started = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        # label spreading divides by 0 where no label reaches, and says so
        warnings.simplefilter("ignore", RuntimeWarning)
        model.fit(rows.X, rows.y)
        seconds = time.process_time() - started
        chances = np.nan_to_num(model.predict_proba(task.X_test))
    right = chances[np.arange(len(task.y_test)), task.y_test]
    return Row(
        set=name,
        method=method,
        seed=seed,
        training_rows=len(rows.X),
        labelled_rows=known,
        accuracy=float(np.mean(chances.argmax(axis=1) == task.y_test)),
        log_loss=float(-np.log(np.maximum(right, 1e-6)).mean()),
        fit_seconds=seconds,
    )


# -- tables --------------------------------------------------------------------------


def means(rows: list[Row], measure: str) -> pd.DataFrame:
    """Mean over seeds, sets by methods."""
    frame = pd.DataFrame([vars(row) for row in rows])
    table = frame.pivot_table(measure, "set", "method", sort=False)
    return table.reindex(columns=[m for m in METHODS if m in table])


def by_set(rows: list[Row], measure: str) -> str:
    """Return a line a set, a column a method, the best bold."""
    table = means(rows, measure)
    best = table.max(axis=1) if measure == "accuracy" else table.min(axis=1)
    lines = [
        [str(name)]
        + [
            "" if np.isnan(v) else f"**{v:.3f}**" if v == best[name] else f"{v:.3f}"
            for v in values
        ]
        for name, values in table.iterrows()
    ]
    return report.markdown(["set", *table.columns], lines)


def gains(rows: list[Row], measure: str) -> str:
    """Return what skvae has more than each other method, paired over seeds."""
    frame = pd.DataFrame([vars(row) for row in rows])
    table = frame.pivot_table(measure, ["set", "seed"], "method", sort=False)
    others = [m for m in METHODS if m in table and m != OURS]
    more = table[others].rsub(table[OURS], axis=0)
    lines = []
    for name, part in more.groupby(level="set", sort=False):
        cells = [part[m].dropna().to_numpy() for m in others]
        lines.append([str(name)] + [_paired(values) for values in cells])
    return report.markdown(["set", *others], lines)


def _paired(values: np.ndarray) -> str:
    if not len(values):
        return ""
    error = report.standard_error(values)
    return report.in_words({"mean": float(values.mean()), "standard_error": error})


def tables(rows: list[Row]) -> str:
    """All tables."""
    parts = []
    methods = {row.method for row in rows}
    compared = OURS in methods and len(methods) > 1
    for measure, title in TITLES.items():
        parts.append(f"{title}:\n\n{by_set(rows, measure)}")
        if compared and measure != "fit_seconds":
            parts.append(f"skvae less each other method:\n\n{gains(rows, measure)}")
    return "\n\n".join(parts)


def page(rows: list[Row], about: dict[str, Any]) -> str:
    """Markdown page: the tables, then how they came about."""
    n_seeds = len({row.seed for row in rows})
    return f"""# Few labels, many rows

{tables(rows)}

Mean over {n_seeds} seed(s), which draw rows, labels and starting
weights; differences are paired, ± standard error over the seeds. Tables: at most 5000
rows, a fifth of them for testing, labels on a tenth of the training rows of each class
(two at least). MNIST: all training and test images, 0 and 1 by a threshold at one half,
ten labels a digit. `mnist-latents`: 16 latents of a `VAETransformer` fitted to all
training images without labels, the same for every method; the stacked model M1 + M2 of
Kingma et al. (2014) for skvae. Probabilities below 1e-6 count as that.

One setting for all sets, nothing tuned:

{report.method_list(about)}

{report.provenance(about)}"""


# -- the command line ----------------------------------------------------------------


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = command.make_parser("semisupervised", __doc__)
    command.add_data(parser)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    names = list(METHODS)
    parser.add_argument("--methods", nargs="+", default=names, choices=names)
    parser.add_argument("--seeds", type=int, default=N_SEEDS, help="how many")
    command.add_overrides(parser)
    parser.add_argument("--name", help="of the results")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> None:
    """Run the benchmark; print and store the tables."""
    options = parse_arguments(arguments)
    folder = data_folder(options.data, "tables")
    parameters = dict(options.overrides)
    stem = command.file_stem(
        ["semisupervised", *([options.name] if options.name else [])]
    )
    about: dict[str, Any] = {
        "command": command.shown_command(
            "semisupervised", arguments, {"DIR": options.data}
        ),
        "seed": f"0 to {options.seeds - 1}",
        "parameters": parameters,
        "all_parameters": VAEClassifier(**parameters).get_params(),
        "jobs": 1,
        "methods": {name: METHODS[name].about for name in options.methods},
        **describe(),
    }
    rows: list[Row] = []
    for name in options.sets:
        for seed in range(options.seeds):
            task = make_task(folder, name, seed)
            for method in options.methods:
                if name in IMAGES and method == SLOW:
                    continue
                row = run(name, task, method, seed, parameters)
                rows.append(row)
                print(line(row), flush=True)
        report.write(stem, about, rows, page(rows, about))
    print(f"\n{tables(rows)}\n\nstored: {stem}.json, {stem}.md")


def line(row: Row) -> str:
    """One run in words."""
    label = f"{row.set:<14} {row.method:<24} seed {row.seed}"
    figures = f"accuracy {row.accuracy:.3f}  log loss {row.log_loss:.3f}"
    return f"{label}  {row.fit_seconds:6.1f} s  {figures}"


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except FileNotFoundError as error:
        sys.exit(str(error))
