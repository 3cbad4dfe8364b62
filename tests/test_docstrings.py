"""The examples in docstrings run and print what they say."""

import doctest
import importlib

import pytest


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
