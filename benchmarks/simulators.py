"""Simulated data with an exact p(y | x): one frozen simulator for each difficulty."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from scipy import special, stats

from benchmarks.peers.predictive import Array


class Simulator(ABC):
    """Features from a box, outcomes from a density that is known exactly."""

    low: tuple[float, ...]
    high: tuple[float, ...]
    n_outputs = 1

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Draw features (n, D) and outcomes (n,) or (n, 2)."""
        X = rng.uniform(self.low, self.high, size=(n, len(self.low)))
        return X, self.outcome(X, rng)

    @abstractmethod
    def outcome(self, X: Array, rng: np.random.Generator) -> Array:
        """Draw one outcome for each row of X."""

    @abstractmethod
    def log_prob(self, X: Array, y: Array) -> Array:
        """Exact log density of y given X, in nats: (N,)."""


class OneNoise(Simulator):
    """A simulator whose outcome has one of scipy's distributions."""

    @abstractmethod
    def noise(self, X: Array) -> Any:
        """Distribution of y for each row."""

    def outcome(self, X: Array, rng: np.random.Generator) -> Array:
        """Draw one outcome for each row of X."""
        return self.noise(X).rvs(size=len(X), random_state=rng)

    def log_prob(self, X: Array, y: Array) -> Array:
        """Exact log density of y given X."""
        return self.noise(X).logpdf(y)


class Bimodal(Simulator):
    """Two modes that cross at x = 0 and meet at x = -2 and 2.

    y = s · 1.5 sin(πx / 2) + 0.25 e, e ~ N(0, 1), s = 1 with probability 0.35, else -1.
    """

    low, high = (-2.0,), (2.0,)
    weight, scale = 0.35, 0.25

    def outcome(self, X: Array, rng: np.random.Generator) -> Array:
        """Draw one outcome for each row of X."""
        sign = np.where(rng.random(len(X)) < self.weight, 1.0, -1.0)
        return sign * self._mode(X) + self.scale * rng.normal(size=len(X))

    def log_prob(self, X: Array, y: Array) -> Array:
        """Exact log density of y given X."""
        mode = self._mode(X)
        return np.logaddexp(
            np.log(self.weight) + stats.norm.logpdf(y, mode, self.scale),
            np.log1p(-self.weight) + stats.norm.logpdf(y, -mode, self.scale),
        )

    def _mode(self, X: Array) -> Array:
        return 1.5 * np.sin(0.5 * np.pi * X[:, 0])


class HeavyTail(OneNoise):
    """Student's t with 3 degrees of freedom.

    Location x₁ + sin(2 x₂), scale 0.2 exp(0.4 x₁).
    """

    low, high = (-2.0, -2.0), (2.0, 2.0)

    def noise(self, X: Array) -> Any:
        """Distribution of y for each row."""
        location = X[:, 0] + np.sin(2.0 * X[:, 1])
        return stats.t(3.0, location, 0.2 * np.exp(0.4 * X[:, 0]))


class Heteroscedastic(OneNoise):
    """A normal of two of six features; the other four say nothing.

    Mean sin(πx₁) + x₂², standard deviation exp(x₂ - 1.2).
    """

    low, high = (-1.0,) * 6, (1.0,) * 6

    def noise(self, X: Array) -> Any:
        """Distribution of y for each row."""
        mean = np.sin(np.pi * X[:, 0]) + X[:, 1] ** 2
        return stats.norm(mean, np.exp(X[:, 1] - 1.2))


class Skewed(OneNoise):
    """A log-normal: log y has mean 0.5 sin(2x) and standard deviation 0.4 + 0.15 x."""

    low, high = (-2.0,), (2.0,)

    def noise(self, X: Array) -> Any:
        """Distribution of y for each row."""
        x = X[:, 0]
        return stats.lognorm(0.4 + 0.15 * x, scale=np.exp(0.5 * np.sin(2.0 * x)))


