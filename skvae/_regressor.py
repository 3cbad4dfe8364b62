"""``CVAERegressor``: features and targets in; the distribution of y given X out."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_array, check_consistent_length

from skvae import _conformal
from skvae._engine.config import (
    OBJECTIVES,
    TrainConfig,
    check_auto,
    check_choice,
    check_number,
)
from skvae._estimator import (
    LatentVariableEstimator,
    RandomState,
    check_latents,
    check_pair,
    draw_seed,
    read_weights,
)
from skvae._predictive import (
    MixtureComponents,
    PredictiveDistribution,
    check_levels,
)
from skvae._table import codec, reading
from skvae._table.reading import RawTable, take_rows
from skvae._table.schema import CONTINUOUS, learn_schema

Array = NDArray[np.floating]

# what "auto" takes where a latent has to hold several targets together
JOINT_WARMUP = 0.2
JOINT_DRAWS = 4
CYCLE_WARMUP = 0.5  # and where the weight of the KL rises several times
PRIORS = ("conditional", "normal")
EMBEDDINGS = ("auto", None, "periodic")


class CVAERegressor(MultiOutputMixin, RegressorMixin, LatentVariableEstimator):
    """Conditional variational autoencoder: the distribution of y given X.

    Targets are generated as z ~ p(z | X), a PriorNet, and y ~ p(y | z, X), a decoder
    with a mixture head; q(z | X, y) is the approximate posterior [1]_. ``predict`` is
    the conditional mean over PriorNet draws; the whole distribution is there too, as
    samples, quantiles, intervals and densities, for several outputs jointly.

    The literature on conditional VAEs often writes decisions x given objectives y: that
    is ``CVAERegressor().fit(objectives, decisions)``.

    Parameters
    ----------
    n_components : int, default=8
        Latent dimensions; 0 leaves the latent out: a mixture density network [2]_.
    n_mixtures : int, default=5
        Gaussian components of the decoder's head for each output, given z; 1 is a
        plain Gaussian [2]_.
    prior : {"conditional", "normal"}, default="conditional"
        p(z | X): PriorNet [1]_, or N(0, I) whatever X is. Training sees z of the
        posterior, which knows X and y; what the prior draws for a new row should lie
        where the decoder has learned what to make of it. As the decoder sees X, too, it
        can make do with either.
    hidden_layer_sizes : tuple of int, default=(128, 128)
        Units of the hidden layers of PriorNet, encoder and decoder.
    activation : {"silu", "relu", "tanh", "gelu", "identity"}, default="silu"
        Activation of the hidden layers.
    dropout : float, default=0.15
        Fraction of hidden units dropped at the start of training; it falls to 0 along a
        line [7]_.
    numeric_embedding : {"auto", None, "periodic"}, default="auto"
        Embedding of the features; ``"periodic"`` adds the normal score of each, its
        rank spread as a standard normal would be [6]_, and learned sines and cosines of
        both [3]_, of which fast ones count less where the values of a feature hardly
        recur. ``"auto"`` is ``"periodic"``, except that for several outputs, with
        ``n_estimators="auto"``, half of the members go without, and are left out after
        a first ``fit`` if they are clearly worse on rows held out.
    n_estimators : int or "auto", default="auto"
        Members: networks trained side by side from other seeds and splits; the
        predictive distribution is their mixture [4]_. ``"auto"`` takes 8, on more than
        4,000 rows 32,000 over their number, but at least 4; for several outputs an even
        number, of which half may be left out (see ``numeric_embedding``).
    objective : {"auto", "elbo", "iwae", "dreg"}, default="auto"
        Bound to maximise: the evidence lower bound, or the importance-weighted bound
        [5]_ over ``n_draws`` draws, ``"dreg"`` by the gradients of [8]_, which teach
        the encoder with less noise. ``"auto"`` takes ``"dreg"`` for several outputs,
        whose dependence only the latent can carry, and ``"elbo"`` for one output, where
        the mixture head can do without, or where ``beta`` or ``free_bits`` weigh the KL
        divergence that only it has.
    n_draws : int or "auto", default="auto"
        Draws of z per row while training; ``"auto"`` takes 1 for the evidence lower
        bound and 4 for the importance-weighted one.
    beta : float, default=1.0
        Weight of the KL divergence, or of the latent's part of the weights; where
        held-out rows are judged, too.
    kl_warmup : float or "auto", default="auto"
        Fraction of training over which that weight rises from 0 to ``beta``.
        ``"auto"`` takes 0.2 for several outputs and 0 for one, but 0.5 if it rises
        four times [9]_.
    kl_schedule : {"linear", "cyclical", "constant"}, default="linear"
        How it rises: once, four times, or not at all, as with ``kl_warmup=0``.
    free_bits : float, default=0.0
        Nats of each dimension's KL that cost nothing (``objective="elbo"`` only).
    max_iter : int, default=240
        Epochs at most.
    max_steps : int, default=8192
        Batches at most: on large tables training ends after fewer epochs.
    batch_size : int or "auto", default="auto"
        Rows in a batch; ``"auto"`` takes n / 16 within 16 and 512.
    learning_rate_init : float, default=3e-3
        Peak of the learning rate, which warms up and then falls along a cosine.
    alpha : float, default=1e-4
        Decoupled weight decay of the weight matrices.
    early_stopping : bool, default=True
        Hold out rows, and stop when the bound on them has not risen for
        ``n_iter_no_change`` epochs. Of the weights, averaged over epochs, those are
        kept that are best on these rows; of every other member those of up to twice as
        many epochs, as an ensemble is at its best later than its members.
    validation_fraction : float, default=0.1
        Fraction of the rows held out, yet at least 16 rows or a quarter of them, the
        fewer; each member holds out its own.
    n_iter_no_change : int, default=40
        Epochs without a rise of more than ``tol`` before training stops.
    tol : float, default=1e-3
        Nats per row that count as a rise.
    min_scale : "auto" or float, default="auto"
        Floor of the decoder's standard deviation, in standard deviations of the output.
        ``"auto"`` takes the rounding error of each output, so that rounded targets
        cannot drive the likelihood to infinity.
    categorical_features : "from_dtype", or array-like, default="from_dtype"
        Columns whose numbers are categories: names, positions or a mask. Text and
        pandas categories are categories in any case.
    handle_unknown : {"warn", "ignore", "error"}, default="warn"
        Whether a category that ``fit`` has not seen is missing, with or without a
        warning, or an error.
    n_samples : int, default=128
        Fixed draws of z for predictions; likelihoods of several outputs take eight
        times as many. Powers of two are the most even.
    warm_start : bool, default=False
        Begin ``fit`` at the weights of the earlier one, keeping its scaling.
    device : str, default="auto"
        ``"cpu"``, ``"cuda"``, ...; ``"auto"`` takes CUDA when there is one.
    verbose : bool, default=False
        Write progress to standard output.
    random_state : int, RandomState or None, default=None
        Seed of weights, splits, batches and draws.

    Attributes
    ----------
    kl_per_dimension_ : ndarray of shape (n_components,)
        Mean KL divergence between posterior and prior in nats, of the best member.
    active_units_ : int
        Dimensions whose KL exceeds 0.01 nats and whose posterior differs between rows
        by as much.
    n_iter_ : int
        Epochs run.
    loss_curve_ : list of float
        Training objective of each epoch, nats per row in the units of y, mean over the
        members that are kept; lower is better.
    validation_scores_ : list of float
        Bound on the held-out rows after each epoch, likewise, with ``beta``; higher is
        better. Empty without ``early_stopping``.
    history_ : FitRecord
        The same by member, in standardised units, with the KL of each dimension, of
        held-out rows where there are any. Of the last ``fit`` or ``partial_fit`` alone.
    n_outputs_ : int
        Outputs.
    conformal_tails_ : ndarray of shape (n_calibration_rows, n_outputs) or None
        Probability beyond each target of ``conformalize``, in ascending order.
    n_features_in_ : int
        Features seen in ``fit``.
    feature_names_in_ : ndarray of str
        Their names, where they are all strings.

    See Also
    --------
    VAETransformer : The distribution of a table, without a condition.
    sklearn.gaussian_process.GaussianProcessRegressor : A Gaussian predictive
        distribution.

    References
    ----------
    .. [1] Sohn, Lee, Yan (2015), Learning structured output representation using deep
       conditional generative models, sec. 4.1, eq. 4.
    .. [2] Bishop (1994), Mixture density networks, eq. 22.
    .. [3] Gorishniy, Rubachev, Babenko (2022), sec. 3.3. arXiv:2203.05556
    .. [4] Lakshminarayanan, Pritzel, Blundell (2017), sec. 2.4. arXiv:1612.01474
    .. [5] Burda, Grosse, Salakhutdinov (2016), eq. 8. arXiv:1509.00519
    .. [6] Gorishniy, Rubachev, Khrulkov, Babenko (2021), sec. 4.4. arXiv:2106.11959
    .. [7] Rennie, Goel, Thomas (2014), Annealed dropout training of deep networks.
       doi:10.1109/SLT.2014.7078567
    .. [8] Tucker, Lawson, Gu, Maddison (2019), Doubly reparameterized gradient
       estimators, eq. 9. arXiv:1810.04152
    .. [9] Fu, Li, Liu, Gao, Celikyilmaz, Carin (2019), Cyclical annealing schedule, eq.
       6-7. arXiv:1903.10145

    Examples
    --------
    >>> from sklearn.datasets import make_friedman1
    >>> from skvae import CVAERegressor
    >>> X, y = make_friedman1(n_samples=200, random_state=0)
    >>> model = CVAERegressor(max_iter=30, kl_warmup=0.5, random_state=0)
    >>> model = model.fit(X[:150], y[:150])
    >>> model.predict(X[150:]).shape
    (50,)
    >>> model.predict_interval(X[150:], coverage=0.9).shape
    (50, 2)
    """

    _members = 4, 8
    _target_names: tuple[Hashable, ...] | None = None  # of a frame of targets

    def __init__(
        self,
        n_components: int = 8,
        *,
        n_mixtures: int = 5,
        prior: str = "conditional",
        hidden_layer_sizes: Sequence[int] = (128, 128),
        activation: str = "silu",
        dropout: float = 0.15,
        numeric_embedding: str | None = "auto",
        n_estimators: int | str = "auto",
        objective: str = "auto",
        n_draws: int | str = "auto",
        beta: float = 1.0,
        kl_warmup: float | str = "auto",
        kl_schedule: str = "linear",
        free_bits: float = 0.0,
        max_iter: int = 240,
        max_steps: int = 8192,
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
        self.n_mixtures = n_mixtures
        self.prior = prior
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.dropout = dropout
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

    # -- fitting -----------------------------------------------------------------

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
    ) -> CVAERegressor:
        """Learn the distribution of ``y`` given ``X``.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Numbers, booleans, text and categories; ``NaN`` where a value is missing.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets; several outputs are modelled jointly.
        sample_weight : array-like of shape (n_samples,), optional
            A row of weight w counts as w rows, but as one where it is asked whether
            values recur; rows of weight 0 are left out.
        X_val, y_val : like ``X`` and ``y``, optional
            Validation rows, instead of a split of ``X`` and ``y``; with
            ``early_stopping``.

        Returns
        -------
        self : CVAERegressor

        Raises
        ------
        ValueError, TypeError
            If a parameter is out of range, a feature holds dates or mixed objects, is
            infinite or without any value, or a target is missing, infinite or constant;
            the message names it.
        """
        proceed = self._continues()
        check_pair(X_val, y_val)
        with self._unchanged_on_error():
            data, offsets = self._read(X, y, sample_weight, proceed, min_rows=2)
            valid = None
            if X_val is not None and y_val is not None:
                self._check_looked_at()
                valid = self._pairs(X_val, y_val, "X_val", "y_val")
            config = self._train_config(len(data))
            self.conformal_tails_ = None
            model = self._model(len(data), proceed)
            return self._train(model, config, data, valid, offsets, proceed)

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> CVAERegressor:
        """Train for one epoch on a further chunk of rows.

        The first call fixes the scales of features and targets, so its rows should be
        typical. The learning rate and the weight of the KL stay at
        ``learning_rate_init`` and ``beta``; no rows are held out.

        Parameters
        ----------
        X, y, sample_weight
            As in ``fit``.

        Returns
        -------
        self : CVAERegressor
        """
        proceed = hasattr(self, "learned_")
        min_rows = 1 if proceed else 2
        with self._unchanged_on_error():
            data, offsets = self._read(X, y, sample_weight, proceed, min_rows)
            config = self._one_epoch(len(data))
            self.conformal_tails_ = None
            model = self._model(len(data), proceed)
            return self._train(model, config, data, None, offsets, proceed)

    # -- predicting --------------------------------------------------------------

    def predict(
        self,
        X: ArrayLike,
        return_std: bool = False,
        quantiles: Sequence[float] | None = None,
    ) -> Array | tuple[Array, Array]:
        """Conditional mean E[y | X], averaged over PriorNet draws and components.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
        return_std : bool, default=False
            Whether to return the predictive standard deviation too.
        quantiles : float or sequence of float, optional
            Levels in (0, 1): return these quantiles instead of the mean.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            In the units of y. With ``quantiles``, of shape (n_samples, n_quantiles) or
            (n_samples, n_quantiles, n_outputs).
        std : ndarray like ``y``
            Only with ``return_std=True``.

        Raises
        ------
        ValueError
            If both ``return_std`` and ``quantiles`` are asked for, or a level is not
            inside (0, 1).
        """
        distribution = self.predict_distribution(X)
        if quantiles is not None:
            if return_std:
                raise ValueError(
                    "predict gives either return_std=True or quantiles; got both. Call "
                    "predict_distribution(X) for all of it."
                )
            levels = check_levels(quantiles, "quantiles")
            return distribution.quantile(np.atleast_1d(levels))
        mean, std = distribution._moments()
        return (mean, std) if return_std else mean

    def predict_distribution(self, X: ArrayLike) -> PredictiveDistribution:
        """Return the predictive distribution of every row.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)

        Returns
        -------
        distribution : PredictiveDistribution
            A mixture over members, PriorNet draws and components, in the units of y;
            computed chunk by chunk when it is asked.
        """
        self._check_fitted()
        _, c = self._encode(X, self.schema_)
        blocks = Blocks(self.learned_, self.device, c, *self._target_scaling())
        n_outer = self.learned_.config.n_estimators * self.learned_.n_predictive
        return PredictiveDistribution(
            blocks,
            n_rows=len(c),
            n_outputs=self.n_outputs_,
            single_output=self._single_output,
            row_elements=n_outer * self.n_outputs_ * blocks.n_mixtures,
        )

    def predict_interval(self, X: ArrayLike, coverage: float = 0.9) -> Array:
        """Central intervals that hold ``coverage`` of the predictive distribution.

        After ``conformalize`` they are widened or narrowed so that they hold a new
        target with at least that probability.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
        coverage : float, default=0.9
            Probability inside, per output; in (0, 1).

        Returns
        -------
        interval : ndarray of shape (n_samples, 2) or (n_samples, 2, n_outputs)
            Lower and upper end, in the units of y.

        Raises
        ------
        ValueError
            If ``coverage`` is not inside (0, 1), or needs more rows than
            ``conformalize`` had.
        """
        check_number("coverage", coverage, low=0, high=1, low_open=True, high_open=True)
        distribution = self.predict_distribution(X)
        if self.conformal_tails_ is None:
            return distribution.interval(coverage)
        tails = _conformal.calibrated_tails(self.conformal_tails_, coverage)
        return distribution.central_interval(tails)

    def conformalize(self, X: ArrayLike, y: ArrayLike) -> CVAERegressor:
        """Calibrate ``predict_interval`` on rows that ``fit`` has not seen.

        Intervals then hold a new target with at least the probability asked for, of
        each output on its own, in finite samples and however wrong the model is: as
        long as new rows and these are exchangeable. That is an average over rows, not
        a promise for each X. A further ``fit`` or ``partial_fit`` undoes it. Quantiles,
        distributions, draws and densities stay those of the model.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)

        Returns
        -------
        self : CVAERegressor

        References
        ----------
        Chernozhukov, Wüthrich, Zhu (2021), Distributional conformal prediction, alg. 1.
        arXiv:1909.07889

        Examples
        --------
        >>> from sklearn.datasets import make_friedman1
        >>> from skvae import CVAERegressor
        >>> X, y = make_friedman1(n_samples=300, random_state=0)
        >>> model = CVAERegressor(max_iter=30, kl_warmup=0.5, random_state=0)
        >>> model = model.fit(X[:150], y[:150])
        >>> low, high = model.conformalize(X[150:], y[150:]).predict_interval(X).T
        """
        self._check_fitted()
        targets = self._read_targets(y, "y", reset=False).values
        distribution = self.predict_distribution(X)
        check_consistent_length(X, targets)
        tails = distribution.tail_probability(self._outputs(targets))
        self.conformal_tails_ = np.sort(np.reshape(tails, targets.shape), axis=0)
        return self

    def sample(
        self, X: ArrayLike, n_samples: int = 1, random_state: RandomState = None
    ) -> Array:
        """Draw targets: a member, z ~ p(z | X), y ~ p(y | z, X), afresh for each draw.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
        n_samples : int, default=1
            Draws for each row.
        random_state : int, RandomState or None, default=None
            Seed of the draws.

        Returns
        -------
        y : ndarray of shape (n_draws, n_samples) or (n_draws, n_samples, n_outputs)
            Draws first, so that ``.mean(axis=0)`` has the shape of ``predict``.
        """
        engine = self._engine()
        check_number("n_samples", n_samples, integer=True, low=1)
        _, c = self._encode(X, self.schema_)
        draws = engine.sample(len(c), c, n_samples, draw_seed(random_state))
        return self._outputs(codec.decode_array(self.target_schema_, draws))

    def score_samples(self, X: ArrayLike, y: ArrayLike | None = None) -> Array:
        """Log density log p(y | X) of each row, jointly over the outputs.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), optional
            Left out, the density is that of the prediction itself, y = ``predict(X)``:
            how sharply the model commits itself.

        Returns
        -------
        log_prob : ndarray of shape (n_samples,)
            In nats, in the units of y; higher is more typical. Importance-weighted,
            with draws fixed in ``fit`` around p(z | X, y): for several outputs sharper
            than the ``log_prob`` of ``predict_distribution``, whose draws are all of
            PriorNet, and dearer.

        References
        ----------
        Burda, Grosse, Salakhutdinov (2016), eq. 8; Hesterberg (1995), Weighted average
        importance sampling and defensive mixture distributions.
        """
        engine = self._engine()
        targets = self.predict(X) if y is None else y
        log_prob, _ = engine.log_prob(self._pairs(X, targets))
        return log_prob - np.log(self.target_schema_.scale).sum()

    # -- latents -----------------------------------------------------------------

    def transform(self, X: ArrayLike, y: ArrayLike | None = None) -> Array:
        """Means of the latents, by the member with the best bound.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), optional

        Returns
        -------
        Z : ndarray of shape (n_samples, n_components)
            Means of PriorNet p(z | X), or of the posterior q(z | X, y) where ``y`` is
            given.
        """
        engine = self._engine()
        table, c = self._encode(X, self.schema_)
        if y is None:
            Z = engine.prior_mean(_pairs_without_y(c, self.n_outputs_))
        else:
            Z = engine.posterior_mean(self._pairs(X, y))
        return self._like_input(Z, table)

    def decode(self, Z: ArrayLike, X: ArrayLike) -> Array:
        """Return expected targets at given latents, by the member of ``transform``.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_components)
        X : DataFrame or array-like of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            In the units of y.

        Raises
        ------
        ValueError
            If ``Z`` has another number of columns than ``n_components``, or of rows
            than ``X``.
        """
        engine = self._engine()
        Z = check_latents(Z, self._n_features_out)
        _, c = self._encode(X, self.schema_)
        check_consistent_length(Z, c)
        values = engine.decode_mean(Z, c)
        return self._outputs(codec.decode_array(self.target_schema_, values))

    # -- helpers -----------------------------------------------------------------

    def _read(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
        proceed: bool,
        min_rows: int,
    ) -> tuple[Any, tuple[float, float]]:
        """Rows of positive weight, encoded, and the log Jacobian of y, twice."""
        table = self._read_table(X, reset=not proceed, min_rows=min_rows)
        targets = self._read_targets(y, "y", reset=not proceed)
        check_consistent_length(table.values, targets.values)
        weight, keep = read_weights(sample_weight, len(table.values), min_rows)
        table, targets = take_rows(table, keep), take_rows(targets, keep)
        if proceed:
            self._check_kept(table)
        else:
            self._learn_schemas(table, targets, weight)
        data = _pairs(
            codec.encode(self.schema_, table, "X", self.handle_unknown),
            codec.encode(self.target_schema_, targets, "y"),
            weight,
        )
        offset = float(np.log(self.target_schema_.scale).sum())
        return data, (offset, offset)

    def _read_targets(self, y: ArrayLike, name: str, *, reset: bool) -> RawTable:
        """Targets as a table; the number of outputs is learned or checked."""
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires {name} to be passed, but the target "
                f"{name} is None."
            )
        reading.refuse_text(y, name)
        values = check_array(
            y,
            ensure_2d=False,
            dtype=np.float64,
            ensure_all_finite=False,
            ensure_min_samples=0,
            ensure_min_features=0,
            input_name=name,
        )
        if values.size == 0 or values.ndim == 0:
            raise ValueError(
                f"{name} must have shape (n_samples,) or (n_samples, n_outputs), with "
                f"at least one of each; got {values.shape}."
            )
        single = values.ndim == 1
        values = values[:, None] if single else values
        named = tuple(y.columns) if reading.is_frame(y) else None
        if reset:
            self._single_output, self.n_outputs_ = single, values.shape[1]
            self._target_names = named
        elif values.shape[1] != self.n_outputs_:
            raise ValueError(
                f"{name} must have {self.n_outputs_} output(s) as in fit; "
                f"got {values.shape[1]}."
            )
        fitted = self._target_names
        if named and fitted and len(named) > 1 and named != fitted:
            raise ValueError(
                f"{name} has columns {list(named)}; expected {list(fitted)}, in this "
                "order, as in fit."
            )
        names: tuple[Hashable, ...] = (getattr(y, "name", None) or name,)
        if not single:
            names = named or tuple(f"y{i}" for i in range(values.shape[1]))
        table = RawTable(values, names, ("float64",) * len(names), None)
        reading.check_known(table, name)
        return table

    def _learn_schemas(self, table: RawTable, targets: RawTable, weight: Array) -> None:
        kinds = dict.fromkeys(targets.names, CONTINUOUS)
        self.target_schema_ = learn_schema(
            targets, weight, density=True, kinds=kinds, name="y"
        )
        scored = self.numeric_embedding is not None
        kinds = self._kinds(table.names)
        self.schema_ = learn_schema(
            table, weight, density=False, scored=scored, kinds=kinds
        )
        self._n_features_out = self.n_components

    def _pairs(
        self, X: ArrayLike, y: ArrayLike, X_name: str = "X", y_name: str = "y"
    ) -> Any:
        _, c = self._encode(X, self.schema_, X_name)
        targets = self._read_targets(y, y_name, reset=False)
        check_consistent_length(c, targets.values)
        return _pairs(c, codec.encode(self.target_schema_, targets, y_name))

    def _model(self, n_rows: int, proceed: bool) -> Any:
        columns = tuple(range(self.n_outputs_))
        check_number("n_mixtures", self.n_mixtures, integer=True, low=1)
        name = "gaussian" if self.n_mixtures == 1 else "mixture"
        head = self._head(name, columns, self.target_schema_, self.n_mixtures)
        check_choice("prior", self.prior, PRIORS)
        return self._model_config(
            (head,),
            self.target_schema_.n_codes,
            self.schema_.n_codes,
            prior=self.prior,
            **self._embedding(self._n_members(n_rows, proceed), proceed),
        )

    def _embedding(self, n_members: int, proceed: bool) -> dict[str, Any]:
        """Say which members embed the features: for several outputs, half of them."""
        check_choice("numeric_embedding", self.numeric_embedding, EMBEDDINGS)
        embedding, n_plain = self.numeric_embedding, 0
        if embedding == "auto":
            embedding = "periodic"
            has_numbers = not all(self.schema_.n_codes)  # else nothing is embedded
            if proceed:
                n_plain = self.learned_.config.n_plain
            elif self.n_outputs_ > 1 and self.n_estimators == "auto" and has_numbers:
                n_plain = n_members // 2
                n_members = 2 * n_plain
        return {
            "numeric_embedding": embedding,
            "n_estimators": n_members,
            "n_scores": len(self.schema_.scored),
            "n_plain": n_plain,
        }

    def _settled(self, n_rows: int) -> dict[str, Any]:
        """Resolve ``"auto"``: only several outputs need a latent to tie them."""
        check_choice("objective", self.objective, ("auto", *OBJECTIVES))
        for name in ("kl_warmup", "n_draws"):
            check_auto(name, getattr(self, name))
        has_latent = self.n_components != 0
        tied = self.n_outputs_ > 1 and has_latent
        objective = self.objective
        if objective == "auto":
            objective = "dreg" if tied and not self._weighs_kl() else "elbo"
        kl_warmup = JOINT_WARMUP if tied else 0.0
        if self.kl_schedule == "cyclical" and has_latent:
            kl_warmup = CYCLE_WARMUP
        automatic = {
            "objective": objective,
            "n_draws": 1 if objective == "elbo" else JOINT_DRAWS,
            "kl_warmup": kl_warmup,
        }
        return {k: v for k, v in automatic.items() if getattr(self, k) == "auto"}

    def _advice_on_collapse(self, config: TrainConfig, limit: str | None = None) -> str:
        advice = super()._advice_on_collapse(config, limit)
        if self.n_outputs_ > 1:
            return advice
        return (
            "With one output that is no loss: the mixture head does without, and "
            "n_components=0 leaves the latent out and fits faster. Only if the latent "
            f"is wanted for itself: {advice[0].lower()}{advice[1:]}"
        )

    def _target_scaling(self) -> tuple[Array, Array]:
        return self.target_schema_.shift, self.target_schema_.scale

    def _outputs(self, values: Array) -> Array:
        """Drop the axis of a single output, where y in ``fit`` had none."""
        return values[..., 0] if self._single_output else values


@dataclass(frozen=True)
class Blocks:
    """Mixture components of any rows, made when they are asked for."""

    learned: Any
    device: str
    c: Array  # (N, C), encoded features
    shift: Array  # (O,)
    scale: Array  # (O,)

    @property
    def n_mixtures(self) -> int:
        """Components of the head."""
        return int(self.learned.config.heads[0].n_mixtures)

    def __call__(self, rows: slice) -> MixtureComponents:
        """Components of some rows in the units of y."""
        from skvae._engine import door

        engine = door.Engine(self.learned, self.device)
        standardised = MixtureComponents(*engine.mixture(self.c[rows]))  # M = E·S
        return standardised.rescaled(self.shift, self.scale)


def _pairs(c: Array, y: Array, weight: Array | None = None) -> Any:
    from skvae._engine import door

    return door.Encoded.of(y, c, weight)


def _pairs_without_y(c: Array, n_outputs: int) -> Any:
    return _pairs(c, np.full((len(c), n_outputs), np.nan))
