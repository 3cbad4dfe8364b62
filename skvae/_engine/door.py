"""The only crossing between numpy and torch: arrays in, arrays out.

Tables come as float arrays of encoded cells in which ``NaN`` means missing. What was
learned leaves as ``Learned``: arrays and plain dataclasses, nothing of torch.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm, qmc
from torch import Generator, Tensor

from skvae._engine import copula, multinormal, runtime, selection, train
from skvae._engine.codebook import Codes
from skvae._engine.config import ModelConfig, TrainConfig
from skvae._engine.exemplars import Exemplars
from skvae._engine.inference import Inference, expand_members
from skvae._engine.model import Batch, LatentModel
from skvae._engine.multinormal import MultiNormal
from skvae._engine.semisupervised import ClassModel

Array = NDArray[np.floating]

# elements of the largest array of a chunk, 2 MB of float64; several are alive at once.
# 2**19 takes 135 MB more in all and a fifth less time where four members impute; beyond
# that the operating system maps arrays anew each time (twice the time)
CHUNK_ELEMENTS = 2**18
GPU_CHUNK_ELEMENTS = 2**23
# or a quarter of the rows, where that is less
FEWEST_VALIDATION_ROWS = 16
# rows that correlations of residuals are fitted to, fewer where their matrices are
# large, and draws of each: few draws of the posterior without correlations cannot stand
# for the one with them
MOST_TIED_ROWS, FEWEST_TIED_DRAWS, MOST_TIED_DRAWS = 2_000, 16, 256
MOST_TIED_ROWS_OF_CHUNK = 100  # a further one, which is an epoch's work
TIED_ELEMENTS, MATRIX_ELEMENTS = 2**22, 2**25
MOST_FITTED_ROWS = 8_000  # draws that a prior is fitted to, where a row has several
# weights of draws vary more than what they predict: so many times the draws
DENSITY_DRAWS = 8
# of decoded exemplars, which stay while the rows go by, chunk after chunk
DECODED_CHUNKS = 16
LEAST = -np.finfo(float).max
# scrambled Sobol points lie on a grid of 2**-30; a point at 0 would map to -inf
SMALLEST_PROBABILITY = 2.0**-31


@dataclass(frozen=True)
class Moments:
    """Adam's state, kept for ``partial_fit`` and ``warm_start``."""

    first: Array  # (E, P)
    second: Array  # (E, P)
    step: Array


@dataclass(frozen=True)
class Learned:
    """A trained model in numpy."""

    config: ModelConfig
    weights: Array  # (E, P), float32
    draws: Array  # (S, L), fixed standard normal draws; predictions take the first
    bound: Array  # (E,), validation bound of the kept weights, encoded units
    kl: Array  # (E, L), nats, mean over the training rows
    information: Array  # (E, L), nats, what a dimension tells about a training row
    moments: Moments | None = None
    prior: tuple[Array, ...] = ()  # parameters of one fitted after training
    correlation: Array | None = None  # (d, d), of residuals, likewise
    # a model that leaves z idle and answers in the place of this one, which training
    # goes on from
    instead: "Learned | None" = None

    def smoothed(self, width: float) -> "Learned":
        """Return the model of rows with noise of ``width`` added to their numbers.

        In standardised units.
        """
        heads = tuple(replace(head, width=width) for head in self.config.heads)
        return replace(self, config=replace(self.config, heads=heads))

    @property
    def answering(self) -> "Learned":
        """The model that questions go to."""
        return self.instead or self

    @property
    def n_predictive(self) -> int:
        """How many draws predictions take; the rest are for densities."""
        return len(self.draws) // (DENSITY_DRAWS if self.config.ties else 1)

    @property
    def best_member(self) -> int:
        """The member with the highest validation bound."""
        return int(np.argmax(np.nan_to_num(self.bound, nan=-np.inf)))


@dataclass(frozen=True)
class FitRecord:
    """How a fit went, epoch by epoch (T) and member by member (E).

    ``loss`` is the training objective and ``bound`` the importance-weighted bound, with
    beta, in nats per row of the encoded table; ``bound`` and ``kl`` (nats) are of the
    held-out rows or, where there are none, of training rows.
    """

    loss: Array  # (T, E)
    bound: Array  # (T, E)
    kl: Array  # (T, E, L)
    best_epoch: Array  # (E,), -1: the starting weights were never bettered
    kept_epoch: Array  # (E,), that of the weights which were kept, likewise
    diverged: Array  # (E,), bool
    stopped_early: bool


