"""``VAEOutlierDetector``: what its signs mean, what it finds, what it refuses."""

import warnings
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score

from skvae import VAEOutlierDetector
from skvae._outlier import read_smoothing, weighted_quantile

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

QUICK = {
    "n_components": 2,
    "hidden_layer_sizes": (32,),
    "n_estimators": 2,
    "max_steps": 3000,
    "early_stopping": True,
    "smoothing": 0.2,  # as wide as the noise of the rows below
    "random_state": 0,
}


def correlated(n, seed, n_columns=5):
    """Rows near a plane: two factors, noise of a fifth."""
    rng = np.random.default_rng(seed)
    loadings = np.random.default_rng(7).normal(size=(2, n_columns))
    rows = rng.normal(size=(n, 2)) @ loadings + 0.2 * rng.normal(size=(n, n_columns))
    return 10.0 + 3.0 * rows


@pytest.fixture(scope="module")
def fitted():
    return VAEOutlierDetector(**QUICK).fit(correlated(400, 0))


# -- signs and thresholds --------------------------------------------------------


def test_odd_rows_score_lower_and_are_minus_one(fitted):
    normal = correlated(200, 1)
    odd = np.random.default_rng(2).permuted(normal, axis=0)  # same margins, no plane
    score = fitted.score_samples([*normal, *odd])
    # two thirds of what chance leaves to be had
    assert roc_auc_score(np.repeat([1, 0], 200), score) > 0.83
    assert (fitted.predict(normal) == 1).mean() > 0.9
    assert (fitted.predict(odd) == -1).mean() > 0.5


def test_the_decision_is_the_score_over_the_offset(fitted):
    X = correlated(100, 3)
    X[:20] += 30.0
    decision = fitted.decision_function(X)
    np.testing.assert_allclose(decision, fitted.score_samples(X) - fitted.offset_)
    np.testing.assert_array_equal(fitted.predict(X), np.where(decision < 0, -1, 1))
    assert (decision[:20] < 0).all()


@pytest.mark.parametrize("contamination", [0.02, 0.1, 0.5])
def test_contamination_is_the_fraction_of_training_rows_cut_off(contamination):
    X = correlated(200, 0)
    detector = VAEOutlierDetector(**QUICK, contamination=contamination, max_iter=20)
    assert (detector.fit_predict(X) == -1).mean() == pytest.approx(contamination)


def test_the_offset_changes_no_score():
    X = correlated(150, 0)
    settings = QUICK | {"max_iter": 10}
    auto = VAEOutlierDetector(**settings).fit(X)
    tenth = VAEOutlierDetector(**settings, contamination=0.1).fit(X)
    np.testing.assert_array_equal(auto.score_samples(X), tenth.score_samples(X))
    assert auto.offset_ != tenth.offset_


def test_auto_is_tukeys_fence_and_cuts_off_planted_rows():
    X = correlated(300, 0)
    X[:30] = np.random.default_rng(1).uniform(-40, 60, size=(30, 5))
    detector = VAEOutlierDetector(**QUICK).fit(X)
    lower, upper = np.quantile(detector.score_samples(X), [0.25, 0.75])
    assert detector.offset_ == pytest.approx(lower - 1.5 * (upper - lower))
    flagged = detector.predict(X) == -1
    assert flagged[:30].mean() > 0.9
    assert flagged[30:].mean() < 0.1


def test_weights_count_for_the_offset_as_rows():
    X = correlated(200, 0)
    weight = np.where(np.arange(200) < 100, 1.0, 0.0)
    settings = QUICK | {"max_iter": 10, "contamination": 0.1}
    some = VAEOutlierDetector(**settings).fit(X, sample_weight=weight)
    alone = VAEOutlierDetector(**settings).fit(X[:100])
    assert some.offset_ == alone.offset_
    double = VAEOutlierDetector(**settings).fit(X, sample_weight=np.full(200, 2.0))
    equal = VAEOutlierDetector(**settings).fit(X)
    assert double.offset_ == pytest.approx(equal.offset_)


