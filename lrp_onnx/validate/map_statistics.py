"""Numbers of a map alone, and of two maps: complexity, and rank correlation.

Definitions as in Quantus (Hedström et al. 2023). Written out, since scipy.stats takes longer to
import than a small evaluation takes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lrp_onnx.graph.arrays import Array

__all__ = ["complexity", "rank_correlation"]


def complexity(maps: Mapping[str, Array]) -> float:
    """The entropy of the shares |R| / Σ|R| in nats: 0 where one element has all, log n where n
    share alike; NaN for a map of zeros. Source: Bhatt et al. 2020, eq. 4.
    """
    size = np.abs(_flat(maps))
    shares = size[size > 0] / size.sum()
    return float(-(shares * np.log(shares)).sum()) if len(shares) else float("nan")


def rank_correlation(a: Mapping[str, Array], b: Mapping[str, Array]) -> float:
    """Spearman's rank correlation of two maps over all elements; NaN where one is constant."""
    x, y = _flat(a), _flat(b)
    differ = np.ptp(x) > 0 and np.ptp(y) > 0  # nor with a NaN
    return float(np.corrcoef(_ranks(x), _ranks(y))[0, 1]) if differ else float("nan")


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each value its place in order, of equal ones the mean of theirs."""
    _, numbers, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[numbers]


def _flat(maps: Mapping[str, Array]) -> NDArray[np.float64]:
    return np.concatenate([maps[name].ravel() for name in sorted(maps)]).astype(np.float64)
