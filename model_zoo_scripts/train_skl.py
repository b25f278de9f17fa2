"""Train scikit-learn's digit MLP and convert it (scikit-learn 1.9, skl2onnx 1.20): see obtain.py.

A label (ArgMax, ArrayFeatureExtractor, Cast) hangs behind the probabilities.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skl2onnx import to_onnx
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

__all__ = ["make", "test_rows"]


def split() -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Return digits to train on, digits held out (each [N,64], 0..16), and the former's labels."""
    x, y = load_digits(return_X_y=True)
    train, test, labels, _ = train_test_split(x.astype(np.float32), y, random_state=0)
    return train, test, labels


def test_rows() -> NDArray[np.float32]:
    """Return the first eight held-out digits, [8,64]."""
    return split()[1][:8]


def make(name: str) -> bytes:
    """Return the trained model's bytes; its only name is skl_mlp_digits."""
    train, _, labels = split()
    net = MLPClassifier((64, 32), max_iter=200, random_state=0).fit(train, labels)
    made = to_onnx(net, train[:1], options={"zipmap": False}, target_opset=17, name=name)
    data: bytes = made.SerializeToString()
    return data
