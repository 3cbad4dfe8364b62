"""Layers over members: (E, N, in) to (E, N, out), weights taken from one flat matrix.

A layer registers the shapes it needs in a ``Layout`` when it is built and reads its
views of the (E, P) matrix when it is called, so it holds no tensor of its own.
"""

import math
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise, repeat

import torch
from torch import Generator, Tensor
from torch.nn import functional

Views = Sequence[Tensor]
Initializer = Callable[[Tensor, Generator], None]  # fills one (E, *shape) block

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": functional.silu,
    "relu": functional.relu,
    "tanh": torch.tanh,
    "gelu": functional.gelu,
    "identity": lambda h: h,
}
# waves per standard deviation of a column, the slowest and the fastest at the start
FREQUENCY_SCALES = 0.03, 0.6
# faster ones count less for columns whose values are distinct, by the square of their
# distance: networks that need them learn them, others do not take noise for waves
DAMPED_FROM = 0.15


class Layout:
    """Where each parameter lies in a row of the (E, P) matrix, and how it starts."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.initializers: list[Initializer] = []
        self.decays: list[bool] = []

    def add(
        self, shape: tuple[int, ...], initializer: Initializer, decays: bool = False
    ) -> int:
        """Register a parameter; ``decays`` if weight decay applies. Return its slot."""
        self.shapes.append(shape)
        self.initializers.append(initializer)
        self.decays.append(decays)
        return len(self.shapes) - 1

    @property
    def sizes(self) -> list[int]:
        """Number of scalars of each parameter."""
        return [math.prod(shape) for shape in self.shapes]

    def views(self, flat: Tensor) -> list[Tensor]:
        """Cut (E, P) into one (E, *shape) view per parameter."""
        blocks = flat.split(self.sizes, dim=1)
        return [
            block.view(flat.shape[0], *shape)
            for block, shape in zip(blocks, self.shapes, strict=True)
        ]

    def initial(self, n_members: int, generator: Generator) -> Tensor:
        """Draw starting weights (E, P)."""
        size = n_members, sum(self.sizes)
        flat = torch.zeros(size, device=generator.device, dtype=torch.float32)
        for view, fill in zip(self.views(flat), self.initializers, strict=True):
            fill(view, generator)
        return flat

    def decay_mask(self) -> Tensor:
        """(P,): 1 where weight decay applies (matrices), 0 elsewhere."""
        marks = torch.tensor(self.decays, dtype=torch.float32)
        return marks.repeat_interleave(torch.tensor(self.sizes))


def uniform_init(bound: float) -> Initializer:
    """Draw uniformly from (-bound, bound)."""

    def fill(view: Tensor, generator: Generator) -> None:
        view.uniform_(-bound, bound, generator=generator)

    return fill


def normal_init(stds: Tensor) -> Initializer:
    """Draw from a normal, with a standard deviation for each place in the last axis."""

    def fill(view: Tensor, generator: Generator) -> None:
        view.normal_(generator=generator).mul_(stds.to(view))

    return fill


class Noise:
    """The chance of one training step: normal draws, dropout and hidden cells."""

    def __init__(
        self, generator: Generator, rate: Tensor | None = None, masking: float = 0.0
    ) -> None:
        self.generator = generator
        self.rate = rate  # (1,), of dropout; may change from step to step
        self.masking = masking  # largest share of a row's cells that are hidden

    def hide(self, observed: Tensor) -> Tensor:
        """Take some cells of each row out of 0/1 ``observed`` (E, N, D).

        The share of a row is drawn uniformly from 0 to ``masking``.
        """
        uniform = torch.empty_like(observed).uniform_(generator=self.generator)
        share = torch.empty_like(observed[..., :1]).uniform_(
            0.0, self.masking, generator=self.generator
        )
        return observed * (uniform >= share).to(observed.dtype)

    def dropout(self, h: Tensor) -> Tensor:
        """Zero units of ``h`` at the dropout rate and rescale the rest."""
        if self.rate is None:
            return h
        # eight masks a random word: a fifth of the time of bernoulli_ on a CPU; the
        # rate is rounded to 1/256
        dropped = (self.rate * 256).round().clamp(max=255)
        n = h.numel()
        words = torch.empty((n + 7) // 8, dtype=torch.int64, device=h.device)
        words.random_(-(2**63), None, generator=self.generator)
        kept = words.view(torch.uint8)[:n].view(h.shape) >= dropped.to(torch.uint8)
        return h * kept.to(h.dtype).mul_(256 / (256 - dropped))

    def normal(self, *shape: int) -> Tensor:
        """Draw standard normals."""
        device = self.generator.device
        return torch.randn(
            shape, generator=self.generator, device=device, dtype=torch.float32
        )


class Linear:
    """h W + b per member; ``gain``, one or one an output, scales the starting weights.

    ``zero_inputs`` start with weight 0: an input that is 0 throughout training (the
    missing indicator of a column that is never missing) then never has an effect.
    ``mask``, 0/1 of shape (n_in, n_out), says which input an output sees; None, all.
    """

    def __init__(
        self,
        layout: Layout,
        n_in: int,
        n_out: int,
        gain: float | Sequence[float] = 1.0,
        bias: bool = True,
        zero_inputs: slice | None = None,
        mask: Tensor | None = None,
    ) -> None:
        self.mask = mask
        draw = uniform_init(1.0 / math.sqrt(max(n_in, 1)))
        gains = torch.tensor(gain, dtype=torch.float32)

        def fill(view: Tensor, generator: Generator) -> None:
            draw(view, generator)
            view *= gains.to(view)

        def fill_weight(view: Tensor, generator: Generator) -> None:
            fill(view, generator)
            if zero_inputs is not None:
                view[:, zero_inputs] = 0.0

        self.weight = layout.add((n_in, n_out), fill_weight, decays=True)
        self.bias = layout.add((1, n_out), fill) if bias else None

    def __call__(self, w: Views, h: Tensor) -> Tensor:
        """(E, N, in) to (E, N, out); inputs that ``h`` ends without are 0."""
        weight = w[self.weight]
        if self.mask is not None:
            weight = weight * self.mask
        if h.shape[-1] < weight.shape[1]:
            weight = weight[:, : h.shape[-1]]
        if self.bias is None:
            return torch.bmm(h, weight)
        return torch.baddbmm(w[self.bias], h, weight)


class PeriodicEmbedding:
    """Sines and cosines of learned frequencies, a linear layer a column, ReLU.

    "PLR" of Gorishniy, Rubachev, Babenko (2022), sec. 3.3. arXiv:2203.05556. The paper
    tunes the scale of the frequencies to each data set; here they begin at many scales,
    so that smooth and steep columns are both served (benchmarks/record/regression.md).
    ``damped`` says whose fast waves count less, a 0/1 tensor (n_columns,); None, no
    column's.
    """

    def __init__(
        self,
        layout: Layout,
        n_columns: int,
        n_frequencies: int = 16,
        n_outputs: int = 8,
        damped: Tensor | None = None,
    ) -> None:
        self.width = n_columns * n_outputs
        self.n_waves = 2 * n_frequencies
        bound = 1.0 / math.sqrt(2 * n_frequencies)
        slow, fast = (math.log10(scale) for scale in FREQUENCY_SCALES)
        scales = torch.logspace(slow, fast, n_frequencies, dtype=torch.float32)
        self.amplitudes: Tensor | None = None
        if damped is not None:
            falling = (DAMPED_FROM / scales.to(damped)).clamp(max=1.0) ** 2
            share = damped.view(-1, 1, 1)
            self.amplitudes = 1.0 - share + share * falling.repeat(2).unsqueeze(-1)
        self.frequencies = layout.add(
            (n_columns, 1, n_frequencies), normal_init(scales)
        )
        self.weight = layout.add(
            (n_columns, 2 * n_frequencies, n_outputs), uniform_init(bound), decays=True
        )
        self.bias = layout.add((n_columns, 1, n_outputs), uniform_init(bound))

    def __call__(self, w: Views, values: Tensor, observed: Tensor | None) -> Tensor:
        """(E, N, D) to (E, N, D·out); the block of a missing cell is 0."""
        n_members, n_rows, n_columns = values.shape
        columns = values.mT.unsqueeze(-1)  # (E, D, N, 1)
        angles = columns * (2 * math.pi * w[self.frequencies])  # (E, D, N, F)
        waves = torch.cat([angles.sin(), angles.cos()], dim=-1)  # (E, D, N, 2F)
        weight = w[self.weight]  # (E, D, 2F, out)
        if self.amplitudes is not None:
            weight = weight * self.amplitudes
        out = torch.baddbmm(
            w[self.bias].flatten(0, 1), waves.flatten(0, 1), weight.flatten(0, 1)
        )  # (E·D, N, out)
        out = functional.relu(out).view(n_members, n_columns, n_rows, -1)
        if observed is not None:
            out = out * observed.mT.unsqueeze(-1)
        return out.transpose(1, 2).reshape(n_members, n_rows, self.width)


class CodeEmbedding:
    """A learned vector for every code of every discrete column, 0 where missing."""

    def __init__(
        self, layout: Layout, n_codes: Sequence[int], n_outputs: int = 8
    ) -> None:
        self.total = sum(n_codes)
        self.starts = [0, *accumulate(n_codes)][:-1]
        self.width = len(n_codes) * n_outputs
        width = 1.0 / math.sqrt(n_outputs)
        scale = torch.full((n_outputs,), width, dtype=torch.float32)
        self.vectors = layout.add((self.total, n_outputs), normal_init(scale))

    def __call__(self, w: Views, codes: Tensor, observed: Tensor | None) -> Tensor:
        """(E, N, D) codes to (E, N, D·out)."""
        n_members = codes.shape[0]
        device = codes.device
        starts = torch.tensor(self.starts, device=device)
        members = torch.arange(n_members, device=device).view(-1, 1, 1) * self.total
        index = codes.long() + starts + members
        out = functional.embedding(index, w[self.vectors].flatten(0, 1))
        if observed is not None:
            out = out * observed.unsqueeze(-1)
        return out.flatten(-2)


class Inputs:
    """A table with holes as network input: values, embeddings, missing indicators.

    ``n_codes`` says which columns hold codes, and how many; empty, none does. The
    indicators come last, so that a complete table can go without them. The last
    ``n_plain`` members see neither the embedding nor the last ``n_scores`` columns.
    ``distinct``, 0/1 of shape (n_columns,), marks columns whose values hardly recur.
    """

    def __init__(
        self,
        layout: Layout,
        n_columns: int,
        embedding: str | None,
        n_codes: Sequence[int] = (),
        n_scores: int = 0,
        n_plain: int = 0,
        distinct: Tensor | None = None,
    ) -> None:
        coded = [i for i, k in enumerate(n_codes) if k]
        numeric = [i for i in range(n_columns) if i not in set(coded)]
        self.coded = coded
        self.numeric = numeric if coded else None  # None: all are
        n_numeric = len(numeric)
        self.embedding: PeriodicEmbedding | None = None
        if embedding == "periodic" and n_numeric:
            damped = None if distinct is None else self.numbers(distinct)
            self.embedding = PeriodicEmbedding(layout, n_numeric, damped=damped)
        self.codes = (
            CodeEmbedding(layout, [n_codes[i] for i in coded]) if coded else None
        )
        self.n_numeric = n_numeric
        n_waves = self.embedding.width if self.embedding else 0
        n_embedded = n_waves + (self.codes.width if self.codes else 0)
        self.width = n_numeric + n_embedded + n_columns
        self.indicators = slice(n_numeric + n_embedded, self.width)
        parts = [self.embedding, self.codes]
        whose = [numeric, coded]
        # the column that each element comes from
        self.columns = list(numeric)
        for part, columns in zip(parts, whose, strict=True):
            if part is not None:
                n_each = part.width // len(columns)
                self.columns += [i for i in columns for _ in range(n_each)]
        self.columns += range(n_columns)
        self.n_scores, self.n_plain = n_scores, n_plain
        # the largest array that making the input takes, a row
        self.working_width = self.width + (
            n_numeric * self.embedding.n_waves if self.embedding else 0
        )

    def numbers(self, cells: Tensor) -> Tensor:
        """Cut the numeric columns from (..., D)."""
        return cells if self.numeric is None else cells[..., self.numeric]

    def __call__(self, w: Views, values: Tensor, observed: Tensor | None) -> Tensor:
        """(E, N, D) values and 0/1 observed to (E, N, width).

        Without ``observed`` no cell is missing, and the indicators, all 0, are left
        out.
        """
        numbers, seen = self.numbers(values), observed
        if seen is not None:
            seen = self.numbers(seen)
            numbers = numbers * seen
        if self.n_plain:
            numbers = self._without_scores(numbers)
        parts = [numbers]
        if self.embedding is not None:
            embed = self._embedded if self.n_plain else self.embedding
            parts.append(embed(w, numbers, seen))
        if self.codes is not None:
            known = None if observed is None else observed[..., self.coded]
            parts.append(self.codes(w, values[..., self.coded], known))
        if observed is not None:
            parts.append(1.0 - observed)
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    def _without_scores(self, numbers: Tensor) -> Tensor:
        """Put 0 in the place of the plain members' scores: (E, N, D)."""
        n_others = len(numbers) - self.n_plain
        bare = numbers[n_others:, :, : self.n_numeric - self.n_scores]
        plain = functional.pad(bare, (0, self.n_scores))
        return torch.cat([numbers[:n_others], plain])

    def _embedded(self, w: Views, numbers: Tensor, seen: Tensor | None) -> Tensor:
        """Embed what members see who are not plain, 0 for those: (E, N, D·out)."""
        assert self.embedding is not None
        n_others = len(numbers) - self.n_plain
        known = None if seen is None else seen[:n_others]
        others = [view[:n_others] for view in w]
        waves = self.embedding(others, numbers[:n_others], known)
        return functional.pad(waves, (0, 0, 0, 0, 0, self.n_plain))


