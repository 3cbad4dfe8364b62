"""Decoders: what a cell may depend on, and the chance that all rows share."""

import numpy as np
import pytest
import torch
from scipy import stats

from skvae._engine.config import HeadConfig, ModelConfig
from skvae._engine.likelihoods.chance import (
    SharedChance,
    gamma,
    normal,
    poisson,
    uniform,
)
from skvae._engine.model import LatentModel

CPU = torch.device("cpu")
E, S, N, L = 2, 3, 4, 2
# columns 0 and 3 share a head, so that outputs are not in the order of the columns
HEADS = (
    HeadConfig("mixture", (0, 3), (1e-2, 1e-3), n_mixtures=3),
    HeadConfig("categorical", (1, 4), n_codes=(3, 5)),
    HeadConfig("gaussian", (2,), (1e-2,)),
)
SETTINGS = {
    "n_columns": 5,
    "n_conditions": 0,
    "heads": HEADS,
    "n_components": L,
    "n_codes": (0, 3, 0, 0, 5),
    "n_estimators": E,
    "decoder": "autoregressive",
}


def rand(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def model(**changes):
    return LatentModel(ModelConfig(**SETTINGS | changes), CPU, torch.float64)


def weights(model, seed=0):
    """Every weight from a normal, so that none is 0 by its initialisation."""
    return model.layout.views(rand(E, sum(model.layout.sizes), seed=seed))


def cells(seed=0):
    x = rand(E, N, 5, seed=seed)
    codes = torch.Generator().manual_seed(seed)
    x[..., 1] = torch.randint(3, (E, N), generator=codes).double()
    x[..., 4] = torch.randint(5, (E, N), generator=codes).double()
    return x


def outputs_by_column(model, w, z, x, observed=None):
    """Raw outputs of the heads, those of each column apart."""
    outputs = model.decode(w, z, model.preceding(w, x, observed))
    owners = torch.tensor([c for head in model.heads for c in head.owners])
    return [outputs[..., owners == d] for d in range(5)]


@pytest.mark.parametrize("hidden", [(16, 16), (3,), (1, 1), ()])
def test_a_cell_depends_on_z_and_on_all_cells_before_it_and_on_no_other(hidden):
    """One cell is changed at a time; with few units some cells go unseen."""
    network = model(hidden_layer_sizes=hidden)
    w, z, x = weights(network), rand(E, S, N, L, seed=1), cells()
    before = outputs_by_column(network, w, z, x)
    for d in range(5):
        changed = x.clone()
        changed[..., d] = (x[..., d] + 1.0) % (3.0 if d == 1 else 5.0)
        after = outputs_by_column(network, w, z, changed)
        for other, (a, b) in enumerate(zip(before, after, strict=True)):
            assert torch.equal(a, b) == (other <= d)
    moved = outputs_by_column(network, w, z + 1.0, x)
    assert all((a != b).any() for a, b in zip(before, moved, strict=True))


def test_a_missing_cell_counts_as_missing_whatever_stands_in_its_place():
    network = model(hidden_layer_sizes=(8,))
    w, z, x = weights(network), rand(E, S, N, L, seed=1), cells()
    observed = torch.ones_like(x)
    observed[:, :, 2] = 0.0
    other = x.clone()
    other[:, :, 2] += 7.0
    one, two = (outputs_by_column(network, w, z, v, observed) for v in (x, other))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    seen = outputs_by_column(network, w, z, x)
    assert all((a != b).any() for a, b in zip(one[3:], seen[3:], strict=True))


def test_cells_of_an_independent_decoder_depend_on_z_alone():
    network = model(hidden_layer_sizes=(8,), decoder="independent")
    assert network.preceding(weights(network), cells(), None) == []


def test_layers_under_masks_are_twice_as_wide():
    sizes = {d: model(hidden_layer_sizes=(8, 6), decoder=d).config for d in DECODERS}
    wide = {d: [c.decoder_widening * n for n in (8, 6)] for d, c in sizes.items()}
    assert wide == {"independent": [8, 6], "autoregressive": [16, 12]}
    rest = model(hidden_layer_sizes=(8, 6)).decoder.net.rest
    assert [layer.mask.shape[0] for layer in rest] == [16, 12]


DECODERS = ("independent", "autoregressive")


def test_holes_are_filled_in_turn_each_given_those_before_it():
    """With the mean for every choice: a pass over the filled row changes nothing."""
    network = model(hidden_layer_sizes=(8,))
    w, z, x = weights(network), rand(E, S, N, L, seed=1), cells()
    x = x.unsqueeze(1).expand(E, S, N, 5)
    observed = torch.ones_like(x)
    observed[..., :2, [0, 3]] = 0.0
    observed[..., 2:, [1, 2]] = 0.0

    def expect(outputs, _):
        return network.points(network.expectations(outputs))

    filled = network.in_turn(w, z, [], expect, x, observed)
    assert torch.equal(filled[observed == 1], x[observed == 1])
    again = expect(network.decode(w, z, network.preceding(w, filled, None)), 0)
    torch.testing.assert_close(filled[observed == 0], again[observed == 0])


# -- chance ------------------------------------------------------------------------


def shared(n_draws=8, first=0, seed=3):
    return SharedChance.of(seed, n_draws, first, torch.empty(0))


SHAPE = torch.tensor([0.02, 0.7, 3.0, 200.0], dtype=torch.float64)
DRAWS = {
    "uniform": lambda chance, n: uniform(torch.empty(E, n, N, 2), chance),
    "normal": lambda chance, n: normal(torch.empty(E, n, N, 2), chance),
    "gamma": lambda chance, n: gamma(SHAPE[:, None].expand(E, n, N, 1), chance),
    "poisson": lambda chance, n: poisson(SHAPE[:, None].expand(E, n, N, 1), chance),
}
each = pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS.keys())


