"""
Quickstart: three questions to two estimators
=============================================

How sure is a prediction? Which rows are odd? What stood in the empty cells? On two
data sets that scikit-learn ships, with the default parameters of both estimators,
beside the usual scikit-learn answer. Prints one table, writes ``quickstart.png``.
"""

# %%
import time

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import norm
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.ensemble import IsolationForest
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, SimpleImputer
from sklearn.linear_model import BayesianRidge
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from skvae import CVAERegressor, VAETransformer

start = time.perf_counter()
table = []  # measure, which way is better, skvae, {peer: value}

# %%
# 1. Probabilistic regression
# ---------------------------
# Diabetes: 442 patients, ten features, the progression of the disease a year later.
# Both models predict a distribution; the ridge regression's is a Gaussian.
X, y = load_diabetes(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)

regressor = CVAERegressor(random_state=0).fit(X_train, y_train)
mean = regressor.predict(X_test)
low, high = regressor.predict_interval(X_test, coverage=0.9).T
distribution = regressor.predict_distribution(X_test)

# %%
# The log-likelihood is in nats per patient, in the units of y: higher is better. The
# CRPS, in the units of y, is the absolute error of a whole distribution: lower is
# better. Nine of ten intervals should cover the value that came.
ridge = BayesianRidge().fit(X_train, y_train)
ridge_mean, ridge_std = ridge.predict(X_test, return_std=True)
gaussian = norm(ridge_mean, ridge_std)
u = (y_test - ridge_mean) / ridge_std
gaussian_crps = ridge_std * (
    u * (2 * norm.cdf(u) - 1) + 2 * norm.pdf(u) - 1 / np.sqrt(np.pi)
)
ridge_low, ridge_high = gaussian.interval(0.9)


def coverage(low, high):
    """Fraction of the test patients inside their interval."""
    return np.mean((low <= y_test) & (y_test <= high))


name = "BayesianRidge"
table += [
    ("R²", "higher", r2_score(y_test, mean), {name: r2_score(y_test, ridge_mean)}),
    (
        "log-likelihood",
        "higher",
        regressor.score_samples(X_test, y_test).mean(),
        {name: gaussian.logpdf(y_test).mean()},
    ),
    ("CRPS", "lower", distribution.crps(y_test).mean(), {name: gaussian_crps.mean()}),
    (
        "90 % coverage",
        "near .9",
        coverage(low, high),
        {name: coverage(ridge_low, ridge_high)},
    ),
]

# %%
# 2. Which rows are odd?
# ----------------------
# Breast cancer: 569 tumours, thirty measurements, and 30 % of the cells removed. Both
# models see half of the benign tumours and nothing else; the score of the others, and
# of the malignant ones, is how typical they look.
rng = np.random.default_rng(0)
complete, benign = load_breast_cancer(return_X_y=True)
removed = rng.random(complete.shape) < 0.3
holey = np.where(removed, np.nan, complete)

known, other = train_test_split(np.flatnonzero(benign), test_size=0.5, random_state=0)
judged = np.concatenate([other, np.flatnonzero(benign == 0)])

detector = VAETransformer(random_state=0).fit(holey[known])
forest = make_pipeline(SimpleImputer(), IsolationForest(random_state=0))
forest.fit(holey[known])
is_benign = benign[judged]
table.append(
    (
        "AUROC",
        "higher",
        roc_auc_score(is_benign, detector.score_samples(holey[judged])),
        {
            "IsolationForest": roc_auc_score(
                is_benign, forest.score_samples(holey[judged])
            )
        },
    )
)

# %%
# 3. What stood in the empty cells?
# ---------------------------------
# Trained on four rows of five, asked about the empty cells of the fifth. Errors are in
# standard deviations of the column.
train, test = train_test_split(np.arange(len(holey)), test_size=0.2, random_state=0)
scale = complete[train].std(axis=0)


def rmse(completed):
    """Root mean squared error over the removed cells of the test rows."""
    error = ((completed - complete[test]) / scale)[removed[test]]
    return np.sqrt(np.mean(error**2))


vae = VAETransformer(random_state=0).fit(holey[train])
completed = vae.impute(holey[test])
peers = {"mean": SimpleImputer(), "IterativeImputer": IterativeImputer(max_iter=50)}
table.append(
    (
        "imputation RMSE",
        "lower",
        rmse(completed),
        {
            name: rmse(peer.fit(holey[train]).transform(holey[test]))
            for name, peer in peers.items()
        },
    )
)

# %%
# The table
# ---------
print(f"{'':<16} {'better':<8} {'skvae':>8}   beside")
for measure, better, ours, beside in table:
    others = ", ".join(f"{peer} {value:.3f}" for peer, value in beside.items())
    print(f"{measure:<16} {better:<8} {ours:>8.3f}   {others}")

# %%
# The picture
# -----------
# Left: the predictive density of three patients, and (dashed) what came. Right: all
# tumours on the two latent dimensions that carry most, read from the cells that are
# left.
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")

grid = np.linspace(y.min() - 50, y.max() + 50, 400)
order = np.argsort(mean)
for row in order[[len(order) // 10, len(order) // 2, -len(order) // 10]]:
    same = np.repeat(X_test[[row]], len(grid), axis=0)
    density = regressor.predict_distribution(same).pdf(grid)
    (line,) = left.plot(grid, density, label=f"predicted mean {mean[row]:.0f}")
    left.axvline(y_test[row], color=line.get_color(), linestyle="--", linewidth=1)
left.set(
    title="Predictive density of three patients; dashed: what came",
    xlabel="progression after one year",
    ylabel="density",
)
left.set_ylim(bottom=0)
left.legend(frameon=False)

first, second = np.argsort(vae.kl_per_dimension_)[:-3:-1]
latent = vae.transform(holey)
for label, kind in enumerate(["malignant", "benign"]):
    rows = benign == label
    right.scatter(
        latent[rows, first], latent[rows, second], s=10, alpha=0.7, label=kind
    )
right.set(
    title="Latent map of tumours, 30 % of cells missing",
    xlabel=f"latent {first}",
    ylabel=f"latent {second}",
)
right.legend(frameon=False)

figure.savefig("quickstart.png", dpi=150)
print(f"quickstart.png written; {time.perf_counter() - start:.0f} s in all")
