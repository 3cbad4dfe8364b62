"""The one training loop: every member at once, from rows to weights and a history."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.optim.adam import adam

from skvae._engine import runtime, schedules
from skvae._engine.config import TrainConfig
from skvae._engine.model import Batch, LatentModel
from skvae._engine.networks import Noise

MAX_GRADIENT_NORM = 5.0
BATCHES_PER_EPOCH = 16  # batch_size="auto" aims at n / 16 rows, within the bounds below
SMALLEST_BATCH = 16
VALIDATION_DRAWS = 8
# at most so many rows are evaluated after each epoch, and of wide tables so many cells
MONITORED_ROWS, MONITORED_CELLS = 2048, 2**18
DIVERGED = 1.0  # nats a column by which a fit must be worse than untrained weights
# an ensemble is at its best later than its members: every other one is kept as it is
# after so many times the epochs of its best
PAST_BEST = 2.0
FALLEN = 0.25  # nats a column below its best at which a member is kept no more
TELLING_ROWS = 25  # held-out rows whose bound tells as much; fewer allow less of a fall
SYNC_EVERY = 10  # epochs between two looks of the host at a GPU's progress


@dataclass(frozen=True)
class Rows:
    """A table on the device, its parts side by side so that a batch is one gather."""

    packed: Tensor  # (N, sum of the widths)
    widths: tuple[int, ...]  # of x, x_observed, c, c_observed, weight

    @classmethod
    def pack(
        cls,
        x: Tensor,
        x_observed: Tensor | None,
        c: Tensor,
        c_observed: Tensor | None,
        weight: Tensor,
    ) -> "Rows":
        """Columns of x (N, D), condition (N, C) and weights (N,) as one tensor."""
        nothing = x[:, :0]
        fields = (x, x_observed, c, c_observed, weight.unsqueeze(1))
        parts = [nothing if field is None else field for field in fields]
        return cls(torch.cat(parts, dim=1), tuple(part.shape[1] for part in parts))

    def __len__(self) -> int:
        return len(self.packed)

    def take(self, index: Tensor) -> Batch:
        """Rows ``index`` (E, N) of each member."""
        parts = self.packed[index].split(self.widths, dim=-1)
        x, x_observed, c, c_observed, weight = parts
        return Batch(
            x,
            x_observed if x_observed.shape[-1] else None,
            c,
            c_observed if c_observed.shape[-1] else None,
            weight.squeeze(-1),
        )


@dataclass(frozen=True)
class Split:
    """Row numbers of each member, (E, n_train) and (E, n_valid); disjoint."""

    train: Tensor
    valid: Tensor

    def twice(self) -> "Split":
        """Give the rows of each member to a twin, too; these come after all others."""
        return Split(self.train.repeat(2, 1), self.valid.repeat(2, 1))


@dataclass(frozen=True)
class History:
    """What happened in each epoch (T) to each member (E); losses in nats per row."""

    loss: Tensor  # (T, E), training objective
    bound: Tensor  # (T, E), of monitored rows at the final beta, higher is better
    kl: Tensor  # (T, E, L), of the monitored rows
    best_epoch: Tensor  # (E,), -1: no epoch was better than the starting weights
    kept_epoch: Tensor  # (E,), that of the weights which are kept, likewise
    diverged: Tensor  # (E,)
    stopped_early: bool

    def first(self, n_members: int) -> "History":
        """Leave out what happened to other members."""
        return History(
            self.loss[:, :n_members],
            self.bound[:, :n_members],
            self.kl[:, :n_members],
            self.best_epoch[:n_members],
            self.kept_epoch[:n_members],
            self.diverged[:n_members],
            self.stopped_early,
        )


@dataclass(frozen=True)
class OptimizerState:
    """Moments of Adam, so that training can go on: (E, P), (E, P), and the step."""

    first: Tensor
    second: Tensor
    step: Tensor

    @classmethod
    def zero(cls, weights: Tensor) -> "OptimizerState":
        """Begin without momentum."""
        zeros = torch.zeros_like(weights)
        step = torch.zeros((), device=weights.device, dtype=torch.float32)
        return cls(zeros, zeros, step)

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.first, self.second, self.step))


def split_rows(
    n_rows: int, n_valid: int, n_members: int, generator: Generator
) -> Split:
    """Random split; the members' validation rows are disjoint while rows last."""
    device = generator.device
    order = torch.randperm(n_rows, generator=generator, device=device)
    shift = torch.arange(n_members, device=device).unsqueeze(1) * n_valid
    place = (torch.arange(n_rows, device=device) + shift) % n_rows
    index = order[place]  # (E, N)
    return Split(index[:, n_valid:], index[:, :n_valid])


