"""Layers over members, network inputs with holes, and the model composed of them."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from skvae._engine import config, objectives
from skvae._engine.config import HeadConfig, ModelConfig
from skvae._engine.model import Batch, LatentModel
from skvae._engine.networks import (
    ACTIVATIONS,
    MLP,
    Inputs,
    Layout,
    Linear,
    Noise,
    PeriodicEmbedding,
)

CPU = torch.device("cpu")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def random_views(layout, n_members, seed=0):
    """Every weight drawn from a normal, so that none is 0 by its initialisation."""
    flat = normal(n_members, sum(layout.sizes), seed=seed)
    return flat, layout.views(flat)


def small_model(**changes):
    """A conditional model with three kinds of heads out of order and an embedding."""
    settings = {
        "n_columns": 4,
        "n_conditions": 2,
        "heads": (
            HeadConfig("gaussian", (0, 3), (1e-2, 1e-3)),
            HeadConfig("bernoulli", (1,)),
            HeadConfig("mixture", (2,), (1e-2,), n_mixtures=3),
        ),
        "n_components": 2,
        "hidden_layer_sizes": (6, 5),
        "numeric_embedding": "periodic",
        "n_estimators": 3,
        "prior": "conditional",
    }
    return LatentModel(ModelConfig(**settings | changes), CPU, torch.float64)


def small_weights(model, seed=0):
    """Starting weights of the members, perturbed so that none is exactly 0."""
    n_members = model.config.n_estimators
    flat = model.layout.initial(n_members, generator(seed)).double()
    return flat + 0.1 * normal(*flat.shape, seed=seed + 1)


def small_batch(model, n_rows=7, seed=0, missing=0.3):
    """Rows for every member; cells missing at random, column 1 binary."""
    n_members, columns = model.config.n_estimators, model.config.n_columns
    g = generator(seed)
    x = normal(n_members, n_rows, columns, seed=seed)
    x[..., 1] = (x[..., 1] > 0).double()
    c = normal(n_members, n_rows, model.config.n_conditions, seed=seed + 1)
    x_observed = (torch.rand(x.shape, generator=g) > missing).double()
    c_observed = (torch.rand(c.shape, generator=g) > missing).double()
    weight = torch.rand(n_members, n_rows, generator=g, dtype=torch.float64) + 0.5
    return Batch(x * x_observed, x_observed, c * c_observed, c_observed, weight)


def member(batch, e):
    return Batch(*(field[e : e + 1] for field in vars(batch).values()))


def loss_of(model, weights, batch, draws, objective):
    terms = model.terms(model.layout.views(weights), batch, draws)
    return objective(terms, torch.tensor(0.7, dtype=torch.float64), batch.weight)


OBJECTIVES = [objectives.Elbo(), objectives.Elbo(free_bits=0.1), objectives.Iwae()]


# -- the weight matrix -----------------------------------------------------------


def test_views_cut_the_matrix_without_gap_overlap_or_copy():
    layout = Layout()
    for shape in [(3, 4), (1, 4), (2, 1, 5), (1,)]:
        layout.add(shape, lambda view, generator: None)
    flat = torch.arange(2.0 * 27).view(2, 27)
    views = layout.views(flat)
    assert [view.shape for view in views] == [
        (2, 3, 4), (2, 1, 4), (2, 2, 1, 5), (2, 1),
    ]  # fmt: skip
    torch.testing.assert_close(
        torch.cat([view.flatten(1) for view in views], dim=1), flat, rtol=0, atol=0
    )
    views[2].fill_(-1.0)  # a view, not a copy: the matrix changes with it
    assert (flat == -1.0).sum() == 2 * 10


def test_the_parameters_of_a_model_fill_a_row_of_the_matrix():
    model = small_model()
    weights = model.layout.initial(3, generator())
    assert weights.shape == (3, sum(math.prod(s) for s in model.layout.shapes))
    assert len(model.layout.decay_mask()) == weights.shape[1]


def test_decay_reaches_matrices_and_neither_biases_nor_frequencies():
    layout = Layout()
    linear = Linear(layout, 3, 4)
    embedding = PeriodicEmbedding(layout, 2)
    mask = layout.views(layout.decay_mask().unsqueeze(0))
    assert (mask[linear.weight] == 1).all()
    assert (mask[linear.bias] == 0).all()
    assert (mask[embedding.frequencies] == 0).all()
    assert (mask[embedding.weight] == 1).all()
    assert (mask[embedding.bias] == 0).all()


def test_members_start_from_different_weights_and_a_seed_fixes_them():
    layout = small_model().layout
    first = layout.initial(3, generator(1))
    assert torch.equal(first, layout.initial(3, generator(1)))
    assert not torch.equal(first, layout.initial(3, generator(2)))
    assert not torch.equal(first[0], first[1])


# -- layers ----------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
def test_linear_is_an_affine_map_of_each_member(bias):
    layout = Layout()
    layer = Linear(layout, 3, 4, bias=bias)
    _, w = random_views(layout, 2)
    h = normal(2, 5, 3, seed=1)
    out = layer(w, h)
    for e in range(2):
        expected = h[e].numpy() @ w[layer.weight][e].numpy()
        if bias:
            expected = expected + w[layer.bias][e].numpy()
        np.testing.assert_allclose(out[e].numpy(), expected, rtol=1e-12, atol=1e-12)


def test_zero_inputs_start_without_effect():
    layout = Layout()
    layer = Linear(layout, 4, 3, zero_inputs=slice(1, 3))
    w = layout.views(layout.initial(2, generator()))
    h = torch.ones(2, 1, 4)
    changed = h.clone()
    changed[..., 1:3] = 100.0
    assert torch.equal(layer(w, h), layer(w, changed))
    changed[..., 3] = 100.0
    assert not torch.equal(layer(w, h), layer(w, changed))


@pytest.mark.parametrize("damped", [None, [0.0, 1.0, 1.0]])
def test_periodic_embedding_is_the_formula_of_the_paper(damped):
    """ReLU(W [sin 2 pi f x, cos 2 pi f x] + b) of each column, 0 where missing.

    Of damped columns the waves that start at 0.03, 0.063, 0.134, 0.284 and 0.6 count 1,
    1, 1, (0.15 / 0.284)² and (0.15 / 0.6)².
    """
    layout = Layout()
    marks = None if damped is None else torch.tensor(damped, dtype=torch.float64)
    embedding = PeriodicEmbedding(layout, 3, 5, 4, marks)
    falling = np.tile([1.0, 1.0, 1.0, (0.15 / 0.6 * 20**0.25) ** 2, 0.0625], 2)
    counts = np.ones((3, 10))
    if damped is not None:
        counts = embedding.amplitudes.numpy()[..., 0]
        expected = np.stack([np.ones(10), falling, falling])
        np.testing.assert_allclose(counts, expected, rtol=1e-6)  # of float32
    _, w = random_views(layout, 2)
    x, observed = normal(2, 6, 3, seed=1), torch.ones(2, 6, 3, dtype=torch.float64)
    observed[1, 2, 0] = observed[0, 5, 2] = 0.0
    out = embedding(w, x, observed).numpy()
    frequencies, weight, bias = (
        w[i].numpy() for i in (embedding.frequencies, embedding.weight, embedding.bias)
    )
    assert out.shape == (2, 6, embedding.width)
    for e, n, d in np.ndindex(2, 6, 3):
        angle = 2 * np.pi * frequencies[e, d].ravel() * x[e, n, d].item()
        waves = np.concatenate([np.sin(angle), np.cos(angle)]) * counts[d]
        expected = np.maximum(waves @ weight[e, d] + bias[e, d].ravel(), 0.0)
        expected = expected * observed[e, n, d].item()
        block = out[e, n, 4 * d : 4 * (d + 1)]
        np.testing.assert_allclose(block, expected, rtol=1e-10, atol=1e-12)


def test_marks_of_distinct_columns_reach_their_embedding():
    """Of the condition, past columns of codes; of the table where there is none."""
    codes = {"n_conditions": 3, "condition_codes": (0, 2, 0)}
    model = small_model(**codes, distinct=(False, False, True))
    amplitudes = model.condition.inputs.embedding.amplitudes
    assert (amplitudes[0] == 1.0).all()
    assert amplitudes[1].min() == pytest.approx(0.0625)
    assert small_model(**codes).condition.inputs.embedding.amplitudes is None

    alone = {"n_conditions": 0, "prior": "normal"}
    model = small_model(**alone, distinct=(True, False, False, True))
    found = (model.inputs.embedding.amplitudes < 1.0).flatten(1).any(1)
    assert found.tolist() == [True, False, False, True]


@pytest.mark.parametrize("embedding", [None, "periodic"])
def test_inputs_are_values_embedding_and_indicators_side_by_side(embedding):
    layout = Layout()
    inputs = Inputs(layout, 3, embedding)
    # without an embedding the inputs own no weights: give them some to read
    _, w = random_views(layout, 2) if layout.shapes else (None, [])
    x = normal(2, 6, 3)
    observed = (normal(2, 6, 3, seed=1) > 0).double()
    out = inputs(w, x, observed)
    assert out.shape == (2, 6, inputs.width)
    assert torch.equal(out[..., :3], torch.where(observed == 1, x, 0.0))
    assert inputs.indicators == slice(inputs.width - 3, inputs.width)
    assert torch.equal(out[..., inputs.indicators], 1.0 - observed)
    if embedding == "periodic":
        expected = inputs.embedding(w, x, observed)
        assert torch.equal(out[..., 3:-3], expected)
        assert (expected != 0).any()


FORMULAS = {
    "silu": lambda h: h / (1 + np.exp(-h)),
    "relu": lambda h: np.maximum(h, 0),
    "tanh": np.tanh,
    "gelu": lambda h: h * 0.5 * (1 + np.vectorize(math.erf)(h / math.sqrt(2))),
    "identity": lambda h: h,
}


@pytest.mark.parametrize("activation", config.ACTIVATIONS)
def test_activations_are_what_their_names_say(activation):
    h = 3 * normal(100)
    expected = FORMULAS[activation](h.numpy())
    np.testing.assert_allclose(ACTIVATIONS[activation](h).numpy(), expected)


@pytest.mark.parametrize("hidden", [(), (4,), (5, 4)])
def test_inputs_of_an_mlp_act_as_one_concatenated_input(hidden):
    """Inputs (E, S, N, a) and (E, N, b) equal [a, b] through one weight matrix."""
    layout, joint_layout = Layout(), Layout()
    mlp = MLP(layout, [2, 3], hidden, 2, "tanh")
    joint = MLP(joint_layout, [5], hidden, 2, "tanh")
    _, w = random_views(layout, 2)
    _, joint_w = random_views(joint_layout, 2)
    matrices = [w[layer.weight] for layer in mlp.first]
    joint_w[joint.first[0].weight][:] = torch.cat(matrices, dim=1)
    joint_w[joint.first[0].bias][:] = w[mlp.first[0].bias]
    for layer, same in zip(mlp.rest, joint.rest, strict=True):
        joint_w[same.weight][:] = w[layer.weight]
        joint_w[same.bias][:] = w[layer.bias]
    z, features = normal(2, 3, 6, 2, seed=1), normal(2, 6, 3, seed=2)
    out = mlp(w, [z, features], None)
    assert out.shape == (2, 3, 6, 2)
    both = torch.cat([z, features.unsqueeze(1).expand(-1, 3, -1, -1)], dim=-1)
    expected = joint(joint_w, [both], None)
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)


def test_an_mlp_is_linear_with_the_identity_and_bends_otherwise():
    """Second differences along a line are 0 for an affine map and for no other."""
    for activation in config.ACTIVATIONS:
        layout = Layout()
        mlp = MLP(layout, [2], (6, 5), 3, activation)
        _, w = random_views(layout, 2)
        low, middle, high = (mlp(w, [t * normal(2, 9, 2)], None) for t in (-1, 0, 1))
        bend = (low - 2 * middle + high).abs().max()
        assert bend < 1e-12 if activation == "identity" else bend > 0.1


@pytest.mark.parametrize("hidden", [(), (4,)])
def test_an_mlp_treats_draws_as_rows(hidden):
    layout = Layout()
    mlp = MLP(layout, [2], hidden, 3, "tanh")
    _, w = random_views(layout, 2)
    z = normal(2, 3, 5, 2)
    by_draw = torch.stack([mlp(w, [z[:, s]], None) for s in range(3)], dim=1)
    torch.testing.assert_close(mlp(w, [z], None), by_draw, rtol=1e-12, atol=1e-12)


def test_an_mlp_whose_hidden_layers_are_off_is_a_linear_map():
    """The linear path beside the hidden layers: without it the output would be 0."""
    layout = Layout()
    mlp = MLP(layout, [2], (6, 5), 3, "relu")
    _, w = random_views(layout, 2)
    for layer in mlp.rest:
        w[layer.weight].zero_()
        w[layer.bias].zero_()
    low, middle, high = (mlp(w, [t * normal(2, 9, 2)], None) for t in (-1, 0, 1))
    torch.testing.assert_close(high - middle, middle - low)
    assert (high - middle).abs().min() > 1e-4


def test_an_mlp_without_hidden_layers_is_affine():
    layout = Layout()
    mlp = MLP(layout, [2, 3], (), 4, "relu")
    _, w = random_views(layout, 2)

    def out(scale):
        return mlp(w, [scale * normal(2, 5, 2), scale * normal(2, 5, 3, seed=1)], None)

    torch.testing.assert_close(out(2.0) - out(1.0), out(1.0) - out(0.0))


def test_dropout_drops_at_its_rate_and_keeps_the_mean():
    """The drop rate is rounded to 1/256 (0.25 is exact); bounds are 5 standard errors.

    Of 10^5 units the dropped fraction has the standard error sqrt(.25 * .75 / 1e5).
    """
    h = torch.full((100, 1000), 2.0)
    out = Noise(generator(), torch.tensor([0.25])).dropout(h)
    dropped = (out == 0).float().mean().item()
    assert abs(dropped - 0.25) < 5 * math.sqrt(0.25 * 0.75 / 1e5)
    torch.testing.assert_close(out[out != 0].unique(), torch.tensor([2.0 / 0.75]))


def test_no_dropout_is_the_identity():
    h = normal(3, 4)
    assert torch.equal(Noise(generator()).dropout(h), h)
    # a schedule that has come to its end
    assert torch.equal(Noise(generator(), torch.zeros(1)).dropout(h), h)


def test_hidden_cells_are_some_of_the_observed_and_up_to_their_share():
    observed = torch.ones(2, 4000, 50)
    observed[..., :10] = 0.0
    seen = Noise(generator(), None, 0.5).hide(observed)
    assert (seen <= observed).all()
    hidden = 1.0 - seen[..., 10:].mean(-1)  # of each row
    # shares are uniform on (0, 0.5); a row of 40 cells adds a deviation of 0.07
    assert hidden.mean().item() == pytest.approx(0.25, abs=0.01)
    assert hidden.max().item() < 0.5 + 5 * 0.08
    assert hidden.var().item() == pytest.approx(0.25 / 12 + 0.0042, rel=0.1)


def test_the_encoder_sees_all_observed_cells_but_those_hidden_in_training():
    batch = small_batch(small_model())
    assert batch.seen(None) is batch.seen(Noise(generator())) is batch.x_observed
    whole = replace(batch, x_observed=None)
    assert whole.seen(None) is whole.seen(Noise(generator())) is None
    for rows in (batch, whole):
        observed = rows.seen(None)
        observed = torch.ones_like(rows.x) if observed is None else observed
        seen = rows.seen(Noise(generator(), None, 0.9))
        assert (seen <= observed).all()
        assert 0 < seen.mean() < observed.mean()


def test_dropout_of_neighbouring_units_is_independent():
    """Masks are cut from words of eight; joint drops must have the product's rate.

    The standard error of a rate p over 64 000 pairs is sqrt(p (1 - p) / 64000).
    """
    kept = Noise(generator(), torch.tensor([0.5])).dropout(torch.ones(64_000, 8)) != 0
    both = (kept.unsqueeze(1) & kept.unsqueeze(2)).double().mean(0)
    both = both[~torch.eye(8, dtype=torch.bool)]
    assert (both - 0.25).abs().max() < 5 * math.sqrt(0.25 * 0.75 / 64_000)


def test_dropout_reaches_prior_posterior_and_decoder():
    model = small_model()
    batch, w = small_batch(model), model.layout.views(small_weights(model).float())
    batch = Batch(*(field.float() for field in vars(batch).values()))
    features, z = model.features(w, batch), torch.zeros(3, 1, 7, 2)

    def answers(noise):
        return [
            model.prior(w, features, noise).mean,
            model.posterior(w, batch, features, noise).mean,
            model.decode(w, z, features, noise),
        ]

    whole, dropped = answers(None), answers(Noise(generator(), torch.tensor([0.5])))
    for one, other in zip(whole, dropped, strict=True):
        assert (one != other).any(dim=-1).float().mean() > 0.9


def test_prior_posterior_and_decoder_see_the_condition():
    model = small_model()
    batch, w = small_batch(model, missing=0.0), model.layout.views(small_weights(model))
    moved = Batch(
        batch.x, batch.x_observed, batch.c + 1, *list(vars(batch).values())[3:]
    )
    z = normal(3, 1, 7, 2)

    def answers(batch):
        features = model.features(w, batch)
        prior, posterior = model.prior(w, features), model.posterior(w, batch, features)
        return [prior.mean, posterior.mean, model.decode(w, z, features)]

    for one, other in zip(answers(batch), answers(moved), strict=True):
        assert (one != other).all()


# -- the member axis -------------------------------------------------------------


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_members_evaluated_together_equal_members_alone(objective):
    """A model of E members is E models of one row of the weight matrix each."""
    together, alone = small_model(), small_model(n_estimators=1)
    weights, batch = small_weights(together), small_batch(together)
    draws = normal(3, 4, 7, 2, seed=5)
    losses = loss_of(together, weights, batch, draws, objective)
    assert losses.shape == (3,)
    for e in range(3):
        one = slice(e, e + 1)
        loss = loss_of(alone, weights[one], member(batch, e), draws[one], objective)
        torch.testing.assert_close(losses[one], loss, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_members_gradient_does_not_depend_on_the_others(objective):
    model, alone = small_model(), small_model(n_estimators=1)
    batch, draws = small_batch(model), normal(3, 4, 7, 2, seed=5)
    weights = small_weights(model).requires_grad_()
    loss = loss_of(model, weights, batch, draws, objective)
    (gradient,) = torch.autograd.grad(loss.sum(), weights)
    for e in range(3):
        one = slice(e, e + 1)
        own = weights[one].detach().requires_grad_()
        loss = loss_of(alone, own, member(batch, e), draws[one], objective)
        (expected,) = torch.autograd.grad(loss.sum(), own)
        assert expected.abs().max() > 1e-3
        torch.testing.assert_close(gradient[one], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_gradient_is_that_of_finite_differences(objective):
    model = small_model(n_estimators=1, hidden_layer_sizes=(3,), activation="tanh")
    batch, draws = small_batch(model), normal(1, 4, 7, 2, seed=5)
    weights = small_weights(model).requires_grad_()
    direction = normal(*weights.shape, seed=9)

    def along(t):
        moved = weights + t * direction
        return loss_of(model, moved, batch, draws, objective).sum()

    (gradient,) = torch.autograd.grad(along(0.0), weights)
    step = 1e-5  # central differences: the error is of order step² = 1e-10
    slope = (along(step) - along(-step)) / (2 * step)
    expected = (gradient * direction).sum()
    torch.testing.assert_close(slope.detach(), expected, rtol=1e-6, atol=1e-6)


# -- NaN is data -----------------------------------------------------------------


def outputs_of(model, weights, batch, draws):
    """Everything that a model says about a batch."""
    w = model.layout.views(weights)
    features = model.features(w, batch)
    terms = model.terms(w, batch, draws)
    cells = model.log_prob_cells(model.decode(w, terms.z, features), batch)
    latents = (terms.posterior.mean, terms.posterior.log_var, terms.prior.mean)
    return [terms.log_lik, terms.log_weights(), terms.kl_each(), cells, *latents]


@pytest.mark.parametrize("embedding", [None, "periodic"])
@pytest.mark.parametrize("stored", [-3.0, 1e6])
def test_the_value_stored_in_a_missing_cell_has_no_effect(embedding, stored):
    model = small_model(numeric_embedding=embedding)
    weights, batch = small_weights(model), small_batch(model)
    assert 0 < batch.x_observed.mean() < 1
    draws = normal(3, 4, 7, 2, seed=5)
    spoiled = Batch(
        torch.where(batch.x_observed == 1, batch.x, stored),
        batch.x_observed,
        torch.where(batch.c_observed == 1, batch.c, stored),
        batch.c_observed,
        batch.weight,
    )
    clean_outputs = outputs_of(model, weights, batch, draws)
    spoiled_outputs = outputs_of(model, weights, spoiled, draws)
    for clean, dirty in zip(clean_outputs, spoiled_outputs, strict=True):
        assert torch.equal(clean, dirty)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_rows_without_any_cell_give_a_finite_gradient(objective):
    model = small_model()
    batch = small_batch(model, missing=1.0)
    assert batch.x_observed.sum() == batch.c_observed.sum() == 0
    weights = small_weights(model).requires_grad_()
    loss = loss_of(model, weights, batch, normal(3, 4, 7, 2, seed=5), objective)
    (gradient,) = torch.autograd.grad(loss.sum(), weights)
    assert loss.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("embedding", [None, "periodic"])
@pytest.mark.parametrize("coded", [False, True])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_complete_table_needs_no_masks(embedding, coded, objective):
    """Loss and gradient of rows without masks are those of masks of ones."""
    codes = {"n_codes": (0, 2, 0, 0), "condition_codes": (0, 2)} if coded else {}
    model = small_model(numeric_embedding=embedding, **codes)
    batch = small_batch(model, missing=0.0)
    batch.c[..., 1] = (batch.c[..., 1] > 0).double()
    assert batch.complete().all()
    bare = replace(batch, x_observed=None, c_observed=None)
    assert torch.equal(bare.complete(), batch.complete())
    weights = small_weights(model).requires_grad_()
    draws = normal(3, 4, 7, 2, seed=5)

    def loss_and_gradient(rows):
        loss = loss_of(model, weights, rows, draws, objective)
        return loss, *torch.autograd.grad(loss.sum(), weights)

    expected, found = loss_and_gradient(batch), loss_and_gradient(bare)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_plain_members_see_numbers_without_scores_and_embedding(missing):
    """Of three columns the last is a score, the second holds codes."""
    model = small_model(
        n_conditions=3, n_scores=1, n_plain=2, condition_codes=(0, 2, 0)
    )
    weights = small_weights(model).requires_grad_()
    batch = small_batch(model, missing=missing)
    batch.c[..., 1] = (batch.c[..., 1] > 0).double()

    def features(w, **changes):
        return model.features(model.layout.views(w), replace(batch, **changes))[0]

    expected = features(weights)
    (gradient,) = torch.autograd.grad(expected.square().sum(), weights)
    embedding = model.condition.inputs.embedding
    for slot in (embedding.frequencies, embedding.weight, embedding.bias):
        used = (model.layout.views(gradient)[slot] != 0).flatten(1).any(1)
        assert used.tolist() == [True, False, False]
    for column, seen in enumerate([(True, True, True)] * 2 + [(True, False, False)]):
        other = batch.c.clone()
        other[..., column] = 1.0 - other[..., column]
        changed = (features(weights, c=other) != expected).flatten(1).any(1)
        assert tuple(changed.tolist()) == seen


def test_a_model_without_plain_members_is_the_others_among_all():
    """To rounding: a product of other matrices side by side may sum in other order."""
    model = small_model(n_estimators=4, n_scores=1, n_plain=2)
    part = LatentModel(model.config.without_plain(), CPU, torch.float64)
    assert (part.config.n_estimators, part.config.n_plain) == (2, 0)
    weights, batch = small_weights(model), small_batch(model)
    draws = normal(4, 3, 7, 2, seed=5)
    some = Batch(*(field[:2] for field in vars(batch).values()))
    whole = outputs_of(model, weights, batch, draws)
    parts = outputs_of(part, weights[:2], some, draws[:2])
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one[:2], other, rtol=1e-10, atol=1e-12)


def test_missing_cells_add_nothing_to_the_likelihood_and_observed_ones_do():
    model = small_model()
    batch = small_batch(model)
    w = model.layout.views(small_weights(model))
    outputs = model.decode(w, normal(3, 4, 7, 2), model.features(w, batch))
    cells = model.log_prob_cells(outputs, batch)
    observed = batch.x_observed.unsqueeze(1).expand_as(cells) == 1
    assert (cells[~observed] == 0).all()
    assert (cells[observed] != 0).all()


def test_heads_answer_in_the_order_of_the_columns():
    """Columns 0 and 3 share a head, 1 and 2 have their own: each must find its own."""
    model = small_model()
    batch = small_batch(model, missing=0.0)
    w = model.layout.views(small_weights(model))
    outputs = model.decode(w, normal(3, 4, 7, 2), model.features(w, batch))
    means = model.points(model.expectations(outputs))
    assert ((means[..., 1] > 0) & (means[..., 1] < 1)).all()
    draws = model.sample_cells(outputs, generator())
    assert set(draws[..., 1].unique().tolist()) == {0.0, 1.0}
    assert all(draws[..., i].unique().numel() > 2 for i in (0, 2, 3))
    cells = model.log_prob_cells(outputs, batch)
    for column in range(4):
        x = batch.x.clone()
        x[..., column] = 1.0 - x[..., column]
        moved = Batch(x, *list(vars(batch).values())[1:])
        changed = (model.log_prob_cells(outputs, moved) != cells).flatten(0, -2).any(0)
        assert changed.tolist() == [i == column for i in range(4)]


# -- configuration ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"n_components": 0, "n_conditions": 0, "prior": "normal"},
            r"n_components must be an integer in \[1, inf\); got 0",
        ),
        (
            {"n_components": -1},
            r"n_components must be an integer in \[0, inf\); got -1",
        ),
        ({"n_estimators": 0}, r"n_estimators must be .* got 0"),
        ({"activation": "sine"}, "activation must be one of .*silu.* got 'sine'"),
        ({"numeric_embedding": "fourier"}, "numeric_embedding must be .* 'fourier'"),
        ({"hidden_layer_sizes": (8, 0)}, "hidden_layer_sizes must be .* got 0"),
        ({"prior": "flat"}, "prior must be one of .* got 'flat'"),
    ],
)
def test_a_wrong_setting_of_the_model_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        small_model(**changes)
