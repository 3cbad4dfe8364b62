"""The examples in docstrings run and print what they say."""

import doctest
import importlib
import inspect

import pytest

import skvae
import skvae.inspection
import skvae.metrics


@pytest.mark.parametrize(
    "module",
    [
        "skvae._classifier",
        "skvae._imputer",
        "skvae._outlier",
        "skvae._predictive",
        "skvae._regressor",
        "skvae._transformer",
        "skvae.metrics._calibration",
        "skvae.metrics._scores",
        "skvae.metrics._scorers",
    ],
)
def test_examples_in_docstrings_run(module):
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted > 0
    assert result.failed == 0


def _public_callables():
    for module in (skvae, skvae.metrics, skvae.inspection):
        for name in module.__all__:
            value = getattr(module, name)
            if not callable(value) or not hasattr(value, "__name__"):
                continue  # a version, or a scorer that is there already
            yield value
            if inspect.isclass(value):
                members = inspect.getmembers(value, inspect.isfunction)
                yield from (f for n, f in members if not n.startswith("_"))


@pytest.mark.parametrize(
    "function", [*_public_callables()], ids=lambda f: f.__qualname__
)
def test_signatures_can_be_read(function):
    """What ``help`` shows is ``ArrayLike``, not the union that it stands for."""
    if function.__module__.startswith("skvae"):
        assert "numpy._typing" not in str(inspect.signature(function))