class Curved(Simulator):
    """Two outputs on a parabola that bends with x: y₁ ~ N(0, 1), y₂ = x y₁² + 0.3 e."""

    low, high = (-1.0,), (1.0,)
    n_outputs = 2
    scale = 0.3

    def outcome(self, X: Array, rng: np.random.Generator) -> Array:
        """Draw one outcome for each row of X."""
        first, noise = rng.normal(size=(2, len(X)))
        second = X[:, 0] * first**2 + self.scale * noise
        return np.stack([first, second], axis=1)

    def log_prob(self, X: Array, y: Array) -> Array:
        """Exact log density of y given X."""
        first, second = y.T
        return stats.norm.logpdf(first) + stats.norm.logpdf(
            second, X[:, 0] * first**2, self.scale
        )


class Ring(Simulator):
    """Two outputs on a ring while x <= 0, which parts into two clusters as x grows.

    Twice the angle is von Mises with concentration 8 max(x, 0); the log of the radius
    is N(log 1.5, 0.1²).
    """

    low, high = (-1.0,), (1.0,)
    n_outputs = 2
    radius, scale = 1.5, 0.1

    def outcome(self, X: Array, rng: np.random.Generator) -> Array:
        """Draw one outcome for each row of X."""
        half_turn = np.pi * rng.integers(2, size=len(X))
        angle = 0.5 * rng.vonmises(0.0, self._concentration(X)) + half_turn
        radius = self.radius * np.exp(self.scale * rng.normal(size=len(X)))
        return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)

    def log_prob(self, X: Array, y: Array) -> Array:
        """Exact log density of y given X."""
        kappa, radius = self._concentration(X), np.hypot(*y.T)
        log_angle = kappa * (np.cos(2.0 * np.arctan2(y[:, 1], y[:, 0])) - 1.0)
        log_angle -= np.log(2.0 * np.pi * special.i0e(kappa))
        log_radius = stats.lognorm.logpdf(radius, self.scale, scale=self.radius)
        return log_radius + log_angle - np.log(radius)  # polar coordinates: 1 / r

    def _concentration(self, X: Array) -> Array:
        return 8.0 * np.maximum(X[:, 0], 0.0)


class Ellipse(Simulator):
    """Two normal outputs: their sum is spread out as x grows, their difference shrinks.

    y₁ = u + v + 0.3 e₁, y₂ = u - v + 0.3 e₂; u and v have variances exp(2.4 x)
    and exp(-2.4 x).
    """

    low, high = (-1.0,), (1.0,)
    n_outputs = 2
    rate, scale = 1.2, 0.3

    def outcome(self, X: Array, rng: np.random.Generator) -> Array:
        """Draw one outcome for each row of X."""
        first, second, *noise = rng.normal(size=(4, len(X)))
        u = np.exp(self.rate * X[:, 0]) * first
        v = np.exp(-self.rate * X[:, 0]) * second
        return np.stack([u + v, u - v], axis=1) + self.scale * np.transpose(noise)

    def log_prob(self, X: Array, y: Array) -> Array:
        """Exact log density of y given X."""
        spread = self.scale * np.sqrt(2.0)  # of the noise in sum and in difference
        total = np.hypot(2.0 * np.exp(self.rate * X[:, 0]), spread)
        difference = np.hypot(2.0 * np.exp(-self.rate * X[:, 0]), spread)
        first, second = y.T
        log_prob = stats.norm.logpdf(first + second, scale=total)
        log_prob += stats.norm.logpdf(first - second, scale=difference)
        return log_prob + np.log(2.0)  # of two outputs for their sum and difference


SIMULATORS: dict[str, Simulator] = {
    "bimodal": Bimodal(),
    "heavy-tail": HeavyTail(),
    "heteroscedastic": Heteroscedastic(),
    "skewed": Skewed(),
    "curved": Curved(),
    "ring": Ring(),
}
