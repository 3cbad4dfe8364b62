"""p(x | z, c): what the raw outputs of the heads come from, beside z."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from skvae._engine.config import ModelConfig
from skvae._engine.networks import MLP, Inputs, Layout, Noise, Views

GAIN = 0.1  # of the outputs' starting weights


class Decoder(Protocol):
    """What the model asks of a decoder."""

    width: int  # elements of its largest array, a row and draw
    rounds: Sequence[slice]  # columns that are drawn together, in turn
    bias: int  # the slot of what every output starts from

    def preceding(self, w: Views, x: Tensor, observed: Tensor | None) -> list[Tensor]:
        """Turn cells x (E, [S,] N, D), observed 0/1, into inputs of the network."""
        ...

    def __call__(
        self, w: Views, inputs: Sequence[Tensor], noise: Noise | None
    ) -> Tensor:
        """Latents (E, S, N, L), the condition's features and ``preceding``.

        To (E, S, N, R).
        """
        ...


class Independent:
    """Cells that are independent given z. Kingma & Welling (2014), app. C."""

    def __init__(
        self,
        layout: Layout,
        config: ModelConfig,
        n_inputs: Sequence[int],
        hidden: Sequence[int],
        owners: Sequence[int],
    ) -> None:
        activation, n_out = config.activation, len(owners)
        self.net = MLP(layout, n_inputs, hidden, n_out, activation, GAIN)
        self.width, self.bias = self.net.width, self.net.bias
        self.rounds: Sequence[slice] = [slice(None)]

    def preceding(self, w: Views, x: Tensor, observed: Tensor | None) -> list[Tensor]:
        """Return none: z is all that a cell depends on."""
        return []

    def __call__(
        self, w: Views, inputs: Sequence[Tensor], noise: Noise | None
    ) -> Tensor:
        """(E, S, N, R)."""
        return self.net(w, inputs, noise)


class Autoregressive:
    """Each cell given z and the cells before it, in the order of the columns.

    Chen, Kingma, Salimans et al. (2017), Variational lossy autoencoder, sec. 2.2, with
    the masks of Germain, Gregor, Murray, Larochelle (2015), MADE, eq. 12-13: one pass
    gives the outputs of all columns. Of numbers that come before, the periodic
    embedding is seen, too (benchmarks/record/transformer.md). arXiv:1502.03509
    """

    def __init__(
        self,
        layout: Layout,
        config: ModelConfig,
        n_inputs: Sequence[int],
        hidden: Sequence[int],
        owners: Sequence[int],
        distinct: Tensor | None,
        like: Tensor,
    ) -> None:
        n_columns = config.n_columns
        self.inputs = Inputs(
            layout, n_columns, "periodic", config.n_codes, distinct=distinct
        )
        hidden = [config.decoder_widening * n for n in hidden]
        # an element sees those of its degree and below: z has none, column d gives d
        degrees = [torch.zeros(n, dtype=torch.long) for n in n_inputs]
        degrees.append(torch.tensor(self.inputs.columns) + 1)
        layers = [torch.arange(n) * n_columns // n for n in hidden]
        layers.append(torch.tensor(owners))
        first = torch.cat([*layers[:1], *layers[-1:]]) if hidden else layers[0]
        pairs = [(degree, first) for degree in degrees]
        pairs += pairwise(layers)
        self.net = MLP(
            layout,
            [*n_inputs, self.inputs.width],
            hidden,
            len(owners),
            config.activation,
            GAIN,
            [*(None for _ in n_inputs), self.inputs.indicators],
            [(low.unsqueeze(1) <= high).to(like) for low, high in pairs],
        )
        self.width = max(self.net.width, self.inputs.working_width)
        self.bias = self.net.bias
        self.rounds: Sequence[slice] = [slice(d, d + 1) for d in range(n_columns)]

    def preceding(self, w: Views, x: Tensor, observed: Tensor | None) -> list[Tensor]:
        """All cells (E, [S,] N, ·): the masks see to it that the others are hidden."""
        lead = x.shape[:-1]
        x = x.flatten(1, -2)
        if observed is not None:
            observed = observed.flatten(1, -2)
        return [self.inputs(w, x, observed).unflatten(1, lead[1:])]

    def __call__(
        self, w: Views, inputs: Sequence[Tensor], noise: Noise | None
    ) -> Tensor:
        """(E, S, N, R)."""
        return self.net(w, inputs, noise)
