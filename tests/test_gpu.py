"""What an accelerator must do: the same as the processor, from the same numpy state."""

import copy
import pickle
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from skvae import CVAERegressor, VAETransformer
from skvae._engine import door, runtime
from skvae._engine.config import HeadConfig, ModelConfig, TrainConfig

SMALL = {
    "n_components": 2,
    "hidden_layer_sizes": (32, 32),
    "n_estimators": 2,
    "max_iter": 12,
    "learning_rate_init": 1e-2,
    "random_state": 0,
}
short_fit = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning"  # few epochs do here
)


def table(n_rows=300, seed=0):
    """Three columns on a curve, one of them binary, a tenth of the cells missing."""
    rng = np.random.default_rng(seed)
    t = rng.uniform(-1, 1, n_rows)
    x = np.column_stack([t, t**2 + 0.1 * rng.standard_normal(n_rows), t > 0])
    return np.where(rng.random(x.shape) < 0.1, np.nan, x)


def regression(n_rows=300, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (n_rows, 2))
    return x, np.sin(2 * x[:, 0]) + 0.2 * rng.standard_normal(n_rows)


def fit(device, settings=None, **door_settings):
    """``door.fit`` of a conditional model with everything in it."""
    x, y = regression()
    config = ModelConfig(
        n_columns=1,
        n_conditions=2,
        heads=(HeadConfig("mixture", (0,), (1e-2,), n_mixtures=2),),
        n_components=2,
        hidden_layer_sizes=(16, 16),
        numeric_embedding="periodic",
        n_estimators=2,
        prior="conditional",
    )
    data = door.Encoded.of(y[:, None], x)
    training = TrainConfig(**{"max_iter": 4, "dropout": 0.1, **(settings or {})})
    return door.fit(
        config, training, data, None,
        n_samples=16, seed=0, device=device, **door_settings,
    )  # fmt: skip


def without_graph(monkeypatch):
    """Run every training step eagerly, on the accelerator too."""
    monkeypatch.setattr(runtime, "capture", lambda step, state, generator: step)


# -- on the accelerator ------------------------------------------------------------


@pytest.mark.gpu
def test_auto_takes_the_accelerator():
    assert runtime.resolve_device("auto").type == "cuda"


@pytest.mark.gpu
def test_an_accelerator_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"device must be .* got 'cuda:99'"):
        runtime.resolve_device("cuda:99")


