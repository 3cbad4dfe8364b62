"""Simulated data with known densities, and the robot arm of the examples."""

import importlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy import stats

CHECKOUT = Path(__file__).parent.parent
ONE_OUTPUT = ["bimodal", "heavy-tail", "heteroscedastic", "skewed"]
# ends and steps of a grid for two outputs
BOXES = {
    "curved": (((-6.0, 6.0), (-40.0, 40.0)), (0.05, 0.1)),
    "ring": (((-3.0, 3.0), (-3.0, 3.0)), (0.02, 0.02)),
    "ellipse": (((-18.0, 18.0), (-18.0, 18.0)), (0.05, 0.05)),
}
# where in the box of the features: near its ends and inside
PLACES = [0.05, 0.4, 0.7, 0.95]


@pytest.fixture
def simulated(monkeypatch, tmp_path):
    """``benchmarks.simulated``, storing its results in a folder of this test."""
    monkeypatch.syspath_prepend(CHECKOUT)
    module = importlib.import_module("benchmarks.simulated")
    monkeypatch.setattr(module.report, "RESULTS", tmp_path / "results")
    return module


def _simulator(simulated, name):
    """One that peers meet, or the one of ``benchmarks.family`` alone."""
    if name == "ellipse":
        return importlib.import_module("benchmarks.simulators").Ellipse()
    return simulated.SIMULATORS[name]


def _features(simulator, place, n):
    low, high = np.array(simulator.low), np.array(simulator.high)
    return np.tile(low + place * (high - low), (n, 1))


def _grid(simulator, name, place):
    """Log densities on a grid that holds all outcomes, and the sizes of its cells."""
    if name in BOXES:
        ends, steps = BOXES[name]
        sides = [
            low + step / 2.0 + np.arange(0.0, high - low, step)
            for (low, high), step in zip(ends, steps, strict=True)
        ]
        y = np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).reshape(-1, 2)
        size = math.prod(steps)
    else:  # dense in the middle, far out in the tails
        y = np.sinh(np.linspace(-10.0, 10.0, 20_001))
        size = np.gradient(y)
    with np.errstate(divide="ignore"):  # log-normal: no density below 0
        return simulator.log_prob(_features(simulator, place, len(y)), y), size


@pytest.mark.parametrize("name", [*ONE_OUTPUT, *BOXES])
@pytest.mark.parametrize("place", PLACES)
def test_densities_integrate_to_one(simulated, name, place):
    log_prob, size = _grid(_simulator(simulated, name), name, place)
    assert np.sum(np.exp(log_prob) * size) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("name", [*ONE_OUTPUT, *BOXES])
@pytest.mark.parametrize("place", [0.05, 0.7])
def test_draws_come_from_the_density(simulated, name, place):
    """Mean of log p over draws is minus the entropy, integrated, within 5 errors.

    So is the mean of its square, which sees the spread of the log density too.
    """
    simulator, n = _simulator(simulated, name), 20_000
    log_prob, size = _grid(simulator, name, place)
    kept = log_prob > -700.0  # below, exp is 0
    mass = np.where(kept, np.exp(log_prob) * size, 0.0)
    X = _features(simulator, place, n)
    drawn = simulator.log_prob(X, simulator.outcome(X, np.random.default_rng(0)))
    for power in (1, 2):
        expected = np.sum(mass * np.where(kept, log_prob, 0.0) ** power)
        values = drawn**power
        bound = 5.0 * values.std() / math.sqrt(n)
        assert values.mean() == pytest.approx(expected, abs=bound)


