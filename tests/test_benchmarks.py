"""The benchmark script: a small run from a data folder to stored results."""

import gzip
import importlib
import json
import os
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose
from scipy import stats

from skvae import VAEImputer, VAETransformer
from skvae._predictive import independent_normals

CHECKOUT = Path(__file__).parent.parent


@pytest.fixture
def regression(monkeypatch, tmp_path):
    """``benchmarks.regression``, storing its results in a folder of this test."""
    monkeypatch.syspath_prepend(CHECKOUT)
    module = importlib.import_module("benchmarks.regression")
    report = importlib.import_module("benchmarks.report")
    measure = importlib.import_module("benchmarks.measure")

    monkeypatch.setattr(report, "RESULTS", tmp_path / "results")
    # a fresh process for every row costs seconds of imports: one test has it
    monkeypatch.setattr(
        measure, "in_fresh_process", lambda _, *a: measure.run_split(*a)
    )
    monkeypatch.delenv("SKVAE_DATA", raising=False)
    return module


@pytest.fixture
def predictive(monkeypatch):
    """``benchmarks.peers.predictive``."""
    monkeypatch.syspath_prepend(CHECKOUT)
    return importlib.import_module("benchmarks.peers.predictive")


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
    summary = result["summary"]["line"]["skvae"]
    assert summary["rmse"]["mean"] == pytest.approx(mean)
    assert 0.0 <= summary["coverage"]["mean"] <= 1.0
    assert 0.0 <= summary["calibration"]["mean"] <= 0.5
    assert "calibration error" in printed
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
        (["--peers"], "regression-all-peers"),
        (["--peers", "ngboost", "catboost"], "regression-all-ngboost-catboost"),
    ],
)
def test_only_a_full_run_of_defaults_has_the_short_name(regression, options, stem):
    assert regression.result_stem(regression.parse_arguments(options)) == stem


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_peers_run_on_the_same_rows_and_are_ranked(regression, data, capsys):
    options = ["--data", str(data), "--sets", "line", "--name", "x", "--peers-only"]
    regression.main([*options, "--peers", "bayesian-ridge", "gaussian-process"])

    printed = capsys.readouterr().out
    result = json.loads((data / "results" / "regression-x.json").read_text("utf-8"))
    methods = [(row["split"], row["method"]) for row in result["rows"]]
    names = ["bayesian-ridge", "gaussian-process"]
    assert methods == [(split, name) for split in (0, 1) for name in names]
    assert {row["training_rows"] for row in result["rows"]} == {54}
    assert max(row["rmse"] for row in result["rows"]) < 0.3  # the noise is 0.1
    assert set(result["mean_ranks"]) == set(names)
    assert sum(mine["crps"] for mine in result["mean_ranks"].values()) == 3
    assert "| gaussian-process | 2 |" in printed
    assert "scikit-learn" in result["versions"]


def test_a_row_comes_from_a_process_of_its_own(predictive, data):
    """Fitted elsewhere: here nothing is fitted, and the row is the same as here."""
    measure = importlib.import_module("benchmarks.measure")
    loaded = {"line": measure.RegressionSet(*_line(data))}
    settings = measure.Settings()
    (row,) = measure.run_all(loaded, 1, ["bayesian-ridge"], settings, 1)
    here = measure.run_split("line", loaded["line"], 0, "bayesian-ridge", settings)
    assert (row.nll, row.crps) == pytest.approx((here.nll, here.crps))
    assert row.memory >= 0.0


def _line(data):
    line = importlib.import_module("benchmarks.data").load_uci(data, "line")
    return line.X, line.y, line.splits


def test_a_method_with_a_limit_gets_a_random_subset_of_the_rows(predictive):
    subset = importlib.import_module("benchmarks.measure").subset
    rows = np.arange(100, 200)
    few = subset(rows, 30, seed=0)
    assert len(set(few)) == 30
    assert set(few) <= set(rows)
    assert subset(rows, 100, seed=0) is rows
    assert subset(rows, None, seed=0) is rows


def test_a_peer_that_is_not_installed_is_named_with_what_to_do(
    regression, data, capsys, monkeypatch
):
    command = regression.command
    monkeypatch.setattr(
        command, "package_version", lambda name, _: "1" if name == "skvae" else None
    )
    with pytest.raises(ModuleNotFoundError, match="pip install quantile-forest"):
        regression.main(["--data", str(data), "--peers", "quantile-forest"])

    options = regression.parse_arguments(["--peers"])
    assert list(command.chosen_methods(options, command.Settings())) == ["skvae"]
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(command.PEERS)
    assert "ngboost is not installed" in lines[0]
    assert "--treeffuser-python PATH" in lines[-1]


def test_an_unknown_peer_is_refused(regression, capsys):
    with pytest.raises(SystemExit):
        regression.parse_arguments(["--peers", "oracle"])
    assert "invalid choice: 'oracle'" in capsys.readouterr().err


def test_treeffuser_is_looked_for_in_its_own_environment(predictive):
    adapters = importlib.import_module("benchmarks.peers.adapters")
    nowhere = adapters.Settings(treeffuser_python="/nowhere/python")
    assert adapters.package_version("treeffuser", nowhere) is None
    assert adapters.package_version("treeffuser", adapters.Settings()) is None
    assert adapters.package_version("skvae", nowhere)


def test_treeffuser_gives_and_takes_npz_files(predictive, monkeypatch):
    """A stand-in for the worker: the draws are the row's feature."""
    adapters = importlib.import_module("benchmarks.peers.adapters")

    def work(command, cwd, check):
        with np.load(command[3]) as arrays:
            given = dict(arrays)
        draws = np.tile(given["X_test"], (1, int(given["n_samples"])))
        cost = {"fit_seconds": 1.0, "predict_seconds": 2.0, "memory": 3.0}
        np.savez(command[4], samples=draws, **cost)

    monkeypatch.setattr(adapters.subprocess, "run", work)
    model = adapters.Treeffuser(adapters.Settings(treeffuser_python=sys.executable))
    model.fit(np.zeros((5, 1)), np.arange(5.0))
    answer = model.predict(np.array([[1.0], [7.0]]))
    assert_allclose(answer.mean(), [1.0, 7.0])
    assert model.cost == adapters.Cost(1.0, 2.0, 3.0)


