"""Train scikit-learn models and convert them (scikit-learn 1.9, skl2onnx 1.20): see obtain.py.

    skl_mlp_digits   two hidden layers on 8 x 8 digits
    skl_mlp_bc       a scaler and two hidden layers on breast cancer measurements
    skl_logreg_bc    a scaler and a logistic regression on the same

A label (ArgMax, ArrayFeatureExtractor, Cast) hangs behind the probabilities.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skl2onnx import to_onnx
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

__all__ = ["make", "test_rows"]


def perceptron(layers: tuple[int, ...], rounds: int) -> MLPClassifier:
    """Return an untrained network with these hidden layers."""
    return MLPClassifier(layers, max_iter=rounds, random_state=0)


RECIPES: dict[str, tuple[Callable[..., Any], Callable[[], Any]]] = {
    "skl_mlp_digits": (load_digits, lambda: perceptron((64, 32), 200)),
    "skl_mlp_bc": (
        load_breast_cancer,
        lambda: make_pipeline(StandardScaler(), perceptron((16, 8), 300)),
    ),
    "skl_logreg_bc": (
        load_breast_cancer,
        lambda: make_pipeline(StandardScaler(), LogisticRegression()),
    ),
}


def split(name: str) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Return rows to train on, rows held out (each [N,features]), and the former's labels."""
    x, y = RECIPES[name][0](return_X_y=True)
    train, test, labels, _ = train_test_split(x.astype(np.float32), y, random_state=0)
    return train, test, labels


def test_rows(name: str) -> NDArray[np.float32]:
    """Return the first eight held-out rows, [8,features]."""
    return split(name)[1][:8]


def make(name: str) -> bytes:
    """Return the trained model's bytes. name: one of RECIPES."""
    train, _, labels = split(name)
    net = RECIPES[name][1]().fit(train, labels)
    made = to_onnx(net, train[:1], options={"zipmap": False}, target_opset=17, name=name)
    data: bytes = made.SerializeToString()
    return data
