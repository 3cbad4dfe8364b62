"""What the semi-supervised classifier promises: classes, densities, rows of a class."""

import pickle
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.integrate import trapezoid
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline

from skvae import VAEClassifier, VAETransformer
from skvae._engine import objectives, semisupervised, train
from skvae._engine.config import HeadConfig, ModelConfig, TrainConfig
from skvae._engine.model import Batch

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SMALL = {
    "hidden_layer_sizes": (32,),
    "n_components": 2,
    "n_estimators": 2,
    "n_samples": 64,
    "max_iter": 60,
    "device": "cpu",
    "random_state": 0,
}


def two_clouds(n=200, n_labels=1, seed=0):
    """Clouds that part along the first of six columns; few labels in each."""
    rng = np.random.default_rng(seed)
    classes = np.arange(n) % 2
    X = rng.normal(size=(n, 6))
    X[:, 0] = 2.0 * classes - 1.0 + 0.2 * X[:, 0]
    y = np.full(n, -1)
    y[: 2 * n_labels] = classes[: 2 * n_labels]
    return X, classes, y


def blobs(n=150, seed=0):
    """Three clouds in the plane, every class labelled."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    centres = np.array([[0.0, 0.0], [6.0, 0.0], [0.0, 6.0]])
    return centres[y] + rng.normal(size=(n, 2)), y


@pytest.fixture(scope="module")
def fitted():
    X, y = blobs()
    return VAEClassifier(**SMALL).fit(X, y)


# -- what unlabelled rows are for ------------------------------------------------


@pytest.mark.slow
def test_unlabelled_rows_show_where_the_classes_part():
    """Four labels do not tell which of six columns counts; that it has two modes does.

    Seeds 0 to 3 gave 0.54 to 0.66 from the labels alone, and 0.995 to 1.
    """
    X, classes, y = two_clouds(n_labels=2)
    labelled = y >= 0
    assert labelled.sum() == 4
    settings = SMALL | {"max_iter": 100, "early_stopping": False}
    alone = VAEClassifier(**settings).fit(X[labelled], y[labelled])
    model = VAEClassifier(**settings).fit(X, y)
    assert alone.score(X, classes) < 0.8
    assert model.score(X, classes) > 0.95


def test_a_few_labels_of_iris_are_enough():
    X, species = load_iris(return_X_y=True)
    y = np.full(150, -1)
    y[::16] = species[::16]
    assert (y >= 0).sum() == 10
    model = VAEClassifier(**SMALL | {"max_iter": 100}).fit(X, y)
    assert model.score(X, species) > 0.85  # seeds 0 to 2: 0.88 to 0.91


def test_latents_of_all_rows_may_come_first():
    """The stacked model M1 + M2 is a pipeline."""
    X, classes, y = two_clouds(n_labels=10)
    small = {k: SMALL[k] for k in ("hidden_layer_sizes", "n_estimators", "max_iter")}
    first = VAETransformer(2, **small, random_state=0)
    model = make_pipeline(first, VAEClassifier(**SMALL)).fit(X, y)
    assert model.score(X, classes) > 0.8


# -- classes ---------------------------------------------------------------------


def test_a_plain_classifier_where_all_labels_are_given(fitted):
    X, y = blobs(seed=1)
    assert fitted.score(X, y) > 0.95
    np.testing.assert_allclose(fitted.class_prior_, 1 / 3)


def test_probabilities_sum_to_one_and_go_with_predictions(fitted):
    X, _ = blobs(seed=1)
    p = fitted.predict_proba(X)
    assert p.shape == (150, 3)
    assert (p >= 0).all()
    np.testing.assert_allclose(p.sum(axis=1), 1.0)
    np.testing.assert_array_equal(fitted.predict(X), fitted.classes_[p.argmax(1)])


def test_a_list_may_hold_words_and_unlabelled_rows():
    """numpy alone would make the text "-1" of -1."""
    X = np.random.default_rng(0).normal(size=(60, 2))
    words = ["a", -1, "b"] * 20
    model = VAEClassifier(**SMALL).fit(X, words)
    assert model.classes_.tolist() == ["a", "b"]
    expected = VAEClassifier(**SMALL).fit(X, np.array(words, dtype=object))
    np.testing.assert_array_equal(model.predict_proba(X), expected.predict_proba(X))


def test_the_text_minus_one_beside_words_is_warned_of():
    X = np.random.default_rng(0).normal(size=(60, 2))
    with pytest.warns(UserWarning, match="text '-1' beside texts such as 'a'.*integer"):
        model = VAEClassifier(**SMALL).fit(X, np.array(["a", "-1", "b"] * 20))
    assert model.classes_.tolist() == ["-1", "a", "b"]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        VAEClassifier(**SMALL).fit(X, np.array(["1", "-1"] * 30))


@pytest.mark.parametrize("nothing", [None, np.nan, -1, pd.NA])
def test_texts_are_classes_and_none_is_no_label(nothing):
    X, classes, _ = two_clouds()
    y = np.array(["left", "right"], dtype=object)[classes]
    y[20:] = nothing
    model = VAEClassifier(**SMALL | {"max_iter": 5}).fit(X, y)
    assert list(model.classes_) == ["left", "right"]
    assert set(model.predict(X)) <= {"left", "right"}
    as_series = VAEClassifier(**SMALL | {"max_iter": 5}).fit(X, pd.Series(y))
    np.testing.assert_array_equal(model.predict_proba(X), as_series.predict_proba(X))


def test_integers_of_pandas_stay_integers():
    X, classes, _ = two_clouds()
    y = pd.Series(classes, dtype="Int64")
    model = VAEClassifier(**SMALL | {"max_iter": 2}).fit(X, y)
    assert model.predict(X).dtype == np.int64
    y[20:] = pd.NA
    model = VAEClassifier(**SMALL | {"max_iter": 2}).fit(X, y)
    assert all(type(label) is int for label in model.classes_)


def test_the_name_of_a_class_does_not_matter():
    X, _, y = two_clouds(n_labels=5)
    other = np.select([y == 0, y == 1], [7, 40], -1)
    quick = SMALL | {"max_iter": 5}
    model, renamed = (VAEClassifier(**quick).fit(X, t) for t in (y, other))
    np.testing.assert_array_equal(renamed.classes_, [7, 40])
    np.testing.assert_array_equal(model.predict_proba(X), renamed.predict_proba(X))


def test_frequencies_of_classes_count_weights():
    X, y = blobs()
    weight = np.where(y == 0, 2.0, 1.0)
    model = VAEClassifier(**SMALL | {"max_iter": 2}).fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(model.class_prior_, [0.5, 0.25, 0.25])


def test_rows_of_weight_zero_change_nothing():
    X, y = blobs()
    more = np.insert(X, [3, 5], 1e6, axis=0)
    quick = SMALL | {"max_iter": 3}
    labels, weight = np.insert(y, [3, 5], [9, 9]), np.insert(np.ones(150), [3, 5], 0.0)
    with_them = VAEClassifier(**quick).fit(more, labels, sample_weight=weight)
    without = VAEClassifier(**quick).fit(X, y)
    np.testing.assert_array_equal(with_them.classes_, [0, 1, 2])
    np.testing.assert_array_equal(with_them.predict_proba(X), without.predict_proba(X))


# -- rows ------------------------------------------------------------------------


def test_rows_of_a_class_look_like_it(fitted):
    X, y = blobs()
    for k in range(3):
        drawn = fitted.sample(300, y=k, random_state=0)
        gap = np.abs(drawn.mean(axis=0) - X[y == k].mean(axis=0))
        assert gap.max() < 0.5
        assert (fitted.predict(drawn) == k).mean() > 0.95


def test_classes_of_drawn_rows_follow_their_frequencies():
    X, y = blobs()
    kept = (y != 2) | (np.arange(150) < 30)
    model = VAEClassifier(**SMALL).fit(X[kept], y[kept])
    assert model.class_prior_[2] == pytest.approx(10 / 110)
    drawn = model.sample(1000, random_state=0)
    assert (model.predict(drawn) == 2).mean() == pytest.approx(10 / 110, abs=0.04)
    one_each = model.sample(3, y=[2, 0, 1], random_state=0)
    np.testing.assert_array_equal(model.predict(one_each), [2, 0, 1])


def test_the_density_integrates_to_one():
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    X = (4.0 * y + rng.normal(size=200))[:, None]
    y[60:] = -1
    model = VAEClassifier(**SMALL | {"n_components": 1, "n_samples": 256}).fit(X, y)
    grid = np.linspace(-30, 35, 4001)
    density = np.exp(model.score_samples(grid[:, None]))
    assert trapezoid(density, grid) == pytest.approx(1.0, abs=0.02)
    # in the units of the column
    stretched = clone(model).fit(10 * X, y)
    np.testing.assert_allclose(
        stretched.score_samples(10 * X) + np.log(10), model.score_samples(X), rtol=1e-5
    )


def test_holes_are_integrated_out(fitted):
    X, y = blobs()
    row = np.array([[6.0, np.nan]])
    grid = np.linspace(-15, 20, 1401)
    rows = np.column_stack([np.full(1401, 6.0), grid])
    whole = trapezoid(np.exp(fitted.score_samples(rows)), grid)
    assert np.exp(fitted.score_samples(row))[0] == pytest.approx(whole, rel=0.1)
    holes = np.where(np.random.default_rng(0).random(X.shape) < 0.2, np.nan, X)
    model = VAEClassifier(**SMALL).fit(holes, y)
    assert np.isfinite(model.predict_proba(holes)).all()
    assert model.score(X, y) > 0.9


def test_mixed_columns_come_back_as_they_were():
    rng = np.random.default_rng(0)
    y = np.arange(120) % 2
    frame = pd.DataFrame(
        {
            "size": rng.normal(size=120) + 3 * y,
            "town": np.where(rng.random(120) < 0.2 + 0.6 * y, "Bern", "Chur"),
        }
    )
    frame.loc[::7, "size"] = np.nan
    model = VAEClassifier(**SMALL).fit(frame, y)
    assert model.score(frame, y) > 0.85
    drawn = model.sample(200, y=1, random_state=0)
    assert (drawn.dtypes == frame.dtypes).all()
    assert (drawn["town"] == "Bern").mean() > 0.6


def test_latents_are_what_rows_of_a_class_differ_in(fitted):
    X, _ = blobs()
    Z = fitted.transform(X)
    assert Z.shape == (150, 2)
    assert list(fitted.get_feature_names_out()) == ["vaeclassifier0", "vaeclassifier1"]


# -- answers stay the same ---------------------------------------------------------


def test_answers_depend_neither_on_chance_nor_on_other_rows(fitted):
    X, y = blobs()
    again = pickle.loads(pickle.dumps(clone(fitted).fit(X, y)))
    np.testing.assert_array_equal(fitted.predict_proba(X), again.predict_proba(X))
    np.testing.assert_array_equal(fitted.score_samples(X), again.score_samples(X))
    np.testing.assert_allclose(
        fitted.score_samples(X)[:5], fitted.score_samples(X[:5]), rtol=1e-9
    )
    np.testing.assert_array_equal(
        fitted.sample(4, random_state=1), fitted.sample(4, random_state=1)
    )


def test_training_goes_on_with_the_same_classes():
    X, y = blobs()
    model = VAEClassifier(**SMALL | {"max_iter": 3, "warm_start": True}).fit(X, y)
    before = model.n_iter_
    model.fit(X[y < 2], y[y < 2])
    assert model.n_iter_ == before + 3
    np.testing.assert_array_equal(model.classes_, [0, 1, 2])
    with pytest.raises(ValueError, match=r"classes that fit has not seen: \[5\]"):
        model.fit(X, np.where(y == 0, 5, y))


def test_rows_held_out_by_hand_choose_the_weights():
    """Wrong labels there cost as much as right ones in training gain.

    The classification loss alone is 10 nats for every nat of surprise: rows that say
    the opposite are worst when the classes are told best.
    """
    X, y = blobs()
    X_val, y_val = blobs(60, seed=1)
    settings = SMALL | {"n_estimators": 1, "max_iter": 30}
    right, wrong = (
        VAEClassifier(**settings).fit(X, y, X_val=X_val, y_val=labels)
        for labels in (y_val, (y_val + 1) % 3)
    )
    assert right.score(X_val, y_val) > 0.95
    scores = np.array(wrong.validation_scores_)
    assert scores.max() < right.validation_scores_[-1] - 5.0
    assert wrong.history_.best_epoch[0] < right.history_.best_epoch[0]


def test_held_out_rows_need_no_labels():
    X, y = blobs()
    model = VAEClassifier(**SMALL | {"max_iter": 5})
    model.fit(X, y, X_val=blobs(60, seed=1)[0], y_val=np.full(60, -1))
    assert len(model.validation_scores_) == 5


# -- chunks --------------------------------------------------------------------------


def test_chunks_are_learned_one_after_the_other():
    X, y = blobs(300)
    model = VAEClassifier(**SMALL | {"learning_rate_init": 1e-2})
    for _ in range(15):
        for rows in np.array_split(np.arange(300), 3):
            model.partial_fit(X[rows], y[rows])
    assert model.n_iter_ == len(model.loss_curve_) == 45
    assert model.validation_scores_ == []
    assert model.score(*blobs(seed=1)) > 0.95


def test_a_chunk_may_lack_classes_and_even_labels():
    X, y = blobs(60)
    two = y < 2
    model = VAEClassifier(**SMALL).partial_fit(X[two], y[two], classes=[0, 1, 2])
    np.testing.assert_array_equal(model.classes_, [0, 1, 2])
    np.testing.assert_allclose(model.class_prior_, [20 / 41, 20 / 41, 1 / 41])
    light = VAEClassifier(**SMALL)
    light.partial_fit(X[two], y[two], [0, 1, 2], sample_weight=np.full(two.sum(), 0.01))
    np.testing.assert_allclose(light.class_prior_, model.class_prior_)
    before = model.score_samples(X)
    model.partial_fit(X, np.full(60, -1))
    assert np.abs(model.score_samples(X) - before).max() > 0.0
    model.partial_fit(X, y, classes=[2, 1, 0, -1])  # -1 is no class
    assert model.predict_proba(X).shape == (60, 3)


def test_classes_may_come_before_any_label():
    X, _ = blobs(60)
    model = VAEClassifier(**SMALL).partial_fit(X, np.full(60, -1), classes=["a", "b"])
    np.testing.assert_array_equal(model.class_prior_, [0.5, 0.5])


@pytest.mark.parametrize(
    ("classes", "error", "match"),
    [
        ([0, 1, 3], ValueError, r"those of the first call, \[0, 1, 2\]; got \[0, 1, 3"),
        ([0, 1], ValueError, r"first call, \[0, 1, 2\]; got \[0, 1\]"),
        ([-1, -1], ValueError, "every entry of classes is -1"),
        (np.array(["a", 1], dtype=object), TypeError, "classes must hold either"),
    ],
)
def test_classes_of_a_later_chunk_are_those_of_the_first(classes, error, match):
    X, y = blobs(60)
    model = VAEClassifier(**SMALL).partial_fit(X, y)
    with pytest.raises(error, match=match):
        model.partial_fit(X, y, classes=classes)
    np.testing.assert_array_equal(model.classes_, [0, 1, 2])


def test_labels_of_a_first_chunk_are_among_its_classes():
    X, y = blobs(60)
    with pytest.raises(ValueError, match=r"y holds classes .*not seen: \[2\]"):
        VAEClassifier(**SMALL).partial_fit(X, y, classes=[0, 1])
    with pytest.raises(ValueError, match="at least two classes; got 1"):
        VAEClassifier(**SMALL).partial_fit(X, np.zeros(60, int), classes=[0])


# -- refusals ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("y", "error", "match"),
    [
        (None, ValueError, "requires y to be passed, but the target y is None"),
        (np.full(60, -1), ValueError, "every entry of y is -1"),
        (np.full(60, 3), ValueError, r"at least two classes; got 1 class.*\[3\]\.$"),
        (
            [-1, 1] * 30,
            ValueError,
            r"got 1 class.*\[1\]; -1, None and NaN are no",
        ),
        (np.linspace(0, 1, 60), ValueError, "Unknown label type"),
        (np.full(60, np.inf), ValueError, "y contains infinity"),
        (np.array(["a", 1] * 30, dtype=object), TypeError, "texts or integers.*'a'"),
        (np.zeros((60, 2)), ValueError, "1d array"),
        (np.arange(59) % 2, ValueError, "inconsistent numbers of samples"),
    ],
)
def test_labels_that_are_no_classes_are_refused(y, error, match):
    X, _ = blobs(60)
    with pytest.raises(error, match=match):
        VAEClassifier(**SMALL).fit(X, y)


@pytest.mark.parametrize(
    ("y", "match"),
    [
        (7, r"classes that fit has not seen: \[7\].*\[0, 1, 2\]"),
        ([0, 1], r"one class or n_samples=3 of them.*\(2,\)"),
        ([0, 1, -1], "without a label"),
    ],
)
def test_rows_of_no_class_are_refused(fitted, y, match):
    with pytest.raises(ValueError, match=match):
        fitted.sample(3, y=y)


def test_a_failed_fit_leaves_a_fitted_model_as_it_was():
    X, y = blobs(60)
    model = VAEClassifier(**SMALL | {"max_iter": 2}).fit(X, y)
    before = model.predict_proba(X)
    with pytest.raises(ValueError, match="every entry of y is -1"):
        model.fit(X, np.full(60, -1))
    np.testing.assert_array_equal(model.predict_proba(X), before)
    np.testing.assert_array_equal(model.classes_, [0, 1, 2])


def test_training_cannot_go_on_with_weights_of_another_shape():
    X, y = blobs(60)
    model = VAEClassifier(**SMALL | {"max_iter": 2, "warm_start": True}).fit(X, y)
    with pytest.raises(ValueError, match=r"another shape.*n_components"):
        model.set_params(n_components=3).fit(X, y)


def test_a_class_of_its_own_needs_a_latent():
    X, y = blobs(60)
    with pytest.raises(ValueError, match=r"n_components.*\[1, inf\).*got 0"):
        VAEClassifier(0).fit(X, y)


# -- the engine --------------------------------------------------------------------


HEAD = HeadConfig("gaussian", (0, 1), (0.1, 0.1), shift=(0.0, 0.0), scale=(1.0, 1.0))


def class_model(n_classes=3):
    config = ModelConfig(
        n_columns=2,
        n_conditions=1,
        heads=(HEAD,),
        n_components=1,
        hidden_layer_sizes=(4,),
        classes=(1.0,) * n_classes,
    )
    double = torch.float64
    model = semisupervised.ClassModel(config, torch.device("cpu"), double)
    generator = torch.Generator().manual_seed(0)
    weights = model.layout.initial(1, generator).double()
    # the last layers start small; here classes are to differ
    return model, weights + 0.5 * torch.randn(weights.shape, generator=generator)


def batch_of(codes):
    """Rows with these classes, NaN for none."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, len(codes), 2, generator=generator).double()
    c = torch.tensor(codes).double().view(1, -1, 1)
    known = ~c.isnan()
    ones = torch.ones_like(x)
    return Batch(x, ones, c.nan_to_num(), known.double(), torch.ones(1, len(codes)))