def test_weighted_quantiles_are_those_of_repeated_values():
    rng = np.random.default_rng(0)
    values, weight = rng.normal(size=20), rng.integers(1, 6, size=20)
    q = np.linspace(0.0, 1.0, 41)
    repeated = np.quantile(values.repeat(weight), q)
    found = weighted_quantile(values, weight.astype(float), q)
    np.testing.assert_allclose(found, repeated, rtol=1e-12)
    equal = weighted_quantile(values, np.full(20, 0.3), q)
    np.testing.assert_allclose(equal, np.quantile(values, q), rtol=1e-12)
    single = weighted_quantile(values[:1], np.array([2.5]), q)
    np.testing.assert_array_equal(single, values[0])


def test_scores_are_log_densities_in_the_units_of_the_columns():
    """In other units, ten times as fine, a density is a tenth in each column."""
    X = correlated(200, 0)
    settings = QUICK | {"max_iter": 10}
    here = VAEOutlierDetector(**settings).fit(X).score_samples(X)
    there = VAEOutlierDetector(**settings).fit(10 * X).score_samples(10 * X)
    np.testing.assert_allclose(here - there, 5 * np.log(10), rtol=1e-3)


# -- outliers among the rows of fit ----------------------------------------------


def test_trimming_keeps_a_cluster_of_outliers_from_being_learned():
    """How much less likely they are than the others, in nats.

    Over five seeds 5.6 to 6.3 without trimming, 7.8 to 9.3 with it.
    """
    X = correlated(500, 0)
    off_the_plane = np.linalg.svd(np.random.default_rng(7).normal(size=(2, 5)))[2][-1]
    X[:40] += 10.0 * off_the_plane
    gap = {}
    for trimming in (0.0, 0.1):
        score = VAEOutlierDetector(**QUICK, trimming=trimming).fit(X).score_samples(X)
        gap[trimming] = np.median(score[40:]) - np.median(score[:40])
    assert gap[0.1] > gap[0.0] + 1.5
    assert gap[0.0] > 0.0


# -- what a score sees -----------------------------------------------------------


def test_smoothing_adds_noise_to_what_scores_see():
    """Of rows with noise of that width, the smoothed model is the likelier one."""
    X = correlated(600, 0)
    fits = {
        width: VAEOutlierDetector(**QUICK | {"smoothing": width}).fit(X)
        for width in (0.0, 0.5)
    }
    weights = [fitted.vae_.learned_.weights for fitted in fits.values()]
    np.testing.assert_array_equal(*weights)  # scores change, training does not
    new = correlated(300, 1)
    noisy = new + 0.5 * X.std(axis=0) * np.random.default_rng(2).normal(size=new.shape)
    for rows, better, worse in ((new, 0.0, 0.5), (noisy, 0.5, 0.0)):
        mean = {width: fits[width].score_samples(rows).mean() for width in fits}
        assert mean[better] > mean[worse] + 0.5


def test_of_several_widths_scores_are_the_mean():
    """Of scores and of decisions, and cell by cell but for what is typical of each."""
    X, new = correlated(150, 0), correlated(30, 1)
    new[::3, 1] = np.nan
    settings = QUICK | {"max_iter": 20}
    both, near, far = (
        VAEOutlierDetector(**settings | {"smoothing": width}).fit(X)
        for width in ((0.1, 1.5), 0.1, [1.5])
    )
    found, *single = (d.score_samples(new) for d in (both, near, far))
    np.testing.assert_allclose(found, np.mean(single, axis=0))
    assert np.abs(single[0] - single[1]).max() > 0.1
    found, *single = (d.score_features(new[1:3]) for d in (both, near, far))
    first, second = found - np.mean(single, axis=0)
    np.testing.assert_allclose(first, second)
    lower, upper = np.quantile(both.score_samples(X), [0.25, 0.75])
    assert both.offset_ == pytest.approx(lower - 1.5 * (upper - lower))
    whole = ~np.isnan(new).any(axis=1)
    decision = both.decision_function(new)[whole]
    expected = both.score_samples(new)[whole] - both.offset_
    np.testing.assert_allclose(decision, expected)


def test_from_afar_a_clump_of_outliers_does_not_vouch_for_itself():
    """Forty rows in one place, of 500: how many pairs with another are out of order.

    Over three seeds 0.014 to 0.127 from close by alone, 0.007 to 0.049 with both.
    """
    X = correlated(500, 0)
    clump = 6.0 + 0.2 * np.random.default_rng(3).normal(size=(40, 5))
    X[:40] = X.mean(axis=0) + clump
    wrong = {}
    for width in (0.5, (0.5, 2.0)):
        detector = VAEOutlierDetector(**QUICK | {"smoothing": width}).fit(X)
        score = detector.score_samples(X)
        wrong[width] = 1.0 - roc_auc_score(np.arange(500) >= 40, score)
    assert 0.0 < wrong[0.5, 2.0] < 0.75 * wrong[0.5]