@pytest.mark.gpu
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"objective": "iwae", "n_draws": 4, "dropout": 0.0},
        {"objective": "dreg", "n_draws": 4},
        {"free_bits": 0.1, "alpha": 0.1, "kl_schedule": "cyclical"},
    ],
)
def test_the_captured_step_is_the_eager_step(monkeypatch, settings):
    """The same chance and the same arithmetic: 36 steps later the weights agree.

    A capture may pick other kernels, whose rounding (1e-7 of float32) training makes
    larger; at a rate of 3e-3 another noise would move the weights by 1e-2 and more.
    """
    captured, record = fit("cuda", settings)
    without_graph(monkeypatch)
    eager, eager_record = fit("cuda", settings)
    np.testing.assert_allclose(captured.weights, eager.weights, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(record.loss, eager_record.loss, rtol=1e-3, atol=1e-4)
    assert (
        np.abs(captured.weights - fit("cuda", {"alpha": 50.0})[0].weights).max() > 0.1
    )


@pytest.mark.gpu
def test_a_seed_fixes_a_fit_on_the_accelerator():
    one, other = fit("cuda")[0], fit("cuda")[0]
    np.testing.assert_allclose(one.weights, other.weights, rtol=1e-3, atol=1e-4)


@pytest.mark.gpu
def test_capturing_leaves_state_and_chance_as_they_were():
    """Three warm-up steps and the capture run the step; none of it may remain."""
    generator = torch.Generator("cuda")
    generator.manual_seed(7)
    total = torch.zeros(3, device="cuda")
    noise = torch.zeros(3, device="cuda")

    def step():
        noise.copy_(torch.randn(3, generator=generator, device="cuda"))
        total.add_(1.0)

    run = runtime.capture(step, [total], generator)
    assert total.tolist() == [0.0, 0.0, 0.0]
    drawn = []
    for _ in range(3):
        run()
        drawn.append(noise.tolist())
    assert total.tolist() == [3.0, 3.0, 3.0]
    generator.manual_seed(7)
    eager = [
        torch.randn(3, generator=generator, device="cuda").tolist() for _ in range(3)
    ]
    assert drawn == eager


@pytest.mark.gpu
def test_numbers_drawn_between_replays_continue_the_same_sequence():
    """The loop shuffles eagerly between captured epochs, from the same generator."""
    generator = torch.Generator("cuda")

    def sequence(make):
        generator.manual_seed(3)
        noise = torch.zeros(4, device="cuda")
        run = make(
            lambda: noise.copy_(torch.randn(4, generator=generator, device="cuda"))
        )
        drawn = []
        for _ in range(3):
            run()
            drawn.append(noise.clone())
            drawn.append(torch.rand(4, generator=generator, device="cuda"))
        return torch.stack(drawn)

    captured = sequence(lambda step: runtime.capture(step, [], generator))
    eager = sequence(lambda step: step)
    assert torch.equal(captured, eager)
    assert len(captured.unique(dim=0)) == 6


@pytest.mark.gpu
def test_a_fit_on_the_accelerator_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit("cuda", keep_moments=True)


@pytest.mark.gpu
def test_partial_fits_go_on_from_their_moments_on_the_accelerator():
    one_epoch = {
        "max_iter": 1,
        "early_stopping": False,
        "constant_rate": True,
        "kl_schedule": "constant",
    }
    first, _ = fit("cuda", one_epoch, keep_moments=True)
    second, _ = fit("cuda", one_epoch, keep_moments=True, start=first)
    steps = float(np.max(first.moments.step))
    assert steps == 9  # 300 rows in batches of 32
    assert float(np.max(second.moments.step)) == 2 * steps


@pytest.mark.gpu
def test_early_stopping_works_on_the_accelerator():
    """The host looks at the progress every few epochs, but looks."""
    settings = {"max_iter": 400, "n_iter_no_change": 5, "kl_warmup": 0.05, "tol": 0.05}
    learned, record = fit("cuda", settings)
    assert record.stopped_early
    assert len(record.bound) < 400
    np.testing.assert_array_equal(record.best_epoch, record.bound.argmax(axis=0))
    kept = record.bound[record.kept_epoch, np.arange(len(record.kept_epoch))]
    np.testing.assert_allclose(learned.bound, kept, rtol=1e-6)


@pytest.mark.gpu
@short_fit
def test_a_transformer_fitted_on_the_accelerator_answers_without_one():
    """Inference is in float64 on both: answers agree to 1e-6."""
    x = table()
    model = VAETransformer(device="cuda", **SMALL).fit(x)
    elsewhere = pickle.loads(pickle.dumps(model)).set_params(device="cpu")
    for question in ("transform", "score_samples", "score_features", "impute"):
        here, there = getattr(model, question)(x), getattr(elsewhere, question)(x)
        np.testing.assert_allclose(here, there, rtol=1e-6, atol=1e-6)


@pytest.mark.gpu
@short_fit
def test_a_regressor_fitted_on_the_accelerator_answers_without_one():
    x, y = regression()
    model = CVAERegressor(device="cuda", **SMALL).fit(x, y)
    elsewhere = pickle.loads(pickle.dumps(model)).set_params(device="cpu")
    close = {"rtol": 1e-6, "atol": 1e-6}
    np.testing.assert_allclose(model.predict(x), elsewhere.predict(x), **close)
    here, there = model.score_samples(x, y), elsewhere.score_samples(x, y)
    np.testing.assert_allclose(here, there, **close)
    here, there = model.predict_interval(x), elsewhere.predict_interval(x)
    np.testing.assert_allclose(here, there, **close)


@pytest.mark.gpu
@short_fit
def test_both_devices_learn_the_same_distribution():
    """Chance differs between devices; held-out likelihoods must not, by much.

    Two fits of other seeds on one device differ by about 0.05 nats here.
    """
    x, held_out = table(1000), table(1000, seed=1)
    scores = [
        VAETransformer(device=device, **SMALL | {"max_iter": 60}).fit(x).score(held_out)
        for device in ("cuda", "cpu")
    ]
    assert abs(scores[0] - scores[1]) < 0.25


# -- without one -------------------------------------------------------------------


def numpy_only(learned):
    """``learned`` as it arrives from elsewhere: pickled, so nothing is shared."""
    return pickle.loads(pickle.dumps(learned))


def test_what_was_learned_anywhere_is_used_here():
    """Pickled state holds no word of torch, so it needs no device to be loaded."""
    learned, _ = fit("cpu", keep_moments=True)
    pickled = pickle.dumps(learned)
    assert b"torch" not in pickled
    x, y = regression()
    data = door.Encoded.of(y[:, None], x)
    expected = door.Engine(learned, "cpu").log_prob(data)
    again = door.Engine(numpy_only(learned), "cpu").log_prob(data)
    np.testing.assert_array_equal(expected, again)


@short_fit
@pytest.mark.parametrize("asked", ["cpu", "auto"])
def test_an_estimator_from_another_device_answers_where_it_is_loaded(asked):
    """``device`` is a parameter and not learned: what fit used does not matter."""
    x, y = regression()
    model = CVAERegressor(device="cpu", **SMALL).fit(x, y)
    assert b"torch" not in pickle.dumps(model)
    elsewhere = copy.deepcopy(model).set_params(device=asked)
    np.testing.assert_allclose(elsewhere.predict(x), model.predict(x), rtol=1e-6)


@short_fit
def test_a_device_that_is_not_there_is_named_by_fit_and_by_predict():
    x, y = regression(50)
    message = r"device must be 'auto', 'cpu', 'cuda' .* got 'cuda:99'"
    with pytest.raises(ValueError, match=message):
        CVAERegressor(**SMALL | {"device": "cuda:99"}).fit(x, y)
    model = CVAERegressor(**SMALL | {"device": "cpu", "max_iter": 1}).fit(x, y)
    with pytest.raises(ValueError, match=message):
        model.set_params(device="cuda:99").predict(x)


def test_learned_weights_of_float64_are_used_in_full():
    """A model may come with more digits than training keeps: none is cut off."""
    learned, _ = fit("cpu")
    x, y = regression()
    data = door.Encoded.of(y[:, None], x)
    moved = replace(learned, weights=learned.weights.astype(np.float64) + 1e-12)
    gap = door.Engine(moved, "cpu").log_prob(data)[0]
    gap = np.abs(gap - door.Engine(learned, "cpu").log_prob(data)[0])
    assert 0 < gap.max() < 1e-6
