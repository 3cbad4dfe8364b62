"""
Imputation in the middle of a pipeline
======================================

A table of numbers and categories with holes, a classifier behind it, and rows that come
later with holes of their own. ``VAEImputer`` learns the joint distribution of the
columns, so it completes any pattern of holes in rows that it has never seen, and a
``GridSearchCV`` may tune it together with the rest.
"""

# %%
import numpy as np
import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skvae import VAEImputer

# %%
# A mixed table
# -------------
# Wines of three growers: seven measurements, and two of the others told in words.
wine = load_wine(as_frame=True)
X = wine.data.iloc[:, :7].copy()
X["hue"] = pd.cut(wine.data["hue"], 3, labels=["pale", "medium", "deep"])
rich = wine.data["proline"] > wine.data["proline"].median()
X["body"] = np.where(rich, "full", "light")

rng = np.random.default_rng(0)
holes = rng.random(X.shape) < 0.3
table = X.mask(holes)
X_train, X_new, y_train, y_new = train_test_split(
    table, wine.target, test_size=0.3, random_state=0, stratify=wine.target
)
print(f"{table.isna().to_numpy().mean():.0%} of the cells are missing, rows without a")
print(f"hole: {(~table.isna().any(axis=1)).sum()} of {len(table)}\n")

# %%
# Impute, encode, classify
# ------------------------
# A DataFrame goes through the imputer as a DataFrame with its dtypes, so that the next
# step can choose columns by them. In every fold the imputer is fitted to the training
# rows only, and completes the others.
encode = make_column_transformer(
    (StandardScaler(), make_column_selector(dtype_include="number")),
    (OneHotEncoder(handle_unknown="ignore"), ["hue", "body"]),
)
imputer = VAEImputer(n_estimators=2, max_iter=60, random_state=0)
pipeline = make_pipeline(imputer, encode, LogisticRegression())
search = GridSearchCV(
    pipeline, {"vaeimputer__n_components": [2, 8]}, cv=3, scoring="accuracy"
)
search.fit(X_train, y_train)
print(f"chosen: {search.best_params_}, accuracy {search.best_score_:.3f} in the search")
print(f"accuracy on new rows, holes and all: {search.score(X_new, y_new):.3f}\n")

# %%
# What stood in the holes
# -----------------------
# The completed rows, beside the truth that the imputer never saw.
fitted = search.best_estimator_.named_steps["vaeimputer"]
completed = fitted.transform(X_new)
truth = X.loc[X_new.index]
numbers = list(X.columns[:7])
missing = X_new[numbers].isna().to_numpy()
scale = X_train[numbers].std()
gaps = {
    "VAEImputer": completed[numbers],
    "mean": X_new[numbers].fillna(X_train[numbers].mean()),
}
for name, filled in gaps.items():
    error = ((filled - truth[numbers]) / scale).to_numpy()[missing]
    print(f"{name:<11} error {np.sqrt(np.mean(error**2)):.3f} standard deviations")
for name in ("hue", "body"):
    gone = X_new[name].isna()
    right = (completed[name].astype(str) == truth[name].astype(str))[gone]
    print(f"{name:<11} right in {right.mean():.0%} of {gone.sum()} holes")

# %%
# How sure it is: several draws
# -----------------------------
# ``impute(X, m)`` draws m completed tables from the joint distribution of the holes:
# multiple imputation. Their spread is what the observed cells leave open.
draws = fitted.impute(X_new, 50, random_state=0)
cells = np.stack([draw[numbers].to_numpy()[missing] for draw in draws])
low, high = np.quantile(cells, [0.05, 0.95], axis=0)
inside = (low <= truth[numbers].to_numpy()[missing]) & (
    truth[numbers].to_numpy()[missing] <= high
)
print(f"\n90 % intervals of 50 draws hold {inside.mean():.0%} of the true values")
