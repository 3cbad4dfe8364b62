"""Anomaly detection on labelled sets: VAEOutlierDetector's defaults beside six others.

Run ``python -m benchmarks.anomaly --data DIR`` (see ``--help``). Two protocols:
"one-class" trains on half of the normal rows and tests on the rest and all anomalies;
"unsupervised" trains on all rows and scores the same. Labels serve the measures only,
and nothing is tuned per set. Of large sets 5000 random training rows and 10000 random
test rows are kept, the same for all methods. The tables go to standard output and,
with every single run, to ``benchmarks/results/anomaly.json`` and ``.md``.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks import command
from benchmarks.data import anomaly_sets, data_folder, load_anomalies
from benchmarks.environment import describe
from benchmarks.measure import fresh_context
from benchmarks.peers.detectors import DETECTORS, installed_version
from benchmarks.report import markdown, method_list, provenance, write
from skvae import VAEOutlierDetector

PROTOCOLS = ("one-class", "unsupervised")
MOST_TRAINING_ROWS = 5000
MOST_TEST_ROWS = 10_000
MEASURES = {"auroc": "AUROC", "auprc": "AUPRC"}

# means by protocol, set, method and measure
Means = dict[str, dict[str, dict[str, dict[str, float]]]]


@dataclass(frozen=True)
class Row:
    """What one fit gave; the measures in per cent."""

    protocol: str
    set: str
    seed: int
    method: str
    training_rows: int
    test_rows: int
    anomalies: int  # among the test rows
    auroc: float
    auprc: float
    fit_seconds: float
    score_seconds: float


@dataclass(frozen=True)
class Split:
    """Rows to train on, rows to rank, and which of these are anomalies."""

    name: str
    protocol: str
    seed: int
    train: NDArray[np.float64]
    test: NDArray[np.float64]
    is_anomaly: NDArray[np.bool_]


def split_rows(
    is_anomaly: NDArray[np.bool_], protocol: str, seed: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Row numbers to train on and to test on."""
    rng = np.random.default_rng(seed)
    if protocol == "unsupervised":
        rows = rng.permutation(len(is_anomaly))[:MOST_TRAINING_ROWS]
        return rows, rows
    normal = rng.permutation(np.flatnonzero(~is_anomaly))
    half = len(normal) // 2
    test = rng.permutation(np.append(normal[half:], np.flatnonzero(is_anomaly)))
    return normal[:half][:MOST_TRAINING_ROWS], test[:MOST_TEST_ROWS]


def make_split(
    name: str,
    X: NDArray[np.float64],
    is_anomaly: NDArray[np.bool_],
    protocol: str,
    seed: int,
) -> Split:
    """Cut a set up."""
    train, test = split_rows(is_anomaly, protocol, seed)
    return Split(name, protocol, seed, X[train], X[test], is_anomaly[test])


def run_one(split: Split, method: str, parameters: dict[str, object]) -> Row:
    """Fit one method on one split and measure how well it ranks."""
    truth = split.is_anomaly
    detector = DETECTORS[method].make(split.seed, parameters)
    started = time.perf_counter()
    detector.fit(split.train)
    fitted = time.perf_counter()
    is_training = split.protocol == "unsupervised"
    scores = detector.score(split.test, is_training=is_training)
    finished = time.perf_counter()
    return Row(
        protocol=split.protocol,
        set=split.name,
        seed=split.seed,
        method=method,
        training_rows=len(split.train),
        test_rows=len(truth),
        anomalies=int(truth.sum()),
        auroc=100 * float(roc_auc_score(truth, scores)),
        auprc=100 * float(average_precision_score(truth, scores)),
        fit_seconds=fitted - started,
        score_seconds=finished - fitted,
    )


def run_all(
    options: argparse.Namespace, loaded: dict[str, Any], methods: list[str]
) -> Iterator[Row]:
    """Rows of all sets, methods side by side, in a process on one thread."""
    parameters = dict(options.overrides)
    with ProcessPoolExecutor(1, mp_context=fresh_context()) as pool:
        for seed in range(options.seeds):
            for protocol in options.protocols:
                for name, data in loaded.items():
                    split = make_split(name, *data, protocol, seed)
                    for method in methods:
                        yield pool.submit(run_one, split, method, parameters).result()


def summarise(rows: list[Row]) -> Means:
    """Mean over the seeds of every measure."""
    cells: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        cells.setdefault((row.protocol, row.set, row.method), []).append(asdict(row))
    means: Means = {}
    for (protocol, name, method), mine in cells.items():
        shown = [*MEASURES, "fit_seconds", "score_seconds"]
        entry = {key: float(np.mean([row[key] for row in mine])) for key in shown}
        means.setdefault(protocol, {}).setdefault(name, {})[method] = entry
    return means


def overall(sets: dict[str, dict[str, dict[str, float]]]) -> dict[str, dict]:
    """Mean over sets, and mean rank (1 is best), of each method on one protocol.

    Over the sets on which all methods have figures.
    """
    methods = list(next(iter(sets.values())))
    whole = [entries for entries in sets.values() if set(entries) == set(methods)]
    table: dict[str, dict] = {method: {"sets": len(whole)} for method in methods}
    for key in next(iter(sets.values()))[methods[0]]:
        values = np.array([[entries[m][key] for m in methods] for entries in whole])
        ranks = rankdata(-values, axis=1)
        for i, method in enumerate(methods):
            table[method][key] = float(values[:, i].mean())
            table[method][f"{key}_rank"] = float(ranks[:, i].mean())
    return table


