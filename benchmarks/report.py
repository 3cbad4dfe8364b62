"""Rows in; summary, tables beside published figures, and stored pages out."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from benchmarks.measure import Row

RESULTS = Path(__file__).parent / "results"

# measures by set, then by method, then by name
Summary = dict[str, dict[str, dict[str, Any]]]


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

# name in the rows and in words; the order of the columns
MEASURES = {
    "nll": "NLL",
    "rmse": "RMSE",
    "crps": "CRPS",
    "coverage": "90 % coverage",
    "calibration": "calibration error",
    "fit_seconds": "fit, s",
    "predict_seconds": "predict, s",
    "memory": "memory, MiB",
    "training_rows": "training rows",
}
RANKED = ("nll", "crps")


def summarise(rows: list[Row]) -> Summary:
    """Mean and standard error over the splits, for every set, method and measure."""
    summary: Summary = {}
    for name, method in dict.fromkeys((row.set, row.method) for row in rows):
        mine = [asdict(r) for r in rows if (r.set, r.method) == (name, method)]
        values = {key: np.array([row[key] for row in mine]) for key in MEASURES}
        summary.setdefault(name, {})[method] = {"splits": len(mine)} | {
            key: {"mean": float(v.mean()), "standard_error": standard_error(v)}
            for key, v in values.items()
        }
    return summary


def standard_error(values: np.ndarray) -> float | None:
    """Return the standard error of the mean; None for a single value."""
    if len(values) < 2:
        return None
    return float(values.std(ddof=1) / math.sqrt(len(values)))


def in_words(entry: dict[str, float | None]) -> str:
    """``mean ± standard error`` to three digits after the point."""
    error = entry["standard_error"]
    return f"{entry['mean']:.3f}" + ("" if error is None else f" ± {error:.3f}")


def markdown(header: list[str], lines: list[list[str]]) -> str:
    """Table of ready cells."""
    rule = "|" + " --- |" * len(header)
    return "\n".join(
        ["| " + " | ".join(header) + " |", rule]
        + ["| " + " | ".join(cells) + " |" for cells in lines]
    )


def published_table(summary: Summary) -> str:
    """Put skvae's figures beside the published ones, one line a set."""
    header = ["set", "splits"]
    for measure in ("NLL", "RMSE"):
        header += [measure, "best published", "target"]
    shown = ["crps", "coverage", "calibration", "fit_seconds", "predict_seconds"]
    header += [MEASURES[key] for key in shown]
    lines = []
    for name, methods in summary.items():
        if "skvae" not in methods:
            continue
        entry, known = methods["skvae"], PUBLISHED.get(name)
        nll = [f"{known.nll}", f"{known.target_nll}"] if known else ["", ""]
        rmse = [f"{known.rmse}", f"{known.target_rmse}"] if known else ["", ""]
        cells = [name, str(entry["splits"]), in_words(entry["nll"]), *nll]
        cells += [in_words(entry["rmse"]), *rmse]
        lines.append(cells + [in_words(entry[key]) for key in shown])
    return markdown(header, lines) if lines else ""


def peers_table(methods: dict[str, dict[str, Any]]) -> str:
    """All methods on one set: a line a method, a column a measure."""
    lines = [
        [method, str(entry["splits"])]
        + [in_words(entry[key]) for key in list(MEASURES)[:-1]]
        + [f"{entry['training_rows']['mean']:.0f}"]
        for method, entry in methods.items()
    ]
    return markdown(["method", "splits", *MEASURES.values()], lines)


def mean_ranks(summary: Summary) -> dict[str, dict[str, float]]:
    """Rank of each method by its mean over splits, averaged over sets; 1 is best.

    Over the sets and the methods that all have figures: every method that has any, on
    the sets where none of them is missing.
    """
    methods = list(dict.fromkeys(m for entries in summary.values() for m in entries))
    whole = [entries for entries in summary.values() if len(entries) == len(methods)]
    ranks = {
        key: np.mean(
            [rankdata([entry[m][key]["mean"] for m in methods]) for entry in whole],
            axis=0,
        )
        for key in RANKED
        if whole
    }
    return {
        method: {key: float(values[i]) for key, values in ranks.items()}
        for i, method in enumerate(methods)
        if whole
    }


