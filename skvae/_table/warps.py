"""The scales that numeric columns are modelled on: their own, a logarithm, an asinh."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# standard deviations over that of a normal with the same quartiles: Cauchy columns have
# more, log-normal ones from a scale of 1.8 on, Student's t of 3 degrees have fewer
HEAVY_TAILS = 10.0
QUARTILES = 1.349  # standard deviations between those of a normal distribution


class Warp(Protocol):
    """A rising function of the values of a column."""

    def forward(self, values: Array) -> Array: ...
    def inverse(self, warped: Array) -> Array: ...
    def log_slope(self, values: Array) -> Array: ...


@dataclass(frozen=True)
class Identity:
    """Values as they are."""

    def forward(self, values: Array) -> Array:
        """Values on the scale of the model."""
        return values

    def inverse(self, warped: Array) -> Array:
        """Return to the column's own units."""
        return warped

    def log_slope(self, values: Array) -> Array:
        """Log of the derivative of ``forward``."""
        return np.zeros_like(values)


@dataclass(frozen=True)
class Log:
    """Logarithms of positive values."""

    def forward(self, values: Array) -> Array:
        """Values on the scale of the model."""
        return np.log(values)

    def inverse(self, warped: Array) -> Array:
        """Return to the column's own units."""
        return np.exp(warped)

    def log_slope(self, values: Array) -> Array:
        """Log of the derivative of ``forward``."""
        return -np.log(values)


@dataclass(frozen=True)
class Asinh:
    """Linear within some ``unit`` of ``origin``, logarithmic far away on either side.

    Johnson's (1949) S_U distributions are normal on this scale.
    """

    origin: float
    unit: float

    def forward(self, values: Array) -> Array:
        """Values on the scale of the model."""
        return np.arcsinh((values - self.origin) / self.unit)

    def inverse(self, warped: Array) -> Array:
        """Return to the column's own units."""
        return np.sinh(warped) * self.unit + self.origin

    def log_slope(self, values: Array) -> Array:
        """Log of the derivative of ``forward``."""
        steps = (values - self.origin) / self.unit
        return -np.log(np.hypot(1.0, steps)) - np.log(self.unit)


def weighted_quantiles(values: Array, weight: Array, levels: list[float]) -> Array:
    """Smallest values with these shares of the weight at or below them."""
    order = np.argsort(values)
    share = np.cumsum(weight[order])
    return values[order][np.searchsorted(share, np.array(levels) * share[-1])]


def warp_for(values: Array, weight: Array, scale: float) -> Warp:
    """Asinh for values whose ``scale``, a standard deviation, a few have blown up."""
    low, middle, high = weighted_quantiles(values, weight, [0.25, 0.5, 0.75])
    unit = (high - low) / QUARTILES
    if 0.0 < HEAVY_TAILS * unit < scale:
        return Asinh(float(middle), float(unit))
    return Identity()