@dataclass(frozen=True)
class Stratum:
    """Rows (n,) that are split on their own, and train so many times an epoch."""

    rows: Tensor
    n_valid: int
    repeats: int


def split_strata(
    strata: Sequence[Stratum], n_members: int, generator: Generator
) -> Split:
    """Split every stratum as ``split_rows`` does."""
    train, valid = [], []
    for stratum in strata:
        rows = stratum.rows
        part = split_rows(len(rows), stratum.n_valid, n_members, generator)
        train.append(rows[part.train].repeat(1, stratum.repeats))
        valid.append(rows[part.valid])
    held_out = torch.cat(valid, dim=1)
    # in any order, since only the first so many of them may be looked at
    return Split(
        torch.cat(train, dim=1), shuffle(held_out, held_out.shape[1], generator)
    )


def auto_batch_size(batch_size: int | str, n_rows: int, largest: int) -> int:
    """Rows in a batch, never more than there are; "auto" takes ``largest`` at most."""
    if isinstance(batch_size, str):
        wanted = n_rows // BATCHES_PER_EPOCH
        batch_size = min(max(wanted, SMALLEST_BATCH), largest)
    return min(batch_size, n_rows)


def batches(config: TrainConfig, n_rows: int) -> tuple[int, int]:
    """Batches of an epoch, and rows in each.

    An epoch leaves out the rows that do not fill a batch, others each time. The only
    epoch of ``partial_fit`` leaves out none: some count twice, less than one a batch.
    """
    batch_size = auto_batch_size(config.batch_size, n_rows, config.largest_batch)
    if not config.constant_rate:
        return n_rows // batch_size, batch_size
    n_batches = -(-n_rows // batch_size)
    return n_batches, -(-n_rows // n_batches)


def planned_epochs(config: TrainConfig, n_batches: int) -> int:
    """Epochs that a fit takes unless it stops early: ``max_steps`` may end it first."""
    return min(config.max_iter, max(1, config.max_steps // n_batches))


class Step:
    """One optimisation step of all members; touches only tensors on the device."""

    def __init__(
        self,
        model: LatentModel,
        rows: Rows,
        config: TrainConfig,
        weights: Tensor,
        schedule: schedules.Schedule,
        batch_size: int,
        generator: Generator,
        moments: "OptimizerState | None" = None,
    ) -> None:
        n_members, device = weights.shape[0], weights.device
        self.model, self.rows, self.config = model, rows, config
        self.objective = model.objective(config)
        self.generator = generator
        self.weights = weights.clone().requires_grad_()
        self.gradient = torch.zeros_like(weights)
        self.shrinkage = torch.zeros_like(weights[:1])
        self.first, self.second, self.n_updates = (
            moment.clone() for moment in moments or OptimizerState.zero(weights)
        )
        decay = model.layout.decay_mask().to(device)
        self.decay = config.alpha * decay.unsqueeze(0)  # (1, P)
        self.rates, self.betas, self.dropouts = (t.to(device) for t in schedule)
        self.count = torch.zeros(1, dtype=torch.long, device=device)
        self.position = torch.zeros(1, dtype=torch.long, device=device)
        self.within_batch = torch.arange(batch_size, device=device)
        self.order = torch.zeros(n_members, 0, dtype=torch.long, device=device)
        self.loss_sum = torch.zeros(n_members, device=device, dtype=torch.float32)

    def __call__(self) -> None:
        """Gather, bound, gradient, update."""
        index = self.order.index_select(1, self.position + self.within_batch)
        batch = self.rows.take(index)  # (E, B, ·)
        n_members, n_rows = index.shape
        noise = self._noise()
        draws = noise.normal(
            n_members, self.config.n_draws, n_rows, self.model.config.n_components
        )
        beta = self.betas.index_select(0, self.count)
        views = self.model.layout.views(self.weights)
        terms = self.model.terms(views, batch, draws, noise)
        loss = self.objective(terms, beta, batch.weight)  # (E,)
        (gradient,) = torch.autograd.grad(loss.sum(), self.weights)
        self._update(gradient)
        self.model.latent.after_step(
            self.weights.detach(), terms.posterior, batch.weight, noise
        )
        self.loss_sum += loss.detach()
        self.position += len(self.within_batch)
        self.count += 1

    def _noise(self) -> Noise:
        """Make the chance of this step, its dropout rate that of the schedule."""
        masking = self.config.masking
        if self.config.dropout == 0:
            return Noise(self.generator, None, masking)
        rate = self.dropouts.index_select(0, self.count)
        return Noise(self.generator, rate, masking)

    @torch.no_grad()
    def _update(self, gradient: Tensor) -> None:
        """Clip per member, decay matrices, Adam: Loshchilov & Hutter (2019), alg. 2."""
        # where the gradient overflowed there is no step to take
        gradient = gradient.nan_to_num_(0.0, 0.0, 0.0)
        norm = gradient.norm(dim=1, keepdim=True)  # (E, 1)
        factor = (MAX_GRADIENT_NORM / norm).clamp(max=1.0)
        torch.mul(gradient, factor, out=self.gradient)
        rate = self.rates.index_select(0, self.count).squeeze(0)
        if self.config.alpha > 0:
            torch.mul(self.decay, rate, out=self.shrinkage)
            self.weights.addcmul_(self.weights, self.shrinkage, value=-1.0)
        adam(
            [self.weights],
            [self.gradient],
            [self.first],
            [self.second],
            [],
            [self.n_updates],
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=rate,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )

    def start_epoch(self, order: Tensor) -> None:
        """Lay out an epoch's rows (E, n) and reset its counters."""
        if self.order.shape == order.shape:
            self.order.copy_(order)
        else:
            self.order = order.clone()
        self.position.zero_()
        self.loss_sum.zero_()

    def state(self) -> list[Tensor]:
        """All tensors that a step changes."""
        counters = [self.count, self.position, self.loss_sum]
        return [self.weights, *self.moments(), *counters]

    def moments(self) -> OptimizerState:
        """State of Adam, the live tensors."""
        return OptimizerState(self.first, self.second, self.n_updates)


class Monitor:
    """The bound on held-out rows after each epoch, and the weights that are kept.

    With validation rows a member is at its best where its bound is highest; every other
    member is kept as it is ``PAST_BEST`` times as late, or before its bound has fallen
    by ``FALLEN``. Without them, the newest weights that have not diverged are kept.
    """

    def __init__(
        self,
        model: LatentModel,
        rows: Rows,
        index: Tensor,
        config: TrainConfig,
        weights: Tensor,
        generator: Generator,
        select: bool,
        n_epochs: int,
    ) -> None:
        self.model, self.config, self.select = model, config, select
        self.objective = model.objective(config)
        self.n_columns = model.config.n_columns
        self.batch = rows.take(index)
        # as in training, but without dropout and hidden cells: a latent of codes is
        # judged by the nearest ones, whose KL is the same for all rows, and not for
        # how many of them are in use
        self.calm = Noise(generator)
        # draws of its own for each row: epochs would be chosen for how well they suit
        # a few points that all rows share (0.3 nats of optimism, measured)
        self.draws = self.calm.normal(
            1, VALIDATION_DRAWS, index.shape[1], model.config.n_components
        )
        self.start, _ = self.evaluate(weights)
        self.kept = weights.detach().clone()
        self.kept_bound = self.start.nan_to_num(nan=-torch.inf)
        self.kept_epoch = torch.full_like(self.start, -1.0)
        self.best_bound, self.best_epoch = self.kept_bound, self.kept_epoch
        self.reference, self.rise_epoch = self.kept_bound, self.kept_epoch
        share = min(1.0, index.shape[1] / TELLING_ROWS)
        self.may_fall = FALLEN * share * model.config.n_columns
        # a plain member is as late as its twin, with which it is compared
        n_splits = len(weights) - model.config.n_plain
        place = torch.arange(len(weights), device=weights.device) % n_splits
        is_late = place % 2 == 1
        self.past_best = torch.where(is_late, PAST_BEST, 1.0)
        self.patience_from = (
            0.0 if config.kl_schedule == "constant" else config.kl_warmup * n_epochs
        )

    @torch.no_grad()
    def evaluate(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Bound (E,) and KL per dimension (E, L), weighted means over the rows."""
        views = self.model.layout.views(weights)
        terms = self.model.terms(views, self.batch, self.draws, self.calm)
        bound = self.objective.bound(terms, self.config.beta)  # (E, N)
        weight = self.batch.weight / self.batch.weight.sum(1, keepdim=True)
        kl = (weight.unsqueeze(-1) * terms.asked(self.draws).kl_each()).sum(1)
        return (weight * bound).sum(1), kl

    @torch.no_grad()
    def look(self, epoch: int, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate ``weights`` (E, P), and keep those of members whose turn it is."""
        bound, kl = self.evaluate(weights)
        usable = bound.isfinite() & weights.isfinite().all(dim=1)
        floor = (
            self.best_bound if self.select else self.start - DIVERGED * self.n_columns
        )
        better = usable & ((bound > floor) | ~floor.isfinite())
        self.best_bound = torch.where(better, bound, self.best_bound)
        self.best_epoch = torch.where(better, float(epoch), self.best_epoch)
        sound = usable & (bound >= self.best_bound - self.may_fall)
        keeps = sound & (epoch + 1 <= self.past_best * (self.best_epoch + 1))
        self.kept = torch.where(keeps.unsqueeze(1), weights, self.kept)
        self.kept_bound = torch.where(keeps, bound, self.kept_bound)
        self.kept_epoch = torch.where(keeps, float(epoch), self.kept_epoch)
        rises = usable & (bound > self.reference + self.config.tol)
        self.reference = torch.where(rises, bound, self.reference)
        self.rise_epoch = torch.where(rises, float(epoch), self.rise_epoch)
        return bound, kl

    def exhausted(self, epoch: int) -> Tensor:
        """Whether no member's bound has risen for ``n_iter_no_change`` epochs."""
        since = epoch - self.rise_epoch.clamp(min=self.patience_from)
        return (since >= self.config.n_iter_no_change).all()


@dataclass(frozen=True)
class Trained:
    """Weights (E, P) as they are kept, and how the fit went."""

    weights: Tensor
    bound: Tensor  # (E,), of the kept weights
    history: History
    optimizer: OptimizerState

    def first(self, n_members: int) -> "Trained":
        """Leave out other members."""
        moments = self.optimizer
        return Trained(
            self.weights[:n_members],
            self.bound[:n_members],
            self.history.first(n_members),
            OptimizerState(
                moments.first[:n_members], moments.second[:n_members], moments.step
            ),
        )


def fit_weights(
    model: LatentModel,
    rows: Rows,
    split: Split,
    valid_rows: Rows,
    config: TrainConfig,
    generator: Generator,
    start: Tensor | None = None,
    optimizer: OptimizerState | None = None,
    on_epoch: Callable[[int, Tensor], bool] | None = None,
) -> Trained:
    """Train every member on its rows of ``split``; keep weights as ``Monitor`` says.

    Weights are averaged over epochs before they are judged and kept.

    ``valid_rows`` is the table that ``split.valid`` numbers. ``on_epoch`` is called
    after each epoch with its losses (E,) and ends the fit by returning True.
    """
    n_members, n_train = split.train.shape
    n_batches, batch_size = batches(config, n_train)
    n_epochs = planned_epochs(config, n_batches)
    weights = model.layout.initial(n_members, generator) if start is None else start
    schedule = schedules.build(config, n_epochs * n_batches)
    step = Step(
        model, rows, config, weights, schedule, batch_size, generator, optimizer
    )
    has_valid = split.valid.shape[1] > 0
    most = min(MONITORED_ROWS, max(1, MONITORED_CELLS // model.config.n_columns))
    monitored = (split.valid if has_valid else split.train)[:, :most]
    monitored_rows = valid_rows if has_valid else rows
    monitor = Monitor(
        model,
        monitored_rows,
        monitored,
        config,
        weights,
        generator,
        has_valid,
        n_epochs,
    )
    average = weights.detach().clone()
    run: Callable[[], None] | None = None
    losses, bounds, kls, stopped = [], [], [], False
    for epoch in range(n_epochs):
        step.start_epoch(shuffle(split.train, n_batches * batch_size, generator))
        if run is None:
            run = runtime.capture(step, step.state(), generator)
        for _ in range(n_batches):
            run()
        average.lerp_(step.weights.detach(), schedules.averaging_rate(epoch))
        bound, kl = monitor.look(epoch, average)
        losses.append(step.loss_sum / n_batches)
        bounds.append(bound)
        kls.append(kl)
        if on_epoch is not None and on_epoch(epoch, losses[-1]):
            break
        if has_valid and _is_time_to_look(epoch, weights.device):
            stopped = bool(monitor.exhausted(epoch))
            if stopped:
                break
    history = History(
        torch.stack(losses),
        torch.stack(bounds),
        torch.stack(kls),
        monitor.best_epoch,
        monitor.kept_epoch,
        diverged(
            losses[-1],
            bounds[-1],
            monitor.start - DIVERGED * model.config.n_columns,
        ),
        stopped,
    )
    return Trained(monitor.kept, monitor.kept_bound, history, step.moments())


def shuffle(index: Tensor, n_rows: int, generator: Generator) -> Tensor:
    """Draw ``n_rows`` of each member's rows (E, n) in a fresh order, begun again."""
    keys = torch.rand(
        index.shape, generator=generator, device=index.device, dtype=torch.float32
    )
    place = torch.arange(n_rows, device=index.device) % index.shape[1]
    return index.gather(1, keys.argsort(dim=1)[:, place])


def diverged(loss: Tensor, bound: Tensor, floor: Tensor) -> Tensor:
    """Whether a member's loss ended not finite, or worse than ``floor``: (E,).

    The bound must be worse, too: the loss is of rows with dropout and hidden cells.
    """
    return ~loss.isfinite() | (~(-loss >= floor) & ~(bound >= floor))


def _is_time_to_look(epoch: int, device: torch.device) -> bool:
    return device.type == "cpu" or (epoch + 1) % SYNC_EVERY == 0
