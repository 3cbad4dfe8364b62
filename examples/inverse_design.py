"""
Inverse design: several decisions for one objective
===================================================

A robot arm of two links lies in a plane. Its two joint angles, the decisions, say where
its hand is, the objective. The other way round there are two answers, elbow up and
elbow down, and a regression that learns their mean reaches for neither.

The literature on conditional VAEs often writes decisions x given objectives y: that is
``CVAERegressor().fit(objectives, decisions)``. The distribution of decisions that it
learns holds all solutions; ``sample`` draws them, and the forward model, which is cheap
here, tells how near each comes. Prints one table, writes ``inverse_design.png``.
"""

# %%
import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score

from skvae import CVAERegressor

start = time.perf_counter()

# %%
# The arm
# -------
# Links of 50 cm and 40 cm. The shoulder turns by up to 90° from straight ahead, the
# elbow by up to 150° either way.
LINKS = 50.0, 40.0
LIMITS = np.array([90.0, 150.0])


def joints(angles):
    """Elbow and hand in cm, (..., 2) each, at shoulder and elbow angles in degrees."""
    shoulder, elbow = np.moveaxis(np.radians(angles), -1, 0)
    direction = np.stack([np.cos(shoulder), np.sin(shoulder)], axis=-1)
    turned = np.stack([np.cos(shoulder + elbow), np.sin(shoulder + elbow)], axis=-1)
    middle = LINKS[0] * direction
    return middle, middle + LINKS[1] * turned


def hand(angles):
    """Position of the hand in cm: the forward model."""
    return joints(angles)[1]


def solutions(target):
    """Both exact solutions in degrees, (2, 2), from the law of cosines."""
    first, second = LINKS
    distance = np.hypot(*target)
    cosine = (distance**2 - first**2 - second**2) / (2.0 * first * second)
    elbow = np.array([1.0, -1.0]) * np.arccos(cosine)
    turned = np.arctan2(second * np.sin(elbow), first + second * np.cos(elbow))
    shoulder = np.arctan2(target[1], target[0]) - turned
    return np.degrees(np.stack([shoulder, elbow], axis=-1))


# %%
# Decisions given objectives
# --------------------------
# A table of past designs: 1000 settings of the joints at random, and where the hand
# was. The features are the objectives, the targets are the decisions.
rng = np.random.default_rng(0)
decisions = rng.uniform(-LIMITS, LIMITS, size=(1000, 2))
objectives = hand(decisions)

model = CVAERegressor(random_state=0).fit(objectives, decisions)

# %%
# One objective, many decisions
# -----------------------------
# The hand is wanted at one point. Given the latent both angles are drawn independently,
# so some draws take the shoulder of one solution and the elbow of the other; they are
# where the model's density is low. The densest half of the draws is kept, without a
# call of the forward model, and clustered: how many clusters is for the silhouette to
# say.
target = np.array([60.0, 20.0])
draws = model.sample(target[None], n_samples=500, random_state=0)[:, 0]
log_density = model.score_samples(np.tile(target, (len(draws), 1)), draws)
kept = log_density >= np.median(log_density)

clusterings = {
    k: KMeans(k, n_init=10, random_state=0).fit_predict(draws[kept])
    for k in (2, 3, 4, 5)
}
scores = {k: silhouette_score(draws[kept], labels) for k, labels in clusterings.items()}
n_clusters = max(scores, key=scores.get)
clusters = [draws[kept][clusterings[n_clusters] == i] for i in range(n_clusters)]


def error(angles, target):
    """How far the hand is from where it should be, cm."""
    return np.linalg.norm(hand(angles) - target, axis=-1)


print(f"hand wanted at {target} cm: {kept.sum()} draws in {n_clusters} clusters")
for cluster in clusters:
    shoulder, elbow = np.median(cluster, axis=0)
    print(
        f"  {len(cluster):3d} draws, median shoulder {shoulder:6.1f}°, elbow "
        f"{elbow:6.1f}°; hand off by {np.median(error(cluster, target)):.2f} cm"
    )