def overall_table(sets: dict[str, dict[str, dict[str, float]]]) -> str:
    """Means and mean ranks, best by AUROC first."""
    header = ["method", "AUROC", "mean rank", "AUPRC", "mean rank"]
    header += ["fit, s", "score, s"]
    ordered = sorted(overall(sets).items(), key=lambda item: -item[1]["auroc"])
    lines = [
        [method]
        + [f"{entry[f'{key}{end}']:.2f}" for key in MEASURES for end in ("", "_rank")]
        + [f"{entry['fit_seconds']:.1f}", f"{entry['score_seconds']:.1f}"]
        for method, entry in ordered
    ]
    return markdown(header, lines)


def set_table(sets: dict[str, dict[str, dict[str, float]]], key: str) -> str:
    """One measure: a line a set, a column a method."""
    methods = list(next(iter(sets.values())))
    lines = [
        [name, *(f"{entries[m][key]:.1f}" if m in entries else "" for m in methods)]
        for name, entries in sets.items()
    ]
    return markdown(["set", *methods], lines)


def tables(means: Means) -> str:
    """All tables of a page."""
    parts = []
    for protocol, sets in means.items():
        parts.append(f"## {protocol.capitalize()} ({len(sets)} sets)")
        parts.append(overall_table(sets))
        for key, words in MEASURES.items():
            parts += [f"{words}, {protocol}:", set_table(sets, key)]
    return "\n\n".join(parts)


def store(stem: str, rows: list[Row], about: dict[str, Any]) -> None:
    """Write what is there so far as JSON and as a page."""
    means = summarise(rows)
    figures = {"means": means, "overall": {p: overall(s) for p, s in means.items()}}
    text = f"""# Anomaly detection: ranking of labelled anomalies

{tables(means)}

In per cent, mean over {about["seeds"]} seed(s), higher is better. One-class: training
on half of the normal rows, test on the rest and all anomalies. Unsupervised: training
on all rows, test on the same. At most {MOST_TRAINING_ROWS} training rows and
{MOST_TEST_ROWS} test rows, drawn at random, the same for all methods. Seconds are means
over sets on one thread.

One setting for all sets and both protocols, nothing tuned:

{method_list(about)}

{provenance(about)}"""
    write(stem, {**about, **figures}, rows, text)


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = command.make_parser("anomaly", __doc__)
    command.add_data(parser)
    parser.add_argument("--sets", nargs="+", metavar="SET", help="default: all")
    parser.add_argument("--seeds", type=int, default=3, help="splits 0, 1, ...")
    parser.add_argument(
        "--protocols", nargs="+", default=list(PROTOCOLS), choices=PROTOCOLS
    )
    parser.add_argument(
        "--methods", nargs="+", default=list(DETECTORS), choices=list(DETECTORS)
    )
    parser.add_argument("--name", default="anomaly", help="of the result files")
    command.add_overrides(parser)
    return parser.parse_args(arguments)


def chosen_methods(names: list[str]) -> dict[str, str]:
    """Versions of the methods asked for; those not installed are left out, and said."""
    found = {name: installed_version(name) for name in names}
    for name, known in found.items():
        if known is None:
            print(f"{name} is left out: pip install {DETECTORS[name].package}")
    return {name: known for name, known in found.items() if known is not None}


def about_run(
    arguments: list[str], options: argparse.Namespace, methods: dict[str, str]
) -> dict[str, Any]:
    """Collect what the figures depend on."""
    parameters = dict(options.overrides)
    about = {
        "command": command.shown_command("anomaly", arguments, {"DIR": options.data}),
        "seeds": options.seeds,
        "parameters": parameters,
        "all_parameters": VAEOutlierDetector(**parameters).get_params(),
        "jobs": 1,
        "methods": {name: DETECTORS[name].about for name in methods},
        **describe(),
    }
    packages = {DETECTORS[name].package: known for name, known in methods.items()}
    about["versions"] = packages | about["versions"]
    return about


def main(arguments: list[str]) -> None:
    """Run the benchmark; print and store the tables."""
    options = parse_arguments(arguments)
    folder = data_folder(options.data, kind="adbench")
    methods = chosen_methods(options.methods)
    about = about_run(arguments, options, methods)
    names = options.sets or anomaly_sets(folder)
    loaded = {name: load_anomalies(folder, name) for name in names}
    rows: list[Row] = []
    for row in run_all(options, loaded, list(methods)):
        rows.append(row)
        label = f"{row.protocol:<12} {row.set:<12} seed {row.seed} {row.method:<12}"
        figures = f"AUROC {row.auroc:5.1f}  AUPRC {row.auprc:5.1f}"
        print(f"{label}  {figures}  fit {row.fit_seconds:.1f} s", flush=True)
        store(options.name, rows, about)
    print(f"\n{tables(summarise(rows))}\n\nstored: {options.name}.json and .md")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (FileNotFoundError, ModuleNotFoundError) as error:
        sys.exit(str(error))