@pytest.mark.parametrize("name", ["catboost", "quantile_forest"])
def test_an_installed_peer_finds_the_line(regression, data, name):
    pytest.importorskip(name)
    measure = importlib.import_module("benchmarks.measure")
    line = measure.RegressionSet(*_line(data))
    method = name.replace("_", "-")
    row = measure.run_split("line", line, 0, method, measure.Settings())
    assert row.rmse < 0.7  # the standard deviation of y is 1
    assert np.isfinite([row.nll, row.crps, row.coverage, row.calibration]).all()


# -- predictive answers: closed forms and known distributions ----------------------


def test_gaussian_scores_have_their_closed_forms(predictive):
    mean, scale, y = np.array([0.0, 3.0]), np.array([1.0, 0.5]), np.array([0.7, 2.0])
    answer = independent_normals(mean, scale)
    z = (y - mean) / scale
    crps = z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - np.pi**-0.5
    assert_allclose(answer.mean(), mean)
    assert_allclose(answer.log_prob(y), stats.norm.logpdf(y, mean, scale))
    assert_allclose(answer.cdf(y), stats.norm.cdf(z))
    assert_allclose(answer.crps(y), scale * crps)
    assert_allclose(answer.interval(0.9)[:, 1], stats.norm.ppf(0.95, mean, scale))


@pytest.fixture
def normal_quantiles(predictive):
    """Quantiles of N(2, 3²), for seven rows."""
    levels = importlib.import_module("benchmarks.peers.adapters").LEVELS
    values = np.tile(stats.norm.ppf(levels, 2.0, 3.0), (7, 1))
    return predictive.Quantiles(levels, values, floor=1e-3, spread=3.0)


Y = 2.0 + 3.0 * np.array([-2.3, -1.5, -0.4, 0.0, 0.3, 1.1, 2.5])


def test_quantiles_of_a_normal_score_like_the_normal(predictive, normal_quantiles):
    normal = independent_normals(np.full(7, 2.0), np.full(7, 3.0))
    assert_allclose(normal_quantiles.mean(), 2.0, atol=1e-6)
    assert_allclose(normal_quantiles.crps(Y), normal.crps(Y), atol=0.03)
    assert_allclose(normal_quantiles.cdf(Y), normal.cdf(Y), atol=0.01)
    inner = np.abs(Y - 2.0) < 5.8  # between the outermost levels
    assert_allclose(
        normal_quantiles.log_prob(Y)[inner], normal.log_prob(Y)[inner], atol=0.2
    )
    assert_allclose(normal_quantiles.interval(0.9), normal.interval(0.9), rtol=1e-9)


def test_the_density_of_quantiles_integrates_to_one_and_to_the_cdf(
    predictive, normal_quantiles
):
    y = np.linspace(-60.0, 60.0, 200_001)
    one = predictive.Quantiles(
        normal_quantiles.levels, normal_quantiles.values[:1], floor=0.4, spread=3.0
    )
    density = np.exp(one.log_prob(y))
    rise = np.cumsum(density) * (y[1] - y[0])
    assert rise[-1] == pytest.approx(1.0, abs=1e-3)
    assert_allclose(rise[::1000], one.cdf(y)[::1000], atol=1e-3)


def test_tied_and_crossing_quantiles_keep_a_bounded_density(predictive):
    levels = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
    values = np.array([[5.0, 5.0, 5.0, 5.0, 6.0], [4.0, 3.0, 2.0, 1.0, 0.0]])
    answer = predictive.Quantiles(levels, values, floor=0.1, spread=1.0)
    assert_allclose(answer.values[1], [0.0, 1.0, 2.0, 3.0, 4.0])
    log_prob = answer.log_prob(np.array([5.0, 2.0]))
    width = np.sqrt(12.0) * 0.1
    assert log_prob[0] <= -np.log(width)
    assert log_prob[0] >= np.log(0.7 / width)  # the mass of the tied levels
    assert log_prob[1] == pytest.approx(np.log(0.25))  # where two pieces meet


def test_a_value_far_from_tied_quantiles_costs_tens_of_nats_not_hundreds(predictive):
    answer = predictive.Quantiles(
        np.array([0.05, 0.5, 0.95]), np.full((1, 3), 7.0), floor=1e-3, spread=1.0
    )
    expected = stats.expon.logpdf(1.0, scale=0.05) + np.log(0.05)
    assert_allclose(answer.log_prob(np.array([8.0])), expected)
    assert_allclose(answer.log_prob(np.array([6.0])), expected)


def test_samples_of_a_normal_score_like_the_normal(predictive):
    rng = np.random.default_rng(0)
    draws = predictive.Samples(rng.normal(2.0, 3.0, size=(7, 4000)), floor=1e-3)
    normal = independent_normals(np.full(7, 2.0), np.full(7, 3.0))
    assert_allclose(draws.mean(), 2.0, atol=0.25)
    assert_allclose(draws.crps(Y), normal.crps(Y), atol=0.1)
    assert_allclose(draws.cdf(Y), normal.cdf(Y), atol=0.03)
    assert_allclose(draws.log_prob(Y), normal.log_prob(Y), atol=0.3)
    assert_allclose(draws.interval(0.9), normal.interval(0.9), atol=0.5)


def test_the_density_of_samples_is_scipys_kernel_density(predictive):
    draws = np.random.default_rng(1).normal(size=(1, 50))
    answer = predictive.Samples(draws, floor=1e-6)
    spread = min(draws.std(ddof=1), stats.iqr(draws) / 1.34)
    factor = 0.9 * spread * 50**-0.2 / draws.std(ddof=1)
    expected = stats.gaussian_kde(draws, bw_method=factor).logpdf([0.3])
    assert_allclose(answer.log_prob(np.array([0.3])), expected)
    equal = predictive.Samples(np.zeros((1, 50)), floor=0.2)
    assert_allclose(equal.log_prob(np.zeros(1)), stats.norm.logpdf(0.0, scale=0.2))


