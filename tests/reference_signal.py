"""Float64 forwards of operators that reduce, pool, sample or transform; importing it adds them to
those of `reference`.
"""

from __future__ import annotations

import numpy as np
from reference import STAND_INS, Array, windows


def _global_norm(x: Array, p: int = 2) -> Array:
    """GlobalLpPool-2, which the reference evaluator does not have."""
    axes = tuple(range(2, x.ndim))
    return (np.abs(x) ** p).sum(axis=axes, keepdims=True) ** (1 / p)


def _norm_pool(x: Array, p: int = 2, **attributes: object) -> Array:
    """LpPool-18; the reference evaluator gets the windows wrong that ceil_mode cuts."""
    taps = windows(x, 0.0, **attributes)
    return (np.abs(taps) ** p).sum(axis=tuple(range(x.ndim, taps.ndim))) ** (1 / p)


STAND_INS.update({"GlobalLpPool": _global_norm, "LpPool": _norm_pool})