# -- exemplars -------------------------------------------------------------------


def test_a_row_of_fit_is_scored_by_the_others():
    """So that scores of rows seen and new are alike; a shifted copy is a new row.

    Standard errors of the means are about 0.1.
    """
    X, new = correlated(300, 0), correlated(300, 1)
    detector = VAEOutlierDetector(**QUICK | {"n_samples": 300}).fit(X)
    seen, fresh = detector.score_samples(X), detector.score_samples(new)
    assert abs(seen.mean() - fresh.mean()) < 0.4
    assert (detector.score_samples(X + 1e-9) > seen).all()
    again = detector.score_samples(np.vstack([X[:5], X[:5]]))
    np.testing.assert_allclose(again, [*seen[:5], *seen[:5]])


def test_the_fence_cuts_off_as_many_new_rows_as_rows_of_fit():
    """Few rows of many columns, where a row among its own exemplars would be safe.

    Of 400 normal rows Tukey's fence cuts off 1 to 5 % as a rule; 0.05 is the standard
    error of the difference, at most.
    """
    X, new = correlated(120, 0, n_columns=25), correlated(400, 1, n_columns=25)
    detector = VAEOutlierDetector(**QUICK | {"n_components": 8}).fit(X)
    seen, fresh = ((detector.predict(rows) == -1).mean() for rows in (X, new))
    assert abs(seen - fresh) < 0.1


def test_no_more_rows_than_n_samples_are_kept():
    X = correlated(200, 0)
    settings = QUICK | {"max_iter": 5}
    few = VAEOutlierDetector(**settings | {"n_samples": 20}).fit(X)
    assert few.vae_.exemplars_.rows.shape == (20, 5)
    all_ = VAEOutlierDetector(**settings | {"n_samples": 200}).fit(X)
    assert all_.vae_.exemplars_.rows.shape == (200, 5)
    np.testing.assert_array_equal(
        few.vae_.learned_.weights, all_.vae_.learned_.weights
    )  # scores change, training does not
    assert np.abs(few.score_samples(X) - all_.score_samples(X)).max() > 0.1


def test_rows_of_every_chunk_have_the_same_chance_to_be_kept():
    """Of 60 kept among 600, 20 a chunk are expected, and 7 are 3.5 standard errors."""
    detector = VAEOutlierDetector(**QUICK | {"n_samples": 60, "max_iter": 5})
    chunks = np.split(correlated(600, 0), 3)
    for chunk in chunks:
        detector.partial_fit(chunk)
    vae = detector.vae_
    assert vae.exemplars_.rows.shape == (60, 5)
    for chunk in chunks:
        _, encoded = vae._encode(chunk, vae.schema_)
        kept = (vae.exemplars_.places(encoded) >= 0).sum()
        assert 7 <= kept <= 33


def test_rows_with_holes_are_found_among_the_exemplars():
    X = correlated(100, 0)
    X[:50, 2] = np.nan
    X[50, 3] = 0.0
    detector = VAEOutlierDetector(**QUICK | {"n_samples": 200, "max_iter": 5}).fit(X)
    same = X.copy()
    same[50, 3] = -0.0
    np.testing.assert_array_equal(
        detector.score_samples(same), detector.score_samples(X)
    )
    filled = np.where(np.isnan(X), 10.0, X)
    assert (detector.score_samples(filled) != detector.score_samples(X))[:50].all()


@pytest.mark.parametrize(("n_samples", "error"), [(1, ValueError), (2.0, TypeError)])
def test_one_row_alone_has_no_others_to_be_scored_by(n_samples, error):
    with pytest.raises(error, match="n_samples must be an integer"):
        VAEOutlierDetector(n_samples=n_samples).fit(correlated(20, 0))