def test_complete_rows_need_no_masks():
    model, weights = class_model()
    w = model.layout.views(weights)
    batch = batch_of([0.0, 1.0, 2.0])
    bare = replace(batch, x_observed=None, c_observed=None)
    draws = torch.randn(1, 2, 3, 1, generator=torch.Generator().manual_seed(2)).double()
    both = zip(model.features(w, batch), model.features(w, bare), strict=True)
    for one, other in both:
        assert torch.equal(one, other)
    one, other = (model.terms(w, rows, draws) for rows in (batch, bare))
    torch.testing.assert_close(one.log_lik, other.log_lik)
    assert torch.equal(one.labelled, other.labelled)
    assert (one.labelled == 1).all()


def test_a_row_without_label_is_the_sum_over_its_classes():
    """Eq. 7 from eq. 6: U = sum_y q(y|x) (L(x, y) + log q(y|x)), by labelling."""
    model, weights = class_model()
    w = model.layout.views(weights)
    draws = torch.randn(1, 4, 5, 1, generator=torch.Generator().manual_seed(2)).double()
    objective = semisupervised.SemiSupervised(objectives.Elbo(), 0.0)
    one = torch.ones(1).double()

    def loss_of_rows(codes):
        batch = batch_of(codes)
        terms = model.terms(w, batch, draws)
        rows = []
        for i in range(5):
            weight = torch.zeros(1, 5).double()
            weight[0, i] = 5.0
            rows.append(objective(terms, one, weight))
        return torch.stack(rows)[:, 0], terms

    free, terms = loss_of_rows([float("nan")] * 5)
    by_class = torch.stack([loss_of_rows([float(k)] * 5)[0] for k in range(3)])
    q = terms.log_class[0].exp()  # (K, N)
    assert q.std() > 0.01
    assert by_class.std() > 0.01
    expected = (q * (by_class + q.log())).sum(0)
    torch.testing.assert_close(free, expected)