@dataclass(frozen=True)
class Stratum:
    """Rows (n,) that validation rows are drawn from on their own.

    ``fraction`` of them, rounded down; the others train ``repeats`` times an epoch,
    with as much less weight.
    """

    rows: NDArray[np.intp]
    fraction: float
    repeats: int = 1


@dataclass(frozen=True)
class Encoded:
    """Encoded rows: x (N, D), condition c (N, C), weights (N,); NaN is missing."""

    x: Array
    c: Array
    weight: Array
    strata: tuple[Stratum, ...] = ()

    @classmethod
    def of(
        cls, x: Array, c: Array | None = None, weight: Array | None = None
    ) -> "Encoded":
        """Rows without a condition, or of equal weight, where these are left out."""
        n = len(x)
        return cls(
            x,
            np.empty((n, 0)) if c is None else c,
            np.ones(n) if weight is None else weight,
        )

    def __len__(self) -> int:
        return len(self.x)

    def training_weight(self) -> Array:
        """Weights whose mean over an epoch is 1: (N,)."""
        repeats = np.ones(len(self))
        for stratum in self.strata:
            repeats[stratum.rows] = stratum.repeats
        return self.weight / repeats * (repeats.sum() / self.weight.sum())


def normal_draws(n_samples: int, n_components: int, seed: int) -> Array:
    """Map a scrambled Sobol set to standard normals: (n_samples, n_components).

    A single row where there are no components. Owen (1998), Scrambling Sobol' and
    Niederreiter-Xing points.
    """
    if n_components == 0:
        return np.empty((1, 0))
    sobol = qmc.Sobol(n_components, scramble=True, rng=np.random.default_rng(seed))
    uniform = sobol.random_base2(max(0, int(np.ceil(np.log2(n_samples)))))[:n_samples]
    return norm.ppf(np.clip(uniform, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY))


def _tensor(array: Array, like: Tensor) -> Tensor:
    """Copy an array, which may be a read-only memory map, to a tensor."""
    return torch.tensor(array, dtype=like.dtype, device=like.device)


def _split_missing(values: Array, like: Tensor) -> tuple[Tensor, Tensor]:
    observed = ~np.isnan(values)
    filled = np.where(observed, values, 0.0)
    return _tensor(filled, like), _tensor(observed, like)


def _rows(data: Encoded, like: Tensor) -> train.Rows:
    """Rows to train on; complete tables without so many ones."""
    x, x_observed = _split_missing(data.x, like)
    c, c_observed = _split_missing(data.c, like)
    return train.Rows.pack(
        x,
        None if bool(x_observed.all()) else x_observed,
        c,
        None if bool(c_observed.all()) else c_observed,
        _tensor(data.training_weight(), like),
    )