def test_rows_of_weight_zero_are_neither_scored_nor_stood_on():
    """A category that only such a row has is one that fit has not seen."""
    X = pd.DataFrame(correlated(80, 0)).add_prefix("c")
    X["kind"] = ["a", "b"] * 40
    odd = X.iloc[[0]].assign(kind="z")
    settings = QUICK | {"max_iter": 5, "handle_unknown": "error"}
    with_odd = VAEOutlierDetector(**settings).fit(
        pd.concat([X, odd]), sample_weight=np.append(np.ones(80), 0.0)
    )
    without = VAEOutlierDetector(**settings).fit(X)
    assert with_odd.offset_ == without.offset_
    assert with_odd.vae_.n_rows_ == 80
    np.testing.assert_array_equal(with_odd.score_samples(X), without.score_samples(X))
    with pytest.raises(ValueError, match=r"'kind' has categories .* not seen: 'z'"):
        with_odd.score_samples(odd)


# -- which column ----------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.2, VAEOutlierDetector().smoothing])
def test_the_planted_column_comes_first(smoothing):
    """In 200 rows one cell is moved to where its column may be, but not that row.

    Whatever the units of the columns. With a true rate of 0.95 fewer than 180 of 200
    have a probability of 0.002.
    """
    unit = np.array([1e-4, 1e3, 1.0, 1e-2, 1e6])
    settings = QUICK | {"smoothing": smoothing}
    fitted = VAEOutlierDetector(**settings).fit(unit * correlated(1000, 0))
    rows = unit * correlated(200, 5)
    column = np.random.default_rng(6).integers(5, size=200)
    at = np.arange(200), column
    span = np.ptp(rows, axis=0)
    middle = np.median(rows, axis=0)
    # to the other side of the column, well within its range
    rows[at] += np.where(rows[at] > middle[column], -1, 1) * 0.5 * span[column]
    found = fitted.score_features(rows).argmin(axis=1) == column
    assert found.mean() >= 0.9


def test_a_contribution_is_what_the_decision_falls_by(fitted):
    """And 0 for a cell that is missing."""
    rows = correlated(5, 8)
    rows[0, 2] = np.nan
    parts = fitted.score_features(rows)
    assert parts[0, 2] == 0.0
    without = rows.copy()
    without[:, 4] = np.nan
    expected = fitted.decision_function(rows) - fitted.decision_function(without)
    np.testing.assert_allclose(parts[:, 4], expected)