def test_the_crps_of_samples_is_fair(predictive):
    """Its mean over draws does not depend on their number: 3 give what 4000 give."""
    rng = np.random.default_rng(2)
    y = np.full(20_000, 0.5)
    few = predictive.Samples(rng.normal(size=(20_000, 3)), floor=1e-3).crps(y).mean()
    exact = independent_normals(np.zeros(1), np.ones(1)).crps(y[:1])[0]
    assert few == pytest.approx(exact, abs=0.02)


def test_calibration_error_is_none_for_uniform_pit_values_and_seen_otherwise(
    predictive,
):
    even = (np.arange(1000) + 0.5) / 1000
    assert predictive.calibration_error(even) == pytest.approx(0.0, abs=1e-9)
    # all values in the middle: the shares are 0 below it and 1 above
    middle = np.full(10, 0.5)
    assert predictive.calibration_error(middle) == pytest.approx(5.0 / 19, abs=1e-9)


def test_the_smallest_scale_is_the_rounding_or_a_thousandth(predictive):
    rng = np.random.default_rng(3)
    y = rng.normal(size=2000)
    assert predictive.smallest_scale(y) == pytest.approx(1e-3 * y.std(), rel=0.2)
    whole = np.rint(5.0 * y)
    assert predictive.smallest_scale(whole) == pytest.approx(12.0**-0.5)


def test_peak_memory_sees_an_array(predictive):
    code = (
        "import numpy as np; from benchmarks.peers.memory import peak_memory\n"
        "before = peak_memory(); x = np.ones(2**23); print(peak_memory() - before)"
    )
    command = [sys.executable, "-c", code]
    env = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert float(done.stdout) == pytest.approx(64.0, rel=0.2)


# -- the other benchmarks --------------------------------------------------------


@pytest.fixture
def tables(data):
    """The data folder with a table of four columns, a target among them."""
    rng = np.random.default_rng(1)
    values = rng.normal(size=(80, 5))
    lines = ["a,kind,b,c,price"]
    lines += [f"{a},{'xy'[int(k > 0)]},{b},{c},{p}" for a, k, b, c, p in values]
    lines[3] = "1.0,x,,2.0,3.0"  # a hole
    (data / "tables").mkdir()
    path = data / "tables" / "goods.csv.gz"
    with gzip.open(path, "wt") as file:
        file.write("\n".join(lines) + "\n")
    about = {"target": "price", "task": "regression", "numeric": ["a", "b", "c"]}
    about["categorical"] = ["kind"]
    (data / "tables" / "META.json").write_text(json.dumps({"goods": about}))
    return data


def test_halves_of_a_table_are_features_and_targets(regression, tables):
    loading = importlib.import_module("benchmarks.data")
    goods = loading.load_halves(tables, "goods", n_splits=3, n_rows=50)
    assert goods.X.shape == goods.y.shape == (50, 2)
    assert not np.isnan(goods.X).any()
    whole = loading.load_halves(tables, "goods", n_splits=1, n_rows=1000)
    assert len(whole.y) == 79  # without the row that has a hole
    for train, test in goods.splits:
        assert len(train) == 45
        assert sorted([*train, *test]) == list(range(50))
    assert set(goods.splits[0][1]) != set(goods.splits[1][1])


def test_a_table_keeps_its_categories_and_its_holes(regression, tables):
    loading = importlib.import_module("benchmarks.data")
    goods = loading.load_table(tables, "goods", n_splits=1)
    assert list(goods.X) == ["a", "b", "c", "kind"]
    assert list(goods.X["kind"].cat.categories) == ["x", "y"]
    assert goods.X.isna().sum().tolist() == [0, 1, 0, 0]
    train, test = goods.splits[0]
    assert (len(train), len(test)) == (72, 8)
    assert goods.features(test).index.tolist() == test.tolist()


def test_a_uci_set_stands_for_a_large_table(regression, data):
    loading = importlib.import_module("benchmarks.data")
    line = loading.load_uci(data, "line")
    table = loading.load_table(data, "line", n_splits=1)
    np.testing.assert_array_equal(table.X, line.X)
    np.testing.assert_array_equal(table.y, line.y)
    with pytest.raises(FileNotFoundError, match="No set 'curve'"):
        loading.load_table(data, "curve", n_splits=1)


def test_the_category_of_a_table_is_measured_too(regression, tables):
    """The target follows the category alone, by 8 standard deviations."""
    measure = importlib.import_module("benchmarks.measure")
    loading = importlib.import_module("benchmarks.data")
    settings = importlib.import_module("benchmarks.peers.adapters").Settings
    goods = loading.load_table(tables, "goods", n_splits=1)
    is_y = (goods.X["kind"] == "y").to_numpy()
    told = loading.RegressionSet(goods.X, goods.y + 8.0 * is_y, goods.splits)
    few = {"max_iter": 60, "n_components": 0, "n_estimators": 1, "random_state": 0}
    row = measure.run_split("goods", told, 0, "skvae", settings(0, few, None))
    assert row.rmse < 0.6 * told.y.std()


def test_a_uci_set_may_stand_as_a_table(regression, data):
    loading = importlib.import_module("benchmarks.data")
    line = loading.load_uci(data, "line")
    halves = loading.load_halves(data, "line", n_splits=1, n_rows=1000)
    rows = np.column_stack([halves.X, halves.y])
    expected = np.column_stack([line.X, line.y])
    np.testing.assert_array_equal(np.sort(rows, axis=0), np.sort(expected, axis=0))
    with pytest.raises(FileNotFoundError, match="No set 'curve'"):
        loading.load_halves(data, "curve", n_splits=1, n_rows=10)


