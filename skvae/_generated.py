"""Estimators that generate the table ``X`` itself: a likelihood for every column."""

from collections.abc import Hashable, Mapping

import numpy as np
from numpy.typing import NDArray

from skvae._engine.config import HeadConfig, check_choice
from skvae._estimator import LatentVariableEstimator
from skvae._table import codec
from skvae._table.reading import RawTable
from skvae._table.schema import (
    BINARY,
    CATEGORICAL,
    CONTINUOUS,
    COUNT,
    DISCRETE,
    ORDINAL,
    POSITIVE,
    Column,
    Schema,
    learn_schema,
)

Array = NDArray[np.floating]

KINDS = {
    "gaussian": CONTINUOUS,
    "gaussian_fixed": CONTINUOUS,
    "student_t": CONTINUOUS,
    "mixture": CONTINUOUS,
    "lognormal": POSITIVE,
    "bernoulli": BINARY,
    "categorical": CATEGORICAL,
    "poisson": COUNT,
    "negative_binomial": COUNT,
}
# of a column without a likelihood asked for
AUTOMATIC = {
    CONTINUOUS: "mixture",
    BINARY: "bernoulli",
    ORDINAL: "categorical",
    CATEGORICAL: "categorical",
}
N_MIXTURES = 5  # components a column under likelihood="mixture"


class GeneratedTable(LatentVariableEstimator):
    """Reads the parameter ``likelihood`` of estimators that have it."""

    _automatic = AUTOMATIC
    _novelties = False  # whether rows to come may be unlike any row of fit

    def _likelihoods(self, table: RawTable) -> dict[Hashable, str]:
        """Likelihoods asked for by name, {} under "auto"; one for all is of numbers."""
        categories = self._kinds(table.names)
        if isinstance(self.likelihood, str):
            check_choice("likelihood", self.likelihood, ("auto", *KINDS))
            if self.likelihood == "auto":
                return {}
            return {
                name: self.likelihood
                for i, name in enumerate(table.names)
                if i not in table.labels and name not in categories
            }
        if not isinstance(self.likelihood, Mapping):
            raise TypeError(
                f"likelihood must be one of {['auto', *KINDS]} or a dict {{column: "
                f"name}}; got {self.likelihood!r}."
            )
        asked = dict(self.likelihood)
        unknown = sorted(set(asked) - set(table.names), key=str)
        if unknown:
            raise ValueError(
                f"likelihood names columns that X does not have: {unknown}; expected "
                f"some of {list(table.names)}."
            )
        for column, name in asked.items():
            check_choice(f"likelihood[{column!r}]", name, ("auto", *KINDS))
            if column in categories and name not in ("auto", "categorical"):
                raise ValueError(
                    f"likelihood[{column!r}]={name!r} is of numbers, and "
                    "categorical_features has the column, too. Leave it out of one."
                )
        return {column: name for column, name in asked.items() if name != "auto"}

    def _learn_schema(self, table: RawTable, weight: Array) -> Schema:
        asked = self._likelihoods(table)
        numbers = {column: KINDS[name] for column, name in asked.items()}
        kinds = self._kinds(table.names) | numbers
        schema = learn_schema(
            table,
            weight,
            density=True,
            constants=True,
            novelties=self._novelties,
            kinds=kinds,
        )
        self.likelihoods_ = {
            column.name: asked.get(column.name) or self._automatic[column.kind]
            for column in schema.columns
        }
        return schema

    def _go_on(self, table: RawTable) -> None:
        """Keep what an earlier fit learned of the columns; only spans may grow."""
        self._check_kept(table)
        self.schema_ = self.schema_.widened(table)

    def _check_kept(self, table: RawTable) -> None:
        super()._check_kept(table)
        asked = self._likelihoods(table)
        # text and categories have one likelihood
        others = [c for c in self.schema_.columns if c.kind not in DISCRETE]
        now = {c.name: asked.get(c.name) or self._automatic[c.kind] for c in others}
        changed = [name for name in now if now[name] != self.likelihoods_[name]]
        self._refuse_change("likelihood", changed)

    def _heads(self) -> tuple[HeadConfig, ...]:
        """Group the columns by likelihood and number of codes."""
        groups: dict[tuple[str, int], list[int]] = {}
        for i, column in enumerate(self.schema_.columns):
            name = self.likelihoods_[column.name]
            groups.setdefault((name, _size_class(column)), []).append(i)
        return tuple(
            self._head(name, tuple(columns), self.schema_, N_MIXTURES)
            for (name, _), columns in groups.items()
        )

    def _offset(self, table: RawTable, weight: Array) -> float:
        """Mean log Jacobian of some rows."""
        jacobian = codec.log_scale(self.schema_, table).sum(axis=1)
        return float(np.average(jacobian, weights=weight))


def _size_class(column: Column) -> int:
    """Discrete columns share a head with others of about as many codes."""
    return column.n_codes.bit_length()
