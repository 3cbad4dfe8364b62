"""The one training loop and its door: splits, seeds, selection, and what is learned."""

import dataclasses
import math
import random
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import ndtr
from scipy.stats import multivariate_normal, norm

from skvae._engine import door, runtime, schedules, selection, train
from skvae._engine.config import HeadConfig, ModelConfig, TrainConfig
from skvae._engine.inference import expand_members
from skvae._engine.model import LatentModel

N_ROWS, N_COLUMNS = 120, 3


def table(n_rows=N_ROWS, missing=0.0, seed=0):
    """Three correlated standard normal columns, cells missing at random."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n_rows, 1))
    x = 0.8 * z + 0.6 * rng.standard_normal((n_rows, N_COLUMNS))
    x[rng.random(x.shape) < missing] = np.nan
    return x


def model_config(**changes):
    head = HeadConfig("gaussian", tuple(range(N_COLUMNS)), (1e-3,) * N_COLUMNS)
    settings = {
        "n_columns": N_COLUMNS,
        "n_conditions": 0,
        "heads": (head,),
        "n_components": 2,
        "hidden_layer_sizes": (8,),
        "n_estimators": 2,
    }
    return ModelConfig(**settings | changes)


def fit(x=None, *, model=None, valid=None, seed=0, door_settings=None, **settings):
    """``door.fit`` on the CPU with settings that take a blink."""
    settings = {"max_iter": 5, "learning_rate_init": 0.02, **settings}
    return door.fit(
        model or model_config(),
        TrainConfig(**settings),
        door.Encoded.of(table() if x is None else x),
        valid,
        n_samples=16,
        seed=seed,
        device="cpu",
        **(door_settings or {}),
    )


def conditional():
    """Settings and rows of a conditional model with everything in it."""
    head = HeadConfig("mixture", (0,), (1e-2,), n_mixtures=2)
    config = model_config(
        n_columns=1,
        n_conditions=2,
        heads=(head,),
        prior="conditional",
        numeric_embedding="periodic",
    )
    x = table(missing=0.2)
    return config, door.Encoded.of(table(seed=1)[:, :1], x[:, :2])


# -- splits ----------------------------------------------------------------------


def split(n_rows, n_valid, n_members, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return train.split_rows(n_rows, n_valid, n_members, generator)


@pytest.mark.parametrize(("n_rows", "n_valid"), [(10, 3), (17, 1), (20, 19), (6, 0)])
def test_training_and_validation_rows_are_disjoint_and_cover_the_table(n_rows, n_valid):
    parts = split(n_rows, n_valid, 4)
    assert parts.train.shape == (4, n_rows - n_valid)
    assert parts.valid.shape == (4, n_valid)
    for own_train, own_valid in zip(parts.train, parts.valid, strict=True):
        assert sorted([*own_train.tolist(), *own_valid.tolist()]) == list(range(n_rows))


def test_members_hold_out_different_rows_while_rows_last():
    parts = split(20, 5, 4)
    assert sorted(parts.valid.flatten().tolist()) == list(range(20))
    more = split(20, 5, 6)  # the fifth begins again
    assert sorted(more.valid[:4].flatten().tolist()) == list(range(20))
    assert sorted(more.valid[4].tolist()) == sorted(more.valid[0].tolist())


def test_twins_hold_out_the_same_rows():
    parts = split(20, 5, 3)
    twice = parts.twice()
    for whole, half in ((twice.train, parts.train), (twice.valid, parts.valid)):
        assert torch.equal(whole[:3], half)
        assert torch.equal(whole[3:], half)


# -- pairs of members ------------------------------------------------------------


@pytest.mark.parametrize("mean", [-0.5, 0.0, 0.5])
def test_a_second_half_is_worse_where_the_rows_tell(mean):
    """800 differences of N(mean, 1): a standard error is .035, two of them .07."""
    generator = torch.Generator().manual_seed(0)
    first, noise = torch.randn((2, 2, 400), generator=generator)
    bounds = torch.cat([first, first + mean + noise])
    equal = torch.ones(4, 400)
    assert selection.is_second_half_worse(bounds, equal) == (mean < 0)
    # the scale of the weights says nothing
    assert selection.is_second_half_worse(bounds, 3.0 * equal) == (mean < 0)
    noisier = torch.cat([first, first + mean + 20.0 * noise])
    assert not selection.is_second_half_worse(noisier, equal)


def test_pairs_that_share_their_rows_are_no_more_sure_than_one():
    """Differences of mean -.08 and deviation 1: a standard error of .05, not .016."""
    noise = torch.randn(400, generator=torch.Generator().manual_seed(1))
    difference = (noise - noise.mean()) / noise.std() - 0.08
    bounds = torch.cat([torch.zeros(10, 400), difference.expand(10, -1)])
    weight = torch.ones(20, 400)
    assert selection.is_second_half_worse(bounds, weight)
    assert not selection.is_second_half_worse(bounds, weight, same_rows=True)
    worse = torch.cat([torch.zeros(10, 400), (difference - 0.1).expand(10, -1)])
    assert selection.is_second_half_worse(worse, weight, same_rows=True)


def test_rows_without_weight_do_not_speak_for_twins():
    """By half of the rows one kind is better, by the other half the other one."""
    first = torch.zeros(2, 10)
    second = torch.tensor([1.0, -1.0]).repeat_interleave(5).expand(2, -1)
    bounds = torch.cat([first, second])
    assert not selection.is_second_half_worse(bounds, torch.ones(4, 10))
    weight = torch.tensor([1.0, 0.0]).repeat_interleave(5).expand(4, -1)
    assert not selection.is_second_half_worse(bounds, weight)
    assert selection.is_second_half_worse(bounds, weight.flip(1))


def line_or_wave(wavy, seed=0, n_rows=200):
    """Rows of y given c: a line, or a wave that the embedding follows at once."""
    rng = np.random.default_rng(seed)
    c = rng.uniform(-1.7, 1.7, (n_rows, 1))
    y = np.sin(6.0 * c) if wavy else c
    return door.Encoded.of(y + 0.1 * rng.standard_normal(y.shape), c)


def paired():
    head = HeadConfig("gaussian", (0,), (1e-2,))
    return model_config(
        n_columns=1, n_conditions=1, heads=(head,), n_components=0,
        hidden_layer_sizes=(16,), prior="conditional", numeric_embedding="periodic",
        n_estimators=4, n_plain=2,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("wavy", "valid", "n_kept"),
    [
        (True, None, 2),
        (True, line_or_wave(wavy=True, seed=1), 2),
        (False, None, 4),
        (False, line_or_wave(wavy=False, seed=1), 4),
    ],
)
def test_plain_members_are_left_out_where_they_do_worse(wavy, valid, n_kept):
    """Everything else that was learned is that of the members that are kept."""
    config = paired()
    learned, record = door.fit(
        config, TrainConfig(max_iter=60, learning_rate_init=0.01), line_or_wave(wavy),
        valid, n_samples=2, seed=0, device="cpu", keep_moments=True,
    )  # fmt: skip
    assert learned.config == (config.without_plain() if wavy else config)
    for per_member in (learned.weights, learned.bound, learned.kl):
        assert len(per_member) == n_kept
    assert learned.moments.first.shape == learned.weights.shape
    for over_time in (record.loss, record.bound, record.kl):
        assert over_time.shape[1] == n_kept
    assert record.diverged.shape == record.best_epoch.shape == (n_kept,)
    for i, epoch in enumerate(record.kept_epoch):
        assert learned.bound[i] == pytest.approx(record.bound[epoch, i], rel=1e-6)


@pytest.mark.parametrize("n_pairs", [2, 3])
@pytest.mark.parametrize("given", [False, True])
def test_twins_are_compared_on_rows_that_both_have_held_out(
    n_pairs, given, monkeypatch
):
    """Those given, of another table, or for each pair rows of its own.

    And a plain member is kept as late as its twin: by the same rule of epochs.
    """
    seen = {}

    def row_bounds(model, rows, index, *args):
        seen.update(rows=rows, index=index)
        return torch.zeros(index.shape)

    monkeypatch.setattr(selection, "row_bounds", row_bounds)
    config = replace(paired(), n_estimators=2 * n_pairs, n_plain=n_pairs)
    valid = line_or_wave(wavy=True, seed=1, n_rows=30) if given else None
    monitors = []
    monitor = train.Monitor

    class Spy(monitor):
        def __init__(self, *args):
            super().__init__(*args)
            monitors.append(self)

    monkeypatch.setattr(train, "Monitor", Spy)
    door.fit(
        config, TrainConfig(max_iter=1), line_or_wave(wavy=True), valid,
        n_samples=2, seed=0, device="cpu",
    )  # fmt: skip
    first, second = seen["index"].chunk(2)
    assert torch.equal(first, second)
    assert len(seen["rows"]) == (30 if given else 200)
    assert len(first.unique()) == (30 if given else first.numel())
    first, second = monitors[0].past_best.chunk(2)
    assert torch.equal(first, second)
    assert len(first.unique()) == 2


def test_twins_stay_together_where_no_row_is_held_out_and_when_training_goes_on():
    config, data = paired(), line_or_wave(wavy=True)

    def go_on(start, **settings):
        return door.fit(
            config, TrainConfig(max_iter=30, **settings), data, None,
            n_samples=2, seed=0, device="cpu", start=start,
        )[0]  # fmt: skip

    without = go_on(None, early_stopping=False)
    assert without.config == config
    assert go_on(without).config == config


@pytest.mark.parametrize("elements", [1, 2**22])  # a row at a time, and all at once
def test_the_bound_on_held_out_rows_is_near_their_likelihood(elements, monkeypatch):
    """Without a latent it is the likelihood; with one no more than it, but for chance.

    The bound over 64 draws is below log p by a few hundredths of a nat here, and their
    mean over 60 rows has a standard error of less than .02.
    """
    monkeypatch.setattr(selection, "ELEMENTS", elements)
    config, data = conditional()
    for n_components, tolerance in ((0, 1e-5), (2, 0.1)):
        wanted = replace(config, n_components=n_components)
        learned, _ = door.fit(
            wanted, TrainConfig(max_iter=20), data, None,
            n_samples=64, seed=0, device="cpu",
        )  # fmt: skip
        like = torch.empty(0)
        model = LatentModel(wanted, like.device, like.dtype)
        n_members, n_rows = wanted.n_estimators, len(data)
        bounds = selection.row_bounds(
            model,
            door._rows(data, like),
            torch.arange(n_rows).expand(n_members, -1),
            TrainConfig(),
            torch.as_tensor(learned.weights),
            torch.Generator().manual_seed(0),
        )
        assert bounds.shape == (n_members, n_rows)
        for i in range(n_members):
            one = replace(
                learned,
                config=replace(wanted, n_estimators=1),
                weights=learned.weights[i : i + 1],
            )
            log_prob, _ = door.Engine(one, "cpu").log_prob(data)
            assert bounds[i].mean() == pytest.approx(log_prob.mean(), abs=tolerance)


def test_the_split_is_random_and_fixed_by_its_generator():
    assert torch.equal(split(50, 5, 2).valid, split(50, 5, 2).valid)
    assert not torch.equal(split(50, 5, 2).valid, split(50, 5, 2, seed=1).valid)
    assert split(50, 50, 1).valid[0].tolist() != list(range(50))


@pytest.mark.parametrize(
    ("asked", "n_rows", "expected"),
    [("auto", 10, 10), ("auto", 100, 16), ("auto", 1600, 100), ("auto", 10**6, 512),
     (7, 100, 7), (200, 100, 100)],
)  # fmt: skip
def test_the_automatic_batch_is_a_sixteenth_of_the_rows_within_bounds(
    asked, n_rows, expected
):
    assert train.auto_batch_size(asked, n_rows, 512) == expected


@pytest.mark.parametrize(
    ("asked", "n_rows", "n_batches", "n_in_each"),
    [("auto", 31, 2, 16), ("auto", 100, 7, 15), (16, 48, 3, 16), (16, 17, 2, 9),
     (200, 100, 1, 100), ("auto", 1, 1, 1)],
)  # fmt: skip
def test_the_only_epoch_of_a_chunk_has_batches_for_all_of_its_rows(
    asked, n_rows, n_batches, n_in_each
):
    config = TrainConfig(batch_size=asked, max_iter=1, constant_rate=True)
    assert train.batches(config, n_rows) == (n_batches, n_in_each)
    assert 0 <= n_batches * n_in_each - n_rows < n_batches
    many = TrainConfig(batch_size=asked)
    size = train.auto_batch_size(asked, n_rows, 512)
    assert train.batches(many, n_rows) == (n_rows // size, size)


def test_an_order_that_is_longer_than_the_rows_begins_again():
    index = torch.arange(10).expand(3, -1)
    order = train.shuffle(index, 14, torch.Generator().manual_seed(0))
    assert (order[:, :10].sort(dim=1).values == index).all()
    assert torch.equal(order[:, 10:], order[:, :4])


def test_an_epoch_visits_rows_once_in_an_order_of_each_member():
    index = torch.arange(100).expand(3, -1)
    order = train.shuffle(index, 90, torch.Generator().manual_seed(0))
    assert order.shape == (3, 90)
    assert all(len(set(row.tolist())) == 90 for row in order)
    assert not torch.equal(order[0], order[1])


def rows_without_effect(**settings):
    """Rows (20, members) that may be anything: the loss of no epoch shows it."""
    x = table(20)
    expected = fit(x, **settings)[1].loss
    unseen = []
    for i in range(20):
        wild = x.copy()
        wild[i] = 5.0
        unseen.append((fit(wild, **settings)[1].loss == expected).all(axis=0))
    return np.array(unseen)


@pytest.mark.parametrize("fraction", [0.05, 0.25])
def test_validation_rows_are_never_trained_on(fraction):
    """Of 20 rows each of two members holds out 5, by the seed.

    That is a quarter, however small the fraction asked for.
    """
    unseen = rows_without_effect(validation_fraction=fraction, max_iter=2)
    assert unseen.sum(axis=0).tolist() == [5, 5]
    assert not unseen.all(axis=1).any()


def test_training_that_goes_on_keeps_its_validation_rows_but_not_its_noise():
    """No row that judges has trained, and no noise comes again."""
    settings = {"max_iter": 2}
    start, _ = fit(table(20), **settings)
    unseen = rows_without_effect(**settings)
    losses = []
    for n in (2, 4):
        going_on = {"start": start, "n_epochs_before": n}
        later = rows_without_effect(**settings, door_settings=going_on)
        np.testing.assert_array_equal(later, unseen)
        losses.append(fit(table(20), **settings, door_settings=going_on)[1].loss)
    assert (losses[0] != losses[1]).all()


@pytest.mark.parametrize("n_rows", [2, 3])
@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_a_tiny_table_keeps_at_least_a_row_on_each_side(n_rows, fraction):
    learned, record = fit(table(n_rows), validation_fraction=fraction, max_iter=2)
    assert np.isfinite(learned.weights).all()
    assert np.isfinite(record.bound).all()


# -- chance and global state -----------------------------------------------------


def test_a_seed_fixes_every_weight_and_another_changes_them():
    first, again, other = fit(seed=1)[0], fit(seed=1)[0], fit(seed=2)[0]
    np.testing.assert_array_equal(first.weights, again.weights)
    np.testing.assert_array_equal(first.draws, again.draws)
    np.testing.assert_array_equal(first.bound, again.bound)
    # some start at 0 and stay there: indicators of columns that are never missing
    assert (first.weights != other.weights).mean() > 0.8
    assert (first.draws != other.draws).all()


def test_members_of_a_fit_differ():
    weights = fit()[0].weights
    assert (weights[0] != weights[1]).mean() > 0.8


def ask_everything(learned, data):
    """Every question that the engine answers."""
    engine = door.Engine(learned, "cpu")
    engine.log_prob(data)
    engine.log_prob_cells(data)
    engine.conditional_mean(data)
    engine.conditional_draws(data, 2, seed=0)
    engine.posterior_mean(data)
    engine.prior_mean(data)
    engine.mean_kl(data)
    engine.decode_mean(np.zeros((len(data), 2)), data.c)
    engine.sample(len(data), data.c, 2, seed=0)
    return engine.mixture(data.c)


def test_no_global_random_state_is_read_or_changed():
    config, data = conditional()
    results = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - the global state is what is tested
        random.seed(seed)
        before = (torch.get_rng_state(), np.random.get_state()[1].copy())  # noqa: NPY002
        python = random.getstate()
        learned, _ = door.fit(
            config, TrainConfig(max_iter=2, dropout=0.2), data, None,
            n_samples=16, seed=3, device="cpu",
        )  # fmt: skip
        results.append((learned.weights, *ask_everything(learned, data)))
        assert torch.equal(torch.get_rng_state(), before[0])
        np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
        assert random.getstate() == python
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


@contextmanager
def default_dtype(dtype):
    """Torch's own default, as users of Gaussian processes set it."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@pytest.mark.parametrize(
    "setting",
    [
        lambda: default_dtype(torch.float64),
        lambda: default_dtype(torch.bfloat16),
        torch.no_grad,
        torch.inference_mode,
    ],
    ids=["float64", "bfloat16", "no_grad", "inference_mode"],
)
@pytest.mark.parametrize(
    "changes",
    [
        {"prior": "conditional"},
        {"prior": "vamp"},
        {"prior": "flow", "posterior": "flow"},
        {"prior": "mixture"},
        {"latent": "vq", "n_components": 8},
        {"latent": "hierarchical", "layer_sizes": (2, 1), "n_components": 3},
    ],
    ids=str,
)
def test_the_settings_of_torch_around_a_fit_change_nothing(setting, changes):
    config, data = conditional()
    if changes.get("prior") != "conditional":
        config = model_config(numeric_embedding="periodic", **changes)
        data = door.Encoded.of(table(missing=0.2))

    def fitted():
        learned, record = door.fit(
            config, TrainConfig(max_iter=2, dropout=0.2, kl_warmup=0.5), data, None,
            n_samples=16, seed=3, device="cpu",
        )  # fmt: skip
        engine = door.Engine(learned, "cpu")
        answers = engine.log_prob(data), engine.conditional_draws(data, 2, seed=0)
        drawn = engine.sample(len(data), data.c, 2, seed=0)
        return learned.weights, record.loss, *answers[0], answers[1], drawn

    expected = fitted()
    with setting():
        found = fitted()
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@pytest.fixture
def two_threads():
    """Two threads outside, whatever the machine has, so that a change would show."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_threads_are_put_back_after_a_fit_and_after_one_that_fails():
    inside = []

    def note(epoch, loss):
        inside.append(torch.get_num_threads())
        return False

    fit(door_settings={"on_epoch": note})
    assert set(inside) == {1}
    assert torch.get_num_threads() == 2

    def fail(epoch, loss):
        note(epoch, loss)
        raise RuntimeError("the user pressed stop")

    with pytest.raises(RuntimeError, match="the user pressed stop"):
        fit(door_settings={"on_epoch": fail})
    assert inside[-1] == 1
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_large_products_keep_the_threads_that_torch_has():
    with runtime.threads_for(1e12):
        assert torch.get_num_threads() == 2
    with runtime.threads_for(1.0):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


# -- members ---------------------------------------------------------------------


def started_from(first_member, **settings):
    """Both members' weights after a fit whose first member began elsewhere."""
    start, _ = fit(max_iter=1)
    weights = start.weights.copy()
    weights[0] = first_member(weights[0])
    start = replace(start, weights=weights)
    return fit(door_settings={"start": start}, seed=7, **settings)


