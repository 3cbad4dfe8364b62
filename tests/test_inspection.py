"""Displays: what they draw, and that they say what they cannot."""

import builtins
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae import (
    CVAERegressor,
    VAEClassifier,
    VAEImputer,
    VAEOutlierDetector,
    VAETransformer,
)
from skvae.inspection import LatentTraversalDisplay, LossCurveDisplay

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SMALL = {
    "hidden_layer_sizes": (16,),
    "n_estimators": 2,
    "n_samples": 16,
    "max_iter": 10,
    "random_state": 0,
}


@pytest.fixture(scope="module")
def iris():
    X = load_iris(as_frame=True).data
    return VAETransformer(3, **SMALL).fit(X), X


def test_one_dimension_moves_at_a_time(iris):
    vae, X = iris
    display = LatentTraversalDisplay.from_estimator(vae, X, dimensions=[2], n_steps=5)
    Z = vae.transform(X)
    low, high = np.quantile(Z[:, 2], [0.02, 0.98])
    np.testing.assert_allclose(display.values, [np.linspace(low, high, 5)])
    moved = np.tile(Z.mean(axis=0), (5, 1))
    moved[:, 2] = display.values[0]
    expected = vae.inverse_transform(moved)
    scaled = (expected - X.mean()) / X.std(ddof=0)
    np.testing.assert_allclose(display.rows[0], scaled.to_numpy(float))
    assert display.names == list(X)


def test_the_dimensions_of_the_largest_kl_come_first(iris):
    vae, X = iris
    display = LatentTraversalDisplay.from_estimator(vae, X)
    kl = vae.kl_per_dimension_[display.dimensions]
    assert (np.diff(kl) <= 0).all()
    assert len(display.ax_) == 3
    lines = display.ax_[0].get_lines()
    np.testing.assert_allclose(lines[1].get_ydata(), display.rows[0, :, 1])
    assert display.figure_ is display.ax_[0].figure


def test_rows_may_be_images():
    X = load_digits().data[:100, :]
    X = X[:, X.std(axis=0) > 0.5][:, :48]
    vae = VAETransformer(2, **SMALL).fit(X)
    display = LatentTraversalDisplay.from_estimator(vae, X, image_shape=(6, 8))
    (image,) = display.ax_[0].get_images()
    assert image.get_array().shape == (6, 9 * 8)
    np.testing.assert_allclose(
        image.get_array()[:, :8], display.rows[0, 0].reshape(6, 8)
    )