def test_draws_depend_on_the_features_as_the_docstrings_say(simulated):
    rng = np.random.default_rng(0)
    known = simulated.SIMULATORS
    X, y = known["heteroscedastic"].draw(20_000, rng)
    assert X.shape == (20_000, 6)
    calm, noisy = (X[:, 1] < -0.8), (X[:, 1] > 0.8)
    mean = np.sin(np.pi * X[:, 0]) + X[:, 1] ** 2
    ratio = (y - mean)[noisy].std() / (y - mean)[calm].std()
    assert ratio == pytest.approx(np.exp(1.8), rel=0.1)

    X, y = known["ring"].draw(20_000, rng)
    ring, clusters = y[X[:, 0] < 0.0], y[X[:, 0] > 0.8]
    assert np.mean(np.abs(ring[:, 0]) < 0.5) > 0.2
    assert np.mean(np.abs(clusters[:, 0]) < 0.5) < 0.01
    assert np.mean(clusters[:, 0] > 0.0) == pytest.approx(0.5, abs=0.05)

    X, y = known["curved"].draw(20_000, rng)
    bend = (y[:, 0] ** 2 - 1.0) * y[:, 1]  # E = 2 x
    assert bend[X[:, 0] > 0.5].mean() == pytest.approx(1.5, abs=0.3)
    assert bend[X[:, 0] < -0.5].mean() == pytest.approx(-1.5, abs=0.3)


def test_the_divergence_of_two_normals_is_found(simulated):
    """KL(N(0, 1) || N(0, s²)) = log s + (1 / s² - 1) / 2."""
    y = np.random.default_rng(0).normal(size=50_000)
    exact, wide = -0.5 * y**2, -0.5 * (y / 2.0) ** 2 - math.log(2.0)
    kl, error = simulated.divergence(exact, wide)
    assert kl == pytest.approx(math.log(2.0) - 0.375, abs=4.0 * error)
    assert simulated.divergence(exact, exact) == (0.0, 0.0)


def test_a_small_run_of_peers_is_printed_and_stored(simulated, tmp_path, capsys):
    options = ["--simulators", "heteroscedastic", "curved", "--seeds", "2"]
    peers = ["--peers", "bayesian-ridge", "--peers-only", "--rows", "60"]
    simulated.main([*options, *peers, "--name", "x"])

    printed = capsys.readouterr().out
    text = (tmp_path / "results" / "simulated-x.json").read_text("utf-8")
    result = json.loads(text)
    page = (tmp_path / "results" / "simulated-x.md").read_text("utf-8")
    assert "| bayesian-ridge, chain from y₁ |" in printed
    assert "| bayesian-ridge, chain from y₁ |" in page
    assert result["command"].startswith("python -m benchmarks.simulated --simulators")
    joints = [(row["seed"], row["joint"]) for row in result["rows"]]
    expected = ["whole", "marginals", "chain from y₁", "chain from y₂"]
    assert joints == [(seed, joint) for seed in (0, 1) for joint in expected]
    assert all(0.2 < row["kl"] < 5.0 for row in result["rows"])
    assert {"date", "versions", "machine", "all_parameters"} <= set(result)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", ["heavy-tail", "ring"])
def test_skvae_models_outputs_together_and_with_twice_the_draws(
    simulated, name, monkeypatch
):
    monkeypatch.setattr(simulated, "N_TEST", 50)
    small = {"max_iter": 2, "n_estimators": 1, "hidden_layer_sizes": (8,)}
    settings = simulated.Settings(parameters=small)
    row, *chains = simulated.run_seed(name, "skvae", 0, 60, settings)
    assert row.joint == "whole"
    joints = ["chain from y₁", "chain from y₂"] if name == "ring" else []
    assert [chain.joint for chain in chains] == joints
    assert np.isfinite([row.kl, row.kl_doubled]).all()
    assert row.kl_doubled != row.kl
    assert row.kl_doubled == pytest.approx(row.kl, abs=0.5)