@pytest.mark.parametrize("objective", ["elbo", "iwae"])
def test_a_member_learns_as_if_it_were_alone(objective):
    """Gradient clipping, decay, moments and selection are each member's own."""
    settings = {"objective": objective, "n_draws": 2, "alpha": 0.1}
    calm, _ = started_from(lambda w: w, **settings)
    other, _ = started_from(lambda w: 30 * w + 1, **settings)
    assert (calm.weights[0] != other.weights[0]).mean() > 0.9
    np.testing.assert_array_equal(calm.weights[1], other.weights[1])
    assert calm.bound[1] == other.bound[1]


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_a_member_that_overflows_does_not_disturb_the_others(bad):
    calm, calm_record = started_from(lambda w: w)
    broken, record = started_from(lambda w: np.full_like(w, bad))
    np.testing.assert_array_equal(calm.weights[1], broken.weights[1])
    np.testing.assert_array_equal(calm_record.bound[:, 1], record.bound[:, 1])
    assert calm_record.diverged.tolist() == [False, False]
    assert record.diverged.tolist() == [True, False]
    assert broken.best_member == 1


def test_a_batch_that_overflows_is_passed_over():
    """A cell whose square is no float32 spoils its batch of each epoch, no other."""
    x = table()
    x[0, 0] = 1e25
    learned, record = fit(x, valid=door.Encoded.of(table(50, seed=1)), max_iter=20)
    assert (record.best_epoch > 0).all()
    assert np.isfinite(learned.weights).all()
    assert not np.isfinite(record.loss).all()


