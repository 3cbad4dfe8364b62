"""
Whole distributions: two modes, uneven noise, a curved joint
============================================================

Three data sets whose distribution p(y | x) is known, 1000 rows each, and what
``CVAERegressor`` with its default parameters learns of it. The number printed for each
is the Kullback-Leibler divergence of the truth from the model, in nats: 0 is the truth.
``benchmarks/simulated.py`` measures more of them, beside other methods. Writes
``distributions.png``.
"""

# %%
import time

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from scipy.stats import norm

from skvae import CVAERegressor

start = time.perf_counter()
rng = np.random.default_rng(0)
N_ROWS, N_TEST = 1000, 2000


def fitted(x, y):
    """Fit the defaults to one feature."""
    return CVAERegressor(random_state=0).fit(x[:, None], y)


def report(name, model, x, y, log_prob):
    """Print the divergence over test rows, with its standard error."""
    ratio = log_prob - model.score_samples(x[:, None], y)
    error = ratio.std() / np.sqrt(len(ratio))
    print(f"{name:<16} divergence {ratio.mean():.3f} ± {error:.3f} nats")


# %%
# Two modes
# ---------
# Two branches of unequal weight that meet at the ends and cross in the middle.
def branch(x):
    """Place of the lighter branch; the other is its mirror image."""
    return 1.5 * np.sin(0.5 * np.pi * x)


def draw_two_modes(n):
    """Draw x and y: 35 % of the rows are on the lighter branch."""
    x = rng.uniform(-2, 2, n)
    sign = np.where(rng.random(n) < 0.35, 1, -1)
    return x, sign * branch(x) + 0.25 * rng.normal(size=n)


def two_modes_density(x, y):
    """Exact density."""
    return 0.35 * norm.pdf(y, branch(x), 0.25) + 0.65 * norm.pdf(y, -branch(x), 0.25)


two_modes = draw_two_modes(N_ROWS)
bimodal = fitted(*two_modes)
x, y = draw_two_modes(N_TEST)
report("two modes", bimodal, x, y, np.log(two_modes_density(x, y)))


# %%
# Uneven noise
# ------------
# A normal whose standard deviation grows eightfold along x.
def uneven(x):
    """Exact distribution."""
    return norm(np.sin(np.pi * x), 0.3 * np.exp(x))


def draw_uneven(n):
    """Draw x and y."""
    x = rng.uniform(-1, 1, n)
    return x, uneven(x).rvs(random_state=rng)


uneven_noise = draw_uneven(N_ROWS)
heteroscedastic = fitted(*uneven_noise)
x, y = draw_uneven(N_TEST)
report("uneven noise", heteroscedastic, x, y, uneven(x).logpdf(y))


# %%
# A curved joint
# --------------
# Two outputs on a parabola that opens downwards for x < 0 and upwards for x > 0.
def draw_curved(x):
    """Draw both outputs for each x: (N, 2)."""
    first, noise = rng.normal(size=(2, len(x)))
    return np.stack([first, x * first**2 + 0.3 * noise], axis=1)


x = rng.uniform(-1, 1, N_ROWS)
curved = fitted(x, draw_curved(x))
x = rng.uniform(-1, 1, N_TEST)
y = draw_curved(x)
exact = norm.logpdf(y[:, 0]) + norm.logpdf(y[:, 1], x * y[:, 0] ** 2, 0.3)
report("curved joint", curved, x, y, exact)


# %%
# The picture
# -----------
# Above: the learned density as shading, the rows as dots, and dashed what is true: on
# the left the smallest region that holds 90 % of the probability, which falls apart
# where there are two modes; on the right quantiles. Below: draws of the learned joint
# beside draws of the true one.
def shade(ax, model, x, y):
    """Shade the learned density p(y | x) on a grid, each x to its own peak."""
    density = model.predict_distribution(x[:, None]).pdf(
        np.broadcast_to(y[:, None], (len(y), len(x)))
    )
    ax.pcolormesh(
        x, y, density / density.max(axis=0), cmap="Blues", vmax=1.3, shading="gouraud"
    )


def region_level(density, step, coverage=0.9):
    """Level that the density exceeds on the smallest region of that probability."""
    falling = -np.sort(-density, axis=0)
    mass = np.cumsum(falling, axis=0) * step
    return np.take_along_axis(falling, (mass < coverage).sum(axis=0)[None], axis=0)


figure, axes = plt.subplots(2, 2, figsize=(11, 8.6), layout="constrained")
(top_left, top_right), bottom = axes
dots = {"s": 4, "color": "0.25", "alpha": 0.5, "linewidths": 0}

grid_x, grid_y = np.linspace(-2, 2, 81), np.linspace(-2.8, 2.8, 141)
shade(top_left, bimodal, grid_x, grid_y)
top_left.scatter(*two_modes, **dots)
truth = two_modes_density(grid_x, grid_y[:, None])
above = truth - region_level(truth, grid_y[1] - grid_y[0])
top_left.contour(
    grid_x, grid_y, above, levels=[0], colors="C3", linestyles="--", linewidths=1.3
)
top_left.set(title="Two modes that cross", xlabel="x", ylabel="y")

grid_x, grid_y = np.linspace(-1, 1, 81), np.linspace(-3, 3, 121)
shade(top_right, heteroscedastic, grid_x, grid_y)
top_right.scatter(*uneven_noise, **dots)
levels = [0.05, 0.5, 0.95]
top_right.plot(grid_x, uneven(grid_x[:, None]).ppf(levels), "--", color="C3", lw=1.3)
quantiles = heteroscedastic.predict(grid_x[:, None], quantiles=levels)
top_right.plot(grid_x, quantiles, color="C0", lw=1.3)
top_right.set(title="Uneven noise", xlabel="x", ylabel="y", ylim=(-3, 3))

shown = [
    Patch(color="#6baed6", label="learned density, for each x by its own peak"),
    Line2D([], [], marker="o", linestyle="", markersize=3, color="0.25", label="rows"),
]
dashed = {"color": "C3", "linestyle": "--"}
region = Line2D([], [], **dashed, label="true region of 90 %")
learned = Line2D([], [], color="C0", label="learned quantiles 5, 50, 95 %")
true = Line2D([], [], **dashed, label="true quantiles")
top_left.legend(handles=[*shown, region], loc="upper center", ncols=2, fontsize="small")
top_right.legend(handles=[*shown, learned, true], loc="upper left", fontsize="small")

for ax, value in zip(bottom, (-0.8, 0.8), strict=True):
    x = np.full(400, value)
    drawn = curved.sample(x[:1, None], n_samples=400, random_state=0)[:, 0]
    ax.scatter(*draw_curved(x).T, s=12, color="C3", alpha=0.5, label="true draws")
    ax.scatter(*drawn.T, s=12, color="C0", alpha=0.5, label="draws of skvae")
    ax.set(
        title=f"Two outputs, at x = {value}",
        xlabel="first output",
        ylabel="second output",
        xlim=(-3.6, 3.6),
    )
    ax.legend(frameon=False)

figure.savefig("distributions.png", dpi=150)
print(f"distributions.png written; {time.perf_counter() - start:.0f} s in all")
