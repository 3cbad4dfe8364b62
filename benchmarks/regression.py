"""Probabilistic regression on UCI sets: the library's defaults on the PBP splits.

Run ``python -m benchmarks.regression --data DIR`` (see ``--help``). One setting for all
sets, nothing tuned per set. The table goes to standard output and, with every single
split, to ``benchmarks/results/regression-NAME.json`` and ``.md``.
"""

import argparse
import ast
import json
import math
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed

from benchmarks.data import RegressionSet, data_folder, load_uci
from benchmarks.environment import describe
from skvae import CVAERegressor

RESULTS = Path(__file__).parent / "results"
N_SPLITS = 20
COVERAGE = 0.9


@dataclass(frozen=True)
class Published:
    """Figures to compare with: root mean squared error and negative log-likelihood."""

    rmse: float
    nll: float
    target_rmse: float
    target_nll: float


# best of MC dropout, deep ensembles (Lakshminarayanan et al. 2017, table 1), CARD (Han
# et al. 2022, tables 2-4), NGBoost and WGBoost (its table 1), each column on its own
PUBLISHED = {
    "concrete": Published(4.15, 2.83, target_rmse=4.6, target_nll=2.80),
    "energy": Published(0.42, 0.53, target_rmse=0.46, target_nll=0.50),
    "kin8nm": Published(0.064, -1.31, target_rmse=0.068, target_nll=-1.31),
    "wine-quality-red": Published(0.61, 0.87, target_rmse=0.62, target_nll=0.87),
    "yacht": Published(0.48, 0.16, target_rmse=0.45, target_nll=0.15),
}


@dataclass(frozen=True)
class Row:
    """What one split gave; likelihoods in nats, errors in the units of the target."""

    set: str
    split: int
    nll: float
    rmse: float
    crps: float
    coverage: float
    fit_seconds: float
    predict_seconds: float


MEASURES = ("nll", "rmse", "crps", "coverage", "fit_seconds", "predict_seconds")


def run_split(
    name: str, data: RegressionSet, split: int, parameters: dict[str, object]
) -> Row:
    """Fit on the training rows of one split, measure on its test rows."""
    train, test = data.splits[split]
    X, y = data.X[test], data.y[test]
    started = time.perf_counter()
    model = CVAERegressor(**parameters).fit(data.X[train], data.y[train])
    fitted = time.perf_counter()
    mean = model.predict(X)
    predicted = time.perf_counter()
    low, high = model.predict_interval(X, coverage=COVERAGE).T
    return Row(
        set=name,
        split=split,
        nll=float(-model.score_samples(X, y).mean()),
        rmse=float(np.sqrt(np.mean((mean - y) ** 2))),
        crps=float(model.predict_distribution(X).crps(y).mean()),
        coverage=float(np.mean((low <= y) & (y <= high))),
        fit_seconds=fitted - started,
        predict_seconds=predicted - fitted,
    )


def run_all(
    folder: Path,
    sets: list[str],
    n_splits: int,
    parameters: dict[str, object],
    n_jobs: int,
) -> Iterator[Row]:
    """Rows of all sets, each as soon as it and those before it are there."""
    loaded = {name: load_uci(folder, name) for name in sets}
    work = [
        delayed(run_split)(name, data, split, parameters)
        for name, data in loaded.items()
        for split in range(min(n_splits, len(data.splits)))
    ]
    yield from Parallel(n_jobs=n_jobs, return_as="generator")(work)


def summarise(rows: list[Row]) -> dict[str, dict[str, object]]:
    """Mean and standard error over the splits, for every set and measure."""
    summary: dict[str, dict[str, object]] = {}
    for name in dict.fromkeys(row.set for row in rows):
        mine = [asdict(row) for row in rows if row.set == name]
        values = {key: np.array([row[key] for row in mine]) for key in MEASURES}
        summary[name] = {"splits": len(mine)} | {
            key: {"mean": float(v.mean()), "standard_error": standard_error(v)}
            for key, v in values.items()
        }
    return summary


def standard_error(values: np.ndarray) -> float | None:
    """Return the standard error of the mean; None for a single value."""
    if len(values) < 2:
        return None
    return float(values.std(ddof=1) / math.sqrt(len(values)))