def test_a_fit_that_explodes_ends_with_finite_weights_and_says_so():
    learned, record = fit(learning_rate_init=1e3, max_iter=20)
    assert np.isfinite(learned.weights).all()
    assert np.isfinite(learned.bound).all()
    assert record.diverged.all()
    assert not fit()[1].diverged.any()


# -- selection -------------------------------------------------------------------


def overfitted(**settings):
    """A fit of few rows, of which some members are at their best before the end."""
    settings = {
        "max_iter": 40,
        "n_iter_no_change": 40,
        "kl_schedule": "constant",
        **settings,
    }
    model, valid = model_config(n_estimators=4), door.Encoded.of(table(200, seed=1))
    return fit(table(24), model=model, valid=valid, **settings)


def test_a_line_is_averaged_to_eight_ninths_of_its_end():
    """With weights that are t at epoch t the average is (p + 1) / (p + 2) t, p = 7."""
    average = torch.zeros(1, 1, dtype=torch.float64)
    for epoch in range(200):
        average.lerp_(torch.full_like(average, epoch), schedules.averaging_rate(epoch))
        torch.testing.assert_close(average, torch.full_like(average, 8 * epoch / 9))


def test_the_kept_weights_are_those_of_the_highest_bound():
    """Of every other member; a fit that ends in their epoch has the same weights."""
    learned, record = overfitted()
    best, early = record.best_epoch, slice(None, None, 2)
    # a member that only lost keeps the weights it began with: epoch -1
    bettered = best >= 0
    assert bettered.any()
    np.testing.assert_array_equal(best[bettered], record.bound.argmax(0)[bettered])
    np.testing.assert_array_equal(record.kept_epoch[early], best[early])
    at_best = learned.bound[early] == record.bound.max(axis=0)[early]
    np.testing.assert_array_equal(best[early] >= 0, at_best)
    assert (learned.bound[early] >= record.bound.max(axis=0)[early]).all()
    inside = (record.kept_epoch > 0) & (record.kept_epoch < len(record.bound) - 1)
    assert inside.any()
    for member, kept in enumerate(record.kept_epoch):
        if kept == -1:
            continue
        assert learned.bound[member] == record.bound[kept, member]
        stop = {"on_epoch": lambda epoch, loss, last=kept: epoch == last}
        stopped, short = overfitted(door_settings=stop)
        assert len(short.bound) == kept + 1
        np.testing.assert_array_equal(stopped.weights[member], learned.weights[member])


