"""Columns with heavy tails: a few extremes do not crowd the others together."""

import numpy as np
import pytest
from scipy import stats

from skvae import VAEImputer, VAETransformer
from skvae._table import codec, reading
from skvae._table.schema import CONTINUOUS, learn_schema
from skvae._table.warps import Asinh, Identity, Log, warp_for

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

EACH = pytest.mark.parametrize(
    "warp", [Identity(), Log(), Asinh(2.0, 0.3)], ids=["identity", "log", "asinh"]
)


def table_of(values):
    return reading.read_array(np.asarray(values, dtype=float)[:, None], "float64")


def learn(values, weight=None, **more):
    weight = np.ones(len(values)) if weight is None else weight
    options = {"density": True} | more
    return learn_schema(table_of(values), weight, **options)


@EACH
def test_the_inverse_undoes_the_warp_and_the_slope_is_its_derivative(warp):
    values = np.geomspace(0.01, 1e4, 50)
    np.testing.assert_allclose(warp.inverse(warp.forward(values)), values, rtol=1e-9)
    step = 1e-5 * values
    rise = warp.forward(values + step) - warp.forward(values - step)
    np.testing.assert_allclose(
        warp.log_slope(values), np.log(rise / (2 * step)), atol=1e-6
    )


def test_both_sides_of_an_asinh_are_alike_and_its_middle_is_linear():
    warp = Asinh(5.0, 2.0)
    away = np.array([0.0, 0.01, 3.0, 1e6])
    np.testing.assert_allclose(warp.forward(5.0 - away), -warp.forward(5.0 + away))
    np.testing.assert_allclose(warp.forward(5.0 + away[:2]), away[:2] / 2, rtol=1e-4)
    assert np.isfinite(warp.log_slope(np.array([1e200]))).all()


@pytest.mark.parametrize(
    ("distribution", "is_warped"),
    [
        (stats.norm(3.0, 2.0), False),
        (stats.t(3), False),
        (stats.expon(), False),
        (stats.lognorm(1.0), False),
        (stats.lognorm(2.5), True),
        (stats.cauchy(1.0, 4.0), True),
    ],
    ids=["normal", "t(3)", "exponential", "log-normal", "wide log-normal", "Cauchy"],
)
def test_heavy_tails_are_warped_at_the_quartiles(distribution, is_warped):
    """From the quantiles themselves, so that no chance is in it."""
    values = distribution.ppf((np.arange(4000) + 0.5) / 4000)
    warp = warp_for(values, np.ones(len(values)), values.std())
    assert isinstance(warp, Asinh) is is_warped
    if is_warped:
        low, middle, high = distribution.ppf([0.25, 0.5, 0.75])
        assert warp.origin == pytest.approx(middle, rel=0.01)
        assert warp.unit == pytest.approx((high - low) / 1.349, rel=0.01)


def test_a_row_of_weight_three_is_three_rows():
    values = np.append(np.random.default_rng(0).normal(size=99), 1e5)
    weight = np.arange(100) % 4 + 1
    weighted = learn(values, weight.astype(float)).columns[0]
    repeated = learn(np.repeat(values, weight)).columns[0]
    assert weighted.warp == repeated.warp != Identity()
    assert weighted.scale == pytest.approx(repeated.scale, rel=1e-12)


def test_only_where_the_kind_is_inferred_and_half_of_the_values_differ():
    values = np.append(np.random.default_rng(0).normal(size=99), 1e5)
    assert learn(values).columns[0].warp != Identity()
    asked = learn(values, kinds={"x0": CONTINUOUS})
    mostly_zero = learn(np.append(np.zeros(80), values[-20:]))
    for schema in (asked, mostly_zero, learn(values, novelties=True)):
        assert schema.columns[0].warp == Identity()


def test_encoded_cells_are_of_order_one_come_back_and_have_their_jacobian():
    values = np.append(np.random.default_rng(0).normal(2.0, 0.1, 99), 1e6)
    schema, table = learn(values), table_of(values)
    encoded = codec.encode(schema, table)
    assert np.abs(encoded).max() < 10
    assert encoded[:-1].std() > 0.3  # 1e-6 in plain standard deviations
    np.testing.assert_allclose(codec.decode(schema, encoded), table.values, rtol=1e-9)
    step = 1e-6
    ends = [codec.encode(schema, table_of(values[:-1] + s)) for s in (-step, step)]
    rise = np.log((ends[1] - ends[0]) / (2 * step))
    jacobian = codec.log_scale(schema, table)[:-1]
    np.testing.assert_allclose(jacobian, -rise, atol=1e-5)


def test_a_stray_cell_does_not_ruin_its_column():
    """Errors of imputation stay within a fifth of what they are without it."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 1)) + 0.3 * rng.normal(size=(400, 3))
    holes = rng.random(X.shape) < 0.2
    holes[0] = False

    def error(rows):
        completed = VAEImputer(n_estimators=2, random_state=0).fit_transform(rows)
        return np.sqrt(np.mean((completed - X)[holes] ** 2))

    clean = np.where(holes, np.nan, X)
    stray = clean.copy()
    stray[0, 1] = 1e6
    assert error(clean) < 0.6 * X.std()
    assert error(stray) < 1.2 * error(clean)


def test_a_cauchy_column_has_its_density():
    """Within 0.1 nats of the truth on 1000 new rows; a wrong scale costs whole nats."""

    def draw(n, seed):
        rng = np.random.default_rng(seed)
        first = rng.normal(size=n)
        return np.c_[first, first + 0.5 * rng.standard_cauchy(n)]

    new = draw(1000, seed=1)
    truth = stats.norm.logpdf(new[:, 0])
    truth += stats.cauchy.logpdf(new[:, 1] - new[:, 0], scale=0.5)
    vae = VAETransformer(2, n_estimators=1, random_state=0).fit(draw(1500, seed=0))
    assert np.mean(truth - vae.score_samples(new)) < 0.1
    made = vae.sample(4000, random_state=0)[:, 1]
    spread = np.subtract(*np.quantile(made, [0.75, 0.25]))
    expected = np.subtract(*np.quantile(draw(40_000, seed=2)[:, 1], [0.75, 0.25]))
    assert spread == pytest.approx(expected, rel=0.15)
