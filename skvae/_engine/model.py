"""One latent-variable model: prior, posterior, decoder and heads over shared weights.

z ~ p(z | c), x ~ p(x | z, c), q(z | x, c). Without a condition it is a VAE; with the
features as condition and the target as x it is a conditional VAE.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from skvae._engine import objectives
from skvae._engine.codebook import CodeLatent
from skvae._engine.config import ModelConfig, TrainConfig
from skvae._engine.decoders import Autoregressive, Decoder, Independent
from skvae._engine.distributions import Density
from skvae._engine.flows import Flow
from skvae._engine.heads import Head, Residuals
from skvae._engine.hierarchy import LayeredLatent
from skvae._engine.latents import GaussianLatent, Latent
from skvae._engine.networks import (
    ACTIVATIONS,
    MLP,
    Inputs,
    Layout,
    Linear,
    Noise,
    Views,
    uniform_init,
)
from skvae._engine.objectives import Objective, Terms
from skvae._engine.priors import (
    FlowPrior,
    Prior,
    PriorNet,
    StandardNormal,
    VampPrior,
)

FLOW_CONTEXT = 16  # outputs of the encoder that steer a flow of the posterior


@dataclass(frozen=True)
class Batch:
    """Rows: x (E, N, D), condition c (E, N, C), both with 1 where observed.

    Where nothing is missing there may be None in the place of so many ones, which
    spares a training step their arithmetic.
    """

    x: Tensor
    x_observed: Tensor | None
    c: Tensor
    c_observed: Tensor | None
    weight: Tensor  # (E, N)

    def __len__(self) -> int:
        return self.weight.shape[1]

    def complete(self) -> Tensor:
        """Whether a row has no missing cell of x: (E, N)."""
        if self.x_observed is None:
            return torch.ones_like(self.weight, dtype=torch.bool)
        return (self.x_observed >= 1).all(-1)

    def seen(self, noise: Noise | None) -> Tensor | None:
        """Cells of x that the encoder sees: in training some are hidden."""
        if noise is None or noise.masking == 0.0:
            return self.x_observed
        observed = self.x_observed
        return noise.hide(torch.ones_like(self.x) if observed is None else observed)


class Condition:
    """The condition and its first layer, shared by PriorNet, encoder and decoder.

    Sharing it takes a third off a training step and loses nothing in likelihood
    (benchmarks/record/regression.md).
    """

    def __init__(
        self, layout: Layout, config: ModelConfig, distinct: Tensor | None
    ) -> None:
        self.inputs = Inputs(
            layout,
            config.n_conditions,
            config.numeric_embedding,
            config.condition_codes,
            config.n_scores,
            config.n_plain,
            distinct,
        )
        self.working_width = self.inputs.working_width
        self.n_layers = 1
        n_hidden = (*config.hidden_layer_sizes, self.inputs.width)[0]
        self.width = n_hidden + self.inputs.n_numeric
        self.layer = Linear(
            layout, self.inputs.width, n_hidden, zero_inputs=self.inputs.indicators
        )
        self.activation = ACTIVATIONS[config.activation]

    def __call__(
        self, w: Views, c: Tensor, observed: Tensor | None, noise: Noise | None
    ) -> Tensor:
        """(E, N, C) values and 0/1 observed to features (E, N, F)."""
        inputs = self.inputs(w, c, observed)
        h = self.activation(self.layer(w, inputs))
        numbers = inputs[..., : self.inputs.n_numeric]
        return torch.cat([noise.dropout(h) if noise else h, numbers], dim=-1)


class OneHot:
    """A class as the condition, in as many features as there are classes."""

    n_layers = 0

    def __init__(self, n_classes: int) -> None:
        self.width = self.working_width = n_classes

    def __call__(
        self, w: Views, c: Tensor, observed: Tensor | None, noise: Noise | None
    ) -> Tensor:
        """Codes (E, N, 1) to features (E, N, K)."""
        return functional.one_hot(c[..., 0].long(), self.width).to(w[0].dtype)


class LatentModel:
    """The composition; holds no weights: every method takes views of (E, P)."""

    def __init__(
        self, config: ModelConfig, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.config = config
        self.layout = layout = Layout()
        self.heads = [Head(head, device, dtype) for head in config.heads]
        self.residuals = Residuals(self.heads)
        n_decoded = self._lay_out("n_outputs", 0)
        self.n_outputs = self._lay_out("n_constants", n_decoded)
        order = torch.cat([head.columns for head in self.heads])
        # None: the heads, side by side, are already in the order of the columns
        in_order = bool((order == torch.arange(len(order), device=device)).all())
        self.column_order = None if in_order else order.argsort()

        hidden, activation = config.hidden_layer_sizes, config.activation
        conditional = config.n_conditions > 0
        self.distinct: Tensor | None = None
        embeds = config.numeric_embedding or config.decoder == "autoregressive"
        if embeds and any(config.distinct):
            self.distinct = torch.tensor(config.distinct, device=device, dtype=dtype)
        self.condition = self._build_condition()
        if self.condition is not None:
            # layers that the networks share are not theirs
            hidden = hidden[self.condition.n_layers :] or hidden
        # the embedding is for features: the table itself, or the condition
        embedding = None if conditional else config.numeric_embedding
        self.inputs = Inputs(
            layout,
            config.n_columns,
            embedding,
            config.n_codes,
            distinct=None if conditional else self.distinct,
        )
        widths = [self.condition.width] if self.condition else []
        latent_hidden = hidden if config.n_components else ()
        self.latent = self._build_latent(latent_hidden, widths)
        encoder_inputs = [self.inputs.width, *widths]
        zeros = [self.inputs.indicators, *([None] if conditional else [])]
        n_encoded = self.latent.n_encoded
        self.encoder = MLP(
            layout, encoder_inputs, latent_hidden, n_encoded, activation, 0.1, zeros
        )
        decoder_inputs = [config.n_components, *widths]
        like = torch.empty(0, device=device, dtype=dtype)
        self.decoder = self._build_decoder(decoder_inputs, hidden, like)
        self.constants: int | None = None
        if self.n_outputs > n_decoded:
            shape = (1, 1, self.n_outputs - n_decoded)
            self.constants = layout.add(shape, uniform_init(0.0))

    def _build_condition(self) -> Condition | OneHot | None:
        if self.config.classes:
            return OneHot(len(self.config.classes))
        if self.config.n_conditions:
            return Condition(self.layout, self.config, self.distinct)
        return None

    def _build_latent(self, hidden: tuple[int, ...], widths: list[int]) -> Latent:
        config, layout = self.config, self.layout
        if config.latent == "hierarchical":
            return LayeredLatent(layout, config.layer_sizes, config.activation)
        if config.latent == "vq":
            return CodeLatent(layout, config.n_components)
        n_components, activation = config.n_components, config.activation
        prior: Prior = StandardNormal(n_components)
        if config.prior == "conditional":
            prior = PriorNet(layout, config, hidden, widths[0])
        elif config.prior == "vamp":
            scale = torch.ones(self.inputs.width, dtype=torch.float32)
            scale[self.inputs.indicators] = 0.0
            posterior = self._posterior_of_inputs
            prior = VampPrior(layout, n_components, scale, posterior)
        elif config.prior == "flow":
            prior = FlowPrior(layout, n_components, activation)
        flow = None
        if config.posterior == "flow":
            flow = Flow(layout, n_components, activation, FLOW_CONTEXT)
        return GaussianLatent(n_components, prior, flow)

    def _build_decoder(
        self, n_inputs: list[int], hidden: tuple[int, ...], like: Tensor
    ) -> Decoder:
        config, layout = self.config, self.layout
        owners = [column for head in self.heads for column in head.owners]
        if config.decoder == "autoregressive":
            return Autoregressive(
                layout, config, n_inputs, hidden, owners, self.distinct, like
            )
        return Independent(layout, config, n_inputs, hidden, owners)

    def _posterior_of_inputs(self, w: Views, inputs: Tensor) -> Density:
        """q(z | x) of what enters the encoder, (E, N, width)."""
        return self.latent.posterior(w, self.encoder(w, [inputs], None), None)

    def _lay_out(self, name: str, start: int) -> int:
        """Give every head its slice of one kind of raw outputs; return their end."""
        for head in self.heads:
            end = start + getattr(head.likelihood, name)
            if end > start:
                head.slices.append(slice(start, end))
            start = end
        return start

    @property
    def input_width(self) -> int:
        """Elements a row that turning a table into network input takes."""
        condition = self.condition.working_width if self.condition else 0
        return max(self.inputs.working_width, condition)

    @property
    def is_autoregressive(self) -> bool:
        """Whether cells depend on others beside z."""
        return self.config.decoder == "autoregressive"

    @property
    def ties_all(self) -> bool:
        """Whether all columns, several, are such as residuals may tie."""
        return self.residuals.size == self.config.n_columns > 1

    @property
    def decoder_width(self) -> int:
        """Elements a row and draw of the largest array of the decoder."""
        return self.decoder.width

    def features(
        self, w: Views, batch: Batch, noise: Noise | None = None
    ) -> list[Tensor]:
        """Turn the condition into network input: [(E, N, F)], or [] without one."""
        if self.condition is None:
            return []
        return [self.condition(w, batch.c, batch.c_observed, noise)]

    def prior(
        self, w: Views, features: list[Tensor], noise: Noise | None = None
    ) -> Density:
        """p(z | c)."""
        return self.latent.prior(w, features, noise)

    def posterior(
        self,
        w: Views,
        batch: Batch,
        features: list[Tensor],
        noise: Noise | None = None,
    ) -> Density:
        """q(z | x, c), from the observed cells of x, in training from some of them.

        Whatever q has seen, the importance-weighted bound is one on all of them.
        """
        inputs = self.inputs(w, batch.x, batch.seen(noise))
        encoded = self.encoder(w, [inputs, *features], noise)
        return self.latent.posterior(w, encoded, noise)

    def preceding(self, w: Views, x: Tensor, observed: Tensor | None) -> list[Tensor]:
        """Features of cells x (E, [S,] N, D) for a decoder that looks at them."""
        return self.decoder.preceding(w, x, observed)

    def in_turn(
        self,
        w: Views,
        z: Tensor,
        features: list[Tensor],
        choose: Callable[[Tensor, int], Tensor],
        x: Tensor,
        observed: Tensor,
    ) -> Tensor:
        """Fill in cells of x (E or 1, S, N, D), 0/1 observed, at z (E, S, N, L).

        ``choose`` gives cells (E or 1, S, N, D) for raw outputs and the round that it
        is. Columns are filled in one after the other where the decoder looks at those
        before.
        """
        x = x.clone()
        for i, columns in enumerate(self.decoder.rounds):
            missing = observed[..., columns] < 1
            if missing.any():
                known = self.preceding(w, x.expand(len(z), -1, -1, -1), None)
                cells = choose(self.decode(w, z, features + known), i)[..., columns]
                x[..., columns] = torch.where(missing, cells, x[..., columns])
        return x

    def decode(
        self,
        w: Views,
        z: Tensor,
        features: list[Tensor],
        noise: Noise | None = None,
    ) -> Tensor:
        """Map z (E, S, N, L) to the raw outputs of the heads (E, S, N, R).

        ``features`` are those of the condition, then what ``preceding`` returns.
        """
        decoded = self.decoder(w, [z, *features], noise)
        if self.constants is None:
            return decoded
        constants = w[self.constants].expand(*decoded.shape[:-1], -1)
        return torch.cat([decoded, constants], dim=-1)

    def constant(self, outputs: Tensor) -> Tensor:
        """Return weights (1, P) that decode every z to ``outputs`` (R,)."""
        weights = outputs.new_zeros(1, sum(self.layout.sizes))
        self.layout.views(weights)[self.decoder.bias][0, 0] = outputs
        return weights

    def log_prob_cells(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return log p(x | z, c) of each cell, 0 where missing: (E, S, N, D)."""
        x = batch.x.unsqueeze(1)
        parts = [
            head.likelihood.log_prob(head.raw(outputs), self._columns(head, x))
            for head in self.heads
        ]
        cells = self._assemble(parts)
        if batch.x_observed is None:
            return cells
        return cells * batch.x_observed.unsqueeze(1)

    def expectations(self, outputs: Tensor) -> Tensor:
        """Return what is averaged over draws before ``points``: (..., M)."""
        parts = [head.likelihood.expectation(head.raw(outputs)) for head in self.heads]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    def expectations_of(self, x: Tensor) -> Tensor:
        """Return ``expectations`` of cells x (..., D) that are certain: (..., M)."""
        parts = [
            head.likelihood.expectation_of(self._columns(head, x))
            for head in self.heads
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    def points(self, expectations: Tensor) -> Tensor:
        """Cells from averaged expectations, means or modes: (..., M) to (..., D)."""
        cells, start = [], 0
        for head in self.heads:
            end = start + head.likelihood.n_expectations
            cells.append(head.likelihood.point(expectations[..., start:end]))
            start = end
        return self._assemble(cells)

    def sample_cells(self, outputs: Tensor, generator: Generator) -> Tensor:
        """Draw x ~ p(x | z, c): (E, S, N, D)."""
        return self._assemble(
            [
                head.likelihood.sample(head.raw(outputs), generator)
                for head in self.heads
            ]
        )

    def terms(
        self, w: Views, batch: Batch, draws: Tensor, noise: Noise | None = None
    ) -> Terms:
        """Terms of the bound at the posterior's image of ``draws`` (·, S, ·, L)."""
        features = self.features(w, batch, noise)
        posterior = self.posterior(w, batch, features, noise)
        z = posterior.at(draws)
        known = self.preceding(w, batch.x, batch.x_observed)
        outputs = self.decode(w, z, features + known, noise)
        log_lik = self.log_prob_cells(outputs, batch).sum(-1)
        return Terms(log_lik, z, posterior, self.prior(w, features, noise))

    def objective(self, config: TrainConfig) -> Objective:
        """Return what training minimises."""
        return objectives.build(config)

    def _columns(self, head: Head, x: Tensor) -> Tensor:
        if self.column_order is None and len(self.heads) == 1:
            return x
        return x.index_select(-1, head.columns)

    def _assemble(self, parts: list[Tensor]) -> Tensor:
        cells = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
        if self.column_order is None:
            return cells
        return cells.index_select(-1, self.column_order)