def test_the_other_members_are_kept_twice_as_late():
    """As long as training goes on, and their bound has not gone down much."""
    learned, record = overfitted(max_iter=160, n_iter_no_change=160)
    last, late = len(record.bound) - 1, slice(1, None, 2)
    best, kept = record.best_epoch[late], record.kept_epoch[late]
    assert ((best >= 0) & (2 * best + 1 < last)).all()
    for member, b, k in zip([1, 3], best, kept, strict=True):
        bound = record.bound[:, member]
        sound = bound > bound[b] - train.FALLEN * N_COLUMNS
        assert k == np.flatnonzero(sound[: 2 * b + 2])[-1]
        assert learned.bound[member] == bound[k]
    assert (kept == 2 * best + 1).any()


@pytest.mark.parametrize(("held_out", "share"), [(30, 1.0), (5, 0.2)])
def test_a_late_member_that_has_fallen_too_far_is_kept_from_before(held_out, share):
    """Weights whose bound is a quarter of a nat a column below the best are no use.

    On fewer than 25 held-out rows a fall tells less, and less is allowed.
    """
    model = model_config(n_estimators=2)
    where = torch.device("cpu")
    built = LatentModel(model, where, torch.float32)
    generator = torch.Generator().manual_seed(0)
    weights = built.layout.initial(2, generator)
    x = torch.tensor(table(30), dtype=torch.float32)
    rows = train.Rows.pack(x, None, x[:, :0], None, torch.ones(30))
    index = torch.arange(held_out).expand(2, -1)
    monitor = train.Monitor(
        built, rows, index, TrainConfig(), weights, generator, True, 100
    )
    start = float(monitor.start.max())

    def look(epoch, height):
        bound = torch.full((2,), start + share * height)
        monitor.evaluate = lambda w: (bound, torch.zeros(2, 2))
        monitor.look(epoch, torch.full_like(weights, epoch))
        return monitor.kept_epoch.tolist(), monitor.kept[:, 0].tolist()

    # the best is epoch 1, twice as late is epoch 3, and 3 columns may lose 0.75 nats
    expected = {0: [0, 0], 1: [1, 1], 2: [1, 2], 3: [1, 3], 4: [1, 3]}
    for epoch, height in enumerate([1.0, 5.0, 4.8, 4.3, 4.9]):
        assert look(epoch, height) == (expected[epoch], expected[epoch])
    expected = {10: [10, 10], 11: [10, 11], 12: [10, 11], 13: [10, 13]}
    for epoch, height in zip(expected, [10.0, 9.5, 9.2, 9.9], strict=True):
        assert look(epoch, height) == (expected[epoch], expected[epoch])


