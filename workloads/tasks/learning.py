"""scikit-learn on the data sets it ships: fit a linear model, grow a forest."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

if TYPE_CHECKING:
    from workloads.registry import Prepared


def fit_logistic(strength: float) -> float:
    features, labels = load_breast_cancer(return_X_y=True)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=500))
    return float(model.fit(features, labels).score(features, labels))


def fit_forest(seed: int) -> float:
    features, labels = load_digits(return_X_y=True)
    model = RandomForestClassifier(10, random_state=seed).fit(features[::2], labels[::2])
    return float(model.score(features[1::2], labels[1::2]))


@contextmanager
def prepare_sklearn_logistic() -> Prepared:
    yield fit_logistic, [2.0 ** (number / 12 - 4) for number in range(96)]


@contextmanager
def prepare_sklearn_forest() -> Prepared:
    yield fit_forest, list(range(24))
