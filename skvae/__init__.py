"""Variational autoencoders for scikit-learn: tables in, distributions out."""

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0.dev0"

__all__ = [
    "CVAERegressor",
    "PredictiveDistribution",
    "VAEClassifier",
    "VAEImputer",
    "VAEOutlierDetector",
    "VAETransformer",
    "__version__",
    "inspection",
    "metrics",
]

if TYPE_CHECKING:
    from skvae import inspection, metrics
    from skvae._classifier import VAEClassifier
    from skvae._imputer import VAEImputer
    from skvae._outlier import VAEOutlierDetector
    from skvae._predictive import PredictiveDistribution
    from skvae._regressor import CVAERegressor
    from skvae._transformer import VAETransformer

_HOMES = {
    "CVAERegressor": "skvae._regressor",
    "PredictiveDistribution": "skvae._predictive",
    "VAEClassifier": "skvae._classifier",
    "VAEImputer": "skvae._imputer",
    "VAEOutlierDetector": "skvae._outlier",
    "VAETransformer": "skvae._transformer",
}
_MODULES = {"inspection", "metrics"}


def __getattr__(name: str) -> object:
    """Import a public name when it is asked for, so that ``import skvae`` is fast."""
    if name in _MODULES:
        return importlib.import_module(f"skvae.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'skvae' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