def test_without_validation_rows_the_newest_weights_are_kept():
    learned, record = fit(early_stopping=False, max_iter=6)
    assert record.best_epoch.tolist() == [5, 5]
    np.testing.assert_array_equal(learned.bound, record.bound[-1])
    assert not record.stopped_early


def test_starting_weights_are_kept_where_nothing_is_better():
    """A rate that throws away a good start must not make it worse."""
    start, _ = fit(max_iter=40)
    throw = {"learning_rate_init": 50.0, "max_iter": 3, "kl_schedule": "constant"}
    learned, record = fit(door_settings={"start": start}, **throw)
    assert record.best_epoch.tolist() == [-1, -1]
    np.testing.assert_array_equal(learned.weights, start.weights)
    assert (record.bound < learned.bound).all()


def test_training_learns_how_the_columns_hang_together():
    """Held-out rows gain half, or more, of what their correlations are worth.

    These are 0.64; the likelihoods with and without them are in closed form.
    """
    x = table(500, seed=1)
    cov = np.full((N_COLUMNS, N_COLUMNS), 0.64) + 0.36 * np.eye(N_COLUMNS)
    joint = multivariate_normal(np.zeros(N_COLUMNS), cov).logpdf(x).mean()
    apart = norm.logpdf(x).sum(axis=1).mean()
    learned, _ = fit(table(300), valid=door.Encoded.of(x), max_iter=30)
    assert (learned.bound > (joint + apart) / 2).all()


def test_early_stopping_ends_a_fit_that_has_learned_all_there_is():
    """Independent columns: no latent can better the start by much."""
    x = np.random.default_rng(0).standard_normal((200, N_COLUMNS))
    learned, record = fit(x, max_iter=400, n_iter_no_change=5, kl_warmup=0.05, tol=0.02)
    assert record.stopped_early
    assert len(record.bound) < 200
    # patience counts from the end of the KL warm-up, which is epoch 20
    assert len(record.bound) >= 20 + 5
    assert np.isfinite(learned.weights).all()


def test_max_steps_ends_training_and_its_schedules_end_with_it():
    """90 rows in batches of 16: 5 steps an epoch; 17 steps are 3 whole epochs."""
    settings = {"batch_size": 16, "validation_fraction": 0.1, "dropout": 0.1}
    learned, record = fit(table(100), max_iter=30, max_steps=17, **settings)
    assert len(record.loss) == 3
    assert not record.stopped_early
    same, _ = fit(table(100), max_iter=3, **settings)
    np.testing.assert_array_equal(learned.weights, same.weights)
    _, one = fit(table(100), max_iter=30, max_steps=1, **settings)
    assert len(one.loss) == 1


def test_patience_outlasts_max_iter_without_a_stop():
    _, record = fit(max_iter=8, n_iter_no_change=8)
    assert len(record.bound) == 8
    assert not record.stopped_early


def test_history_has_an_entry_for_each_epoch_member_and_dimension():
    epochs = []

    def note(epoch, loss):
        epochs.append((epoch, loss))
        return False

    learned, record = fit(max_iter=4, door_settings={"on_epoch": note})
    assert record.loss.shape == record.bound.shape == (4, 2)
    assert record.kl.shape == (4, 2, 2)
    assert learned.kl.shape == (2, 2)
    assert (record.kl >= 0).all()
    assert [epoch for epoch, _ in epochs] == [0, 1, 2, 3]
    np.testing.assert_allclose([loss for _, loss in epochs], record.loss.mean(axis=1))