def test_booleans_with_holes_are_numbers():
    """Which pandas takes for objects."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(60, 2)), columns=["a", "b"])
    X = X.assign(flag=X["a"] > 0).mask(rng.random((60, 3)) < 0.1)
    assert X["flag"].dtype == object
    vae = VAETransformer(2, **SMALL).fit(X)
    display = LatentTraversalDisplay.from_estimator(vae, X)
    assert display.rows.shape == (2, 9, 3)
    assert np.isfinite(display.rows).all()


def test_axes_may_be_given(iris):
    vae, X = iris
    figure, axes = matplotlib.pyplot.subplots(1, 3)
    display = LatentTraversalDisplay.from_estimator(vae, X, ax=axes)
    assert display.figure_ is figure
    with pytest.raises(ValueError, match="ax must hold 3 Axes; got 2"):
        display.plot(axes[:2])


def test_what_cannot_be_drawn_is_refused(iris):
    vae, X = iris
    draw = LatentTraversalDisplay.from_estimator
    with pytest.raises(ValueError, match=r"dimensions must be an integer in \[0, 2\]"):
        draw(vae, X, dimensions=[3])
    with pytest.raises(ValueError, match=r"n_steps must be .*got 1"):
        draw(vae, X, n_steps=1)
    with pytest.raises(NotFittedError, match="VAETransformer"):
        draw(VAETransformer(), X)
    mixed = X.assign(colour=pd.Series(["red", "blue"] * 75))
    with pytest.raises(ValueError, match=r"columns \['colour'\] hold none"):
        draw(VAETransformer(2, **SMALL).fit(mixed), mixed)


def test_losses_are_those_of_training(iris):
    vae, _ = iris
    display = LossCurveDisplay.from_estimator(vae)
    training, held_out = display.ax_.get_lines()
    np.testing.assert_array_equal(training.get_ydata(), vae.loss_curve_)
    np.testing.assert_array_equal(-held_out.get_ydata(), vae.validation_scores_)
    figure, ax = matplotlib.pyplot.subplots()
    kl = LossCurveDisplay.from_estimator(vae, kind="kl", ax=ax)
    assert kl.figure_ is figure
    assert len(ax.get_lines()) == 3
    np.testing.assert_array_equal(
        ax.get_lines()[2].get_ydata(),
        vae.history_.kl[:, vae.learned_.best_member, 2],
    )
    with pytest.raises(ValueError, match=r"kind must be one of \['loss', 'kl'\]"):
        LossCurveDisplay.from_estimator(vae, kind="sum")


def test_more_lines_than_colours_can_be_told_apart():
    X = np.random.default_rng(0).normal(size=(60, 24))
    vae = VAETransformer(24, **SMALL).fit(X)
    curves = LossCurveDisplay.from_estimator(vae, kind="kl").ax_
    columns = LatentTraversalDisplay.from_estimator(vae, X).ax_[-1]
    for ax in (curves, columns):
        looks = {(line.get_color(), line.get_linestyle()) for line in ax.get_lines()}
        assert len(looks) == 24
        assert len(ax.get_legend().get_texts()) == 24


def test_curves_of_two_models_on_one_axes_can_be_told_apart(iris):
    vae, _ = iris
    ax = LossCurveDisplay.from_estimator(vae).ax_
    LossCurveDisplay.from_estimator(vae, ax=ax)
    assert len({line.get_color() for line in ax.get_lines()}) == 4
    assert len(ax.get_legend().get_texts()) == 4


def test_a_regressor_without_hold_out_has_one_curve():
    X = np.linspace(-1, 1, 60)[:, None]
    model = CVAERegressor(2, **SMALL, early_stopping=False).fit(X, X[:, 0])
    assert list(LossCurveDisplay.from_estimator(model).curves) == ["training"]


def test_without_matplotlib_the_message_says_what_to_do(iris, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"needs matplotlib; install .*skvae\[plot\]"):
        LossCurveDisplay.from_estimator(iris[0])


def test_the_model_inside_an_imputer_or_a_detector_is_drawn(iris):
    _, X = iris
    for Estimator in (VAEImputer, VAEOutlierDetector):
        holed = X.mask(X.gt(X.quantile(0.95)))
        model = Estimator(**SMALL | {"n_components": 2}).fit(holed)
        display = LossCurveDisplay.from_estimator(model)
        np.testing.assert_array_equal(
            display.curves["training"], model.vae_.loss_curve_
        )
        rows = LatentTraversalDisplay.from_estimator(model, X, dimensions=1).rows
        assert rows.shape == (1, 9, 4)


def test_columns_that_an_imputer_does_not_model_are_left_out(iris):
    _, X = iris
    fitted = VAEImputer(**SMALL | {"n_components": 2}).fit(X.assign(same=1.0))
    display = LatentTraversalDisplay.from_estimator(fitted, X.assign(same=1.0))
    assert display.names == list(X.columns)
    bare = VAEImputer(**SMALL | {"n_components": 2}).fit(X.to_numpy())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LatentTraversalDisplay.from_estimator(bare, X.to_numpy())


def test_a_classifier_has_losses_to_draw(iris):
    _, X = iris
    classifier = VAEClassifier(2, **SMALL).fit(X, np.arange(150) // 50)
    display = LossCurveDisplay.from_estimator(classifier)
    np.testing.assert_array_equal(display.curves["training"], classifier.loss_curve_)


def test_where_nothing_was_trained_nothing_is_drawn():
    constant = VAEImputer(**SMALL).fit(np.ones((5, 2)))
    with pytest.raises(ValueError, match="no column varied in fit, so that VAEImputer"):
        LossCurveDisplay.from_estimator(constant)
    X = np.linspace(-1, 1, 60)[:, None]
    without = CVAERegressor(0, **SMALL).fit(X, X[:, 0])
    with pytest.raises(ValueError, match=r"n_components=0 has none\. Take kind"):
        LossCurveDisplay.from_estimator(without, kind="kl")


def test_what_has_no_training_or_no_decoder_is_refused(iris):
    vae, X = iris
    classifier = VAEClassifier(2, **SMALL).fit(X, np.arange(150) // 50)
    with pytest.raises(TypeError, match="decode to rows; got VAEClassifier"):
        LatentTraversalDisplay.from_estimator(classifier, X)
    with pytest.raises(TypeError, match=r"models of skvae.*; got StandardScaler"):
        LossCurveDisplay.from_estimator(StandardScaler().fit(X))
    for Estimator in (VAEImputer, VAEOutlierDetector):
        with pytest.raises(NotFittedError, match=Estimator.__name__):
            LossCurveDisplay.from_estimator(Estimator())
    with pytest.raises(TypeError, match=r"got Pipeline\. Of a Pipeline take the step"):
        LossCurveDisplay.from_estimator(make_pipeline(vae))


def test_a_constant_column_is_drawn_in_its_own_units(iris):
    vae, X = iris
    with np.errstate(all="raise"):
        display = LatentTraversalDisplay.from_estimator(
            vae, X.assign(**{X.columns[0]: 5.0})
        )
    assert np.isfinite(display.rows).all()


def test_an_image_has_as_many_cells_as_a_row(iris):
    vae, X = iris
    with pytest.raises(
        ValueError, match=r"image_shape=\(3, 2\) has 6 cells; expected 4"
    ):
        LatentTraversalDisplay.from_estimator(vae, X, image_shape=(3, 2))