@each
def test_draws_are_the_same_whoever_asks_for_how_many(draw):
    whole = draw(shared(), 8)
    parts = [draw(shared(first=0), 5), draw(shared(first=5), 3)]
    assert torch.equal(torch.cat(parts, dim=1), whole)
    assert len(whole[:, :, -1].unique()) > 2
    assert not torch.equal(draw(shared(seed=4), 8), whole)


@pytest.mark.parametrize("draw", [DRAWS["uniform"], DRAWS["normal"]])
def test_every_row_has_the_same_chance(draw):
    draws = draw(shared(), 8)
    assert (draws == draws[:, :, :1]).all()


def test_shared_draws_are_quantiles_of_their_distribution():
    """Of scipy's, at the uniforms that they are made of, to 1e-12 or nine digits."""
    level = uniform(torch.empty(E, 8, N, 1, dtype=torch.float64), shared()).numpy()
    size = np.broadcast_to(SHAPE.numpy()[:, None], level.shape)
    found = DRAWS["gamma"](shared(), 8).numpy()
    np.testing.assert_allclose(found, stats.gamma.ppf(level, size), 1e-9, 1e-12)
    counts = DRAWS["poisson"](shared(), 8).numpy()
    np.testing.assert_array_equal(counts, stats.poisson.ppf(level, size))


def test_draws_that_rows_do_not_share_follow_the_generator():
    """Each of 4 rows has its own; chi-square of 4000 counts, p > 1e-4."""
    generator = torch.Generator().manual_seed(0)
    rate = torch.full((1, 1000, 4, 1), 0.7, dtype=torch.float64)
    counts = poisson(rate, generator).flatten()
    found = torch.bincount(counts.long().clamp(max=4), minlength=5).numpy()
    mass = stats.poisson.pmf(range(4), 0.7)
    expected = 4000 * np.append(mass, 1.0 - mass.sum())
    assert stats.chisquare(found, expected).pvalue > 1e-4