def test_known_classes_alone_have_a_surprise():
    model, weights = class_model()
    w = model.layout.views(weights)
    batch = batch_of([0.0, float("nan"), 2.0])
    draws = torch.zeros(1, 1, 3, 1).double()
    terms = model.terms(w, batch, draws)
    log_q = model.log_classes(w, batch)[0]
    expected = -torch.stack([log_q[0, 0], torch.zeros_like(log_q[0, 0]), log_q[2, 2]])
    torch.testing.assert_close(terms.surprise()[0], expected)
    one, weight = torch.ones(1).double(), torch.ones(1, 3).double()
    plain, weighted = (
        semisupervised.SemiSupervised(objectives.Elbo(), a)(terms, one, weight)
        for a in (0.0, 2.0)
    )
    torch.testing.assert_close(weighted - plain, expected.sum().view(1))  # 2 / 2 rows
    # what rows held out are judged by, here with one draw: the negative loss
    bound = model.objective(TrainConfig(classification_weight=2.0)).bound(terms, 1.0)
    assert bound.shape == (1, 3)


def terms_of(codes, n_draws):
    """Terms of rows with these classes, the model's views of weights, and the model."""
    model, weights = class_model()
    shape = (1, n_draws, len(codes), 1)
    draws = torch.randn(shape, generator=torch.Generator().manual_seed(2)).double()
    w = model.layout.views(weights)
    return model.terms(w, batch_of(codes), draws), model