def test_validation_rows_of_weight_zero_are_not_watched():
    calm, weight = table(50, seed=1), np.repeat([0.0, 2.0], 25)
    wild = calm.copy()
    wild[:25] = 9.0
    one, other, all_count = (
        fit(valid=door.Encoded.of(x, weight=w))[1].bound
        for x, w in [(calm, weight), (wild, weight), (wild, None)]
    )
    np.testing.assert_array_equal(one, other)
    assert (one > all_count + 1).all()


def test_rows_of_the_validation_table_are_the_ones_that_are_watched():
    """Rows that nothing like the training rows explain have a far lower bound."""
    like = fit(valid=door.Encoded.of(table(50, seed=1)))[1].bound
    unlike = fit(valid=door.Encoded.of(table(50, seed=1) + 20.0))[1].bound
    assert (like > unlike + 10).all()


# -- one step --------------------------------------------------------------------


def test_moments_carry_over_to_the_next_partial_fit():
    """Adam in closed form: one full batch an epoch, no decay, a clipped gradient.

    From the first moments of two calls follows the gradient g of the second:
    m2 = .9 m1 + .1 g. Then v2 = .999 v1 + .001 g², and the step is that of Kingma &
    Ba (2015), alg. 1. Forgotten moments would contradict both. Rounding of float32:
    g has it from a difference of numbers up to ten times its size.
    """
    one_epoch = {
        "max_iter": 1,
        "batch_size": N_ROWS,
        "constant_rate": True,
        "early_stopping": False,
        "kl_schedule": "constant",
        "alpha": 0.0,
        "learning_rate_init": 1e-3,
    }
    keep = {"keep_moments": True}
    first, _ = fit(door_settings=keep, **one_epoch)
    second, _ = fit(door_settings={**keep, "start": first}, seed=1, **one_epoch)
    m1, v1, m2, v2 = (
        array.astype(np.float64)
        for learned in (first, second)
        for array in (learned.moments.first, learned.moments.second)
    )
    assert float(np.max(first.moments.step)) == 1.0
    assert float(np.max(second.moments.step)) == 2.0
    gradient = (m2 - 0.9 * m1) / 0.1
    size = np.abs(gradient).max()
    assert np.abs(m1).max() > 0.01 * size  # the moments of the first call matter
    np.testing.assert_allclose(v2, 0.999 * v1 + 0.001 * gradient**2, atol=1e-8 * size)
    mean, square = m2 / (1 - 0.9**2), v2 / (1 - 0.999**2)
    step = -1e-3 * mean / (np.sqrt(square) + 1e-8)
    moved = second.weights.astype(np.float64) - first.weights
    np.testing.assert_allclose(moved, step, atol=1e-6)


def test_without_kept_moments_nothing_of_the_optimizer_is_learned():
    assert fit()[0].moments is None


def test_decay_shrinks_matrices_and_leaves_biases_alone():
    """One step, whatever the gradient: the decayed fit differs by rate · alpha · w."""
    start, _ = fit(max_iter=1)
    settings = {
        "max_iter": 1,
        "batch_size": N_ROWS,
        "constant_rate": True,
        "early_stopping": False,
        "learning_rate_init": 1e-2,
        "door_settings": {"start": start},
    }
    plain, _ = fit(alpha=0.0, **settings)
    decayed, _ = fit(alpha=0.5, **settings)
    model = LatentModel(model_config(), torch.device("cpu"), torch.float32)
    mask = model.layout.decay_mask().numpy()
    assert 0 < mask.mean() < 1
    expected = plain.weights - 1e-2 * 0.5 * mask * start.weights
    np.testing.assert_allclose(decayed.weights, expected, atol=1e-6)


def test_a_step_moves_no_weight_further_than_its_rate():
    """The first step of Adam is the sign of the gradient times the rate."""
    start, _ = fit(max_iter=1)
    learned, _ = fit(
        max_iter=1, batch_size=N_ROWS, constant_rate=True, early_stopping=False,
        alpha=0.0, learning_rate_init=1e-2, door_settings={"start": start},
    )  # fmt: skip
    moved = np.abs(learned.weights - start.weights)
    assert moved.max() < 1e-2 * (1 + 1e-3)
    assert np.median(moved) > 0.99e-2


# -- weights and missing cells ---------------------------------------------------


def full_batch(data, **settings):
    """A few steps over whole tables of one size, so that no batch cuts a table."""
    config = TrainConfig(
        max_iter=4, batch_size=10**6, early_stopping=False, alpha=0.0, **settings
    )
    return door.fit(
        model_config(), config, data, None, n_samples=16, seed=0, device="cpu"
    )


def test_scaling_all_weights_changes_nothing():
    weight = np.random.default_rng(0).uniform(0.5, 2.0, N_ROWS)
    one, _ = full_batch(door.Encoded.of(table(), weight=weight))
    other, _ = full_batch(door.Encoded.of(table(), weight=4 * weight))
    np.testing.assert_array_equal(one.weights, other.weights)
    flat, _ = full_batch(door.Encoded.of(table()))
    assert (one.weights != flat.weights).mean() > 0.5


@pytest.mark.parametrize("embedding", [None, "periodic"])
def test_missing_cells_everywhere_leave_training_finite(embedding):
    x = table(missing=0.5)
    x[:10] = np.nan  # rows without any cell
    x[10:-1, 1] = np.nan  # a column with a single cell
    learned, record = fit(x, model=model_config(numeric_embedding=embedding))
    assert np.isfinite(learned.weights).all()
    assert np.isfinite(record.loss).all()
    assert np.isfinite(learned.kl).all()
    log_prob, error = door.Engine(learned, "cpu").log_prob(door.Encoded.of(x))
    assert np.isfinite(log_prob).all()
    assert np.isfinite(error).all()


def test_a_row_without_any_cell_has_the_likelihood_one():
    """Nothing observed: log p is the log of the mean of prior / posterior, near 0.

    Within 5 of the standard errors that the engine states.
    """
    learned, _ = fit(table(missing=0.3), max_iter=20)
    empty = door.Encoded.of(np.full((1, N_COLUMNS), np.nan))
    log_prob, error = door.Engine(learned, "cpu").log_prob(empty)
    assert abs(log_prob[0]) < 5 * error[0] + 1e-9
    assert error[0] < 0.2


