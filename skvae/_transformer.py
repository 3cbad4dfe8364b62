"""``VAETransformer``: a table in; latents, likelihoods, imputations, new rows out."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import entropy
from sklearn.utils.metaestimators import available_if

from skvae._engine.config import (
    OBJECTIVES,
    TrainConfig,
    check_auto,
    check_choice,
    check_number,
)
from skvae._estimator import (
    RandomState,
    check_latents,
    check_some_observed,
    draw_seed,
    read_weights,
)
from skvae._generated import GeneratedTable
from skvae._table import codec
from skvae._table.codec import Rows
from skvae._table.reading import RawTable, take_rows

Array = NDArray[np.floating]

PRIORS = ("normal", "mixture", "vamp", "flow")
MOST_GAP_ROWS = 1024  # whose posteriors are set against each other
DRAWN_ROWS = 32_000  # draws of z in an epoch at most, where "auto" chooses
# an autoregressive decoder learns single rows by heart sooner: what it needs is noise
# and other members, not draws of a z that says little (benchmarks/record)
AUTOREGRESSIVE_MEMBERS = 4
AUTOREGRESSIVE_DROPOUT = 0.1
AUTOREGRESSIVE_BATCH = 256


def _has_codes(model: VAETransformer) -> bool:
    """Whether the latent is one of codes."""
    fitted = getattr(model, "learned_", None)
    return (fitted.config.latent if fitted else model.latent) == "vq"


def _offers_codes(model: VAETransformer) -> bool:
    """Whether there is ``codes``, and why not, for ``available_if``."""
    if not _has_codes(model):
        raise AttributeError("Only latent='vq' has codes.")
    return True


class VAETransformer(GeneratedTable):
    """Variational autoencoder of a table of numbers, categories and holes.

    Rows are generated as z ~ p(z), by default N(0, I), x ~ p(x | z), with a network for
    p and one for the approximate posterior q(z | x). The fitted model gives a
    representation (``transform``), a log-likelihood of each row (``score_samples``),
    completed rows (``impute``) and new ones (``sample``). Missing cells, ``NaN``, are
    integrated out in ``fit`` and everywhere else.

    Parameters
    ----------
    n_components : int or tuple of int, default=8
        Latent dimensions; of a hierarchical latent those of each layer, from the one
        next to the table up, where an int n stands for (n, n / 2).
    likelihood : str or dict, default="auto"
        p(x | z) of the columns, as ``{column: name}``, or as one name for all columns
        but those of text, of categories and of ``categorical_features``. Of numbers:
        ``"gaussian"`` with a standard deviation learned for every cell,
        ``"gaussian_fixed"`` with one a column, the heavy-tailed ``"student_t"``, a
        ``"mixture"`` of 5 Gaussians, ``"lognormal"`` for positive values, ``"poisson"``
        and ``"negative_binomial"`` for counts, ``"bernoulli"`` for 0 and 1; of text and
        categories: ``"categorical"``. ``"auto"`` takes ``"bernoulli"`` for booleans and
        columns of 0 and 1, ``"mixture"`` for other numbers, whose conditional densities
        have heavy tails and several modes as often as not. Where a few extremes have
        blown up the standard deviation to more than ten times what the quartiles
        speak for, the mixture is one on the scale of an asinh [13]_, and so are
        expected values, which come near a median there. A constant number is
        drawn and imputed as it is, and another value in its column the less likely the
        more of its units it is away. Columns of an array are named ``"x0"``, ...
    prior : {"normal", "mixture", "vamp", "flow"}, default="normal"
        p(z). ``"normal"``: N(0, I). ``"mixture"``: a mixture of Gaussians fitted to the
        posteriors of the training rows after training [5]_, so that ``sample`` draws z
        where rows are. ``"vamp"``: the mixture of N(0, I) and the posteriors of 64
        learned pseudo-inputs [6]_, each made wider or narrower. ``"flow"``: N(0, I)
        through a learned flow [7]_.
    decoder : {"independent", "autoregressive"}, default="independent"
        p(x | z): of cells that are independent given z, or of each given z and the
        cells before it in its row [7]_, in one network under masks [14]_, its layers
        twice as wide as ``hidden_layer_sizes`` says. ``"autoregressive"`` is for new
        rows: they are much more like real ones, and models trained on them nearly as
        good. Columns then tell of those after them, and z holds what is left, which is
        often nothing: for ``transform``, and where many cells of the table are missing,
        leave it at ``"independent"``. The order is that of the table; a column that is
        to be predicted belongs at the end. ``"auto"`` then means other things.
    residuals : {"independent", "correlated"}, default="independent"
        What the decoder leaves of the continuous cells of a row, given z: independent,
        or tied by a Gaussian copula [15]_ with one correlation matrix for all rows,
        fitted after training. Then draws, likelihoods and expectations of missing cells
        go by it. Cells of an autoregressive decoder are tied as it is.
    posterior : {"gaussian", "flow"}, default="gaussian"
        q(z | x): independent normals, or the image of such under a flow that the
        encoder steers [8]_.
    latent : {"gaussian", "hierarchical", "vq"}, default="gaussian"
        What z is: numbers; numbers in layers, each given those above it, with inference
        from the top down [9]_; or codes of two dimensions each (one, where
        ``n_components`` is odd) from learned codebooks of 64 vectors, with a prior
        fitted after training [10]_. The bound and the KL of training are those of the
        nearest codes under a uniform prior.
    hidden_layer_sizes : tuple of int, default=(128, 128)
        Units of the hidden layers of encoder and decoder.
    activation : {"silu", "relu", "tanh", "gelu", "identity"}, default="silu"
        Activation of the hidden layers.
    dropout : float or "auto", default="auto"
        Fraction of hidden units dropped at the start of training; it falls to 0 along a
        line. ``"auto"`` takes 0, with an autoregressive decoder 0.1.
    masking : float, default=0.0
        Largest share of a row's cells that are hidden from the encoder in a step of
        training; the likelihood counts them.
    trimming : float, default=0.0
        Share of the rows, up to a half, that do not count: in each step the least
        likely of the batch, in a ``"mixture"`` prior those of all rows [12]_. For
        tables with rows that are errors or outliers.
    numeric_embedding : {None, "periodic"}, default=None
        Embedding of the encoder's inputs; ``"periodic"`` adds learned sines and cosines
        of each column [4]_, of which fast ones count less where its values hardly
        recur.
    n_estimators : int or "auto", default="auto"
        Members: networks trained side by side from other seeds and splits. Likelihoods
        and imputations average over them; ``transform`` uses the best. ``"auto"`` takes
        4, on more than 8,000 rows 32,000 over their number, where more steps of fewer
        members reach a higher likelihood in the same time; 4 of any number of rows with
        an autoregressive decoder.
    objective : {"auto", "elbo", "iwae", "dreg"}, default="auto"
        Bound to maximise: the evidence lower bound [1]_, or the importance-weighted
        bound [2]_ over ``n_draws`` draws, ``"dreg"`` by the gradients of [11]_, which
        teach the encoder with less noise. ``"auto"`` takes ``"dreg"``, and ``"elbo"``
        for codes or one draw, or where ``beta`` or ``free_bits`` weigh the KL
        divergence that only it has.
    n_draws : int or "auto", default="auto"
        Draws of z per row while training. ``"auto"`` takes 8, on more than 4,000 rows
        32,000 over their number, with an autoregressive decoder a quarter of that, and
        1 for ``"elbo"``.
    beta : float, default=1.0
        Weight of the KL divergence, or of the latent's part of the weights; where
        held-out rows are judged, too.
    kl_warmup : float, default=0.05
        Fraction of training over which that weight rises from 0 to ``beta``.
    kl_schedule : {"linear", "cyclical", "constant"}, default="linear"
        How it rises: once, four times, or not at all, as with ``kl_warmup=0``.
    free_bits : float, default=0.0
        Nats of each dimension's KL that cost nothing (``objective="elbo"`` only).
    max_iter : int, default=160
        Epochs at most.
    max_steps : int, default=10240
        Batches at most: on large tables training ends after fewer epochs.
    batch_size : int or "auto", default="auto"
        Rows in a batch; ``"auto"`` takes n / 16 within 16 and 512, with an
        autoregressive decoder 256.
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
        Floor of the decoder's standard deviation, in standard deviations of the column.
        ``"auto"`` takes the rounding error of each column, so that rounded data cannot
        drive the likelihood to infinity.
    categorical_features : "from_dtype", or array-like, default="from_dtype"
        Columns whose numbers are categories: names, positions or a mask. Text and
        pandas categories are categories in any case.
    handle_unknown : {"warn", "ignore", "error"}, default="warn"
        Whether a category that ``fit`` has not seen (in a column of 0 and 1: another
        number) is missing, with or without a warning, or an error.
    n_samples : int, default=128
        Fixed draws of z for likelihoods and imputations; powers of two are the most
        even.
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
        Training objective of each epoch, nats per row in the original units, mean over
        members; lower is better.
    validation_scores_ : list of float
        Bound on the held-out rows after each epoch, likewise, with ``beta``; higher is
        better. Empty without ``early_stopping``.
    perplexity_ : ndarray of shape (n_positions,)
        Of codes only: how many each position uses, exp of the entropy of their
        frequencies in the training rows.
    likelihoods_ : dict
        The likelihood of each column.
    history_ : FitRecord
        The same by member, in standardised units, with the KL of each dimension, of
        held-out rows where there are any. Of the last ``fit`` or ``partial_fit`` alone.
    n_features_in_ : int
        Columns seen in ``fit``.
    feature_names_in_ : ndarray of str
        Their names, where they are all strings.

    See Also
    --------
    CVAERegressor : The conditional distribution of targets given features.
    sklearn.decomposition.FactorAnalysis : The linear-Gaussian special case.

    References
    ----------
    .. [1] Kingma, Welling (2014), Auto-encoding variational Bayes, eq. 3.
       arXiv:1312.6114
    .. [2] Burda, Grosse, Salakhutdinov (2016), Importance weighted autoencoders, eq. 8.
       arXiv:1509.00519
    .. [3] Mattei, Frellsen (2019), MIWAE, eq. 4. arXiv:1812.02633
    .. [4] Gorishniy, Rubachev, Babenko (2022), sec. 3.3. arXiv:2203.05556
    .. [5] Ghosh, Sajjadi, Vergari, Black, Schölkopf (2020), From variational to
       deterministic autoencoders, sec. 4. arXiv:1903.12436
    .. [6] Tomczak, Welling (2018), VAE with a VampPrior, eq. 9. arXiv:1705.07120
    .. [7] Chen, Kingma, Salimans et al. (2017), Variational lossy autoencoder,
       sec. 2.2 and 3.2. arXiv:1611.02731; couplings as in Dinh, Sohl-Dickstein, Bengio
       (2017), eq. 4-8. arXiv:1605.08803
    .. [8] Rezende, Mohamed (2015), Variational inference with normalizing flows,
       sec. 4.2. arXiv:1505.05770
    .. [9] Sønderby, Raiko, Maaløe, Sønderby, Winther (2016), Ladder variational
       autoencoders, eq. 16-19. arXiv:1602.02282
    .. [10] van den Oord, Vinyals, Kavukcuoglu (2017), Neural discrete representation
       learning, sec. 3. arXiv:1711.00937
    .. [11] Tucker, Lawson, Gu, Maddison (2019), Doubly reparameterized gradient
       estimators, eq. 9. arXiv:1810.04152
    .. [12] Shen, Sanghavi (2019), Learning with bad training data via iterative trimmed
       loss minimization, sec. 3. arXiv:1810.11874
    .. [13] Johnson (1949), Systems of frequency curves generated by methods of
       translation, S_U. Biometrika 36, 149-176
    .. [14] Germain, Gregor, Murray, Larochelle (2015), MADE: masked autoencoder for
       distribution estimation, eq. 12-13. arXiv:1502.03509
    .. [15] Song (2000), Multivariate dispersion models generated from Gaussian copula,
       sec. 2.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAETransformer
    >>> X = load_iris().data.copy()
    >>> X[::3, 2] = np.nan
    >>> vae = VAETransformer(n_components=2, max_iter=100, random_state=0).fit(X)
    >>> vae.transform(X).shape
    (150, 2)
    >>> bool(np.isnan(vae.impute(X)).any())
    False
    """

    _most_draws = 8  # of z per row in training

    def __init__(
        self,
        n_components: int | Sequence[int] = 8,
        *,
        likelihood: str | Mapping[Hashable, str] = "auto",
        prior: str = "normal",
        decoder: str = "independent",
        residuals: str = "independent",
        posterior: str = "gaussian",
        latent: str = "gaussian",
        hidden_layer_sizes: Sequence[int] = (128, 128),
        activation: str = "silu",
        dropout: float | str = "auto",
        masking: float = 0.0,
        trimming: float = 0.0,
        numeric_embedding: str | None = None,
        n_estimators: int | str = "auto",
        objective: str = "auto",
        n_draws: int | str = "auto",
        beta: float = 1.0,
        kl_warmup: float = 0.05,
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
        self.likelihood = likelihood
        self.prior = prior
        self.decoder = decoder
        self.residuals = residuals
        self.posterior = posterior
        self.latent = latent
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.dropout = dropout
        self.masking = masking
        self.trimming = trimming
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
        y: None = None,
        sample_weight: ArrayLike | None = None,
        X_val: ArrayLike | None = None,
    ) -> VAETransformer:
        """Learn the distribution of the rows of ``X``.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Numbers, booleans, text and categories; ``NaN`` where a value is missing.
        y : None
            Ignored; here for the scikit-learn interface.
        sample_weight : array-like of shape (n_samples,), optional
            A row of weight w counts as w rows, but as one where it is asked whether
            values recur; rows of weight 0 are left out.
        X_val : like ``X``, optional
            Validation rows, instead of a split of ``X``; with ``early_stopping``.

        Returns
        -------
        self : VAETransformer

        Raises
        ------
        ValueError, TypeError
            If a parameter is out of range, or a column holds dates or mixed objects, is
            infinite or without any value; the message names it.
        """
        proceed = self._continues()
        with self._unchanged_on_error():
            data, offset = self._read(X, sample_weight, proceed, min_rows=2)
            config = self._train_config(len(data))
            valid, valid_offset = None, offset
            if X_val is not None:
                self._check_looked_at()
                valid, valid_offset = self._read_held_out(X_val)
            offsets = offset, valid_offset
            model = self._model(len(data), proceed)
            self._train(model, config, data, valid, offsets, proceed)
            return self._count_codes(data)

    def partial_fit(
        self,
        X: ArrayLike,
        y: None = None,
        sample_weight: ArrayLike | None = None,
    ) -> VAETransformer:
        """Train for one epoch on a further chunk of rows.

        The first call fixes kinds and scales of the columns, so its rows should be
        typical. The learning rate and the weight of the KL stay at
        ``learning_rate_init`` and ``beta``; no rows are held out.

        Parameters
        ----------
        X, y, sample_weight
            As in ``fit``.

        Returns
        -------
        self : VAETransformer
        """
        proceed = hasattr(self, "learned_")
        min_rows = 1 if proceed else 2
        with self._unchanged_on_error():
            data, offset = self._read(X, sample_weight, proceed, min_rows)
            config = self._one_epoch(len(data))
            offsets = offset, offset
            model = self._model(len(data), proceed)
            self._train(model, config, data, None, offsets, proceed)
            return self._count_codes(data)

    # -- latents -----------------------------------------------------------------

    def transform(self, X: ArrayLike) -> Array:
        """Posterior means of the latents, by the member with the best bound.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Columns as in ``fit``; ``NaN`` where a value is missing.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_components)
            In units of the prior, which is N(0, 1) by default; with ``latent="vq"`` the
            vectors of the codes.
        """
        engine = self._engine()
        table, encoded = self._encode(X, self.schema_)
        Z = engine.posterior_mean(_rows(encoded))
        return self._like_input(Z, table)

    @available_if(_offers_codes)
    def codes(self, X: ArrayLike) -> NDArray[np.integer]:
        """Return the indices of the codes of rows, by the member of ``transform``.

        Only with ``latent="vq"``; ``transform`` gives the vectors of the same codes.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)

        Returns
        -------
        index : ndarray of int of shape (n_samples, n_positions)
            Position m takes index 0 to 63 in the codebook of position m.
        """
        engine = self._engine()
        _, encoded = self._encode(X, self.schema_)
        return engine.codes(_rows(encoded))

    def prior_gap(self, X: ArrayLike) -> float:
        """How far the latents of rows lie, together, from the prior.

        KL(q(z) || p(z)) in nats, where q(z) is the mean of the posteriors of the rows
        (Hoffman & Johnson 2016, eq. 8), by the member of ``transform``. Where it is
        large, the prior has holes: ``sample`` decodes latents that no row has, and
        new rows look unlike old ones. Then fit with ``prior="mixture"``, which is
        fitted to these posteriors, or, as with codes, which have a fitted prior in any
        case, with fewer latents or more ``beta``. It is estimated from one draw of each
        of at most 1024 rows, and is high where posteriors are narrow: it is the mean KL
        of those draws less the log of the number of rows at the least. Of few rows it
        may be negative.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Rows as in ``fit``; more than 1024 are thinned out evenly.

        Returns
        -------
        gap : float
            Nats, 0 for a perfect fit; compare it with ``kl_per_dimension_.sum()``.
        """
        engine = self._engine()
        _, encoded = self._encode(X, self.schema_)
        step = -(-len(encoded) // MOST_GAP_ROWS)
        return engine.prior_gap(_rows(encoded[::step]))

    def inverse_transform(self, Z: ArrayLike) -> Rows:
        """Return expected rows at given latents, by the member of ``transform``.

        By an autoregressive decoder each cell is expected given the expected ones
        before it.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_components)

        Returns
        -------
        X : DataFrame or ndarray of shape (n_samples, n_features)
            In the columns, units and dtypes of ``fit``; of a binary column the more
            likely value.

        Raises
        ------
        ValueError
            If ``Z`` has another number of columns than ``n_components``.
        """
        engine = self._engine()
        Z = check_latents(Z, self._n_features_out)
        return codec.decode(self.schema_, engine.decode_mean(Z))

    def reconstruct(self, X: ArrayLike) -> Rows:
        """``inverse_transform(transform(X))``: every row as its latent gives it back.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)

        Returns
        -------
        X : DataFrame or ndarray of shape (n_samples, n_features)
        """
        engine = self._engine()
        table, encoded = self._encode(X, self.schema_)
        rows = engine.decode_mean(engine.posterior_mean(_rows(encoded)))
        return codec.decode(self.schema_, rows, _index(table))

    def sample(self, n_samples: int = 1, random_state: RandomState = None) -> Rows:
        """Draw new rows: a member, z ~ p(z), x ~ p(x | z).

        Numbers beyond the least and the greatest that ``fit`` has seen in their column
        become these.

        Parameters
        ----------
        n_samples : int, default=1
            Rows to draw.
        random_state : int, RandomState or None, default=None
            Seed of the draws.

        Returns
        -------
        X : DataFrame or ndarray of shape (n_samples, n_features)
            In the columns, units and dtypes of ``fit``.
        """
        engine = self._engine()
        check_number("n_samples", n_samples, integer=True, low=1)
        seed = draw_seed(random_state)
        draws = engine.sample(n_samples, None, 1, seed)
        rng = np.random.default_rng(seed)
        return codec.decode(self.schema_, draws[0], rng=rng, within=True)

    # -- missing cells -----------------------------------------------------------

    def impute(
        self,
        X: ArrayLike,
        n_imputations: int | None = None,
        random_state: RandomState = None,
    ) -> Rows | list[Rows]:
        """Fill the missing cells of ``X`` given the observed ones.

        Observed cells stay as they are, those of categories that ``fit`` has not seen,
        too. A column that had holes gets the dtype of ``fit`` if that holds its cells.
        An autoregressive decoder draws the missing cells with z, and weighs the draws
        by the observed cells after them: where those tell much, ``n_samples`` draws
        are few, and an independent decoder completes better.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            ``NaN`` where a value is missing.
        n_imputations : int or None, default=None
            ``None``: conditional expectations (the more likely value of a binary cell).
            An int m: m draws from the joint conditional distribution of the missing
            cells [3]_.
        random_state : int, RandomState or None, default=None
            Seed of the draws.

        Returns
        -------
        X : DataFrame or ndarray of shape (n_samples, n_features)
            Observed cells bit for bit. With ``n_imputations=m`` an array of shape
            (m, n_samples, n_features), or a list of m DataFrames.
        """
        engine = self._engine()
        table, encoded = self._encode(X, self.schema_)
        rows = _rows(encoded)
        if n_imputations is None:
            return self._filled(table, engine.conditional_mean(rows))
        check_number("n_imputations", n_imputations, integer=True, low=1)
        seed = draw_seed(random_state)
        draws = engine.conditional_draws(rows, n_imputations, seed)
        rng = np.random.default_rng(seed)
        filled = [self._filled(table, draw, rng) for draw in draws]
        return filled if table.frame is not None else np.stack(filled)

    # -- likelihood --------------------------------------------------------------

    def score_samples(
        self, X: ArrayLike, return_se: bool = False
    ) -> Array | tuple[Array, Array]:
        """Log-likelihood of the observed cells of each row, importance-weighted.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            ``NaN`` cells are integrated out.
        return_se : bool, default=False
            Whether to return the Monte Carlo standard error too.

        Returns
        -------
        log_prob : ndarray of shape (n_samples,)
            In nats, in the original units of the columns; higher is more typical. The
            draws of z are fixed in ``fit``, so the same row always gets the same score.
        standard_error : ndarray of shape (n_samples,)
            In nats, as far as the draws can tell. Near 1, its largest value, one draw
            has all the weight: such rows, far from those of ``fit``, score too low, by
            more nats than that, until ``n_samples`` is raised.

        References
        ----------
        Burda, Grosse, Salakhutdinov (2016), eq. 8; Mattei, Frellsen (2019), eq. 4. Rows
        with missing cells take draws from the prior, too: Hesterberg (1995).
        """
        engine = self._engine()
        table, encoded = self._encode(X, self.schema_)
        log_prob, standard_error = engine.log_prob(_rows(encoded))
        log_prob = log_prob - codec.log_scale(self.schema_, table).sum(axis=1)
        return (log_prob, standard_error) if return_se else log_prob

    def score(self, X: ArrayLike, y: None = None) -> float:
        """Mean of ``score_samples``: nats per row, higher is better.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
        y : None
            Ignored.

        Returns
        -------
        log_prob : float
        """
        return float(np.mean(self.score_samples(X)))

    def score_features(self, X: ArrayLike) -> Array:
        """Share of each cell in the log-likelihood of its row.

        The expectation of log p(x_d | z) over the posterior of z. A row's sum is its
        ``score_samples`` plus KL(p(z | x) || p(z)), the part that no column owns; what
        correlated residuals tell of each other is owned by none, either.
        Columns of other units do not compare: to find the odd cell of a row, take off
        the median of each column, or ask ``VAEOutlierDetector.score_features``.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)

        Returns
        -------
        log_prob : ndarray of shape (n_samples, n_features)
            In nats, original units; higher is more typical. 0 where missing.
        """
        engine = self._engine()
        table, encoded = self._encode(X, self.schema_)
        cells = engine.log_prob_cells(_rows(encoded))
        return cells - codec.log_scale(self.schema_, table)

    # -- helpers -----------------------------------------------------------------

    def _read(
        self,
        X: ArrayLike,
        sample_weight: ArrayLike | None,
        proceed: bool,
        min_rows: int,
    ) -> tuple[Any, float]:
        """Rows of positive weight, encoded, and their mean log Jacobian."""
        table = self._read_table(X, reset=not proceed, min_rows=min_rows)
        weight, keep = read_weights(sample_weight, len(table.values), min_rows)
        table = take_rows(table, keep)
        if proceed:
            self._go_on(table)
        else:
            self.schema_ = self._learn_schema(table, weight)
        return self._rows(table, weight), self._offset(table, weight)

    def _read_held_out(self, X_val: ArrayLike) -> tuple[Any, float]:
        """Read validation rows; also return their mean log Jacobian."""
        table = self._read_table(X_val, reset=False, name="X_val")
        check_some_observed(table, "X_val")
        rows = self._rows(table, name="X_val")
        return rows, self._offset(table, rows.weight)

    def _model(self, n_rows: int, proceed: bool) -> Any:
        check_choice("prior", self.prior, PRIORS)
        model = self._model_config(
            self._heads(),
            self.schema_.n_codes,
            prior=self.prior,
            posterior=self.posterior,
            latent=self.latent,
            decoder=self.decoder,
            residuals=self.residuals,
            n_estimators=self._n_members(n_rows, proceed),
        )
        self._n_features_out = model.n_components
        return model

    def _advice_on_collapse(self, config: TrainConfig, limit: str | None = None) -> str:
        advice = super()._advice_on_collapse(config, limit)
        if not self._is_autoregressive:
            return advice
        return (
            "Cells tell of those after them and leave z little to say, which sample "
            "and score_samples can do without. For a latent set decoder='independent'. "
            + advice
        )

    def _count_codes(self, data: Any) -> VAETransformer:
        """Learn how many codes are in use, where there are any."""
        if _has_codes(self):
            index = self._engine().codes(data)
            entropies = [
                entropy(np.bincount(position, data.weight)) for position in index.T
            ]
            self.perplexity_ = np.exp(entropies)
        else:  # of an earlier fit
            vars(self).pop("perplexity_", None)
        return self

    @property
    def _is_autoregressive(self) -> bool:
        return self.decoder == "autoregressive"

    @property
    def _members(self) -> tuple[int, int]:
        """Fewest and most members that ``n_estimators="auto"`` takes."""
        fewest, most = super()._members
        return (AUTOREGRESSIVE_MEMBERS if self._is_autoregressive else fewest), most

    def _settled(self, n_rows: int) -> dict[str, Any]:
        """Resolve ``"auto"``."""
        check_auto("dropout", self.dropout)
        settled = self._settled_draws(n_rows)
        if self._is_autoregressive:
            settled["largest_batch"] = AUTOREGRESSIVE_BATCH
        if isinstance(self.dropout, str):
            rate = AUTOREGRESSIVE_DROPOUT if self._is_autoregressive else 0.0
            settled["dropout"] = rate
        return settled

    def _settled_draws(self, n_rows: int) -> dict[str, Any]:
        """As many draws as rows, and members, leave time for."""
        check_choice("objective", self.objective, ("auto", *OBJECTIVES))
        objective, n_draws = self.objective, self.n_draws
        if objective == "auto" and (self.latent == "vq" or self._weighs_kl()):
            objective = "elbo"
        check_auto("n_draws", n_draws)
        if isinstance(n_draws, str):
            drawn = DRAWN_ROWS // self._members[0]
            n_draws = min(self._most_draws, max(1, drawn // n_rows))
            if objective == "elbo" or self.latent == "vq":
                n_draws = 1
        if self.latent == "vq" and objective != "elbo":
            raise ValueError(
                "latent='vq' is trained by the evidence lower bound with a cost of "
                "commitment, which importance-weighted bounds leave out: set "
                f"objective='auto' or 'elbo'; got {objective!r}."
            )
        if self.latent == "vq" and self.free_bits != 0:
            raise ValueError(
                "free_bits means nothing with latent='vq', whose KL in training is the "
                f"same for all rows: set free_bits=0; got {self.free_bits!r}."
            )
        if objective == "auto":
            objective = "elbo" if n_draws == 1 else "dreg"
        return {"objective": objective, "n_draws": n_draws}

    def _rows(
        self, table: RawTable, weight: Array | None = None, name: str = "X"
    ) -> Any:
        encoded = codec.encode(self.schema_, table, name, self.handle_unknown)
        return _rows(encoded, weight)

    def _filled(
        self, table: RawTable, rows: Array, rng: np.random.Generator | None = None
    ) -> Rows:
        return codec.fill(table, codec.decode(self.schema_, rows, _index(table), rng))


def _rows(encoded: Array, weight: Array | None = None) -> Any:
    from skvae._engine import door

    return door.Encoded.of(encoded, weight=weight)


def _index(table: RawTable) -> Any:
    return None if table.frame is None else table.frame.index