def test_a_cell_of_a_row_of_fit_is_compared_with_the_others_of_other_rows():
    """A row far off, whose other cells make it its own only likely neighbour."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 4))
    X[:, 1] += X[:, 0]
    X[0] = [20.0, 20.0, 0.0, 0.0]
    detector = VAEOutlierDetector(**QUICK | {"max_iter": 60}).fit(X)
    assert (detector.score_features(X[:1])[0, 2:] > -5.0).all()
    assert (detector.score_features(X[:1])[0, :2] < -5.0).all()


def test_a_typical_cell_contributes_nothing(fitted):
    """The median of 256 rows: of 400 it has a standard error of about 0.04 nats."""
    parts = fitted.score_features(correlated(400, 0))
    np.testing.assert_allclose(np.median(parts, axis=0), 0.0, atol=0.2)


# -- tables ----------------------------------------------------------------------


def test_missing_cells_are_integrated_out():
    X = correlated(400, 0)
    X[np.random.default_rng(1).random(X.shape) < 0.2] = np.nan
    detector = VAEOutlierDetector(**QUICK).fit(X)
    normal = correlated(200, 2)
    odd = np.random.default_rng(3).permuted(normal, axis=0)
    both = np.concatenate([normal, odd])
    both[:, 0] = np.nan
    assert roc_auc_score(np.repeat([1, 0], 200), detector.score_samples(both)) > 0.8


def test_mixed_columns():
    """A text that goes with a number, and a boolean that goes with both."""
    rng = np.random.default_rng(0)
    kind = rng.integers(3, size=400)
    frame = pd.DataFrame(
        {
            "size": 5.0 * kind + rng.normal(size=400),
            "name": np.array(["ant", "bee", "cat"])[kind],
            "flies": kind == 1,
        }
    )
    detector = VAEOutlierDetector(**QUICK).fit(frame)
    odd = frame.head(100).copy()
    odd["name"] = odd["name"].map({"ant": "cat", "bee": "ant", "cat": "ant"})
    both = pd.concat([frame.tail(100), odd])
    assert roc_auc_score(np.repeat([1, 0], 100), detector.score_samples(both)) > 0.95
    parts = detector.score_features(odd)
    assert parts.shape == (100, 3)
    assert detector.feature_names_in_.tolist() == ["size", "name", "flies"]


def test_another_value_in_a_constant_column_is_odd():
    X = correlated(200, 0)
    X[:, 3] = 42.0
    detector = VAEOutlierDetector(**QUICK).fit(X)
    rows = X[:4].copy()
    rows[1:, 3] += [3.0, -3.0, 6.0]
    scores = detector.score_samples(rows) - detector.score_samples(X[:4])
    assert (scores[1:] < -1.0).all()
    assert scores[3] < scores[1]
    assert (detector.score_features(rows)[1:].argmin(axis=1) == 3).all()


def test_numbers_that_were_all_0_and_1_may_be_others_later():
    X = correlated(200, 0)
    X[:, 3] = X[:, 3] > X[:, 3].mean()
    assert set(X[:, 3]) == {0.0, 1.0}
    detector = VAEOutlierDetector(**QUICK).fit(X)
    typical = X[detector.score_samples(X) > detector.offset_]
    assert len(typical) > 150
    typical[:, 3] = 3.0
    assert (detector.predict(typical) == -1).all()


# -- the estimator ---------------------------------------------------------------


def test_scores_depend_on_the_row_alone(fitted):
    X = correlated(50, 4)
    whole = fitted.score_samples(X)
    np.testing.assert_allclose(fitted.score_samples(X[::-1])[::-1], whole)
    np.testing.assert_allclose(fitted.score_samples(X[7:8])[0], whole[7])


def test_a_failed_fit_leaves_the_earlier_one():
    X = correlated(100, 0)
    detector = VAEOutlierDetector(**QUICK | {"max_iter": 5}).fit(X)
    before = detector.score_samples(X)
    with pytest.raises(ValueError, match="infinity"):
        detector.fit(np.where(X > 15, np.inf, X))
    with pytest.raises(ValueError, match="smoothing"):
        detector.set_params(smoothing=-1.0).fit(X[:, :2])
    assert detector.n_features_in_ == 5
    np.testing.assert_array_equal(detector.score_samples(X), before)


def test_how_training_went_is_told_as_of_the_model(fitted):
    assert fitted.active_units_ == 2
    assert fitted.kl_per_dimension_.shape == (2,)
    assert len(fitted.loss_curve_) == fitted.n_iter_ == len(fitted.history_.loss)
    assert len(fitted.validation_scores_) == fitted.n_iter_


@pytest.mark.parametrize(
    "change",
    [
        {"numeric_embedding": "periodic"},
        {"kl_schedule": "cyclical", "kl_warmup": 0.5},
        {"free_bits": 0.5},
    ],
)
def test_parameters_of_the_model_reach_it(change):
    X = correlated(150, 0)
    settings = QUICK | {"max_iter": 5}
    (parameter, value), *_ = change.items()
    changed = VAEOutlierDetector(**settings | change).fit(X)
    assert getattr(changed.vae_, parameter) == value
    kept = change | {parameter: getattr(VAEOutlierDetector(), parameter)}
    plain = VAEOutlierDetector(**settings | kept).fit(X)
    assert np.abs(changed.score_samples(X) - plain.score_samples(X)).max() > 1e-3


def test_warm_start_goes_on_where_fit_ended():
    X = correlated(150, 0)
    detector = VAEOutlierDetector(**QUICK | {"max_iter": 5}, warm_start=True).fit(X)
    first = detector.vae_
    assert detector.fit(X).n_iter_ == 10
    assert first.n_iter_ == 5
    before = detector.score_samples(X)
    with pytest.raises(ValueError, match=r"another shape.*n_components"):
        detector.set_params(n_components=3).fit(X)
    assert detector.vae_.n_components == 2
    np.testing.assert_array_equal(detector.score_samples(X), before)
    assert detector.set_params(warm_start=False).fit(X).n_iter_ == 5


def test_rows_held_out_by_hand_are_what_training_is_judged_by():
    X = correlated(150, 0)
    settings = QUICK | {"max_iter": 10}
    near, far = (
        VAEOutlierDetector(**settings).fit(X, X_val=rows).validation_scores_
        for rows in (correlated(60, 1), correlated(60, 1) + 20.0)
    )
    assert max(far) < min(near)


def test_all_rows_train_but_where_others_are_held_out_by_hand():
    X = correlated(150, 0)
    settings = QUICK | {"max_iter": 5, "early_stopping": "auto"}
    alone = VAEOutlierDetector(**settings).fit(X)
    assert alone.validation_scores_ == []
    off = VAEOutlierDetector(**settings | {"early_stopping": False}).fit(X)
    np.testing.assert_array_equal(alone.score_samples(X), off.score_samples(X))
    beside = VAEOutlierDetector(**settings).fit(X, X_val=correlated(60, 1))
    assert len(beside.validation_scores_) == 5
    with pytest.raises(ValueError, match="early_stopping must be 'auto' or True or F"):
        VAEOutlierDetector(**settings | {"early_stopping": "never"}).fit(X)


@pytest.mark.filterwarnings("error:X .* feature names:UserWarning")
def test_rows_held_out_may_have_names_where_the_others_have_none():
    X, X_val = correlated(80, 0), correlated(40, 1)
    frame, frame_val = (pd.DataFrame(rows).add_prefix("c") for rows in (X, X_val))
    settings = QUICK | {"max_iter": 3}
    scores = [
        VAEOutlierDetector(**settings).fit(rows, X_val=rows_val).validation_scores_
        for rows in (X, frame)
        for rows_val in (X_val, frame_val)
    ]
    assert scores[0] == scores[1] == scores[2] == scores[3]
    with pytest.raises(ValueError, match=r"X_val has 3 features; expected 5"):
        VAEOutlierDetector(**settings).fit(frame, X_val=X_val[:, :3])


def test_chunks_are_learned_one_after_the_other():
    X = correlated(600, 0)
    detector = VAEOutlierDetector(**QUICK, learning_rate_init=1e-2)
    for _ in range(10):
        for rows in np.split(X, 3):
            detector.partial_fit(rows)
    assert detector.n_iter_ == 30
    assert detector.vae_.n_rows_ == 6000
    normal = correlated(200, 1)
    odd = np.random.default_rng(2).permuted(normal, axis=0)
    score = detector.score_samples([*normal, *odd])
    assert roc_auc_score(np.repeat([1, 0], 200), score) > 0.8


def test_the_offset_after_chunks_is_that_of_all_rows():
    X = correlated(300, 0)
    detector = VAEOutlierDetector(**QUICK)
    for rows in (X[:150], X[150:299], X[299:]):  # the last one of a single row
        detector.partial_fit(rows)
        seen = X[: detector.vae_.n_rows_]
        lower, upper = np.quantile(detector.score_samples(seen), [0.25, 0.75])
        assert detector.offset_ == pytest.approx(lower - 1.5 * (upper - lower))
    chunks = [correlated(400, seed) for seed in range(1, 6)]
    for rows in chunks:
        detector.partial_fit(rows)
    scores = detector.score_samples(np.concatenate([X, *chunks]))
    lower, upper = np.quantile(scores, [0.25, 0.75])
    # of 2300 rows 512: their quartiles have an error of .06 of the distance
    fence = lower - 1.5 * (upper - lower)
    assert detector.offset_ == pytest.approx(fence, abs=0.4 * (upper - lower))


@pytest.mark.parametrize("contamination", ["auto", 0.05])
def test_the_units_of_columns_with_holes_change_no_decision(contamination):
    """A hole would else shift a score by the log of the unit."""
    X, rng = correlated(300, 0, 3), np.random.default_rng(1)
    X[:5] = X[5:].mean(axis=0) + 40.0 * np.array([1.0, -1.0, 1.0])
    X[5:][rng.random((295, 3)) < 0.15] = np.nan
    settings = QUICK | {"contamination": contamination, "max_iter": 40}
    plain = VAEOutlierDetector(**settings).fit(X)
    decision = plain.decision_function(X)
    for unit in (1e6, 1e-6, [1e-3, 1.0, 1e9]):
        other = VAEOutlierDetector(**settings).fit(X * unit)
        found = other.decision_function(X * unit)
        np.testing.assert_allclose(found, decision, rtol=1e-3, atol=1e-3)
    assert (decision[:5] < 0).all()
    has_hole = np.isnan(X).any(axis=1)
    for group in (has_hole, ~has_hole):
        assert (decision[5:][group[5:]] < 0).mean() < 0.15


def test_a_column_of_few_cells_has_its_units_too():
    """Twelve cells of it, none among the rows that are looked at for all columns."""
    X, rng = correlated(600, 0, 3), np.random.default_rng(1)
    X[rng.permutation(600)[12:], 2] = np.nan
    settings = QUICK | {"max_iter": 20}
    decision = VAEOutlierDetector(**settings).fit(X).decision_function(X)
    for unit in (1e9, 1e-9):
        Z = X * [1.0, 1.0, unit]
        found = VAEOutlierDetector(**settings).fit(Z).decision_function(Z)
        np.testing.assert_allclose(found, decision, rtol=1e-3, atol=1e-3)
    # and none at all among the 20 that are kept
    settings |= {"n_samples": 20}
    decision = VAEOutlierDetector(**settings).fit(X).decision_function(X)
    found = VAEOutlierDetector(**settings).fit(Z).decision_function(Z)
    np.testing.assert_allclose(found, decision, rtol=1e-3, atol=1e-3)


def test_what_is_typical_of_a_cell_is_told_by_weights():
    """Thirty rows near 0 in one column, of weight 100, beside 270 that are spread."""
    rng = np.random.default_rng(1)
    wide = np.r_[10.0 * rng.normal(size=270), 0.01 * rng.normal(size=30)]
    X = np.column_stack([wide, rng.normal(size=300)])
    weight = np.r_[np.full(270, 0.01), np.full(30, 100.0)]
    detector = VAEOutlierDetector(**QUICK).fit(X, sample_weight=weight)
    holes = X[270:].copy()
    holes[:, 0] = np.nan
    whole, without = map(detector.decision_function, (X[270:], holes))
    assert np.median(without - whole) == pytest.approx(0.0, abs=0.5)


def test_a_missing_cell_counts_as_a_typical_one(fitted):
    X = correlated(200, 5)
    whole = fitted.decision_function(X)
    said = fitted.score_features(X)
    for column in range(5):
        holes = X.copy()
        holes[:, column] = np.nan
        change = fitted.decision_function(holes) - whole
        # the same for all rows: what such a cell typically says
        typical = change + said[:, column]
        np.testing.assert_allclose(typical, typical.mean(), atol=1e-6)
        assert np.median(change) == pytest.approx(0.0, abs=0.3)


def test_a_chunk_of_other_columns_is_refused_and_names_may_be_missing():
    X = pd.DataFrame(correlated(60, 0)).add_prefix("c")
    detector = VAEOutlierDetector(**QUICK).partial_fit(X)
    with pytest.raises(ValueError, match="feature names should match"):
        detector.partial_fit(X.iloc[:, :3])
    with pytest.warns(UserWarning, match="VAEOutlierDetector was fitted with feature"):
        detector.partial_fit(X.to_numpy())
    assert detector.n_iter_ == 2
    assert detector.feature_names_in_.tolist() == list(X)


@pytest.mark.parametrize(
    "smoothing",
    [0.3, np.float32(0.5), Fraction(1, 2), [0.5, 1], np.array([0.0, 2.0]), range(1, 3)],
)
def test_a_smoothing_is_any_number_or_several(smoothing):
    found = read_smoothing(smoothing)
    np.testing.assert_array_equal(found, np.atleast_1d(smoothing).astype(float))
    assert {type(width) for width in found} == {float}
    assert read_smoothing(pd.Series([0.5, 2.0], index=[3, 7])) == (0.5, 2.0)


@pytest.mark.parametrize(
    ("smoothing", "error"),
    [
        (-0.1, ValueError),
        (np.nan, ValueError),
        (1e7, ValueError),
        ("auto", TypeError),
        (b"12", TypeError),
        (None, TypeError),
        (np.array(0.5), TypeError),
    ],
)
def test_a_smoothing_out_of_range_is_refused(smoothing, error):
    with pytest.raises(error, match=r"smoothing must be a number in \[0"):
        VAEOutlierDetector(smoothing=smoothing).fit(correlated(20, 0))
    with pytest.raises(error, match=r"smoothing\[1\] must be a number in \[0"):
        VAEOutlierDetector(smoothing=(0.5, smoothing)).fit(correlated(20, 0))


def test_no_smoothing_at_all_is_refused():
    with pytest.raises(ValueError, match=r"smoothing must be .* got none"):
        VAEOutlierDetector(smoothing=()).fit(correlated(20, 0))


@pytest.mark.parametrize(
    ("contamination", "error"),
    [
        (0.0, ValueError),
        (0.51, ValueError),
        (-0.1, ValueError),
        (np.nan, ValueError),
        ("all", ValueError),
        (None, TypeError),
        (True, TypeError),
    ],
)
def test_a_contamination_out_of_range_is_refused(contamination, error):
    detector = VAEOutlierDetector(**QUICK, contamination=contamination)
    with pytest.raises(error, match=r"contamination must be .*\(0, 0.5\].*got"):
        detector.fit(correlated(50, 0))


def test_an_unfitted_detector_says_so():
    with pytest.raises(NotFittedError, match="VAEOutlierDetector"):
        VAEOutlierDetector().predict(correlated(5, 0))


def test_another_number_of_columns_is_refused(fitted):
    with pytest.raises(ValueError, match="4 features, but VAEOutlierDetector"):
        fitted.score_samples(correlated(5, 0)[:, :4])


def test_a_column_without_values_is_refused():
    X = correlated(50, 0)
    X[:, 1] = np.nan
    with pytest.raises(ValueError, match=r"no observed value in column .*x1"):
        VAEOutlierDetector(**QUICK).fit(X)


def test_an_unknown_category_is_less_likely_than_those_of_fit():
    """By the rule of succession 1 / (n + K + 1), beside the row without that cell."""
    rng = np.random.default_rng(0)
    kind = rng.integers(3, size=200)
    names = np.array(["ant", "bee", "cat"])
    frame = pd.DataFrame({"size": 5.0 * kind, "name": names[kind]})
    frame["size"] += rng.normal(size=200)
    settings = QUICK | {"handle_unknown": "ignore", "contamination": 0.01}
    detector = VAEOutlierDetector(**settings).fit(frame)
    rows = frame.head(20)
    strange = rows.assign(name="dog")
    scores = detector.score_samples(strange)
    without = detector.score_samples(rows.assign(name=None))
    np.testing.assert_allclose(scores, without - np.log(200 + 3 + 1))
    assert (scores < detector.score_samples(rows)).all()
    parts = detector.score_features(strange)
    holes = rows.assign(name=None)
    fall = detector.decision_function(strange) - detector.decision_function(holes)
    np.testing.assert_allclose(parts[:, 1], fall)
    np.testing.assert_allclose(parts[:, 0], detector.score_features(holes)[:, 0])


def test_names_that_come_or_go_are_warned_of_once():
    X = correlated(60, 0)
    frame = pd.DataFrame(X, columns=list("abcde"))
    quick = QUICK | {"max_iter": 2}
    for given, other in ((frame, X), (X, frame)):
        fitted = VAEOutlierDetector(**quick).fit(given)
        with pytest.warns(UserWarning, match="feature names") as caught:
            scores = fitted.score_samples(other)
        assert len(caught) == 1
        assert "VAEOutlierDetector" in str(caught[0].message)
        np.testing.assert_array_equal(scores, fitted.score_samples(given))


def test_no_category_is_likelier_than_sure():
    """In a row far out both estimates of a difference are nats off."""
    rng = np.random.default_rng(0)
    town, number = rng.choice(["x", "y", "z"], 100), rng.normal(size=100)
    frame = pd.DataFrame({"a": number, "town": town, "f": rng.random(100) < 0.5})
    fitted = VAEOutlierDetector(**QUICK | {"max_iter": 20}).fit(frame)
    cells = fitted.score_features(frame.assign(a=1e4))
    assert (cells.argmin(axis=1) == 0).all()
    for i in (1, 2):
        hole = frame.head(1).astype({"f": object})
        hole.iloc[0, i] = None
        typical = fitted.decision_function(hole) - fitted.score_samples(hole)
        assert (cells[:, i] + typical + fitted.offset_ <= 1e-6).all()


def test_an_unknown_category_warns_or_is_refused():
    frame = pd.DataFrame({"a": ["u", "v"] * 50, "b": np.arange(100.0)})
    strange = frame.replace("v", "w")
    settings = QUICK | {"max_iter": 3}
    detector = VAEOutlierDetector(**settings).fit(frame)
    with pytest.warns(UserWarning, match="'w'"):
        detector.score_samples(strange)
    detector.set_params(handle_unknown="ignore").fit(frame)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        detector.score_samples(strange)
    detector.set_params(handle_unknown="error").fit(frame)
    with pytest.raises(ValueError, match="'w'"):
        detector.score_samples(strange)
