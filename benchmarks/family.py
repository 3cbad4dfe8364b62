"""What the variants of the family do: priors, posteriors, latents, β, KL schedules.

Run ``python -m benchmarks.family --data DIR`` (see ``--help``). Every section changes
one parameter of the library's defaults and fits the same rows with the same seeds. The
tables go to standard output and to ``benchmarks/results/family.json`` and ``.md``,
where the sections of earlier runs are kept.
"""

import argparse
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from scipy.stats import chi2
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import mutual_info_score

from benchmarks import command, report
from benchmarks.data import data_folder, load_halves
from benchmarks.environment import describe
from benchmarks.simulators import SIMULATORS, Ellipse, Simulator
from skvae import CVAERegressor, VAETransformer, metrics
from skvae._engine import door
from skvae._table import codec
from skvae._table.reading import read_array

Array = NDArray[np.float64]
Figures = dict[str, float]

SETS = (
    "banknote",
    "breast_wdbc",
    "california_housing",
    "diamonds",
    "letter",
    "wine_white",
)
MOST_ROWS = 2000
# of z for held-out likelihoods: with 128 that of breast_wdbc is 0.8 nats too low
SCORED_DRAWS = 2048
N_BINS = 20
N_COPIES = 3  # of each curve in the table of factors, each with noise of its own

VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "prior='mixture'": {"prior": "mixture"},
    "prior='vamp'": {"prior": "vamp"},
    "prior='flow'": {"prior": "flow"},
    "posterior='flow'": {"posterior": "flow"},
    "objective='iwae'": {"objective": "iwae"},
    "latent='hierarchical'": {"latent": "hierarchical", "n_components": (8, 4)},
    "latent='vq'": {"latent": "vq"},
}
SCHEDULES: dict[str, dict[str, Any]] = {
    "plain": {"kl_warmup": 0.0},
    "kl_warmup=0.5": {"kl_warmup": 0.5},
    "kl_schedule='cyclical'": {"kl_warmup": 0.5, "kl_schedule": "cyclical"},
    "free_bits=0.2": {"kl_warmup": 0.0, "free_bits": 0.2},
}
PRIORS = ("default", "prior='mixture'", "prior='vamp'", "prior='flow'", "latent='vq'")
N_MODES, MODE_SPREAD = 12, 0.2  # of clusters on corners of the cube from -1 to 1
POWERFUL = "bimodal"  # data on which a decoder of 20 components needs no latent
# known joints, and what is not the default of a fit to them: a linear decoder with one
# component cannot turn N(0, I) into what each x needs
JOINTS: dict[str, tuple[Simulator, dict[str, Any]]] = {
    "curved": (SIMULATORS["curved"], {}),
    "ring": (SIMULATORS["ring"], {}),
    "ellipse, linear": (Ellipse(), {"hidden_layer_sizes": (), "n_mixtures": 1}),
}
BETAS = (1.0, 2.0, 4.0)


@dataclass(frozen=True)
class Row:
    """Figures of one fit, by their names."""

    section: str
    set: str
    variant: str
    seed: int
    figures: Figures


# -- priors, posteriors, latents ---------------------------------------------------


def whole_table(folder: Path, name: str, seed: int) -> tuple[Array, Array]:
    """Numeric columns of a table: rows to fit and rows to score."""
    data = load_halves(folder, name, seed + 1, MOST_ROWS)
    values = np.column_stack([data.X, data.y])
    train, test = data.splits[seed]
    return values[train], values[test]


def gap_of_the_bound(vae: VAETransformer, X: Array) -> float:
    """Log-likelihood less evidence lower bound, in nats; complete numeric rows."""
    engine = door.Engine(vae.learned_, vae.device)
    rows = door.Encoded.of(
        codec.encode(vae.schema_, read_array(X, "float64"), "X", "error")
    )
    log_prob, _ = engine.log_prob(rows)
    return float(np.mean(log_prob - engine.lower_bound(rows)))


def describe_fit(
    name: str, variant: dict[str, Any], seed: int, folder: Path
) -> Figures:
    """Fit a variant to a table; what held-out rows say of it."""
    train, test = whole_table(folder, name, seed)
    settings = {"n_estimators": 1, "n_samples": SCORED_DRAWS, "random_state": seed}
    vae = VAETransformer(**settings | variant).fit(train)
    figures = {
        "log-likelihood": vae.score(test),
        "gap of the bound": gap_of_the_bound(vae, test),
        "KL": float(vae.kl_per_dimension_.sum()),
        "active units": float(vae.active_units_),
        "prior gap": vae.prior_gap(train),
    }
    if hasattr(vae, "perplexity_"):
        figures["perplexity"] = float(vae.perplexity_.mean())
    return figures