@runtime.gradients()
def fit(
    model_config: ModelConfig,
    config: TrainConfig,
    data: Encoded,
    valid: Encoded | None,
    *,
    n_samples: int,
    seed: int,
    device: str,
    start: Learned | None = None,
    n_epochs_before: int = 0,
    keep_moments: bool = False,
    on_epoch: Callable[[int, float], bool] | None = None,
) -> tuple[Learned, FitRecord]:
    """Train the members; begin at ``start`` where given, of ``n_epochs_before``.

    With the same seed these keep the split of rows, but not order, noise and dropout,
    which would be the same in each of many short fits. ``valid`` gives validation rows
    instead of an internal split. ``on_epoch`` is called with each epoch and its mean
    loss, and ends the fit by returning True.
    """
    where = runtime.resolve_device(device)
    generator = Generator(where)
    generator.manual_seed(seed)
    like = torch.empty(0, device=where, dtype=torch.float32)
    model = _build(model_config, where, like.dtype)
    n_members = model_config.n_estimators
    rows = _rows(data, like)
    holds_out = config.early_stopping and valid is None
    n_splits = n_members - model_config.n_plain
    split = _split(data, config, holds_out, n_splits, generator)
    if model_config.n_plain:
        split = split.twice()
    valid_rows = rows
    if config.early_stopping and valid is not None:
        valid_rows = _rows(valid, like)
        index = torch.randperm(len(valid), generator=generator, device=where)
        split = train.Split(split.train, index.expand(n_members, -1))
    later = seed
    if start is not None:
        sequence = np.random.SeedSequence([seed, n_epochs_before])
        later = int(sequence.generate_state(1)[0])
        generator.manual_seed(later)
    with runtime.threads_for(_product(model_config, config, split.train.shape[1])):
        trained = train.fit_weights(
            model,
            rows,
            split,
            valid_rows,
            config,
            generator,
            None if start is None else _tensor(start.weights, like),
            _optimizer_state(start, like),
            None
            if on_epoch is None
            else lambda i, loss: on_epoch(i, float(loss.mean())),
        )
    if model_config.n_plain and start is None and split.valid.shape[1]:
        trained = selection.without_worse_half(
            trained,
            model,
            valid_rows,
            split.valid,
            config,
            generator,
            same_rows=not holds_out,
        )
        if len(trained.weights) < n_members:
            model_config = model_config.without_plain()
    n_draws = n_samples * (DENSITY_DRAWS if model_config.ties else 1)
    learned = Learned(
        model_config,
        _numpy(trained.weights),
        normal_draws(n_draws, model_config.n_components, seed),
        _numpy(trained.bound),
        np.empty(0),
        np.empty(0),
        _moments(trained.optimizer) if keep_moments else None,
    )
    if config.spares_latent and split.valid.shape[1] and model.ties_all:
        normal = selection.normal_in_place(
            trained, model, rows, valid_rows, split, config, generator
        )
        if normal is not None:
            instead = _described(_idle(learned, normal, where), data, device)
            return replace(learned, instead=instead), _record(trained.history)
    before = start.correlation if start and config.constant_rate else None
    learned = _completed(learned, data, config.trimming, before, later, device)
    learned = _described(learned, data, device)
    return learned, _record(trained.history)


def _record(history: train.History) -> FitRecord:
    return FitRecord(
        _numpy(history.loss).astype(float),
        _numpy(history.bound).astype(float),
        _numpy(history.kl).astype(float),
        _numpy(history.best_epoch).astype(int),
        _numpy(history.kept_epoch).astype(int),
        _numpy(history.diverged).astype(bool),
        history.stopped_early,
    )


def _described(learned: Learned, data: Encoded, device: str) -> Learned:
    """Add what its latents tell of the rows."""
    engine = Engine(learned, device)
    kl, information = engine.mean_kl(data), engine.information(data)
    return replace(learned, kl=kl, information=information)


def _idle(learned: Learned, normal: MultiNormal, device: torch.device) -> Learned:
    """Return a model of one member that leaves z idle and is ``normal``."""
    config = multinormal.configure(learned.config)
    weights = normal.weights(_build(config, device, normal.mean.dtype))
    return replace(
        learned,
        config=config,
        weights=_numpy(weights),
        bound=learned.bound[:1],
        correlation=_numpy(normal.correlation),
        moments=None,
    )


def _completed(
    learned: Learned,
    data: Encoded,
    trimming: float,
    before: Array | None,
    seed: int,
    device: str,
) -> Learned:
    """Add what is fitted after training: a prior, the correlation of residuals.

    A further chunk of rows goes on from the correlation ``before``.
    """
    if learned.config.fits_prior:
        kept = _trimmed(learned, data, trimming, device)
        learned = replace(learned, prior=Engine(learned, device).fit_prior(kept, seed))
    if learned.config.residuals == "correlated":
        kept = _trimmed(learned, data, trimming, device)
        engine = Engine(learned, device)
        found = engine.fit_correlation(kept, seed, before)
        learned = replace(learned, correlation=found)
    return learned


def _trimmed(learned: Learned, data: Encoded, fraction: float, device: str) -> Encoded:
    """Without weight for the least likely rows, as in training."""
    if fraction == 0:
        return data
    log_prob, _ = Engine(learned, device).log_prob(data)
    kept = log_prob >= np.quantile(log_prob, fraction)
    return replace(data, weight=data.weight * kept)


