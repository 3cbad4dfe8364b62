"""The python blocks of the README run, in order, as a reader would paste them."""

import re
from pathlib import Path

import numpy as np
import pytest

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", README.read_text("utf-8"), re.M | re.S)


# one target: the mixture head does without the latent, and a warning says so
@pytest.mark.filterwarnings("ignore:All 8 latent dim", "ignore:Training stopped")
@pytest.mark.slow
def test_the_examples_run_and_give_the_shapes_they_state(tmp_path, monkeypatch):
    assert len(BLOCKS) == 13, (
        "4 regression, 2 imputation, 2 anomalies, 2 mixed, family, few labels, chunks"
    )
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in BLOCKS:
        exec(compile(block, str(README), "exec"), names)
    assert names["interval"].shape == (111, 2)
    assert names["draws"].shape == (100, 111)
    assert names["latent"].shape == (178, 8)
    assert len(names["five"]) == 5
    assert len(names["new"]) == 10
    assert names["whole"]["town"].isin(["Bern", "Basel", "Chur"]).all()
    # of 190 cm, given sizes of 160 to 180 mostly
    shirts = [rows.loc[0, "shirt"] for rows in names["given_size"]]
    assert shirts.count("L") > 80
    people, synthetic = names["people"], names["synthetic"]
    assert (synthetic.dtypes == people.dtypes).all()
    assert synthetic["size"].between(people["size"].min(), people["size"].max()).all()
    assert names["decision"].shape == (3,)
    assert names["indices"].shape == (178, 4)
    assert names["chances"].shape == (178, 3)
    assert (names["classifier"].predict(names["wine"]) == names["kind"]).mean() > 0.9
    assert names["stream"].n_iter_ == 20
    kept = ~names["holes"]
    completed, X = names["completed"].to_numpy(), names["X"].to_numpy()
    np.testing.assert_array_equal(completed[kept], X[kept])
    assert not np.isnan(completed).any()