# -- β and the factors of a table ----------------------------------------------------


def factors_table(n: int, seed: int) -> tuple[Array, Array]:
    """Four independent uniform factors, and 42 columns made of them.

    Each column is a smooth curve of one factor, with noise of 0.3 of its spread. They
    have 15, 12, 9 and 6 columns, as a rotation among equals would go unseen: enough
    for each to be worth a latent at every β.
    """
    rng = np.random.default_rng(seed)
    factors = rng.uniform(-1, 1, size=(n, 4))
    curves = (lambda t: np.sin(2 * t), lambda t: t**3, lambda t: np.tanh(3 * t))
    curves += (lambda t: t, np.exp)
    columns = np.column_stack(
        [
            curves[j](factors[:, k])
            for k in range(4)
            for j in range(5 - k)
            for _ in range(N_COPIES)
        ]
    )
    noise = 0.3 * columns.std(axis=0) * rng.normal(size=columns.shape)
    return factors, columns + noise


def mutual_information_gap(factors: Array, Z: Array) -> float:
    """MIG, 0 to 1. Chen, Li, Grosse, Duvenaud (2018), eq. 6; 20 bins of equal count."""

    def binned(values: Array) -> NDArray[np.intp]:
        ranks = values.argsort(axis=0).argsort(axis=0)
        return ranks * N_BINS // len(values)

    codes, latents = binned(factors), binned(Z)
    gaps = []
    for factor in codes.T:
        shared = sorted(mutual_info_score(factor, latent) for latent in latents.T)
        gaps.append((shared[-1] - shared[-2]) / np.log(N_BINS))
    return float(np.mean(gaps))


def disentangle(beta: float, seed: int) -> Figures:
    """Fit with one β; how the latents keep to the factors, and what is lost."""
    factors, X = factors_table(2000, seed)
    vae = VAETransformer(
        6,
        beta=beta,
        objective="elbo",
        likelihood="gaussian_fixed",
        n_estimators=1,
        random_state=seed,
    ).fit(X)
    error = (vae.reconstruct(X) - X) / X.std(axis=0)
    return {
        "MIG": mutual_information_gap(factors, vae.transform(X)),
        "reconstruction RMSE": float(np.sqrt(np.mean(error**2))),
        "active units": float(vae.active_units_),
    }


# -- collapse ------------------------------------------------------------------------


def revive(name: str, settings: dict[str, Any], seed: int) -> Figures:
    """Fit with a powerful decoder; whether the latent is in use, and what it is for."""
    model, (X, y) = fit_schedule(name, settings, seed)
    return {
        "KL": float(model.kl_per_dimension_.sum()),
        "active units": float(model.active_units_),
        "log-likelihood": float(model.score_samples(X, y).mean()),
    }


def fit_schedule(
    name: str, settings: dict[str, Any], seed: int
) -> tuple[CVAERegressor, tuple[Array, Array]]:
    """Fit to simulated rows; also return new rows."""
    rng = np.random.default_rng(seed)
    simulator = SIMULATORS[name]
    train, test = simulator.draw(1000, rng), simulator.draw(1000, rng)
    model = CVAERegressor(
        n_mixtures=20,
        objective="elbo",
        n_draws=1,
        n_estimators=1,
        early_stopping=False,
        random_state=seed,
        **settings,
    )
    return model.fit(*train), test


def draw_schedules(path: str, name: str, seed: int) -> None:
    """Picture of the KL of every dimension over training, a panel a setting."""
    import matplotlib.pyplot as plt

    from skvae.inspection import LossCurveDisplay

    figure, axes = plt.subplots(
        1, len(SCHEDULES), figsize=(14, 3.2), sharey=True, layout="constrained"
    )
    for ax, (title, settings) in zip(axes, SCHEDULES.items(), strict=True):
        model, _ = fit_schedule(name, settings, seed)
        LossCurveDisplay.from_estimator(model, kind="kl", ax=ax)
        ax.get_legend().remove()
        ax.set_title(title)
    for ax in axes[1:]:
        ax.set_ylabel("")
    figure.savefig(path, dpi=120)


# -- modes ---------------------------------------------------------------------------


def modes_table(n: int, seed: int) -> tuple[Array, Array]:
    """Rows in clusters on corners of a cube of six dimensions; rows and corners.

    The largest cluster has six times the rows of the smallest.
    """
    rng = np.random.default_rng(seed)
    corners = np.array(list(product((-1.0, 1.0), repeat=6)))
    corners = corners[rng.permutation(len(corners))[:N_MODES]]
    shares = np.linspace(6.0, 1.0, N_MODES)
    owners = rng.choice(N_MODES, size=n, p=shares / shares.sum())
    return corners[owners] + MODE_SPREAD * rng.normal(size=(n, 6)), corners