def test_free_bits_are_nats_of_the_mean_over_rows_and_classes():
    """Nats below are free: a dimension costs the larger of its KL and free_bits."""
    terms, model = terms_of([0.0, float("nan"), 2.0, float("nan")], 1)
    one, weight = torch.ones(1).double(), torch.ones(1, 4).double()
    kl = terms.kl_each().mean(1).sum()  # a single dimension
    losses = [
        model.objective(TrainConfig(free_bits=bits))(terms, one, weight)
        for bits in (0.0, float(kl) / 2, float(kl) + 1.5)
    ]
    torch.testing.assert_close(losses[1], losses[0])
    torch.testing.assert_close(losses[2] - losses[0], torch.tensor([1.5]).double())


def test_the_importance_weighted_loss_is_the_bound_of_held_out_rows():
    """And the same with either gradient; the evidence lower bound is below it."""
    terms, model = terms_of([0.0, float("nan"), 2.0, float("nan")], 8)
    one, weight = torch.ones(1).double(), torch.ones(1, 4).double()
    losses = {
        name: model.objective(TrainConfig(objective=name))(terms, one, weight)
        for name in ("elbo", "iwae", "dreg")
    }
    bound = model.objective(TrainConfig()).bound(terms, 1.0).mean(1)
    torch.testing.assert_close(losses["iwae"], -bound)
    torch.testing.assert_close(losses["dreg"], -bound)
    assert (losses["elbo"] > losses["iwae"]).all()


def test_strata_are_split_on_their_own_and_repeated():
    generator = torch.Generator().manual_seed(0)
    strata = [
        train.Stratum(torch.arange(10), n_valid=1, repeats=3),
        train.Stratum(torch.arange(10, 50), n_valid=8, repeats=1),
    ]
    split = train.split_strata(strata, 2, generator)
    assert split.train.shape == (2, 9 * 3 + 32)
    assert split.valid.shape == (2, 9)
    for member in range(2):
        train_rows, valid_rows = split.train[member], split.valid[member]
        assert (valid_rows < 10).sum() == 1
        assert not set(train_rows.tolist()) & set(valid_rows.tolist())
        assert (train_rows < 10).sum() == 27
    assert (
        split.valid[0].sort().values.tolist() != split.valid[1].sort().values.tolist()
    )
