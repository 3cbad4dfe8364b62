"""``VAEImputer``: a table with holes in, the completed table out."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from copy import copy
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.impute import MissingIndicator
from sklearn.utils import check_random_state
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted

from skvae._engine.config import check_flag, check_number
from skvae._estimator import (
    FACTS,
    LatentVariableEstimator,
    RandomState,
    draw_seed,
    read_weights,
)
from skvae._table import gaps
from skvae._table.codec import Rows
from skvae._table.columns import chosen_columns
from skvae._table.reading import RawTable, take_rows, to_polars
from skvae._transformer import VAETransformer
from skvae._warnings import warn


class ImputationModel(VAETransformer):
    """The transformer with more draws, which conditional expectations gain from."""

    _most_draws = 16
    _known_as = "VAEImputer"

    def _settled(self, n_rows: int) -> dict[str, Any]:
        """Resolve ``"auto"``; one normal distribution may do without the latent."""
        spares = {"spares_latent": self.residuals == "correlated"}
        return super()._settled(n_rows) | spares


class VAEImputer(LatentVariableEstimator):
    """Completes missing cells by a variational autoencoder of the table.

    ``transform`` gives every missing cell its conditional expectation (a category its
    most likely value) given the cells of its row that are there, on rows of ``fit`` and
    on new ones. Numeric, boolean, text and categorical columns may be mixed; cells that
    are there come back bit for bit. Missing are ``NaN``, and in tables of objects
    ``None`` and ``pandas.NA``; no other marks.

    Parameters
    ----------
    n_components : int, default=16
        Latent dimensions.
    sample_posterior : bool, default=False
        Whether ``transform`` draws the missing cells of a row from their joint
        conditional distribution instead of expecting them. Every call draws anew:
        several make a multiple imputation [2]_.
    add_indicator : bool, default=False
        Whether 0/1 columns (of booleans in a DataFrame) follow that tell where cells
        were missing, one for each column with a missing cell in ``fit``.
    keep_empty_features : bool, default=False
        Whether columns without any value in ``fit`` come out, filled with 0 (text with
        ``"missing_value"``, pandas categories with their first), or are dropped with a
        warning.
    dropout : float, default=0.1
        As in :class:`VAETransformer`.
    n_draws : int or "auto", default="auto"
        Draws of z per row while training: 16, on more than 2,000 rows 32,000 over their
        number.
    kl_warmup : float, default=0.4
        Fraction of training over which the weight of the KL rises.
    likelihood, prior, hidden_layer_sizes, activation, numeric_embedding, n_estimators
        As in :class:`VAETransformer`: the model.
    residuals : {"correlated", "independent"}, default="correlated"
        As in :class:`VAETransformer`. With correlated ones, where all columns are
        continuous numbers, one normal distribution of all cells is fitted, too, by EM
        [3]_, and answers in the place of the networks where it finds the rows that
        these have held out likelier: a table that is normal is completed as by linear
        regressions. With independent ones multiple imputations tell of relations
        between numbers that are a little weaker than they should be; training is a
        little faster then, and ``transform`` three to four times.
    masking : float, default=0.0
        As in :class:`VAETransformer`.
    objective, beta, kl_schedule, free_bits
        As in :class:`VAETransformer`: what training maximises.
    max_iter, max_steps, batch_size, learning_rate_init, alpha
        As in :class:`VAETransformer`: how long and how fast.
    early_stopping, validation_fraction, n_iter_no_change, tol
        As in :class:`VAETransformer`: when it ends.
    min_scale, categorical_features, handle_unknown
        As in :class:`VAETransformer`: the columns.
    n_samples, warm_start, device, verbose
        As in :class:`VAETransformer`.
    random_state : int, RandomState or None, default=None
        Seed of training and of ``sample_posterior``.

    Attributes
    ----------
    vae_ : VAETransformer or None
        The model of the columns that vary; None where none does. Columns of an array
        are named ``"x0"``, ``"x1"``, ... in it.
    indicator_ : MissingIndicator or None
        Which columns had missing cells; None without ``add_indicator``.
    n_iter_ : int
        Epochs of training, 1 where there is nothing to train.
    kl_per_dimension_, active_units_, loss_curve_, validation_scores_, history_
        How training went, as in :class:`VAETransformer`; where there is nothing to
        train no dimension is in use, the lists are empty and ``history_`` is None.
        Where one normal distribution answers no dimension is in use, either, and
        ``vae_.transform`` gives zeros.
    random_state_ : RandomState
        State of the draws.
    n_features_in_ : int
        Columns seen in ``fit``.
    feature_names_in_ : ndarray of str
        Their names, where they are all strings.

    See Also
    --------
    VAETransformer : The model, with likelihoods, latents and new rows.
    sklearn.impute.IterativeImputer : One regression a column, in rounds.

    References
    ----------
    .. [1] Mattei, Frellsen (2019), MIWAE, eq. 12. arXiv:1812.02633
    .. [2] Rubin (1987), Multiple imputation for nonresponse in surveys.
    .. [3] Little, Rubin (2002), Statistical analysis with missing data, sec. 11.2.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAEImputer
    >>> X = load_iris().data.copy()
    >>> X[::3, 2] = np.nan
    >>> imputer = VAEImputer(n_components=2, max_iter=100, random_state=0).fit(X)
    >>> imputer.transform([[5.1, 3.5, np.nan, 0.2]]).round()
    array([[5., 4., 1., 0.]])
    """

    def __init__(
        self,
        n_components: int = 16,
        *,
        sample_posterior: bool = False,
        add_indicator: bool = False,
        keep_empty_features: bool = False,
        likelihood: str | Mapping[Hashable, str] = "auto",
        prior: str = "normal",
        residuals: str = "correlated",
        hidden_layer_sizes: Sequence[int] = (128, 128),
        activation: str = "silu",
        dropout: float = 0.1,
        masking: float = 0.0,
        numeric_embedding: str | None = None,
        n_estimators: int | str = "auto",
        objective: str = "auto",
        n_draws: int | str = "auto",
        beta: float = 1.0,
        kl_warmup: float = 0.4,
        kl_schedule: str = "linear",
        free_bits: float = 0.0,
        max_iter: int = 160,
        max_steps: int = 10240,
        batch_size: int | str = "auto",
        learning_rate_init: float = 3e-3,
        alpha: float = 1e-4,
        early_stopping: bool = True,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 40,
        tol: float = 1e-3,
        min_scale: float | str = "auto",
        categorical_features: str | ArrayLike = "from_dtype",
        handle_unknown: str = "warn",
        n_samples: int = 128,
        warm_start: bool = False,
        device: str = "auto",
        verbose: bool = False,
        random_state: RandomState = None,
    ) -> None:
        self.n_components = n_components
        self.sample_posterior = sample_posterior
        self.add_indicator = add_indicator
        self.keep_empty_features = keep_empty_features
        self.likelihood = likelihood
        self.prior = prior
        self.residuals = residuals
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.dropout = dropout
        self.masking = masking
        self.numeric_embedding = numeric_embedding
        self.n_estimators = n_estimators
        self.objective = objective
        self.n_draws = n_draws
        self.beta = beta
        self.kl_warmup = kl_warmup
        self.kl_schedule = kl_schedule
        self.free_bits = free_bits
        self.max_iter = max_iter
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.alpha = alpha
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.min_scale = min_scale
        self.categorical_features = categorical_features
        self.handle_unknown = handle_unknown
        self.n_samples = n_samples
        self.warm_start = warm_start
        self.device = device
        self.verbose = verbose
        self.random_state = random_state

    def fit(
        self,
        X: ArrayLike,
        y: None = None,
        sample_weight: ArrayLike | None = None,
        X_val: ArrayLike | None = None,
    ) -> VAEImputer:
        """Learn the distribution of the rows of ``X``.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            ``NaN`` where a value is missing.
        y : None
            Ignored; here for the scikit-learn interface.
        sample_weight : array-like of shape (n_samples,), optional
            A row of weight w counts as w rows, but as one where it is asked whether
            values recur; rows of weight 0 are left out.
        X_val : like ``X``, optional
            Validation rows, instead of a split of ``X``; with ``early_stopping``.

        Returns
        -------
        self : VAEImputer

        Raises
        ------
        ValueError, TypeError
            If a parameter is out of range, or a column holds infinite values, dates or
            other objects, or numbers that differ by too little to be told apart; the
            message names it.
        """
        self._check_flags()
        proceed = bool(self.warm_start) and getattr(self, "vae_", None) is not None
        with self._unchanged_on_error():
            table = self._read_table(X, reset=not proceed, min_rows=2)
            weight, keep = read_weights(sample_weight, len(table.values), 2)
            held_out = None
            if X_val is not None:
                self._check_looked_at()
                held_out = self._read_table(X_val, reset=False, name="X_val")
            rows = take_rows(table, keep)
            before = self.plan_ if proceed else None
            self._learn_columns(table, rows, weight)
            if before is not None:
                self._check_modelled(before, table.names)
            vae = self._model(table, proceed)
            if vae is not None:
                inside, rows_val = self._inside(rows, vae), None
                if held_out is not None:
                    rows_val = self._inside(held_out, vae)
                    rows_val = rows_val.set_axis(inside.columns, axis=1)
                vae.fit(inside, sample_weight=weight, X_val=rows_val)
            return self._keep(vae)

    def partial_fit(
        self, X: ArrayLike, y: None = None, sample_weight: ArrayLike | None = None
    ) -> VAEImputer:
        """Train for one epoch on a further chunk of rows.

        The first call fixes kinds and scales of the columns, and which of them are
        empty, constant or have an indicator, so its rows should be typical. The
        learning rate and the weight of the KL stay at ``learning_rate_init`` and
        ``beta``; no rows are held out, so that the networks answer.

        Parameters
        ----------
        X, y, sample_weight
            As in ``fit``.

        Returns
        -------
        self : VAEImputer
        """
        self._check_flags()
        proceed = hasattr(self, "plan_")
        min_rows = 1 if proceed else 2
        with self._unchanged_on_error():
            table = self._read_table(X, reset=not proceed, min_rows=min_rows)
            weight, keep = read_weights(sample_weight, len(table.values), min_rows)
            rows = take_rows(table, keep)
            if not proceed:
                self._learn_columns(table, rows, weight)
            vae = self._model(table, proceed)
            if vae is not None:
                vae.partial_fit(self._inside(rows, vae), sample_weight=weight)
            return self._keep(vae)

    def transform(self, X: ArrayLike) -> Rows:
        """Complete the missing cells of ``X``.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Columns as in ``fit``; ``NaN`` where a value is missing.

        Returns
        -------
        X : DataFrame or ndarray of shape (n_samples, n_features_out)
            Arrays for arrays, DataFrames for DataFrames, with their dtypes.
        """
        self._check_fitted()
        table = self._read_table(X, reset=False)
        n_draws = 1 if self.sample_posterior else None
        rows = self._complete(table, n_draws, self.random_state_)[0]
        if self.indicator_ is not None:
            found = self.indicator_.transform(_marks(table))
            rows = gaps.append_indicators(rows, found, self.get_feature_names_out())
        output = _get_output_config("transform", self)["dense"]
        if output == "polars" and table.frame is not None:
            return to_polars(rows)
        return rows

    def impute(
        self,
        X: ArrayLike,
        n_imputations: int | None = None,
        random_state: RandomState = None,
    ) -> Rows | list[Rows]:
        """Complete ``X`` without indicators, or draw several completions of it.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
        n_imputations : int or None, default=None
            ``None``: conditional expectations. An int m: m draws from the joint
            conditional distribution of the missing cells.
        random_state : int, RandomState or None, default=None
            Seed of the draws.

        Returns
        -------
        X : DataFrame or ndarray of shape (n_samples, n_features_kept)
            With ``n_imputations=m`` an array of shape (m, n_samples, n_features_kept),
            or a list of m DataFrames.
        """
        self._check_fitted()
        table = self._read_table(X, reset=False)
        if n_imputations is not None:
            check_number("n_imputations", n_imputations, integer=True, low=1)
        filled = self._complete(table, n_imputations, random_state)
        if n_imputations is None:
            return filled[0]
        return filled if table.frame is not None else np.stack(filled)

    def get_feature_names_out(
        self, input_features: ArrayLike | None = None
    ) -> NDArray[np.object_]:
        """Names of the columns that ``transform`` returns.

        Parameters
        ----------
        input_features : array-like of str, optional
            Names of the columns of ``fit``, if it saw none.

        Returns
        -------
        names : ndarray of str
            Those of the columns kept, and ``missingindicator_NAME`` of the indicators.
        """
        self._check_fitted()
        names = _check_feature_names_in(self, input_features)
        kept = names[self.plan_.kept]
        if self.indicator_ is None:
            return kept
        return np.concatenate([kept, self.indicator_.get_feature_names_out(names)])

    # -- helpers -----------------------------------------------------------------

    def _check_fitted(self) -> None:
        check_is_fitted(self, "plan_")

    def _check_flags(self) -> None:
        for name in ("sample_posterior", "add_indicator", "keep_empty_features"):
            check_flag(name, getattr(self, name))

    def _learn_columns(
        self, table: RawTable, rows: RawTable, weight: NDArray[np.floating]
    ) -> None:
        """Learn which columns vary in ``rows``, the ones of weight, and have holes."""
        plan = gaps.learn_plan(rows, weight, bool(self.keep_empty_features))
        if plan.dropped:
            names = [table.names[i] for i in plan.dropped]
            warn(
                f"X has no observed value in column {names}: it is dropped. Leave it "
                "out, or set keep_empty_features=True.",
                UserWarning,
            )
        self.plan_ = plan
        self.indicator_ = None
        if self.add_indicator:
            self.indicator_ = MissingIndicator(error_on_new=False)
            self.indicator_.fit(_marks(rows))
        self.random_state_ = check_random_state(self.random_state)

    def _check_modelled(self, before: gaps.Plan, names: Sequence[Hashable]) -> None:
        """Refuse to go on with a model of other columns.

        Raises
        ------
        ValueError
            If a column varies that did not in the earlier fit, or the reverse.
        """
        changed = sorted({*before.modelled} ^ {*self.plan_.modelled})
        if changed:
            columns = [names[i] for i in changed]
            raise ValueError(
                f"Training cannot go on with other columns: {columns} varied in one of "
                "the two fits and not in the other. Call fit with warm_start=False."
            )

    def _shared(self) -> set[str]:
        """Names of the parameters that are those of the model."""
        return set(VAETransformer().get_params()) & set(self.get_params())

    def _model(self, table: RawTable, proceed: bool) -> VAETransformer | None:
        """Make the model of the columns that vary, if any; the earlier one, copied."""
        names = [table.names[i] for i in self.plan_.modelled]
        earlier = self.vae_ if proceed else None
        vae = copy(earlier) if earlier else ImputationModel()  # a refused fit leaves it
        inside = dict(zip(names, _names_inside(vae) or names, strict=True))
        settings = {name: getattr(self, name) for name in self._shared()}
        chosen = chosen_columns(self.categorical_features, table.names)
        settings["categorical_features"] = [inside[n] for n in chosen if n in inside]
        if isinstance(self.likelihood, Mapping):
            fixed = set(table.names) - set(names)
            settings["likelihood"] = {
                inside.get(n, n): name
                for n, name in self.likelihood.items()
                if n not in fixed
            }
        vae.set_params(**settings)
        if names:
            return vae
        # refuse what is out of range
        check_number("n_components", self.n_components, integer=True, low=1)
        vae._train_config(len(table.values))
        return None

    def _keep(self, vae: VAETransformer | None) -> Self:
        """Keep a trained model and the facts of its training."""
        self.vae_ = vae
        for name in FACTS:
            setattr(self, name, getattr(vae, name, None))
        if vae is None:
            self.n_iter_ = 1
            self.loss_curve_, self.validation_scores_ = [], []
            self.kl_per_dimension_ = np.zeros(self.n_components)
            self.active_units_ = 0
        return self

    def _inside(self, table: RawTable, vae: VAETransformer) -> Any:
        """Rows for ``vae``, under the names that it knows, if it does."""
        rows = gaps.take_columns(table, self.plan_.modelled)
        names = _names_inside(vae)
        return rows if names is None else rows.set_axis(names, axis=1)

    def _model_and_rows(self, X: ArrayLike) -> tuple[VAETransformer | None, Any]:
        """Return the model inside, and ``X`` as that takes it."""
        if self.vae_ is None:
            return None, X
        return self.vae_, self._inside(self._read_table(X, reset=False), self.vae_)

    def _complete(
        self, table: RawTable, n_draws: int | None, seed: RandomState
    ) -> list[Rows]:
        """Complete once by expectation, or ``n_draws`` times by draws."""
        completed: Any = [None] * (n_draws or 1)
        if self.vae_ is not None:
            self.vae_.set_params(handle_unknown=self.handle_unknown, device=self.device)
            rows = self._inside(table, self.vae_)
            completed = self.vae_.impute(rows, n_draws, draw_seed(seed))
            completed = [completed] if n_draws is None else completed
        return [gaps.complete(table, self.plan_, rows) for rows in completed]


def _marks(table: RawTable) -> NDArray[np.float64]:
    """0, or NaN where a cell is missing."""
    return np.where(np.isnan(table.values), np.nan, 0.0)


def _names_inside(vae: VAETransformer) -> list[Hashable] | None:
    """Names of the columns that a model knows, None before it has seen any."""
    schema = getattr(vae, "schema_", None)
    return None if schema is None else [column.name for column in schema.columns]
