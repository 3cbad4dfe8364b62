"""What the estimators share: tables and parameters in, configs and facts out."""

import math
import sys
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import (
    _check_sample_weight,
    check_array,
    check_is_fitted,
    validate_data,
)

from skvae._engine.config import (
    HeadConfig,
    ModelConfig,
    TrainConfig,
    check_auto,
    check_choice,
    check_flag,
    check_number,
)
from skvae._table import codec, reading
from skvae._table.columns import chosen_columns
from skvae._table.reading import RawTable
from skvae._table.schema import CATEGORICAL, DISCRETE, Schema
from skvae._warnings import warn

Array = NDArray[np.floating]
RandomState = int | np.random.RandomState | None

UNKNOWN = ("warn", "ignore", "error")  # what to do with new categories

RISEN = 0.02  # nats a column, by which a bound has risen and not just wavered
FEW_EPOCHS = 20  # after which a latent may not have woken yet
# what training leaves for a user to look at, of every estimator
FACTS = (
    "n_iter_",
    "loss_curve_",
    "validation_scores_",
    "kl_per_dimension_",
    "active_units_",
    "history_",
)
COLLAPSED = 0.01  # nats: a latent dimension with less KL carries nothing
MEMBER_ROWS = 32_000  # rows that all members see in an epoch, where "auto" chooses
MAX_SEED = np.iinfo(np.int32).max


