"""Rows of the operators that reduce, pool, sample or transform, for test_vjp_signal."""

from __future__ import annotations

from models import Case

POSITIVE = (0.5, 2.0)
NORMS = ("ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp", "ReduceProd", "ReduceLogSum")
REDUCTIONS = [
    *[Case(op, {"keepdims": keep}, x=(2, 3, 4), axes=axes, between=POSITIVE)
      for op in NORMS for keep, axes in ((1, [1]), (0, [-1]), (0, [0, 2]))],
    *[Case(op, {"keepdims": 0}, x=(2, 3), between=POSITIVE) for op in NORMS],
    *[Case(op, {"noop_with_empty_axes": 1}, x=(2, 3), between=POSITIVE) for op in NORMS],
    *[Case(op, x=(2, 3, 4), axes=[-1]) for op in ("ReduceL1", "ReduceL2", "ReduceProd")],
]  # fmt: skip

ROWS = [*REDUCTIONS]