def test_a_joint_mixture_finds_two_correlated_outputs(monkeypatch):
    """y = (1 + x) + L e: near the truth, far ahead of marginals (.59), normed."""
    monkeypatch.syspath_prepend(CHECKOUT)
    network = importlib.import_module("benchmarks.peers.mixture_network")
    rng = np.random.default_rng(0)
    x, noise = rng.uniform(-1.0, 1.0, size=(600, 1)), rng.normal(size=(600, 2))
    lower = np.array([[2.0, 0.0], [1.5, 1.0]])
    y = 1.0 + x + noise @ lower.T
    model = network.JointMixture(0, n_components=2, n_estimators=1)
    state = torch.get_rng_state()
    model.fit(x[:500], y[:500])
    assert torch.equal(torch.get_rng_state(), state)
    exact = stats.multivariate_normal([0.0, 0.0], lower @ lower.T)
    gap = exact.logpdf(y[500:] - 1.0 - x[500:]) - model.log_prob(x[500:], y[500:])
    # .02 here; other seeds -.02 to .11, and the mean of 100 rows is known to .03
    assert gap.mean() < 0.2

    side = np.arange(-10.0, 12.0, 0.1)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    density = np.exp(model.log_prob(np.full((len(grid), 1), 0.3), grid))
    assert density.sum() * 0.01 == pytest.approx(1.0, abs=1e-3)


def test_the_best_of_a_column_is_bold_and_a_product_is_marked(simulated):
    def row(method, joint, kl):
        return simulated.Row("curved", method, joint, 0, 60, kl, 0.1, None, 1.0)

    rows = [row("a", "whole", 0.2), row("b", "marginals", 0.3)]
    rows.append(row("b", "chain from y₁", 0.1))
    lines = simulated.table(simulated.summarise(rows)).splitlines()
    assert lines[2:] == [
        "| a | 0.200 |",
        "| b | 0.300 × |",
        "| b, chain from y₁ | **0.100** |",
    ]


@pytest.mark.parametrize(
    ("options", "stem"),
    [
        ([], "simulated"),
        (["--peers"], "simulated"),
        (["--seeds", "5", "--rows", "300"], "simulated-5seeds-300rows"),
        (["--simulators", "ring", "--set", "beta=0.5"], "simulated-ring-beta=0.5"),
        (["--peers", "ngboost", "--peers-only"], "simulated-ngboost-peers-only"),
    ],
)
def test_what_differs_from_a_full_run_shows_in_the_name(simulated, options, stem):
    assert simulated.result_stem(simulated.parse_arguments(options)) == stem


# -- the arm of examples/inverse_design.py -----------------------------------------


@pytest.fixture
def arm(monkeypatch):
    """Names of the example's first two cells: imports, and the arm."""
    monkeypatch.setenv("MPLBACKEND", "agg")
    path = CHECKOUT / "examples" / "inverse_design.py"
    cells = path.read_text("utf-8").split("# %%")
    names = {}
    exec(compile("".join(cells[:3]), str(path), "exec"), names)
    assert "model" not in names, "nothing is fitted"
    return names


def test_the_arm_reaches_its_targets_both_ways(arm):
    rng = np.random.default_rng(0)
    for angles in rng.uniform(-arm["LIMITS"], arm["LIMITS"], size=(50, 2)):
        target = arm["hand"](angles)
        both = arm["solutions"](target)
        assert_allclose(arm["hand"](both), [target, target], atol=1e-9)
        assert both[0, 1] == pytest.approx(-both[1, 1])
        turns = (both - angles) / 360.0
        gap = np.abs(turns - np.rint(turns)).max(axis=1).min()
        assert gap == pytest.approx(0.0, abs=1e-9)  # one of them is where it was


def test_the_arm_has_its_lengths(arm):
    elbow, end = arm["joints"](np.array([[0.0, 0.0], [90.0, 90.0], [30.0, -70.0]]))
    assert_allclose(elbow[0], [50.0, 0.0])
    assert_allclose(end[:2], [[90.0, 0.0], [-40.0, 50.0]], atol=1e-9)
    assert_allclose(np.linalg.norm(elbow, axis=1), 50.0)
    assert_allclose(np.linalg.norm(end - elbow, axis=1), 40.0)