def _build(
    config: ModelConfig, device: torch.device, dtype: torch.dtype
) -> LatentModel:
    return (ClassModel if config.classes else LatentModel)(config, device, dtype)


def _split(
    data: Encoded,
    config: TrainConfig,
    holds_out: bool,
    n_members: int,
    generator: Generator,
) -> train.Split:
    """Training and validation rows of each member."""
    if not data.strata:
        fraction = config.validation_fraction
        n_valid = _held_out(fraction, len(data)) if holds_out else 0
        return train.split_rows(len(data), n_valid, n_members, generator)
    strata = [
        train.Stratum(
            torch.as_tensor(stratum.rows, device=generator.device),
            int(stratum.fraction * len(stratum.rows)) if holds_out else 0,
            stratum.repeats,
        )
        for stratum in data.strata
    ]
    return train.split_strata(strata, n_members, generator)


def _held_out(fraction: float, n_rows: int) -> int:
    """Rows to validate on: too few of them choose weights that are too sure.

    With 5 of 50 rows 90 % intervals covered 81 % of concrete, with 12 they cover 85 %.
    """
    least = min(FEWEST_VALIDATION_ROWS, n_rows // 4)
    return min(max(1, least, round(fraction * n_rows)), n_rows - 1)


def _product(model: ModelConfig, config: TrainConfig, n_rows: int) -> float:
    """Multiply-adds of the largest matrix product of a training step."""
    _, batch_size = train.batches(config, n_rows)
    batch = batch_size * config.n_draws
    layers = [model.decoder_widening * n for n in model.hidden_layer_sizes]
    width = max(*layers, model.n_columns, model.n_conditions, 1)
    n_classes = max(1, len(model.classes))
    return float(model.n_estimators * batch * n_classes * width * width)


def _numpy(tensor: Tensor) -> Array:
    return tensor.detach().cpu().numpy().copy()


def _moments(state: train.OptimizerState) -> Moments:
    return Moments(_numpy(state.first), _numpy(state.second), _numpy(state.step))


def _optimizer_state(
    start: Learned | None, like: Tensor
) -> train.OptimizerState | None:
    if start is None or start.moments is None:
        return None
    moments = start.moments
    return train.OptimizerState(
        _tensor(moments.first, like),
        _tensor(moments.second, like),
        _tensor(moments.step, like),
    )


class Engine:
    """A trained model that answers questions about arrays, chunk by chunk.

    Inference runs in float64 where the device has it, so that the size of a batch
    shows in no digit that matters.
    """

    @runtime.gradients()
    def __init__(self, learned: Learned, device: str) -> None:
        where = runtime.resolve_device(device)
        dtype = runtime.widest(where)
        learned = learned.answering
        self.learned = learned
        self.like = torch.empty(0, device=where, dtype=dtype)
        on_cpu = where.type == "cpu"
        self.max_elements = CHUNK_ELEMENTS if on_cpu else GPU_CHUNK_ELEMENTS
        self.model = _build(learned.config, where, dtype)
        self.inference = Inference(
            self.model,
            _tensor(learned.weights, self.like),
            _tensor(learned.draws, self.like),
            learned.n_predictive,
            self.max_elements,
            [_tensor(field, self.like) for field in learned.prior],
            None
            if learned.correlation is None
            else _tensor(learned.correlation, self.like),
        )
        self.n_members = learned.config.n_estimators

    @torch.no_grad()
    def fit_prior(self, data: Encoded, seed: int) -> tuple[Array, ...]:
        """Parameters of a prior for posterior draws of every row."""
        generator = self._generator(seed)
        most = max(1, MOST_FITTED_ROWS // len(data))
        n_draws = min(self.model.latent.draws_a_row, most)

        def draw(batch: Batch) -> Tensor:
            posterior = self.inference.posterior(batch)
            return posterior.sample(1, len(batch), generator)[:, 0]

        drawn = [self._map(draw, data, row_axis=1) for _ in range(n_draws)]
        z = _tensor(np.concatenate(drawn, axis=1), self.like)
        weight = _tensor(np.tile(data.weight, n_draws), self.like)
        w = self.inference.w
        fitted = self.model.latent.fit_prior(w, z, weight, generator)
        return tuple(_numpy(field) for field in fitted)

    def fit_correlation(
        self, data: Encoded, seed: int, before: Array | None = None
    ) -> Array | None:
        """Correlation (d, d) of residuals given z; None where fewer than two may be.

        ``before`` is that of earlier rows, where ``data`` are a further chunk.
        """
        tied = self.model.residuals.columns.cpu().numpy()
        if len(tied) < 2:
            return None
        rng = np.random.default_rng(seed)
        most = MOST_TIED_ROWS if before is None else MOST_TIED_ROWS_OF_CHUNK
        most = min(most, max(1, MATRIX_ELEMENTS // len(tied) ** 2))
        rows = np.sort(rng.permutation(len(data))[:most])
        some = replace(data, x=data.x[rows], c=data.c[rows], weight=data.weight[rows])
        generator = self._generator(seed)
        n_draws = min(MOST_TIED_DRAWS, TIED_ELEMENTS // (len(rows) * len(tied)))
        n_draws = max(FEWEST_TIED_DRAWS, n_draws)
        drawn = self._map(
            lambda b: self.inference.residuals(b, n_draws, generator),
            some,
            self._n_kept(len(tied)),
            row_axis=1,
        )
        known = ~np.isnan(some.x[:, tied])
        weight = _tensor(some.weight, self.like)
        parts = (_tensor(drawn, self.like), _tensor(known, self.like), weight)
        earlier = None if before is None else _tensor(before, self.like)
        return _numpy(copula.fit(*parts, earlier))

    def mean_kl(self, data: Encoded) -> Array:
        """Weighted mean over rows of the KL in each dimension: (E, L)."""
        kept = max((field[0].size for field in self.learned.prior), default=0)
        kl = self._map(self.inference.kl, data, self._n_kept(kept), row_axis=1)
        return np.average(kl, axis=1, weights=data.weight)

    def information(self, data: Encoded) -> Array:
        """Nats that each dimension tells about a row, as a Gaussian channel: (E, L).

        ½ log(1 + variance of posterior means over rows / mean posterior variance): 0
        where the posterior is the same for all rows, whatever the prior.
        """
        kept = 1 if self.model.latent.closed_mean else self._n_kept(1)
        moments = self._map(self.inference.moments, data, kept, row_axis=2)
        mean, within = np.average(moments, axis=2, weights=data.weight)
        apart = (moments[0] - mean[:, None]) ** 2
        between = np.average(apart, axis=1, weights=data.weight)
        return 0.5 * np.log1p(between / within.clip(min=np.finfo(float).tiny))

    @torch.no_grad()
    def prior_gap(self, data: Encoded) -> float:
        """KL of the aggregate posterior of all rows from the prior, best member."""
        batch = expand_members(self._batch(data, slice(None)), self.n_members)
        gaps = self.inference.prior_gap(batch, self._generator(0))
        return float(gaps[self.learned.best_member])

    def codes(self, data: Encoded) -> NDArray[np.integer]:
        """Return the indices of the nearest codes, best member: (N, M)."""
        best = self.learned.best_member

        def index(batch: Batch) -> Tensor:
            posterior = self.inference.posterior(batch)
            assert isinstance(posterior, Codes)
            return posterior.index()[best]

        return self._map(index, data).astype(np.intp)

    def posterior_mean(self, data: Encoded) -> Array:
        """Posterior means of the best member: (N, L)."""
        best = self.learned.best_member
        kept = 1 if self.model.latent.closed_mean else self._n_kept(1)
        return self._map(lambda b: self.inference.posterior_mean(b)[best], data, kept)

    def prior_mean(self, data: Encoded) -> Array:
        """Prior means of the best member: (N, L)."""
        best = self.learned.best_member
        return self._map(lambda b: self.inference.prior_mean(b)[best], data)

    def log_prob(self, data: Encoded) -> tuple[Array, Array]:
        """Return log p(x | c) of observed cells (encoded units) and its error."""
        both = self._map(
            lambda batch: torch.stack(self.inference.log_prob(batch), dim=1),
            data,
            self._n_kept(1),
        )
        return both[:, 0], both[:, 1]

    def log_prob_by(
        self, exemplars: Encoded, data: Encoded, own: NDArray[np.integer]
    ) -> Array:
        """Log density, encoded units, of a mixture of what exemplars decode to: (N,).

        ``own`` (N,) is the exemplar that a row itself is, which then does not count, or
        -1.
        """
        sums = self._log_sums(exemplars, data, own, Exemplars.log_sum)[:, 0]
        left = exemplars.weight.sum() - np.where(own < 0, 0.0, exemplars.weight[own])
        return sums - np.log(left * self.n_members)

    def log_prob_given_others(
        self, exemplars: Encoded, data: Encoded, own: NDArray[np.integer]
    ) -> Array:
        """Log density of each cell given the others of its row, likewise: (N, D).

        0 where the others are so unlikely that nothing is left of the density.
        """
        sums = self._log_sums(exemplars, data, own, Exemplars.log_sums_without)
        whole, without = sums[:, :1], sums[:, 1:]
        return np.where(np.isneginf(without), 0.0, whole - without.clip(LEAST))

    @torch.no_grad()
    def _log_sums(
        self,
        exemplars: Encoded,
        data: Encoded,
        own: NDArray[np.integer],
        question: Callable[[Exemplars, Batch, Tensor], Tensor],
    ) -> Array:
        """Answers of ``question`` (N, Q), added up over blocks of exemplars."""
        row = self.n_members * self.model.decoder_width
        size = max(1, DECODED_CHUNKS * self.max_elements // row)

        def of_block(begin: int) -> Array:
            some = self._batch(exemplars, slice(begin, begin + size))
            density = Exemplars(self.inference, expand_members(some, self.n_members))
            place = torch.as_tensor(own - begin, device=self.like.device)

            def ask(rows: NDArray[np.intp], batch: Batch) -> Tensor:
                return question(density, batch, place[rows])

            return self._map_rows(ask, data, density.width)

        blocks = map(of_block, range(0, len(exemplars), size))
        return reduce(np.logaddexp, blocks)

    def lower_bound(self, data: Encoded) -> Array:
        """Evidence lower bound on log p(x | c), encoded units: (N,)."""
        return self._map(self.inference.lower_bound, data, self._n_kept(1))

    def log_prob_cells(self, data: Encoded) -> Array:
        """Return the expected log p of each cell: (N, D), 0 where missing."""
        columns = self.learned.config.n_columns
        return self._map(self.inference.log_prob_cells, data, self._n_kept(columns))

    def conditional_mean(self, data: Encoded) -> Array:
        """E[x | observed cells], every cell: (N, D)."""
        heads = (head.likelihood for head in self.model.heads)
        kept = self._n_kept(sum(head.n_expectations for head in heads))
        return self._map(self.inference.conditional_mean, data, kept)

    def conditional_draws(self, data: Encoded, n_draws: int, seed: int) -> Array:
        """Draws of every cell given the observed ones: (M, N, D)."""
        generator = self._generator(seed)
        config = self.learned.config
        kept = config.n_columns if self.model.is_autoregressive else config.n_components
        return self._map(
            lambda b: self.inference.conditional_draws(b, n_draws, generator),
            data,
            self._n_kept(kept),
            row_axis=1,
        )

    def decode_mean(self, z: Array, c: Array | None = None) -> Array:
        """E[x | z, c] of the best member at latents (N, L): (N, D)."""
        placeholder = np.full((len(z), self.learned.config.n_columns), np.nan)
        data = Encoded.of(placeholder, c)
        latents = _tensor(z, self.like)
        best = self.learned.best_member
        parts = [
            self.inference.decode_mean(latents[rows], batch, best).cpu()
            for rows, batch in self._chunks(data)
        ]
        return torch.cat(parts).numpy()

    def sample(self, n_rows: int, c: Array | None, n_draws: int, seed: int) -> Array:
        """Fresh draws of x for each row of the condition: (M, N, D)."""
        generator = self._generator(seed)
        placeholder = np.full((n_rows, self.learned.config.n_columns), np.nan)
        data = Encoded.of(placeholder, c)
        width = self.model.decoder_width
        most = max(1, self.max_elements // (self.n_members * width))

        def draw(n: int) -> Array:
            return self._map(
                lambda batch: self.inference.sample(batch, n, generator),
                data,
                n * width,
                row_axis=1,
            )

        blocks = range(0, n_draws, most)  # of draws; ``_map`` has those of rows
        return np.concatenate([draw(min(most, n_draws - begin)) for begin in blocks])

    def mixture(self, c: Array) -> tuple[Array, Array, Array]:
        """p(x | c) as mixtures: weights, means, scales of shape (N, E·S, D, K)."""
        placeholder = np.full((len(c), self.learned.config.n_columns), np.nan)
        stacked = self._map(
            lambda batch: torch.stack(
                [
                    (parts := self.inference.mixture(batch)).log_weight.exp(),
                    parts.mean,
                    parts.scale,
                ]
            ),
            Encoded.of(placeholder, c),
            self.learned.n_predictive * self.model.decoder_width,
            row_axis=1,
        )
        fields = np.swapaxes(stacked, -1, -2)
        return fields[0], fields[1], fields[2]

    def class_probabilities(self, data: Encoded) -> Array:
        """q(y | x), the mean over members: (N, K)."""
        model = self.model
        assert isinstance(model, ClassModel)
        w = self.inference.w
        return self._map(lambda batch: model.log_classes(w, batch).exp().mean(0), data)

    def _n_kept(self, values: int) -> int:
        """Elements a row of importance draws that keep so many values each."""
        return len(self.learned.draws) * max(values, self.model.latent.working_width)

    def _generator(self, seed: int) -> Generator:
        generator = Generator(self.like.device)
        generator.manual_seed(seed)
        return generator

    def _chunks(
        self, data: Encoded, elements: int = 1
    ) -> Iterator[tuple[NDArray[np.intp], Batch]]:
        """Row numbers whose activations stay within the memory of a chunk.

        ``elements`` a row are kept at once; never less than one draw and its network.
        Complete rows come first and apart from those with holes: these ask more of a
        proposal, which a chunk makes for all of its rows.
        """
        matrix = 0 if self.learned.correlation is None else self.model.residuals.size**2
        elements = max(elements, matrix // self.n_members)
        widest = max(elements, self.model.decoder_width, self.model.input_width)
        size = max(1, self.max_elements // (self.n_members * widest))
        has_hole = np.isnan(data.x).any(axis=1)
        for group in (np.flatnonzero(~has_hole), np.flatnonzero(has_hole)):
            for begin in range(0, len(group), size):
                rows = group[begin : begin + size]
                yield rows, expand_members(self._batch(data, rows), self.n_members)

    def _batch(self, data: Encoded, rows: NDArray[np.intp] | slice) -> Batch:
        """Put some rows on the device, once for all members: (1, N, ·)."""
        x, x_observed = _split_missing(data.x[rows], self.like)
        c, c_observed = _split_missing(data.c[rows], self.like)
        weight = _tensor(data.weight[rows], self.like)
        fields = (x, x_observed, c, c_observed, weight)
        return Batch(*(field.unsqueeze(0) for field in fields))

    def _map(
        self,
        question: Callable[[Batch], Tensor],
        data: Encoded,
        elements: int = 1,
        row_axis: int = 0,
    ) -> Array:
        """Answers of all chunks, joined along the axis of the rows, in their order."""
        return self._map_rows(
            lambda _, batch: question(batch), data, elements, row_axis
        )

    @runtime.gradients()  # which a Laplace approximation takes
    @torch.no_grad()
    def _map_rows(
        self,
        question: Callable[[NDArray[np.intp], Batch], Tensor],
        data: Encoded,
        elements: int = 1,
        row_axis: int = 0,
    ) -> Array:
        """``_map`` for questions that want to know which rows are in a chunk."""
        rows, parts = [], []
        for index, batch in self._chunks(data, elements):
            rows.append(index)
            parts.append(question(index, batch).cpu())
        answers = torch.cat(parts, dim=row_axis).numpy()
        order = np.concatenate(rows)
        if (order[1:] > order[:-1]).all():
            return answers
        return np.take(answers, np.argsort(order), axis=row_axis)