def test_few_rows_are_trained_on_and_others_tested(regression, data):
    sizes = importlib.import_module("benchmarks.sizes")
    loading = importlib.import_module("benchmarks.data")
    few = sizes.few_rows(loading.load_uci(data, "line"), n_draws=2)
    for train, test in few.splits:
        assert (len(train), len(test)) == (50, 10)
        assert not set(train) & set(test)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_ablation_pairs_both_fits_and_stores_them(regression, tables, capsys):
    ablation = importlib.import_module("benchmarks.ablation")
    small = ["--set", "max_iter=3", "--set", "hidden_layer_sizes=(8,)"]
    options = ["--data", str(tables), "--sets", "goods", "line", "--splits", "2"]
    ablation.main(options + small)
    stored = json.loads((tables / "results" / "ablation.json").read_text())
    assert [row["set"] for row in stored["rows"]] == ["goods"] * 2 + ["line"] * 2
    assert [row["n_outputs"] for row in stored["rows"]] == [2, 2, 1, 1]
    assert stored["command"].startswith("python -m benchmarks.ablation --data DIR")
    gains = [row["nll_without"] - row["nll"] for row in stored["rows"][:2]]
    assert f"{np.mean(gains):.3f} ± " in capsys.readouterr().out
    assert str(tables) not in (tables / "results" / "ablation.md").read_text()
    ablation.main(["--data", str(tables), "--sets", "line", "--splits", "1", *small])
    again = json.loads((tables / "results" / "ablation.json").read_text())["rows"]
    assert again[:2] == stored["rows"][:2]
    assert [row["set"] for row in again] == ["goods", "goods", "line"]


# -- imputation ------------------------------------------------------------------


def test_a_large_table_is_taken_end_to_end_and_stored(
    regression, tables, monkeypatch, capsys
):
    large = importlib.import_module("benchmarks.large")
    quick = partial(VAETransformer, max_iter=2, n_estimators=1, n_draws=1)
    monkeypatch.setattr(large, "VAETransformer", quick)
    monkeypatch.setattr(large, "in_fresh_process", large.run_one)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        large.main(["--data", str(tables), "--sets", "goods"])
    (row,) = json.loads((tables / "results" / "large.json").read_text())["rows"]
    assert (row["rows"], row["columns"]) == (80, 5)
    assert row["table"] < 0.1
    assert row["peak"] >= row["before"] > 50  # numpy and torch are part of it
    assert all(row[step] > 0 for step in large.STEPS)
    page = (tables / "results" / "large.md").read_text()
    assert "goods | 80 x 5 | 0 |" in page
    assert f"1 at a time, {torch.get_num_threads()} threads" in page
    assert "goods" in capsys.readouterr().out


@pytest.fixture
def synthesis(monkeypatch):
    """``benchmarks.synthesis``."""
    monkeypatch.syspath_prepend(CHECKOUT)
    return importlib.import_module("benchmarks.synthesis")


@pytest.fixture
def goods():
    rng = np.random.default_rng(0)
    size = rng.integers(1, 9, size=300)
    kind = np.array(["x", "y", "z"], dtype=object)[rng.integers(3, size=300)]
    price = size + 0.1 * rng.normal(size=300)
    return pd.DataFrame({"size": size, "kind": kind, "price": price})


