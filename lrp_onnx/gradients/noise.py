"""Normally distributed noise that every runtime computes alike, whatever the size.

Standard operators that draw random numbers give others in each runtime, whatever their seed, and
stored numbers make the file large and fix the input's size.  So noise is a function of an element's
place in its sample and of the number k of the draw: of each element come four numbers a, b, c, d in
[0, 1), whole multiples of 2^-16, by integer arithmetic, and

    u = frac(a + k·b),    v = frac(c + k·d),    ε = sqrt(-2·ln(u + 2^-17)) · cos(2π·v),

which is normal (Box and Muller 1958).  Two draws of an element are independent, since a + k·b and
a + l·b are for k ≠ l (Carter and Wegman 1979, Universal classes of hash functions), and so a mean
over n draws has the variance of n independent ones.  The four numbers are those of a congruential
generator with two quadratic steps, modulo the prime 2^31 - 1.

Every sample of a batch gets the same noise, so that what it shows does not depend on its place.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from lrp_onnx.graph.builder import Emit

__all__ = ["Noise"]

PRIME = 2**31 - 1
LINEAR = ((1103515245, 12345), (69621, 54321))
"""Factor and summand of the steps h ← h·factor + summand."""
QUADRATIC = (998244353, 123456789)
"""Of the steps h ← h·(h + summand) behind them."""
LEVELS = 2**16
TABLES = 4


class Noise:
    """Draws of the shape of one sample of `x`, in float32.

    number: of the leaf among `leaves`, so that each has noise of its own. Its tables are written
    where `emit` writes when this is made.
    """

    def __init__(self, emit: Emit, x: ir.Value, number: int, leaves: int, batched: bool) -> None:
        known = list(x.shape or ())[int(batched) :]
        self.shape = [1] * batched + [d if isinstance(d, int) else -1 for d in known]
        like = emit.op("Shape", x, start=int(batched)) if -1 in self.shape else None
        step = TABLES * leaves
        count = self._count(emit, like)
        sizes = self._sizes(emit, like, batched)
        self.tables = [
            self._table(emit, TABLES * number + k, count, step, sizes) for k in range(TABLES)
        ]

    def _count(self, emit: Emit, like: ir.Value | None) -> ir.Value:
        """How many elements a sample has."""
        if like is None:
            return emit.constant(math.prod(self.shape), ir.DataType.INT64)
        return emit.op("ReduceProd", like, keepdims=0)

    def _sizes(self, emit: Emit, like: ir.Value | None, batched: bool) -> ir.Value:
        if like is None:
            return emit.ints(*self.shape)
        return emit.op("Concat", emit.ints(1), like, axis=0) if batched else like

    def _table(
        self, emit: Emit, first: int, count: ir.Value, step: int, sizes: ir.Value
    ) -> ir.Value:
        """One number in [0, 1) for each element, from `first` + `step` · its place."""

        def whole(number: int) -> ir.Value:
            return emit.constant(number, ir.DataType.INT64)

        end = emit.op("Add", emit.op("Mul", count, whole(step)), whole(first))
        h = emit.op("Range", whole(first), end, whole(step))
        for (factor, summand), square in zip(LINEAR, QUADRATIC, strict=True):
            h = emit.op("Add", emit.op("Mul", h, whole(factor)), whole(summand))
            h = emit.op("Mod", h, whole(PRIME))
            h = emit.op("Mod", emit.op("Mul", h, emit.op("Add", h, whole(square))), whole(PRIME))
        level = emit.op("Div", h, whole((PRIME + 1) // LEVELS))
        number = emit.op("Cast", level, to=int(ir.DataType.FLOAT))
        return emit.op("Reshape", emit.op("Mul", number, _float(emit, 1 / LEVELS)), sizes)

    def draw(self, emit: Emit, number: ir.Value, lifted: bool = False) -> ir.Value:
        """ε of the draw of that number; with `lifted` of several, along a new first axis."""
        tables = self.tables
        if lifted:
            tables = [emit.op("Unsqueeze", table, emit.ints(0)) for table in tables]
        a, b, c, d = tables
        u, v = (_fraction(emit, start, number, step) for start, step in ((a, b), (c, d)))
        u = emit.op("Add", u, _float(emit, 0.5 / LEVELS))
        squared = emit.op("Mul", emit.op("Log", u), _float(emit, -2.0))
        angle = emit.op("Mul", v, _float(emit, 2 * math.pi))
        return emit.op("Mul", emit.op("Sqrt", squared), emit.op("Cos", angle))


def _fraction(emit: Emit, start: ir.Value, number: ir.Value, step: ir.Value) -> ir.Value:
    """frac(start + number·step), exact in float32 for numbers below 256."""
    at = emit.op("Add", start, emit.op("Mul", number, step))
    return emit.op("Sub", at, emit.op("Floor", at))


def _float(emit: Emit, number: float) -> ir.Value:
    return emit.constant(number, ir.DataType.FLOAT)