for shoulder, elbow in solutions(target):
    print(f"  exact:            shoulder {shoulder:6.1f}°, elbow {elbow:6.1f}°")

# %%
# How near do they come?
# ----------------------
# The same for 200 targets that the arm reaches both ways. Only the best of 50 draws
# needs the forward model to be found. ``predict`` averages the solutions.
candidates = hand(rng.uniform(-LIMITS, LIMITS, size=(2000, 2)))
both_ways = [(np.abs(solutions(point)) < LIMITS).all() for point in candidates]
targets = candidates[both_ways][:200]

drawn = model.sample(targets, n_samples=50, random_state=0)  # (50, 200, 2)
density = np.stack([model.score_samples(targets, angles) for angles in drawn])
dense = density >= np.median(density, axis=0)
densest = np.take_along_axis(drawn, density.argmax(axis=0)[None, :, None], axis=0)
nearest = np.linalg.norm(objectives[None] - targets[:, None], axis=-1).argmin(axis=1)

errors = error(drawn, targets)
table = {
    "a draw": errors,
    "a draw of the densest half": errors[dense],
    "the densest of 50 draws": error(densest, targets),
    "the best of 50 draws": errors.min(axis=0),
    "predict": error(model.predict(targets), targets),
    "nearest of the 1000 rows": error(decisions[nearest], targets),
}
print(f"\n{'hand off by, cm':<28} {'median':>7} {'90 % below':>11}")
for name, values in table.items():
    middle, most = np.quantile(values, [0.5, 0.9])
    print(f"{name:<28} {middle:>7.2f} {most:>11.2f}")

# a solution counts as found where a draw puts the hand within 5 cm, elbow on its side
near = dense & (errors < 5.0)
sides = np.stack([near & (drawn[..., 1] * side > 0) for side in (1, -1)])
found = sides.any(axis=1).all(axis=0).mean()
print(f"targets with both solutions in the densest half of the draws: {found:.0%}")

# %%
# The picture
# -----------
# Left: the decisions. Right: the arm in the settings of some of them.
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")


def draw_arm(angles, **style):
    """Draw shoulder, elbow and hand."""
    right.plot(*np.stack([np.zeros(2), *joints(angles)]).T, **style)


mean = model.predict(target[None])[0]
left.scatter(*draws[~kept].T, s=8, color="0.75", label="draws of low density")
for i, cluster in enumerate(clusters):
    name = f"dense draws, cluster {i + 1}"
    left.scatter(*cluster.T, s=8, color=f"C{i}", label=name)
    for angles in cluster[:30]:
        draw_arm(angles, color=f"C{i}", alpha=0.2, linewidth=1)
    right.plot([], [], color=f"C{i}", label=name)
exact = solutions(target).T
rings = {"s": 150, "facecolors": "none", "edgecolors": "black", "linewidths": 1.5}
left.scatter(*exact, **rings, label="exact", zorder=3)
left.scatter(*mean, marker="D", s=40, color="crimson", label="predict: their mean")
left.set(
    title="Decisions drawn for one objective",
    xlabel="shoulder, degrees",
    ylabel="elbow, degrees",
)
left.margins(0.15)
left.legend(frameon=False, loc="center left", bbox_to_anchor=(0.08, 0.6))

draw_arm(mean, color="crimson", marker="D", markersize=5, label="predict")
right.plot(*target, "*", markersize=14, color="black", label="target", zorder=3)
right.set(title="The arm in these settings", xlabel="x, cm", ylabel="y, cm")
right.set_aspect("equal")
right.margins(0.15)
right.set_ylim(-30, 75)
right.legend(frameon=False, loc="upper left", ncols=2)

figure.savefig("inverse_design.png", dpi=150)
print(f"inverse_design.png written; {time.perf_counter() - start:.0f} s in all")