def cover(variant: dict[str, Any], seed: int) -> Figures:
    """Fit to clusters; which of them new rows reach, and how many rows reach none.

    A row is of a cluster within the radius that holds all but a thousandth of the
    cluster; a cluster is covered by half of its share of held-out rows.
    """
    X, corners = modes_table(4000, seed)
    train, test = X[:2000], X[2000:]
    vae = VAETransformer(n_estimators=1, random_state=seed, **variant).fit(train)
    radius = MODE_SPREAD * np.sqrt(chi2.ppf(0.999, X.shape[1]))
    new, old = (
        np.linalg.norm(rows[:, None] - corners, axis=2) < radius
        for rows in (vae.sample(len(test), random_state=seed), test)
    )
    return {
        "modes covered": float((new.mean(axis=0) > 0.5 * old.mean(axis=0)).sum()),
        "of": float(N_MODES),
        "rows of no mode, %": 100.0 * float((~new.any(axis=1)).mean()),
    }


# -- what z is drawn from ------------------------------------------------------------


def generate(name: str, prior: str, seed: int, folder: Path) -> Figures:
    """Several outputs given features, drawn through PriorNet or from N(0, I)."""
    data = load_halves(folder, name, seed + 1, MOST_ROWS)
    train, test = data.splits[seed]
    y = data.y / data.y[train].std(axis=0)  # one unit for the energy score
    model = CVAERegressor(prior=prior, n_estimators=1, random_state=seed)
    model.fit(data.X[train], y[train])
    predicted = model.predict_distribution(data.X[test])
    return {
        "log-likelihood": float(model.score_samples(data.X[test], y[test]).mean()),
        "energy score": metrics.energy_score(y[test], predicted, random_state=seed),
        "KL": float(model.kl_per_dimension_.sum()),
    }


def mismatch(name: str, prior: str, seed: int) -> Figures:
    """Fit to a joint that is known; how far from p(z | x) training has seen z.

    KL(q(z | x) || p(z | x)), where q(z | x) is the mean of q(z | x, y) over 512 fresh
    outcomes y at the same x, the mean over 16 x. A new row draws z of p(z | x), so what
    q(z | x) has not seen the decoder has not learned.
    """
    simulator, settings = JOINTS[name]
    rng = np.random.default_rng(seed)
    # draws of the prior are to tell of it, not of how few they are
    settings = {"n_estimators": 1, "n_samples": SCORED_DRAWS, **settings}
    model = CVAERegressor(prior=prior, random_state=seed, **settings)
    model.fit(*simulator.draw(1000, rng))
    gaps = []
    for x in simulator.draw(16, rng)[0]:
        X = np.tile(x, (512, 1))
        pairs = model._pairs(X, simulator.outcome(X, rng))
        gaps.append(door.Engine(model.learned_, model.device).prior_gap(pairs))
    X, y = simulator.draw(1000, rng)
    exact = simulator.log_prob(X, y)
    return {
        "gap given x": float(np.mean(gaps)),
        "KL from the truth": float(np.mean(exact - model.score_samples(X, y))),
        "of draws of the prior": float(
            np.mean(exact - model.predict_distribution(X).log_prob(y))
        ),
    }


# -- running ---------------------------------------------------------------------------


def plan(
    options: argparse.Namespace, folder: Path
) -> list[tuple[str, str, str, Callable[[int], Figures]]]:
    """All fits: section, set, variant, and the function of a seed."""
    priors = ("conditional", "normal")
    work: list[tuple[str, str, str, Callable[[int], Figures]]] = [
        *(
            ("tables", name, title, partial(describe_fit, name, change, folder=folder))
            for name in options.sets
            for title, change in VARIANTS.items()
        ),
        *(
            ("beta", "factors", f"beta={beta:g}", partial(disentangle, beta))
            for beta in BETAS
        ),
        *(
            ("modes", "clusters", title, partial(cover, VARIANTS[title]))
            for title in PRIORS
        ),
        *(
            ("collapse", POWERFUL, title, partial(revive, POWERFUL, change))
            for title, change in SCHEDULES.items()
        ),
        *(
            ("mismatch", name, f"prior={prior!r}", partial(mismatch, name, prior))
            for name in JOINTS
            for prior in priors
        ),
        *(
            (
                "generation",
                name,
                f"prior={prior!r}",
                partial(generate, name, prior, folder=folder),
            )
            for name in options.sets
            for prior in priors
        ),
    ]
    return [job for job in work if job[0] in options.sections]


