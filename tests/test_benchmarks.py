"""The benchmark script: a small run from a data folder to stored results."""

import json
from pathlib import Path

import numpy as np
import pytest

CHECKOUT = Path(__file__).parent.parent


@pytest.fixture
def regression(monkeypatch, tmp_path):
    """``benchmarks.regression``, storing its results in a folder of this test."""
    monkeypatch.syspath_prepend(CHECKOUT)
    import benchmarks.regression as module

    monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    monkeypatch.delenv("SKVAE_DATA", raising=False)
    return module


@pytest.fixture
def data(tmp_path):
    """A data folder with one set of 60 rows and two splits."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    y = X[:, 0] + 0.1 * rng.normal(size=60)
    test = np.zeros((2, 60), dtype=bool)
    test[0, :6], test[1, 6:12] = True, True
    (tmp_path / "uci").mkdir()
    np.savez(tmp_path / "uci" / "line.npz", X=X, y=y, test=np.packbits(test, axis=1))
    return tmp_path


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_small_run_is_printed_and_stored(regression, data, capsys):
    options = ["--data", str(data), "--sets", "line", "--splits", "2", "--seed", "1"]
    small = ["--set", "max_iter=5", "--set", "hidden_layer_sizes=(8,)", "--name", "x"]
    regression.main(options + small)

    printed = capsys.readouterr().out
    result = json.loads((data / "results" / "regression-x.json").read_text("utf-8"))
    assert "| line | 2 |" in printed
    assert "| line | 2 |" in (data / "results" / "regression-x.md").read_text("utf-8")
    assert [row["split"] for row in result["rows"]] == [0, 1]
    assert np.isfinite([row["nll"] for row in result["rows"]]).all()
    mean = np.mean([row["rmse"] for row in result["rows"]])
    assert result["summary"]["line"]["rmse"]["mean"] == pytest.approx(mean)
    assert result["all_parameters"]["hidden_layer_sizes"] == [8]
    assert result["all_parameters"]["random_state"] == 1
    assert str(data) not in result["command"]
    assert {"date", "versions", "machine", "seed"} <= set(result)


def test_splits_are_disjoint_and_cover_all_rows(regression, data):
    splits = regression.load_uci(data, "line").splits
    assert [len(test) for _, test in splits] == [6, 6]
    for train, test in splits:
        np.testing.assert_array_equal(np.sort(np.r_[train, test]), np.arange(60))


def test_missing_data_are_an_error_that_says_what_to_do(regression, data):
    with pytest.raises(FileNotFoundError, match="--data DIR or in SKVAE_DATA"):
        regression.main([])
    with pytest.raises(FileNotFoundError, match="has no folder 'uci'"):
        regression.data_folder(str(data / "uci"))
    with pytest.raises(FileNotFoundError, match=r"No set 'curve' .* \['line'\]"):
        regression.load_uci(data, "curve")


@pytest.mark.parametrize(
    ("options", "stem"),
    [
        ([], "regression-all"),
        (["--sets", "energy", "yacht"], "regression-energy-yacht"),
        (["--splits", "5", "--seed", "3"], "regression-all-5splits-seed3"),
        (["--set", "max_iter=9"], "regression-all-max_iter=9"),
    ],
)
def test_only_a_full_run_of_defaults_has_the_short_name(regression, options, stem):
    assert regression.result_stem(regression.parse_arguments(options)) == stem
