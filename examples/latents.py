"""
What the latents of a table and of digits stand for
===================================================

``transform`` gives each row a point in the latent space and ``inverse_transform`` goes
back, so that rows can be walked between: one latent at a time, from one row to another,
or by the difference of two groups.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits, load_wine

from skvae import VAETransformer
from skvae.inspection import LatentTraversalDisplay, LossCurveDisplay

# %%
# A table: one latent at a time
# -----------------------------
# A weight of the KL above 1 leaves only the latents that pay, and these tend to keep
# apart what varies on its own.
wine = load_wine(as_frame=True)
columns = ["alcohol", "flavanoids", "color_intensity", "hue", "proline"]
X = wine.data[columns]
vae = VAETransformer(4, beta=2.0, objective="elbo", random_state=0).fit(X)
print("KL of the latents, nats:", vae.kl_per_dimension_.round(2))
LatentTraversalDisplay.from_estimator(vae, X, dimensions=[0, 1, 2, 3])
plt.savefig("latents_table.png", dpi=120)
LossCurveDisplay.from_estimator(vae, kind="kl")
plt.savefig("latents_kl.png", dpi=120)

# %%
# A table: latent arithmetic
# --------------------------
# The mean latent of one grower less that of another is the way from one to the other;
# added to a wine of the first it asks what this wine would be, had the second made it.
Z = vae.transform(X)
way = Z[wine.target == 1].mean(axis=0) - Z[wine.target == 0].mean(axis=0)
moved = vae.inverse_transform(Z[:1] + way)
for column in columns:
    before, after = X[column].iloc[0], moved[column].iloc[0]
    there = X.loc[wine.target == 1, column].mean()
    print(f"{column:<16} {before:8.2f} -> {after:8.2f}   mean there {there:8.2f}")

# %%
# Digits: from one to another
# ---------------------------
# A line in the latent space between two images.
digits = load_digits()
pixels = VAETransformer(
    8, likelihood="gaussian", min_scale=0.2, max_iter=80, random_state=0
)
varies = digits.data.std(axis=0) > 0
pixels.fit(digits.data[:, varies])


def images(Z):
    """Latents to images of 8 by 8, the pixels that never vary empty."""
    whole = np.zeros((len(Z), 64))
    whole[:, varies] = pixels.inverse_transform(Z)
    return whole.reshape(-1, 8, 8)


ends = pixels.transform(digits.data[[0, 1, 3, 6], :][:, varies])
steps = np.linspace(0, 1, 9)[:, None]
rows = [
    images((1 - steps) * a + steps * b)
    for a, b in zip(ends, np.roll(ends, -1, axis=0), strict=True)
]
figure, axes = plt.subplots(4, 9, figsize=(9, 4.2), layout="constrained")
for strip, line in zip(axes, rows, strict=True):
    for ax, image in zip(strip, line, strict=True):
        ax.imshow(image, cmap="gray_r", vmin=0, vmax=16)
        ax.set_axis_off()
figure.suptitle("between a 0, a 1, a 3 and a 6")
figure.savefig("latents_digits.png", dpi=120)