def run(
    section: str, name: str, title: str, job: Callable[[int], Figures], seed: int
) -> Row:
    """Make one fit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return Row(section, name, title, seed, job(seed))


TITLES = {
    "tables": "Priors, posteriors and latents: held-out rows of tables",
    "beta": "β and independent factors (MIG: 1 is a latent for each factor)",
    "modes": "Twelve clusters: do new rows cover them?",
    "collapse": "A powerful decoder: 20 components, one output of two modes",
    "mismatch": "PriorNet or N(0, I) beside what training saw, known joints",
    "generation": "Drawing several outputs given features",
}


def tables_of(rows: list[Row]) -> str:
    """Make a table of each section: means over the seeds, with standard errors."""
    parts = []
    for section in dict.fromkeys(row.section for row in rows):
        mine = [row for row in rows if row.section == section]
        names = list(dict.fromkeys(name for row in mine for name in row.figures))
        lines = []
        for key in dict.fromkeys((row.set, row.variant) for row in mine):
            these = [row for row in mine if (row.set, row.variant) == key]
            cells = [_mean_of(these, name) for name in names]
            lines.append([*key, str(len(these)), *cells])
        table = report.markdown(["set", "variant", "seeds", *names], lines)
        parts.append(f"## {TITLES[section]}\n\n{table}")
        if section == "tables":
            parts.append(f"Over the default of the same seed:\n\n{differences(mine)}")
    return "\n\n".join(parts)


def differences(rows: list[Row]) -> str:
    """Log-likelihoods less those of the defaults, paired by seed, a column a set."""
    found = {(r.set, r.variant, r.seed): r.figures["log-likelihood"] for r in rows}
    sets = list(dict.fromkeys(row.set for row in rows))
    lines = []
    for variant in dict.fromkeys(row.variant for row in rows):
        cells = []
        for name in sets:
            gains = [
                value - found[name, "default", seed]
                for (s, v, seed), value in found.items()
                if (s, v) == (name, variant) and (name, "default", seed) in found
            ]
            cells.append(_in_words(np.array(gains)))
        lines.append([variant, *cells])
    return report.markdown(["variant", *sets], lines)


def _mean_of(rows: list[Row], name: str) -> str:
    return _in_words(np.array([r.figures[name] for r in rows if name in r.figures]))


def _in_words(values: Array) -> str:
    """Mean and standard error; empty without values."""
    if not len(values):
        return ""
    error = report.standard_error(values)
    return report.in_words({"mean": float(np.mean(values)), "standard_error": error})


def page(rows: list[Row], about: dict[str, Any]) -> str:
    """Markdown page: the tables, then how they came about."""
    return f"""# The family

{tables_of(rows)}

Log-likelihoods in nats a row of held-out rows, original units (of "generation" in
standard deviations), higher is better, of tables by {SCORED_DRAWS} draws; "gap of the
bound": log-likelihood less evidence lower bound; "prior gap": KL of the aggregate
posterior from the prior; "gap given x": the same at one x, of many outcomes there; KL
from the truth by draws of the posterior, and by {SCORED_DRAWS} of the prior; mean ±
standard error over the seeds, one member each. Sections were added run by run; below is
the last.

{report.provenance(about)}"""


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = command.make_parser("family", __doc__)
    command.add_data(parser)
    parser.add_argument("--sets", nargs="+", default=list(SETS), metavar="SET")
    parser.add_argument("--sections", nargs="+", default=list(TITLES), choices=TITLES)
    parser.add_argument("--seeds", type=int, default=2, help="how many")
    parser.add_argument("--jobs", type=int, default=1, help="fits at a time")
    parser.add_argument("--figure", metavar="PATH", help="picture of the collapse")
    parser.add_argument("--name", default="family", help="of the result files")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> None:
    """Run the benchmark; print and store the tables."""
    options = parse_arguments(arguments)
    folder = data_folder(options.data, "tables")
    hidden = {"DIR": options.data, "PATH": options.figure}
    about: dict[str, Any] = {
        "command": command.shown_command("family", arguments, hidden),
        "seed": 0,
        "parameters": {},
        "jobs": options.jobs,
        **describe(),
    }
    earlier = report.earlier(options.name, Row)
    work = plan(options, folder)
    anew = {(section, name) for section, name, *_ in work}
    rows = [row for row in earlier if (row.section, row.set) not in anew]
    fits = [delayed(run)(*job, seed) for job in work for seed in range(options.seeds)]
    for row in Parallel(n_jobs=options.jobs, return_as="generator")(fits):
        rows.append(row)
        shown = "  ".join(f"{k} {v:.3f}" for k, v in row.figures.items())
        print(f"{row.section:<10} {row.set:<12} {row.variant:<24} {shown}", flush=True)
        report.write(options.name, about, rows, page(rows, about))
    if options.figure:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            draw_schedules(options.figure, POWERFUL, 0)
    print(f"\n{tables_of(rows)}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except FileNotFoundError as error:
        sys.exit(str(error))