def markdown_table(summary: dict[str, dict[str, object]]) -> str:
    """Put the summary beside the published figures, one line a set."""
    header = [
        "set",
        "splits",
        "NLL",
        "best published",
        "target",
        "RMSE",
        "best published",
        "target",
        "CRPS",
        "90 % coverage",
        "fit, s",
        "predict, s",
    ]
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    for name, entry in summary.items():
        nll, rmse, crps, coverage, fit, predict = (
            in_words(entry[measure]) for measure in MEASURES
        )
        known = PUBLISHED.get(name)
        known_nll = [f"{known.nll}", f"{known.target_nll}"] if known else ["", ""]
        known_rmse = [f"{known.rmse}", f"{known.target_rmse}"] if known else ["", ""]
        cells = [name, str(entry["splits"]), nll, *known_nll, rmse, *known_rmse]
        cells += [crps, coverage, fit, predict]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def in_words(entry: dict[str, float | None]) -> str:
    """``mean ± standard error`` to three digits after the point."""
    error = entry["standard_error"]
    return f"{entry['mean']:.3f}" + ("" if error is None else f" ± {error:.3f}")


def store(stem: str, rows: list[Row], about: dict[str, object]) -> None:
    """Write what is there so far as JSON and as a page with the table."""
    RESULTS.mkdir(exist_ok=True)
    summary = summarise(rows)
    result = {**about, "summary": summary, "rows": [asdict(row) for row in rows]}
    text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
    (RESULTS / f"{stem}.json").write_text(text, encoding="utf-8")
    (RESULTS / f"{stem}.md").write_text(page(summary, about), encoding="utf-8")


def page(summary: dict[str, dict[str, object]], about: dict[str, object]) -> str:
    """Markdown page: the table, then how it came about."""
    versions = ", ".join(f"{k} {v}" for k, v in about["versions"].items())
    machine = ", ".join(f"{k} {v}" for k, v in about["machine"].items())
    return f"""# Probabilistic regression, UCI sets, PBP splits

{markdown_table(summary)}

Mean ± standard error over the splits. NLL in nats, in the original units of the target;
lower is better for NLL, RMSE and CRPS. "Best published" is the best figure of each
column on its own, and so of different methods. On wine quality the target is rounded to
integers: read its CRPS.

- command: `{about["command"]}`
- parameters: {about["parameters"]}, the rest as in the library
- versions: {versions}
- machine: {machine}; {about["jobs"]} at a time
- date: {about["date"]}
"""


def parse_override(text: str) -> tuple[str, object]:
    """Split ``key=value``; a value that is no Python literal stays text."""
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise argparse.ArgumentTypeError(f"expected key=value, got {text!r}")
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, value


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.regression", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--data", metavar="DIR", help="default: $SKVAE_DATA")
    parser.add_argument("--sets", nargs="+", default=list(PUBLISHED), metavar="SET")
    parser.add_argument(
        "--splits", type=int, default=N_SPLITS, help="the first so many"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--jobs", type=int, default=1, help="splits at a time")
    parser.add_argument(
        "--set",
        dest="overrides",
        type=parse_override,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="another value than the default of a parameter; may be repeated",
    )
    parser.add_argument(
        "--name", help="of the results, instead of one made from the rest"
    )
    return parser.parse_args(arguments)


def result_stem(options: argparse.Namespace) -> str:
    """Name of the result files; what differs from a full default run shows in it."""
    if options.name:
        return f"regression-{options.name}"
    complete = set(options.sets) == set(PUBLISHED)
    parts = ["all"] if complete else list(options.sets)
    parts += [f"{options.splits}splits"] * (options.splits != N_SPLITS)
    parts += [f"seed{options.seed}"] * (options.seed != 0)
    parts += [options.device] * (options.device != "auto")
    parts += [f"{key}={value}" for key, value in options.overrides]
    return "regression-" + "-".join(parts).replace("/", "_").replace(" ", "")


def shown_command(arguments: list[str], data: str | None) -> str:
    """Spell the command as it can be repeated elsewhere: the data folder is ``DIR``."""
    shown = [
        argument if data is None else argument.replace(data, "DIR")
        for argument in arguments
    ]
    return shlex.join(["python", "-m", "benchmarks.regression", *shown])


def main(arguments: list[str]) -> None:
    """Run the benchmark; print and store the table."""
    options = parse_arguments(arguments)
    overrides = dict(options.overrides)
    parameters = {"random_state": options.seed, "device": options.device, **overrides}
    about = {
        "command": shown_command(arguments, options.data),
        "seed": options.seed,
        "parameters": parameters,
        "all_parameters": CVAERegressor(**parameters).get_params(),
        "jobs": options.jobs,
        **describe(),
    }
    folder, stem = data_folder(options.data), result_stem(options)
    rows: list[Row] = []
    for row in run_all(folder, options.sets, options.splits, parameters, options.jobs):
        rows.append(row)
        figures = "  ".join(f"{key} {getattr(row, key):.3f}" for key in MEASURES)
        print(f"{row.set:<17} split {row.split:<2}  {figures}", flush=True)
        store(stem, rows, about)
    print(f"\n{markdown_table(summarise(rows))}\n\nstored: {stem}.json, {stem}.md")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except FileNotFoundError as error:
        sys.exit(str(error))