class MLP:
    """Hidden layers over one or more inputs, beside a linear map of the same inputs.

    The linear map lets a net begin as what tables often are nearly, a linear-Gaussian
    model, and spend its hidden layers on the rest; it is part of the first layer's
    matrix, so it costs next to nothing. Inputs may differ in their number of draws:
    their projections are broadcast and summed. ``masks`` are those of the layers: one
    an input, each of the first hidden layer and the outputs side by side, then one for
    every layer that follows.
    """

    def __init__(
        self,
        layout: Layout,
        n_inputs: Sequence[int],
        hidden: Sequence[int],
        n_out: int,
        activation: str,
        gain: float = 1.0,
        zero_inputs: Sequence[slice | None] | None = None,
        masks: Sequence[Tensor] | None = None,
    ) -> None:
        self.n_out = n_out
        n_hidden = sum(hidden[:1])
        self.width = max(n_hidden + n_out, *hidden, 1)  # of the largest array, a row
        gains = [1.0] * n_hidden + [gain] * n_out
        zeros = zero_inputs or [None] * len(n_inputs)
        mask = iter(masks or repeat(None))
        self.first = [
            Linear(layout, n, n_hidden + n_out, gains, i == 0, zero, next(mask))
            for i, (n, zero) in enumerate(zip(n_inputs, zeros, strict=True))
        ]
        self.rest = [Linear(layout, a, b, mask=next(mask)) for a, b in pairwise(hidden)]
        self.rest += [
            Linear(layout, a, n_out, gain, mask=next(mask)) for a in hidden[-1:]
        ]
        self.activation = ACTIVATIONS[activation]
        bias = self.rest[-1].bias if self.rest else self.first[0].bias
        assert bias is not None
        self.bias = bias  # the slot of that of the outputs

    def __call__(
        self, w: Views, inputs: Sequence[Tensor], noise: Noise | None
    ) -> Tensor:
        """Each input (E, N, in), or (E, S, N, in), to (E, [S,] N, out)."""
        projected = [
            layer(w, h) if h.dim() == 3 else _over_draws(layer, w, h)
            for layer, h in zip(self.first, inputs, strict=True)
        ]
        if any(h.dim() == 4 for h in projected):
            projected = [h.unsqueeze(1) if h.dim() == 3 else h for h in projected]
        total = sum(projected[1:], start=projected[0])
        lead = total.shape[:-1]
        total = total.flatten(1, -2)  # (E, S·N, H + out)
        h, linear = total.split([total.shape[-1] - self.n_out, self.n_out], dim=-1)
        for layer in self.rest:
            h = self.activation(h)
            h = layer(w, noise.dropout(h) if noise else h)
        out = linear + h if self.rest else linear
        return out.view(*lead, self.n_out)


def _over_draws(layer: Linear, w: Views, h: Tensor) -> Tensor:
    """Apply ``layer`` to (E, S, N, in)."""
    return layer(w, h.flatten(1, 2)).view(*h.shape[:3], -1)