@pytest.mark.parametrize("method", ["gaussian-copula", "smote", "skvae"])
def test_makers_of_rows_give_as_many_as_are_asked_for(synthesis, goods, method):
    quick = {"max_iter": 2, "n_estimators": 1, "n_draws": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = synthesis.MAKERS[method](goods, 0, quick)
    for n in (70, 500):
        made = source(n)
        assert len(made) == n
        assert (made.dtypes == goods.dtypes).all()
        assert set(made["kind"]) == {"x", "y", "z"}
        assert made["price"].between(goods["price"].min(), goods["price"].max()).all()


def test_copies_are_seen(synthesis):
    """Bound for rows of their own: 5 standard errors of a share of 1000."""
    train, test, fresh = (
        pd.DataFrame(np.random.default_rng(seed).normal(size=(1000, 3)))
        for seed in range(3)
    )
    assert synthesis.copies(train, test, train) == 1.0
    assert synthesis.copies(train, test, test) == 0.0
    assert abs(synthesis.copies(train, test, fresh) - 0.5) < 5 * 0.5 / np.sqrt(1000)


def test_new_rows_are_as_useful_as_what_they_say_of_the_target(synthesis, goods):
    rng = np.random.default_rng(1)
    test, shuffled = goods.iloc[:100], goods.assign(price=rng.permutation(goods.price))
    assert synthesis.usefulness(goods, test, "price", "regression") > 0.9
    assert synthesis.usefulness(shuffled, test, "price", "regression") < 0.3


@pytest.fixture
def removal(monkeypatch):
    """``benchmarks.removal``."""
    monkeypatch.syspath_prepend(CHECKOUT)
    return importlib.import_module("benchmarks.removal")


def correlated_table(n=2000):
    rng = np.random.default_rng(0)
    shared = rng.normal(size=n)
    numbers = {f"x{i}": shared + 0.5 * rng.normal(size=n) for i in range(6)}
    text = np.array(["a", "b", "c"], dtype=object)[rng.integers(3, size=n)]
    return pd.DataFrame(numbers).assign(text=text)


@pytest.mark.parametrize("mechanism", ["mcar", "mar", "mnar"])
def test_cells_are_removed_at_the_rate_asked_for(removal, mechanism):
    table = correlated_table()
    task = removal.make_task(table, mechanism, 0.3, seed=0)
    assert (len(task.train), len(task.test)) == (1600, 400)
    rates = task.train.isna().mean()
    touched = rates[rates > 0]
    assert len(touched) == (5 if mechanism == "mar" else 7)
    assert touched.to_numpy() == pytest.approx(0.3, abs=0.06)
    np.testing.assert_array_equal(task.removed, task.test.isna())
    assert task.truth.notna().all(axis=None)
    assert task.numeric == list(table)[:6]
    assert task.categorical == ["text"]


def test_mechanisms_differ_in_what_removal_depends_on(removal):
    """Removal goes with the cell itself under MNAR, and under MCAR with nothing."""
    table = correlated_table()
    gaps = {}
    for mechanism in ("mcar", "mnar"):
        task = removal.make_task(table, mechanism, 0.3, seed=1)
        cells = task.truth["x0"]
        gone = task.removed[:, 0]
        gaps[mechanism] = abs(cells[gone].mean() - cells[~gone].mean())
    assert gaps["mcar"] < 0.35
    assert gaps["mnar"] > 0.8


@pytest.mark.parametrize("method", ["mean", "knn", "ridge", "forest"])
def test_peers_complete_mixed_tables_and_leave_what_is_there(removal, method):
    imputers = importlib.import_module("benchmarks.imputers")
    imputation = importlib.import_module("benchmarks.imputation")
    task = removal.make_task(correlated_table(200), "mcar", 0.3, seed=0)
    model = imputers.METHODS[method].make(0, {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(task.train)
        completed = model.complete(task.test)
    assert completed.notna().all(axis=None)
    seen = task.test.notna().to_numpy()
    same = completed.to_numpy(object) == task.test.to_numpy(object)
    assert same[seen].all()
    # the others of a row tell of a cell; the mean knows nothing
    bound = (0.8, 1.2) if method == "mean" else (0.3, 0.75)
    assert bound[0] < imputation.rmse(task, completed) < bound[1]
    assert 0.1 < imputation.accuracy(task, completed) < 0.6


@pytest.mark.parametrize("n_values", [3, 1000])
def test_draws_of_the_true_distribution_cover_nine_of_ten(removal, n_values):
    """Of columns of few values, too: 12 000 cells, a standard error of 0.003."""
    imputation = importlib.import_module("benchmarks.imputation")
    rng = np.random.default_rng(0)

    def table():
        return pd.DataFrame(rng.integers(n_values, size=(4000, 3)).astype(float))

    cells, removed = table(), np.ones((4000, 3), dtype=bool)
    task = removal.Task(cells, cells, cells, removed, cells.std())
    covered = imputation.coverage(task, [table() for _ in range(99)])
    assert covered == pytest.approx(0.9, abs=0.012)
    halved = imputation.coverage(task, [cells + 0.5, cells - 0.5] * 50)
    assert halved == 1.0


@pytest.fixture
def imputation_of_a_line(regression, data, monkeypatch):
    """``benchmarks.imputation`` in this process, and options for its one set."""
    imputation = importlib.import_module("benchmarks.imputation")
    removal = importlib.import_module("benchmarks.removal")
    monkeypatch.setattr(removal, "UCI", ("line",))
    monkeypatch.setattr(imputation, "SETS", ("line",))
    monkeypatch.setattr(imputation, "run_alone", imputation.run)
    options = ["--data", str(data), "--sets", "line", "--settings", "mcar-30"]
    return imputation, options


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_an_imputation_run_is_printed_and_stored(imputation_of_a_line, capsys):
    imputation, options = imputation_of_a_line
    small = ["max_iter=2", "n_estimators=1", "n_samples=16"]
    changes = [word for change in small for word in ("--set", change)]
    imputation.main([*options, "--methods", "skvae", "mean", *changes])
    assert "| mean |" in capsys.readouterr().out
    stored = json.loads((imputation.report.RESULTS / "imputation.json").read_text())
    assert stored["command"].startswith("python -m benchmarks.imputation --data DIR")
    assert [row["method"] for row in stored["rows"]] == ["skvae", "mean"]
    page = (imputation.report.RESULTS / "imputation.md").read_text()
    assert "MCAR-30 %" in page


@pytest.fixture
def elsewhere(regression, monkeypatch):
    """``benchmarks.peers.elsewhere``; its worker runs here and knows a stand-in."""
    worker = importlib.import_module("benchmarks.peers.imputation_worker")
    module = importlib.import_module("benchmarks.peers.elsewhere")

    def stand_in(train, test, seed):
        """Every cell is that of the first row without holes, plus the seed."""
        first = train.dropna().iloc[0]
        numbers = {name: first[name] + seed for name in train.select_dtypes("number")}
        answer = test.assign(**(dict(first) | numbers))
        return answer, (1.5, 2.5)

    def run(command, **options):
        if module.WORKER not in command:
            return outside(command, **options)
        arguments = command[command.index(module.WORKER) + 1 :]
        if len(arguments) == 1:
            found = {"python": "3.0", "miceforest": "6.0", "lightgbm": None}
            return subprocess.CompletedProcess(command, 0, json.dumps(found), "")
        worker.main(*arguments)
        return None

    outside = subprocess.run
    monkeypatch.setitem(worker.METHODS, "miceforest", stand_in)
    monkeypatch.setattr(module.subprocess, "run", run)
    return module


def test_tables_come_back_from_another_environment_as_they_were(removal, tmp_path):
    tables = importlib.import_module("benchmarks.peers.tables")
    table = pd.DataFrame(
        {
            "text": np.array(["NA", "1.0", "", np.nan, "ä,\n"], dtype=object),
            "x": [0.1 + 0.2, 1e-300, np.nan, -1 / 3, 12345678901234567.0],
            "nothing": np.full(5, np.nan, dtype=object),
            "whole": [1, 2, 3, 4, 5],
        },
        index=[7, 5, 3, 1, 9],
    )
    tables.write(tmp_path / "file", {"here": table, "there": table[:2]}, seed=3)
    back, more = tables.read(tmp_path / "file")
    assert more == {"seed": 3}
    assert list(back) == ["here", "there"]
    assert list(back["here"]) == list(table)
    assert list(back["here"].dtypes) == [object, np.float64, object, np.float64]
    for name, cells in back["here"].items():
        assert list(cells.index) == list(range(5))
        np.testing.assert_array_equal(cells.isna(), table[name].isna())
        seen = table[name].notna().to_numpy()
        assert list(cells[seen]) == list(table[name][seen])


def test_an_imputer_elsewhere_fills_missing_cells_and_no_others(elsewhere):
    table = pd.DataFrame(
        {"x": [np.nan, 5.0, 7.0], "text": np.array(["a", "b", np.nan], dtype=object)},
        index=[4, 2, 0],
    )
    model = elsewhere.Elsewhere("miceforest", 3, sys.executable)
    model.fit(table[::-1])
    completed = model.complete(table)
    expected = table.assign(x=[8.0, 5.0, 7.0], text=np.array(list("abb"), dtype=object))
    pd.testing.assert_frame_equal(completed, expected)
    assert model.seconds == (1.5, 2.5)


def test_completions_are_pooled_by_mean_and_majority(removal):
    worker = importlib.import_module("benchmarks.peers.imputation_worker")
    parts = [
        pd.DataFrame({"x": [1.0, x], "text": pd.Categorical(["a", text], list("abc"))})
        for x, text in [(2.0, "c"), (4.0, "b"), (14.0, "c"), (1.0, "b"), (4.0, "a")]
    ]
    pooled = worker.pool(parts, ["text"])
    assert pooled["x"].tolist() == [1.0, 5.0]
    assert pooled["text"].tolist() == ["a", "b"]
    assert worker.pool(parts[:3], ["text"])["text"].tolist() == ["a", "c"]


def test_imputers_elsewhere_want_the_path_of_their_python(elsewhere, capsys):
    imputation = importlib.import_module("benchmarks.imputation")
    with pytest.raises(SystemExit):
        imputation.parse_arguments(["--methods", "mean", "miceforest"])
    assert "give --miceforest-python PATH" in capsys.readouterr().err

    methods = imputation.parse_arguments([]).methods
    assert methods == ["skvae", "mean", "knn", "ridge", "forest"]
    given = ["--hyperimpute-python", "python"]
    assert imputation.parse_arguments(given).methods == [*methods, "hyperimpute"]

    with pytest.raises(ModuleNotFoundError, match="--lightgbm-python PATH"):
        elsewhere.versions_there("lightgbm", sys.executable)  # it says None


def test_a_python_that_does_not_run_is_named(removal):
    elsewhere = importlib.import_module("benchmarks.peers.elsewhere")
    with pytest.raises(ModuleNotFoundError, match=r"(?s)own.*/nowhere/python"):
        elsewhere.versions_there("miceforest", "/nowhere/python")
    found = importlib.import_module("benchmarks.peers.imputation_worker").versions
    assert found("miceforest")["pandas"] == pd.__version__


def test_a_run_shows_versions_of_elsewhere_and_no_path(
    elsewhere, imputation_of_a_line, capsys
):
    imputation, options = imputation_of_a_line
    path = ["--miceforest-python", sys.executable]
    imputation.main([*options, "--methods", "mean", "miceforest", *path])
    assert "| miceforest |" in capsys.readouterr().out
    results = imputation.report.RESULTS
    stored = json.loads((results / "imputation.json").read_text())
    assert "--miceforest-python MICEFOREST_PYTHON" in stored["command"]
    mean, there = stored["rows"]
    assert (there["fit_seconds"], there["transform_seconds"]) == (1.5, 2.5)
    assert mean["fit_seconds"] < 1.5
    assert there["rmse"] != mean["rmse"]
    page = (results / "imputation.md").read_text()
    assert "- versions: miceforest 6.0 (python 3.0), python 3." in page
    assert "- miceforest: miceforest, chained forests" in page
    assert sys.executable not in page + (results / "imputation.json").read_text()


# -- anomalies -------------------------------------------------------------------


@pytest.fixture
def pooling(regression):
    """``benchmarks.pooling``, storing its results in a folder of this test."""
    return importlib.import_module("benchmarks.pooling")


def test_one_table_is_pooled_to_least_squares(pooling):
    x, y = np.random.default_rng(0).normal(size=(2, 40))
    fit = stats.linregress(x, y)
    table = np.column_stack([x, y])
    for tables in ([table], [table] * 5):
        pooled = pooling.pool(tables)
        assert pooled["estimate"] == pytest.approx([fit.slope])
        assert pooled["error"] == pytest.approx([fit.stderr])
        half = stats.norm.ppf(0.975) * fit.stderr
        assert pooled["high"] == pytest.approx([fit.slope + half], rel=1e-6)


def test_rubins_rules_add_what_imputations_differ_by(pooling, monkeypatch):
    fits = [(np.array([e]), np.array([v])) for e, v in [(1.0, 0.2), (2.0, 0.4)]]
    monkeypatch.setattr(pooling, "regression", lambda i: fits[i])
    pooled = pooling.pool([0, 1])
    # within 0.3, between 0.5 * 1.5
    assert pooled["estimate"] == [1.5]
    assert pooled["error"] == pytest.approx([np.sqrt(1.05)])
    half = stats.t.ppf(0.975, (1 + 0.3 / 0.75) ** 2) * np.sqrt(1.05)
    assert pooled["low"] == pytest.approx([1.5 - half])


def test_cells_are_removed_anywhere_or_by_the_size_of_the_target(pooling):
    rng = np.random.default_rng(0)
    table = pooling.draw(4000, rng)
    # standard errors below 0.01
    assert np.isnan(pooling.anywhere(table, rng)).mean(axis=0) == pytest.approx(
        [0.3] * 3, abs=0.04
    )
    missing = np.isnan(pooling.by_target(table, rng))
    assert missing.mean(axis=0) == pytest.approx([0, 0.5, 0], abs=0.04)
    large = table[:, 2] > table[:, 2].mean()
    assert missing[large, 1].mean() > missing[~large, 1].mean() + 0.3


def test_pooled_coefficients_are_printed_and_stored(pooling, tmp_path, capsys):
    pooling.main(["--tables", "2", "--methods", "no-holes", "complete-cases"])
    assert "| x2, by the size of y | complete-cases | 2 |" in capsys.readouterr().out
    rows = json.loads((tmp_path / "results" / "pooling.json").read_text())["rows"]
    assert len(rows) == 8
    errors = {
        m: [r["error"] for r in rows if r["method"] == m] for m in pooling.METHODS
    }
    assert (np.array(errors["complete-cases"]) > errors["no-holes"]).all()


def test_the_librarys_draws_keep_what_is_there(pooling, monkeypatch):
    quick = partial(VAEImputer, max_iter=2, n_estimators=1, n_draws=2)
    monkeypatch.setattr(pooling, "VAEImputer", quick)
    monkeypatch.setattr(pooling, "N_IMPUTATIONS", 3)
    rng = np.random.default_rng(0)
    whole = pooling.draw(60, rng)
    holes = pooling.by_target(whole, rng)
    seen = ~np.isnan(holes)
    for method in (pooling.skvae, pooling.linear):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tables = method(holes, whole, 0)
        assert len(tables) == 3
        assert all((table[seen] == whole[seen]).all() for table in tables)
        assert (tables[0][~seen] != tables[1][~seen]).all()


@pytest.fixture
def anomalies(data):
    """The data folder with a set of 90 rows, 10 of them far from the others."""
    rng = np.random.default_rng(2)
    y = np.repeat([0, 1], [80, 10])
    X = rng.normal(size=(90, 3)) + 8.0 * y[:, None]
    (data / "adbench").mkdir()
    np.savez(data / "adbench" / "far.npz", X=X, y=y)
    return data


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_anomaly_benchmark_ranks_and_stores(regression, anomalies, monkeypatch):
    anomaly = importlib.import_module("benchmarks.anomaly")

    class Here:
        """A pool that works in this process."""

        def __init__(self, *_, **__):
            pass

        __enter__ = lambda self: self  # noqa: E731
        __exit__ = lambda *_: None  # noqa: E731

        def submit(self, function, *arguments):
            answer = function(*arguments)
            return type("Done", (), {"result": lambda _: answer})()

    monkeypatch.setattr(anomaly, "ProcessPoolExecutor", Here)
    options = ["--data", str(anomalies), "--seeds", "1", "--set", "max_iter=3"]
    anomaly.main([*options, "--methods", "skvae", "knn", "lof", "iforest", "ocsvm"])
    stored = json.loads((anomalies / "results" / "anomaly.json").read_text())
    assert len(stored["rows"]) == 10
    knn = [row for row in stored["rows"] if row["method"] == "knn"]
    assert [row["training_rows"] for row in knn] == [40, 90]
    assert [row["test_rows"] for row in knn] == [50, 90]
    assert [row["anomalies"] for row in knn] == [10, 10]
    assert knn[0]["auroc"] == 100.0
    assert stored["overall"]["one-class"]["knn"]["auroc"] == 100.0
    assert stored["command"].startswith("python -m benchmarks.anomaly --data DIR")
    page = (anomalies / "results" / "anomaly.md").read_text()
    assert str(anomalies) not in page
    assert "## Unsupervised (1 sets)" in page


def test_splits_of_anomalies_are_disjoint_and_whole(regression):
    anomaly = importlib.import_module("benchmarks.anomaly")
    is_anomaly = np.arange(100) % 10 == 0
    train, test = anomaly.split_rows(is_anomaly, "one-class", 0)
    assert not is_anomaly[train].any()
    assert len(train) == 45
    assert sorted([*train, *test]) == list(range(100))
    train, test = anomaly.split_rows(is_anomaly, "unsupervised", 0)
    assert sorted(train) == list(range(100))
    np.testing.assert_array_equal(train, test)


# -- the family ------------------------------------------------------------------


@pytest.fixture
def family(regression, monkeypatch):
    """``benchmarks.family``, its results in the temporary folder."""
    return importlib.import_module("benchmarks.family")


def test_the_gap_of_mutual_information_is_one_for_factors_and_zero_for_noise(family):
    factors = np.random.default_rng(0).uniform(size=(4000, 3))
    noise = np.random.default_rng(1).normal(size=(4000, 3))
    # monotone maps change nothing, and a repeated factor leaves no gap
    assert family.mutual_information_gap(factors, factors**3) > 0.9
    assert family.mutual_information_gap(factors, np.repeat(factors, 2, axis=1)) < 0.05
    assert family.mutual_information_gap(factors, noise) < 0.05


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("latent", ["gaussian", "vq"])
def test_the_lower_bound_lies_below_the_likelihood(family, latent):
    rng = np.random.default_rng(0)
    t = rng.normal(size=300)
    X = np.column_stack([t, t**2, -t]) + 0.5 * rng.normal(size=(300, 3))
    settings = {"n_estimators": 1, "max_iter": 60, "random_state": 0}
    vae = VAETransformer(2, latent=latent, **settings).fit(X)
    gap = family.gap_of_the_bound(vae, X)
    # log p - E[log w] is KL(q(z | x) || p(z | x)): no more than a few nats where q has
    # learned, tens and more where the draws come from the prior
    assert 0.02 < gap < 2.0


def test_the_factors_of_the_table_are_independent_and_the_columns_are_not(family):
    factors, X = family.factors_table(3000, 0)
    off = ~np.eye(4, dtype=bool)
    assert np.abs(np.corrcoef(factors, rowvar=False)[off]).max() < 0.07
    columns = np.abs(np.corrcoef(X, rowvar=False))
    assert columns[0, 1:15].min() > 0.7  # of one factor
    assert columns[:15, 15:].max() < 0.1


def test_the_family_is_printed_and_stored(family, tables, monkeypatch, capsys):
    monkeypatch.setattr(family, "plan", lambda *_: [
        ("beta", "factors", "beta=1", lambda seed: {"MIG": 0.5 + seed}),
    ])  # fmt: skip
    family.main(["--data", str(tables), "--seeds", "2"])
    page = (tables / "results" / "family.md").read_text()
    assert "| factors | beta=1 | 2 | 1.000 ± 0.500 |" in page
    assert page.split("\n\n")[2] in capsys.readouterr().out
    assert str(tables) not in page


# -- images ----------------------------------------------------------------------


def test_images_are_trained_on_tested_and_stored(regression, data, capsys):
    mnist = importlib.import_module("benchmarks.mnist")
    rng = np.random.default_rng(0)
    (data / "mnist").mkdir()
    # eight images in grey, many times over
    kinds = rng.integers(0, 255, size=(8, 28, 28), dtype=np.uint8)
    images = {f"x_{part}": np.tile(kinds, (12, 1, 1)) for part in ("train", "test")}
    labels = {f"y_{part}": np.tile(np.arange(8), 12) for part in ("train", "test")}
    np.savez(data / "mnist" / "mnist.npz", **images, **labels)
    options = ["--data", str(data), "--epochs", "40", "--draws", "8"]
    options += ["--test-images", "96", "--batch-size", "16"]
    mnist.main([*options, "--variants", "vae", "--figure", str(data / "figure.png")])
    mnist.main([*options, "--variants", "conditional", "hierarchical", "vae"])
    stored = json.loads((data / "results" / "mnist.json").read_text())
    variants = [row["variant"] for row in stored["rows"]]
    # the same model again takes the place of the first
    assert variants == ["conditional", "hierarchical", "vae"]
    layers = [row["active_by_layer"] for row in stored["rows"]]
    assert (layers[0], layers[2]) == ([], [])
    assert len(layers[1]) == 2
    assert sum(layers[1]) == stored["rows"][1]["active_units"]
    # pixels are independent given the kind of image: p log p of their greys
    grey = kinds.reshape(8, -1) / 255
    entropy = -(grey * np.log(grey + 1e-9) + (1 - grey) * np.log(1 - grey + 1e-9))
    for row in stored["rows"]:
        assert row["nll"] > entropy.sum(axis=1).mean()
        assert row["nll"] < 784 * np.log(2)  # of coins
        assert row["bound"] < 1.0 - row["nll"]  # of one draw: an error of 0.3 nats
    assert (data / "figure.png").stat().st_size > 1000
    assert "| vae | silu | 1 | dynamic |" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="--static has no labels"):
        mnist.main([*options, "--variants", "conditional", "--static"])


def test_greys_are_binarised_anew_each_time(regression):
    import torch

    mnist = importlib.import_module("benchmarks.mnist")
    generator = torch.Generator().manual_seed(0)
    x = torch.full((1000, 784), 0.3)
    nothing, ones = x[:, :0], torch.ones_like(x[:, 0])
    packed = mnist.train.Rows.pack(x, None, nothing, None, ones)
    greys = mnist.Greys(packed.packed, packed.widths, generator)
    index = torch.arange(1000).unsqueeze(0)
    one, other = (greys.take(index).x for _ in range(2))
    assert set(one.unique().tolist()) == {0.0, 1.0}
    assert one.mean().item() == pytest.approx(0.3, abs=0.003)
    assert (one != other).float().mean().item() == pytest.approx(0.42, abs=0.003)


# -- few labels --------------------------------------------------------------------


@pytest.fixture
def kinds(data):
    """The data folder with a table of two classes and a column of text."""
    rng = np.random.default_rng(0)
    kind = np.arange(100) % 2
    table = pd.DataFrame({"a": kind + 0.1 * rng.normal(size=100), "b": rng.random(100)})
    table["town"] = np.where(kind, "Bern", "Chur")
    table["kind"] = np.where(kind, "new", "old")
    (data / "tables").mkdir()
    table.to_csv(data / "tables" / "goods.csv.gz", index=False)
    about = {"target": "kind", "numeric": ["a", "b"], "categorical": ["town", "kind"]}
    (data / "tables" / "META.json").write_text(json.dumps({"goods": about}))
    return data


def test_few_rows_of_each_class_keep_their_labels(regression, kinds):
    labelling = importlib.import_module("benchmarks.labelling")
    task = labelling.make_task(kinds, "goods", 0)
    assert (len(task.X), len(task.X_test)) == (80, 20)
    assert not set(task.X.index) & set(task.X_test.index)
    assert np.bincount(task.y + 1).tolist() == [72, 4, 4]
    assert list(task.X) == ["a", "b", "town"]
    assert (task.labelled().y >= 0).all()
    assert len(task.labelled().X) == 8


def test_a_run_with_few_labels_is_printed_and_stored(
    regression, kinds, monkeypatch, capsys
):
    bench = importlib.import_module("benchmarks.semisupervised")
    monkeypatch.setattr(bench, "SETS", ("goods",))
    small = ["max_iter=20", "n_estimators=1", "n_samples=8", "hidden_layer_sizes=(8,)"]
    changes = [word for change in small for word in ("--set", change)]
    bench.main(["--data", str(kinds), "--sets", "goods", "--seeds", "1", *changes])
    assert "| goods |" in capsys.readouterr().out
    stored = json.loads((kinds / "results" / "semisupervised.json").read_text())
    labelling = importlib.import_module("benchmarks.labelling")
    assert [row["method"] for row in stored["rows"]] == list(labelling.METHODS)
    by_method = {row["method"]: row for row in stored["rows"]}
    assert by_method["logistic"]["training_rows"] == 8
    assert by_method["skvae"]["training_rows"] == 80
    # boosting needs 20 rows a leaf, and has 8
    right = [m["accuracy"] for n, m in by_method.items() if "boosting" not in n]
    assert min(right) > 0.8
    page = (kinds / "results" / "semisupervised.md").read_text()
    assert str(kinds) not in page
    more = by_method["skvae"]["accuracy"] - by_method["logistic"]["accuracy"]
    row = page.split("skvae less each other method:")[1].split("| goods |")[1]
    assert row.split("|")[1].strip() == f"{more:.3f}"