def tables(summary: Summary) -> str:
    """All tables of a page: skvae beside published figures, then method by method."""
    parts = [table] if (table := published_table(summary)) else []
    if any(len(methods) > 1 or "skvae" not in methods for methods in summary.values()):
        parts += [f"## {name}\n\n{peers_table(m)}" for name, m in summary.items()]
        parts.append(rank_table(summary))
    return "\n\n".join(part for part in parts if part)


def rank_table(summary: Summary) -> str:
    """Mean ranks, best first by CRPS; empty while no set is complete."""
    ranks = mean_ranks(summary)
    lines = [
        [method] + [f"{mine[key]:.2f}" for key in RANKED]
        for method, mine in sorted(ranks.items(), key=lambda item: item[1]["crps"])
    ]
    n_sets = sum(len(methods) == len(ranks) for methods in summary.values())
    header = ["method", *(f"mean rank by {MEASURES[key]}" for key in RANKED)]
    title = f"## Mean rank over sets ({n_sets}), 1 is best"
    return f"{title}\n\n{markdown(header, lines)}" if lines else ""


def store(stem: str, title: str, rows: list[Row], about: dict[str, Any]) -> None:
    """Write what is there so far as JSON and as a page with the tables."""
    summary = summarise(rows)
    figures = {"summary": summary, "mean_ranks": mean_ranks(summary)}
    write(stem, {**about, **figures}, rows, page(title, summary, about))


def write(stem: str, result: dict[str, Any], rows: list[Any], text: str) -> None:
    """Write a result with its single rows as JSON, and its page."""
    RESULTS.mkdir(exist_ok=True)
    result = {**result, "rows": [asdict(row) for row in rows]}
    encoded = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
    (RESULTS / f"{stem}.json").write_text(encoded, encoding="utf-8")
    (RESULTS / f"{stem}.md").write_text(text, encoding="utf-8")


def earlier(stem: str, make: Callable[..., Any]) -> list[Any]:
    """Rows of the result of that name, [] without one."""
    path = RESULTS / f"{stem}.json"
    if not path.exists():
        return []
    return [make(**row) for row in json.loads(path.read_text("utf-8"))["rows"]]


def method_list(about: dict[str, Any]) -> str:
    """Tell what was run and how, a line a method."""
    return "\n".join(f"- {name}: {text}" for name, text in about["methods"].items())


def provenance(about: dict[str, Any]) -> str:
    """Last lines of a page: how its figures came about."""
    versions = ", ".join(f"{k} {v}" for k, v in about["versions"].items())
    machine = ", ".join(f"{k} {v}" for k, v in about["machine"].items())
    threads = about.get("threads", "one thread each unless told otherwise")
    return f"""- command: `{about["command"]}`
- parameters: {about["parameters"]}, the rest as in the library
- versions: {versions}
- machine: {machine}; {about["jobs"]} at a time, {threads}
- date: {about["date"]}
"""


def page(title: str, summary: Summary, about: dict[str, Any]) -> str:
    """Markdown page: the tables, then how they came about."""
    return f"""# {title}

{tables(summary)}

Mean ± standard error over the splits. NLL in nats, in the original units of the target;
lower is better for NLL, RMSE and CRPS. "Best published" is the best figure of each
column on its own, and so of different methods. On wine quality the target is rounded to
integers: read its CRPS. Calibration error: mean over levels 0.05, 0.10, ..., 0.95 of
the distance between a level and the share of PIT values below it. Memory: growth of the
peak of the resident set during the fit, in a process of its own.

One setting for all sets, nothing tuned:

{method_list(about)}

{provenance(about)}"""