class LatentVariableEstimator(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """Base of the estimators; subclasses say what is x and what is the condition."""

    _members = 1, 4  # fewest and most that ``n_estimators="auto"`` takes
    _columns: tuple[Hashable, ...] | None = None  # of the frame of ``fit``, if any

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @property
    def _known_as(self) -> str:
        """The name that messages have for it; facades give theirs to models inside."""
        return type(self).__name__

    # -- reading -----------------------------------------------------------------

    def _read_table(
        self, X: object, *, reset: bool, min_rows: int = 1, name: str = "X"
    ) -> RawTable:
        """Check ``X`` against the columns of ``fit`` (or learn them), NaN allowed."""
        if name != "X":
            self._check_width(X, name)
        if reading.is_frame(X):
            if not reset:  # a column too many is said before what it holds
                validate_data(self, X, reset=False, skip_check_array=True)
            table = reading.read_frame(X, name)
            if reset:
                validate_data(self, X, reset=True, skip_check_array=True)
            else:
                self._check_names(table.names, name)
        elif reading.holds_text(X):
            cells = np.asarray(X, dtype=object)
            validate_data(
                self,
                cells,
                reset=reset,
                dtype=None,
                ensure_all_finite=False,
                ensure_min_samples=0,
                ensure_min_features=0,
            )
            table = reading.read_objects(cells, name)
        else:
            n_axes = getattr(X, "ndim", 2)
            if n_axes > 2:  # scikit-learn would name the model inside a facade
                raise ValueError(
                    f"Found array with dim {n_axes}, while dim <= 2 is required by "
                    f"{self._known_as}."
                )
            values = validate_data(
                self,
                X,
                reset=reset,
                dtype=(np.float64, np.float32),
                ensure_all_finite=False,
                ensure_min_samples=0,
                ensure_min_features=0,
            )
            table = reading.read_array(values, str(values.dtype))
        if reset:
            self._columns = table.names if table.frame is not None else None
        self._check_size(table, min_rows, name)
        reading.check_finite(table, name)
        return table

    def _check_names(self, names: Sequence[Hashable], name: str) -> None:
        """Refuse other names that are no text, of which scikit-learn says nothing."""
        fitted = self._columns
        if fitted is None or any(
            all(isinstance(label, str) for label in labels)
            for labels in (names, fitted)
        ):
            return
        for i, (label, expected) in enumerate(zip(names, fitted, strict=True)):
            # by their text, too: NaN differs from itself
            if label != expected and repr(label) != repr(expected):
                raise ValueError(
                    f"{name} has other columns than in fit: the one at {i} is "
                    f"{label!r}; expected {expected!r}. Give the columns of fit, in "
                    "their order."
                )

    def _check_size(self, table: RawTable, min_rows: int, name: str = "X") -> None:
        """Refuse a table of too few rows or columns, in scikit-learn's words."""
        shape = table.values.shape
        # columns first: a table without any has no rows to speak of
        for what, axis, least in (("feature", 1, 1), ("sample", 0, min_rows)):
            if shape[axis] < least:
                place = "" if name == "X" else f" in {name}"
                raise ValueError(
                    f"Found array with {shape[axis]} {what}(s) (shape={shape}){place} "
                    f"while a minimum of {least} is required by {self._known_as}."
                )

    def _check_width(self, X: object, name: str) -> None:
        """Refuse another width by ``name``; scikit-learn's message would say "X"."""
        try:
            shape = np.shape(X)  # type: ignore[arg-type]
        except ValueError:  # ragged: left to scikit-learn's own message
            return
        if len(shape) == 2 and shape[1] != self.n_features_in_:
            raise ValueError(
                f"{name} has {shape[1]} features; expected {self.n_features_in_}, as "
                "in X."
            )

    def _encode(
        self, X: object, schema: Schema, name: str = "X"
    ) -> tuple[RawTable, Array]:
        table = self._read_table(X, reset=False, name=name)
        return table, codec.encode(schema, table, name, self.handle_unknown)

    def _kinds(self, names: Sequence[Hashable]) -> dict[Hashable, str]:
        """Kinds that ``categorical_features`` asks for."""
        check_choice("handle_unknown", self.handle_unknown, UNKNOWN)
        chosen = chosen_columns(self.categorical_features, names)
        return dict.fromkeys(chosen, CATEGORICAL)

    def _check_kept(self, table: RawTable) -> None:
        """Refuse kinds of columns that the earlier fit, which is gone on with, had not.

        Raises
        ------
        ValueError
            If a column is to be categorical that was not.
        """
        asked = self._kinds(table.names)
        others = [c.name for c in self.schema_.columns if c.kind not in DISCRETE]
        changed = [name for name in others if name in asked]
        self._refuse_change("categorical_features", changed)

    def _refuse_change(self, parameter: str, columns: Sequence[Hashable]) -> None:
        if columns:
            raise ValueError(
                f"Training cannot go on with another {parameter}: column "
                f"{list(columns)} was learned otherwise in the earlier fit. Put the "
                "parameter back, or call fit with warm_start=False."
            )

    # -- parameters --------------------------------------------------------------

    def _hidden(self) -> tuple[int, ...]:
        sizes = self.hidden_layer_sizes
        try:
            layers = tuple(sizes)
        except TypeError:  # a number, or an array of no dimension
            layers = None
        if layers is None or isinstance(sizes, str):
            raise TypeError(
                "hidden_layer_sizes must be a sequence of integers such as (128, 128); "
                f"got {sizes!r}."
            )
        return layers

    def _floors(self, schema: Schema, columns: tuple[int, ...]) -> tuple[float, ...]:
        """``min_scale`` of the numeric columns, in standardised units."""
        if isinstance(self.min_scale, str):
            check_auto("min_scale", self.min_scale)
            return tuple(schema.columns[i].resolution for i in columns)
        check_number("min_scale", self.min_scale, low=0, low_open=True)
        return (float(self.min_scale),) * len(columns)

    def _head(
        self, name: str, columns: tuple[int, ...], schema: Schema, n_mixtures: int
    ) -> HeadConfig:
        """One likelihood over some columns, with its floors where it has a scale."""
        if name == "bernoulli":
            return HeadConfig(name, columns)
        if name == "categorical":
            coded = [schema.columns[i] for i in columns]
            return HeadConfig(
                name,
                columns,
                n_codes=tuple(column.n_codes for column in coded),
                last_share=tuple(max(column.pooled, default=1.0) for column in coded),
            )
        return HeadConfig(
            name,
            columns,
            min_scale=self._floors(schema, columns),
            n_mixtures=n_mixtures if name == "mixture" else 1,
            shift=tuple(schema.columns[i].shift for i in columns),
            scale=tuple(schema.columns[i].scale for i in columns),
        )

    def _model_config(
        self,
        heads: tuple[HeadConfig, ...],
        n_codes: tuple[int, ...],
        condition_codes: tuple[int, ...] = (),
        **more: Any,
    ) -> ModelConfig:
        """Configure a model of a table by the codes of its columns, 0 for numbers."""
        layers = self._layer_sizes()
        if more.get("latent") == "hierarchical" and not layers:
            check_number("n_components", self.n_components, integer=True, low=1)
            layers = (self.n_components, -(-self.n_components // 2))
        return ModelConfig(
            n_columns=len(n_codes),
            n_conditions=len(condition_codes),
            heads=heads,
            n_components=sum(layers) if layers else self.n_components,
            layer_sizes=layers,
            hidden_layer_sizes=self._hidden(),
            activation=self.activation,
            n_codes=n_codes,
            condition_codes=condition_codes,
            distinct=self.schema_.distinct,
            **{
                "n_estimators": self.n_estimators,
                "numeric_embedding": self.numeric_embedding,
            }
            | more,
        )

    def _layer_sizes(self) -> tuple[int, ...]:
        """Sizes of the layers that ``n_components`` names, if it names some."""
        sizes = self.n_components
        return tuple(sizes) if isinstance(sizes, tuple | list) else ()

    def _weighs_kl(self) -> bool:
        """Whether parameters that belong to the evidence lower bound are in use."""
        return bool(self.beta != 1 or self.free_bits != 0)

    def _settled(self, n_rows: int) -> dict[str, Any]:
        """Values that the estimator puts in the place of parameters left open."""
        return {}

    def _train_config(self, n_rows: int) -> TrainConfig:
        check_flag("warm_start", self.warm_start)
        if not isinstance(self.verbose, Integral | np.bool_) or self.verbose < 0:
            raise TypeError(
                "verbose must be True or False, or an integer >= 0; "
                f"got {self.verbose!r}."
            )
        names = TrainConfig.__dataclass_fields__.keys() - {"constant_rate"}
        # the regressor sees its targets whole
        given = {name: getattr(self, name) for name in names if hasattr(self, name)}
        return TrainConfig(**given | self._settled(n_rows))

    def _one_epoch(self, n_rows: int) -> TrainConfig:
        """Ask for what ``partial_fit`` does: one epoch, no schedule, no hold-out."""
        return replace(
            self._train_config(n_rows),
            max_iter=1,
            kl_schedule="constant",
            early_stopping=False,
            constant_rate=True,
        )

    # -- fitting -----------------------------------------------------------------

    @contextmanager
    def _unchanged_on_error(self) -> Iterator[None]:
        """Put the estimator back as it was if fitting fails half way."""
        before = dict(vars(self))
        try:
            yield
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    def _n_members(self, n_rows: int, proceed: bool) -> int | str:
        """Resolve ``"auto"``: steps of few members are the better use of many rows."""
        if self.n_estimators != "auto":
            return self.n_estimators
        if proceed:
            return int(self.learned_.config.n_estimators)
        fewest, most = self._members
        return min(most, max(fewest, MEMBER_ROWS // n_rows))

    def _continues(self) -> bool:
        return bool(self.warm_start) and hasattr(self, "learned_")

    def _train(
        self,
        model: ModelConfig,
        config: TrainConfig,
        data: Any,
        valid: Any,
        offsets: tuple[float, float],
        proceed: bool,
    ) -> Self:
        """Call the engine; store what was learned and say what went wrong.

        ``offsets`` turn encoded log densities of training and validation rows into
        those of the original units; ``proceed`` begins at the weights of the earlier
        fit.
        """
        from skvae._engine import door

        check_number("n_samples", self.n_samples, integer=True, low=1)
        learned, record = door.fit(
            model,
            config,
            data,
            valid,
            n_samples=self.n_samples,
            seed=draw_seed(self.random_state),
            device=self.device,
            start=self._start(model) if proceed else None,
            n_epochs_before=self.n_iter_ if proceed else 0,
            keep_moments=config.constant_rate or bool(self.warm_start),
            on_epoch=self._reporter(config, offsets[0]),
        )
        self.learned_, self.history_ = learned, record
        if not proceed:
            self.n_iter_, self.loss_curve_, self.validation_scores_ = 0, [], []
        self.n_iter_ += len(record.loss)
        loss = record.loss.mean(axis=1) + offsets[0]
        self.loss_curve_ = [*self.loss_curve_, *loss.tolist()]
        if config.early_stopping:
            bound = record.bound.mean(axis=1) - offsets[1]
            self.validation_scores_ = [*self.validation_scores_, *bound.tolist()]
        used = learned.answering
        best = used.best_member
        self.kl_per_dimension_ = used.kl[best]
        # a prior fitted by draws may be off a posterior that is the same for all rows
        told = np.minimum(used.kl[best], used.information[best])
        self.active_units_ = int((told > COLLAPSED).sum())
        self._warn(record, config)
        return self

    def _check_looked_at(self) -> None:
        """Refuse validation rows where no epoch is judged by them."""
        if not self.early_stopping:
            raise ValueError(
                "X_val is looked at under early_stopping=True alone; got it beside "
                f"early_stopping={self.early_stopping!r}. Leave it out, or stop early."
            )

    def _start(self, model: ModelConfig) -> Any:
        """Take up the weights of the earlier fit, if ``model`` has their shape."""
        if self.learned_.config != model:
            raise ValueError(
                "Training cannot go on from a model of another shape: n_components, "
                "hidden_layer_sizes, n_estimators, activation, numeric_embedding, "
                "prior, posterior, latent, decoder, residuals and min_scale must be "
                "those of the earlier fit. Put them back, or call fit with "
                "warm_start=False."
            )
        return self.learned_

    def _reporter(self, config: TrainConfig, offset: float) -> "Reporter | None":
        if not self.verbose:
            return None
        return Reporter(self._known_as, config.max_iter, offset)

    def _warn(self, record: Any, config: TrainConfig) -> None:
        """Turn the facts of a fit into ``ConvergenceWarning``."""
        n_epochs = len(record.loss)
        short = n_epochs < FEW_EPOCHS and not record.stopped_early
        # rows that are learned by heart go on rising, long after others have fallen
        told = not config.constant_rate and (config.early_stopping or short)
        limit = "max_iter" if n_epochs == config.max_iter else "max_steps"
        if record.diverged.any():
            warn(
                f"Training diverged in {int(record.diverged.sum())} of "
                f"{len(record.diverged)} members; their last finite best weights are "
                f"kept. Lower learning_rate_init (now {self.learning_rate_init}).",
                ConvergenceWarning,
            )
        elif told and _still_rising(record, self.learned_.config.n_columns):
            warn(
                f"Training stopped at {limit}={getattr(config, limit)} while the bound "
                f"was still rising. Raise {limit}.",
                ConvergenceWarning,
            )
        if self._collapsed() and not config.constant_rate:
            warn(
                f"All {len(self.kl_per_dimension_)} latent dimensions have collapsed "
                f"(KL, or what tells rows apart, < {COLLAPSED} nats): the latent "
                "carries nothing. "
                + self._advice_on_collapse(config, limit if short else None),
                ConvergenceWarning,
            )

    def _collapsed(self) -> bool:
        spared = self.learned_.instead is not None
        n_latents = len(self.kl_per_dimension_)
        return n_latents > 0 and self.active_units_ == 0 and not spared

    def _advice_on_collapse(self, config: TrainConfig, limit: str | None = None) -> str:
        """Say what may wake the latent; ``limit`` is what made training a short one."""
        if limit:
            return f"Raise {limit}: {getattr(config, limit)} are few to wake it in."
        ways = [f"raise kl_warmup (now {config.kl_warmup})"]
        if config.kl_schedule == "constant":
            way = "let the KL rise with kl_schedule='linear' (now 'constant')"
            if config.kl_warmup == 0:
                way += " and kl_warmup=0.5 (now 0)"
            ways = [way]
        if self.objective in ("auto", "elbo"):
            ways.append(f"raise free_bits (now {config.free_bits})")
        if config.beta > 0:
            ways.append(f"lower beta (now {config.beta})")
        advice = ", or ".join(ways)
        return f"{advice[0].upper()}{advice[1:]}."

    # -- asking ------------------------------------------------------------------

    def _check_fitted(self) -> None:
        check_is_fitted(self, "learned_")

    def _engine(self) -> Any:
        """Make the trained model ready to answer."""
        from skvae._engine import door

        self._check_fitted()
        return door.Engine(self.learned_, self.device)

    @staticmethod
    def _like_input(Z: Array, table: RawTable) -> Array:
        """Latents in float32 where the table was an array of float32."""
        is_float32 = table.frame is None and table.dtypes[0] == "float32"
        return Z.astype(np.float32) if is_float32 else Z


class Reporter:
    """Tell a verbose user where training is; written to standard output.

    ``offset`` turns losses of encoded rows into those of ``loss_curve_``.
    """

    def __init__(self, name: str, max_iter: int, offset: float) -> None:
        self.name, self.max_iter, self.offset = name, max_iter, offset
        self.every = max(1, max_iter // 20)

    def __call__(self, epoch: int, loss: float) -> bool:
        """Write a line now and then; never ends the fit."""
        if (epoch + 1) % self.every == 0:
            line = f"[{self.name}] epoch {epoch + 1} of {self.max_iter}"
            shown = loss + self.offset
            sys.stdout.write(f"{line}, loss {shown:.4f} nats per row\n")
        return False


def _still_rising(record: Any, n_columns: int) -> bool:
    """Whether the last third of a full training gave much of all that was gained.

    Thirds, since the falling learning rate makes the last few epochs flat in any case.
    Much: a tenth of the gain where that is worth ``RISEN`` nats a column, or five times
    as many.
    """
    if record.stopped_early:
        return False
    bound = record.bound.mean(axis=1)
    if len(bound) == 1:
        return True
    third = math.ceil(len(bound) / 3)
    if bound.argmax() < len(bound) - third:
        return False
    late = bound[-third:].mean() - bound[-2 * third : -third].mean()
    gained = bound[-third:].mean() - bound[0]
    share = late / n_columns
    return bool(share > 5 * RISEN or (share > RISEN and late > 0.1 * gained))


def read_weights(
    sample_weight: object, n_rows: int, min_rows: int
) -> tuple[Array, NDArray[np.bool_]]:
    """Weights of the rows that count, and which rows those are (weight > 0)."""
    if sample_weight is None:
        return np.ones(n_rows), np.ones(n_rows, dtype=bool)
    weight = _check_sample_weight(
        sample_weight,
        np.empty((n_rows, 1)),
        ensure_non_negative=True,
        dtype=np.float64,
    )
    keep = weight > 0
    if keep.sum() < min_rows:
        raise ValueError(
            f"sample_weight must be positive for at least {min_rows} row(s); "
            f"it is for {int(keep.sum())}."
        )
    return weight[keep], keep


def check_pair(X_val: object, y_val: object) -> None:
    """Refuse validation rows without targets, and targets without rows."""
    if (X_val is None) != (y_val is None):
        given, absent = ("X_val", "y_val") if y_val is None else ("y_val", "X_val")
        raise ValueError(f"{given} was given without {absent}; give both or none.")


def check_some_observed(table: RawTable, name: str) -> None:
    """Refuse a table of holes, which has nothing to choose weights by."""
    if np.isnan(table.values).all():
        raise ValueError(f"{name} has no observed value; expected at least one.")


def check_latents(Z: ArrayLike, n_components: int) -> Array:
    """Latents as a finite float array (n, n_components)."""
    at_least = min(1, n_components)  # without latents there are no columns
    latents = check_array(
        Z, dtype=np.float64, input_name="Z", ensure_min_features=at_least
    )
    if latents.shape[1] != n_components:
        raise ValueError(
            f"Z must have {n_components} columns, one per latent dimension; "
            f"got {latents.shape[1]}."
        )
    return latents


def draw_seed(random_state: RandomState) -> int:
    """Draw an integer seed from what scikit-learn accepts as ``random_state``."""
    return int(check_random_state(random_state).randint(MAX_SEED))