def test_the_prior_is_fitted_without_the_rows_that_are_trimmed():
    """The prior is that of a fit by hand to the others: same weights, same draws."""
    x = table()
    trimmed, _ = fit(x, model=model_config(prior="mixture"), trimming=0.2)
    bare = replace(trimmed, prior=())
    data = door.Encoded.of(x)
    log_prob, _ = door.Engine(bare, "cpu").log_prob(data)
    least = np.argsort(log_prob)[: N_ROWS // 5]
    weight = np.ones(N_ROWS)
    weight[least] = 0.0
    engine = door.Engine(bare, "cpu")
    by_hand = engine.fit_prior(replace(data, weight=weight), seed=0)
    for field, expected in zip(trimmed.prior, by_hand, strict=True):
        np.testing.assert_array_equal(field, expected)
    whole = engine.fit_prior(data, seed=0)
    assert any((a != b).any() for a, b in zip(whole, by_hand, strict=True))


def test_the_lower_bound_is_the_mean_log_weight_of_posterior_draws():
    """With an analytic KL it is the same but for the draws, which all rows share.

    Their mean square is 1 within .02, and half of it, .01 nats for each of the two
    dimensions, is what they may be wrong by. The proposal of ``log_prob`` is another
    for conditional models; the bound must not depend on it. Weights twice as large:
    q far from p(z | x, c).
    """
    config, data = conditional()
    learned, _ = door.fit(
        config, TrainConfig(max_iter=40), data, None,
        n_samples=256, seed=0, device="cpu",
    )  # fmt: skip
    learned = replace(learned, weights=2 * learned.weights)
    engine = door.Engine(learned, "cpu")
    bound = engine.lower_bound(data)
    terms = engine.model.terms(
        engine.inference.w,
        expand_members(engine._batch(data, slice(None)), config.n_estimators),
        engine.inference.draws,
    )
    analytic = (terms.log_lik.mean(1) - terms.kl()).mean(0).numpy()
    assert abs((learned.draws**2).mean(0) - 1).max() < 0.02
    np.testing.assert_allclose(bound, analytic, rtol=0, atol=0.02)
    log_prob, error = engine.log_prob(data)
    assert (bound < log_prob + 5 * error).all()
    assert np.mean(log_prob - bound) > 0.1


def test_the_indicator_of_a_column_that_was_never_missing_says_nothing():
    """Its weights begin at 0 and have no gradient: missing reads as the mean, 0.

    The other columns did go missing, and theirs have learned.
    """
    x = table(missing=0.3)
    x[:, 0] = table()[:, 0]
    learned, _ = fit(x, max_iter=10, early_stopping=False)  # the newest weights
    engine = door.Engine(learned, "cpu")
    for column, same in [(0, True), (1, False), (2, False)]:
        mean = np.full((1, N_COLUMNS), 0.5)
        mean[0, column] = 0.0
        missing = mean.copy()
        missing[0, column] = np.nan
        means = engine.posterior_mean(door.Encoded.of(np.vstack([mean, missing])))
        assert np.array_equal(means[0], means[1]) is same


# -- learned state ---------------------------------------------------------------


def leaves(value, path="learned"):
    """Every value inside nested dataclasses, tuples, lists and dicts."""
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from leaves(getattr(value, field.name), f"{path}.{field.name}")
    elif isinstance(value, (tuple, list)):
        for i, item in enumerate(value):
            yield from leaves(item, f"{path}[{i}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(key, f"{path}.key")
            yield from leaves(item, f"{path}[{key!r}]")
    else:
        yield path, value


def test_what_is_learned_is_numpy_and_plain_python():
    config, data = conditional()
    learned, record = door.fit(
        config, TrainConfig(max_iter=2), data, None,
        n_samples=16, seed=0, device="cpu", keep_moments=True,
    )  # fmt: skip
    found = [*leaves(learned), *leaves(record, "record")]
    assert len(found) > 20
    plain = (np.ndarray, str, int, float, bool, type(None))
    strange = [(path, type(value)) for path, value in found if type(value) not in plain]
    assert strange == []
    arrays = [value for _, value in found if isinstance(value, np.ndarray)]
    assert all(array.dtype != object for array in arrays)


@pytest.mark.parametrize("n_samples", [1, 7, 100])
def test_the_draws_of_inference_have_the_size_that_was_asked_for(n_samples):
    learned, _ = door.fit(
        model_config(), TrainConfig(max_iter=1), door.Encoded.of(table()), None,
        n_samples=n_samples, seed=0, device="cpu",
    )  # fmt: skip
    assert learned.draws.shape == (n_samples, 2)
    mean = door.Engine(learned, "cpu").conditional_mean(door.Encoded.of(table()))
    assert mean.shape == (N_ROWS, N_COLUMNS)


def test_the_learned_kl_is_that_of_the_kept_weights():
    learned, _ = fit(max_iter=10)
    kl = door.Engine(learned, "cpu").mean_kl(door.Encoded.of(table()))
    np.testing.assert_allclose(learned.kl, kl, rtol=1e-12)


def test_integer_weights_count_as_repeated_rows_in_the_learned_kl():
    learned, _ = fit(max_iter=10)
    engine, x, times = door.Engine(learned, "cpu"), table(), np.arange(N_ROWS) % 4
    weighted = engine.mean_kl(door.Encoded.of(x, weight=times.astype(float)))
    repeated = engine.mean_kl(door.Encoded.of(np.repeat(x, times, axis=0)))
    np.testing.assert_allclose(weighted, repeated, rtol=1e-12)


def test_latents_are_those_of_the_best_member():
    config, data = conditional()
    learned, _ = door.fit(
        config, TrainConfig(max_iter=1), data, None, n_samples=4, seed=0, device="cpu"
    )
    learned = replace(learned, bound=np.array([-2.0, -1.0]))
    assert learned.best_member == 1
    assert replace(learned, bound=np.array([-1.0, np.nan])).best_member == 0
    alone = replace(
        learned,
        config=replace(config, n_estimators=1),
        weights=learned.weights[1:],
        bound=learned.bound[1:],
    )
    both, best = (door.Engine(model, "cpu") for model in (learned, alone))
    z = np.random.default_rng(0).standard_normal((len(data), 2))
    for one, other in [
        (both.posterior_mean(data), best.posterior_mean(data)),
        (both.prior_mean(data), best.prior_mean(data)),
        (both.decode_mean(z, data.c), best.decode_mean(z, data.c)),
    ]:
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-8)
    first = replace(learned, bound=np.array([-1.0, -2.0]))
    other = door.Engine(first, "cpu").posterior_mean(data)
    assert (both.posterior_mean(data) != other).all()


# -- asking in chunks ------------------------------------------------------------


def test_answers_do_not_depend_on_the_chunks(monkeypatch):
    """Up to rounding, which a climb to a mode in a few Newton steps enlarges."""
    learned, _ = fit(table(missing=0.3), max_iter=5)
    data = door.Encoded.of(table(missing=0.3, seed=4))

    def answers():
        engine = door.Engine(learned, "cpu")
        return [
            *engine.log_prob(data),
            engine.log_prob_cells(data),
            engine.conditional_mean(data),
            engine.posterior_mean(data),
            engine.mean_kl(data),
            engine.decode_mean(data.x[:, :2] * 0 + 0.3),
        ]

    whole = answers()
    # rows of one chunk now fit nowhere together
    monkeypatch.setattr(door, "CHUNK_ELEMENTS", 1)
    assert len(list(door.Engine(learned, "cpu")._chunks(data, 1))) == N_ROWS
    for one, other in zip(whole, answers(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-8)


def test_answers_come_in_the_order_of_the_rows():
    """Rows with holes are asked about after the complete ones."""
    learned, _ = fit(table(missing=0.3), max_iter=5)
    x = table(seed=4)
    x[::2, 1] = np.nan
    engine = door.Engine(learned, "cpu")

    def ask(rows):
        data = door.Encoded.of(rows)
        kl = engine._map(engine.inference.kl, data, row_axis=1)
        return engine.log_prob(data)[0], np.moveaxis(kl, 1, 0)

    alone = [ask(row[np.newaxis]) for row in x]
    for answer, each in zip(ask(x), zip(*alone, strict=True), strict=True):
        np.testing.assert_allclose(answer, np.concatenate(each), rtol=1e-7, atol=1e-8)


def test_memory_maps_are_read_without_a_warning(tmp_path):
    """Parallel workers and ``joblib.load(mmap_mode="r")`` pass read-only arrays."""
    learned, _ = fit(door_settings={"keep_moments": True})
    moments = [learned.moments.first, learned.moments.second, learned.moments.step]
    for array in [learned.weights, learned.draws, *moments]:
        array.flags.writeable = False
    x, z = table(), np.zeros((4, 2))
    x.flags.writeable = z.flags.writeable = False
    data = door.Encoded.of(x)
    data.weight.flags.writeable = data.c.flags.writeable = False
    engine = door.Engine(learned, "cpu")
    engine.log_prob(data)
    engine.decode_mean(z)
    door.fit(
        learned.config, TrainConfig(max_iter=1), data, data,
        n_samples=16, seed=0, device="cpu", start=learned,
    )  # fmt: skip


# -- draws -----------------------------------------------------------------------


@pytest.mark.parametrize("n_components", [1, 8, 64])
def test_every_dimension_of_the_draws_has_one_in_each_stratum(n_components):
    """Scrambled Sobol points: one in each interval of probability 1 / S (Owen 1998)."""
    draws = door.normal_draws(256, n_components, seed=0)
    strata = np.sort(np.floor(256 * ndtr(draws)).astype(int), axis=0)
    expected = np.arange(256)[:, None].repeat(n_components, axis=1)
    np.testing.assert_array_equal(strata, expected)


@pytest.mark.parametrize("n_components", [1, 64])
def test_moments_of_the_draws_are_far_better_than_monte_carlo(n_components):
    """Stratified, the mean has the error sqrt(sum of the strata's variances) / S.

    That is about 0.02 of Monte Carlo's 1 / sqrt(S) for S = 1024, so a fifth is more
    than five standard errors away; for the variance Monte Carlo has sqrt(2 / S).
    """
    draws = door.normal_draws(1024, n_components, seed=1)
    assert np.abs(draws.mean(axis=0)).max() < 0.2 / math.sqrt(1024)
    assert np.abs(draws.var(axis=0) - 1.0).max() < 0.3 * math.sqrt(2 / 1024)


@pytest.mark.parametrize("n_samples", [1, 2, 3, 100, 129, 1000])
def test_any_number_of_draws_is_finite_and_centred(n_samples):
    """A scrambled point is uniform by itself, and a net's variance is at most e times
    Monte Carlo's (Owen 1998): the bound is 5 sqrt(e / S) for each of 8 dimensions.
    """
    draws = door.normal_draws(n_samples, 8, seed=2)
    assert draws.shape == (n_samples, 8)
    assert np.isfinite(draws).all()
    assert np.abs(draws.mean(axis=0)).max() < 5 * math.sqrt(math.e / n_samples)


def test_draws_are_fixed_by_their_seed():
    first, again, other = (door.normal_draws(64, 3, seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()


# -- devices ---------------------------------------------------------------------


@pytest.mark.parametrize("device", ["quantum", "", "meta", "cuda:99", None, 3.5])
def test_a_device_that_cannot_be_used_is_named(device):
    with pytest.raises(
        ValueError, match=r"device must be 'auto', 'cpu', 'cuda' .* got"
    ):
        runtime.resolve_device(device)


def test_the_processor_is_always_there():
    assert runtime.resolve_device("cpu") == torch.device("cpu")


def test_a_step_on_the_processor_runs_as_it_is():
    calls = []

    def step():
        calls.append(1)

    run = runtime.capture(step, [], torch.Generator())
    assert calls == []
    run()
    assert calls == [1]
