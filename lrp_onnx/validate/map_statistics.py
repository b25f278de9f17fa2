"""Numbers of a map alone, and of two maps: complexity, and rank correlation.

Definitions as in Quantus (Hedström et al. 2023).
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
    from scipy.stats import entropy  # slow to import, and not needed to explain

    size = np.abs(_flat(maps))
    return float(entropy(size)) if size.any() else float("nan")


def rank_correlation(a: Mapping[str, Array], b: Mapping[str, Array]) -> float:
    """Spearman's rank correlation of two maps over all elements; NaN where one is constant."""
    from scipy.stats import rankdata

    x, y = (rankdata(_flat(maps)) for maps in (a, b))
    constant = np.ptp(x) == 0 or np.ptp(y) == 0
    return float("nan") if constant else float(np.corrcoef(x, y)[0, 1])


def _flat(maps: Mapping[str, Array]) -> NDArray[np.float64]:
    return np.concatenate([maps[name].ravel() for name in sorted(maps)]).astype(np.float64)
