"""The relevance of a tensor on its way back, in the form in which it costs least.

Most rules give R_in = x · c.  Formed, R_in is often only divided again by what x came from: by
epsilon R/(a + ε) with R = a·c is c · a/(a + ε), and where a tensor is read twice, x·c₁ + x·c₂ is
x · (c₁ + c₂).  So relevance stays a product until something needs it whole.

The product also says where relevance vanishes: R(t) = t·c is 0 where t is 0, and R(z) = relu(z)·c
wherever z ≤ 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from lrp_onnx.graph.builder import HALF, Emit, known_rank
from lrp_onnx.ops.scatter_add import constant_array

__all__ = ["Moved", "NotFactored", "Relevance", "total"]


class NotFactored(Exception):
    """Why a node's relevance has no cheaper form than its rule says; no error."""


@dataclass(frozen=True)
class Moved:
    """A product whose elements an operator gives back to some of many: MaxPool to the maxima.

    What is multiplied with each by its own factor alone may be so before it is moved.
    """

    product: Relevance
    move: Callable[[ir.Value], ir.Value]


@dataclass(frozen=True)
class Relevance:
    """R = factor · coefficient; without a factor the coefficient is R itself."""

    coefficient: ir.Value
    factor: ir.Value | None = None
    moved: Moved | None = None
    """Where R was before its elements were moved, if there it was smaller."""

    def whole(self, emit: Emit) -> ir.Value:
        """R as one tensor."""
        if self.factor is None:
            return self.coefficient
        return emit.op("Mul", self.factor, self.coefficient)

    def deferred_coefficient(self, emit: Emit) -> ir.Value:
        """The coefficient, so that what it is multiplied with later is computed before it.

        A share of the forward pass is then one tensor to keep instead of the two that it is made
        of.  ONNX Runtime computes that input first whose node stands later in the file, and takes
        for the last the nodes with which it changes the layout of a convolution's result.
        """
        producer = self.coefficient.producer()
        if producer is None or producer.op_type not in ("Conv", "Add"):
            return self.coefficient
        return self.reordered_coefficient(emit)

    def reordered_coefficient(self, emit: Emit) -> ir.Value:
        """The coefficient, so that what stands before this in the file and is multiplied with it is
        computed after it, and not kept from the forward pass on.
        """
        c = self.coefficient
        if emit.runtime == "cuda":
            return c
        return emit.op("Reshape", c, emit.ints(*[0] * known_rank(c)))

    def is_of(self, z: ir.Value) -> bool:
        """Whether R = z · c, so that it is 0 where z is."""
        return self.factor is z and z.dtype not in HALF

    def is_of_relu(self, z: ir.Value) -> bool:
        """Whether R = relu(z) · c."""
        return self._follows(z) is not None and self._follows(z) == "Relu"

    def is_zero_below(self, z: ir.Value) -> bool:
        """Whether R is 0 wherever z ≤ 0: behind a Relu, or a Clip from 0 on."""
        return self._follows(z) is not None

    def _follows(self, z: ir.Value) -> str | None:
        producer = None if self.factor is None else self.factor.producer()
        if producer is None or producer.inputs[0] is not z or z.dtype in HALF or producer.domain:
            return None
        if producer.op_type == "Relu":
            return "Relu"
        return "Clip" if producer.op_type == "Clip" and _is_zero_below(producer) else None


def _is_zero_below(clip: ir.Node) -> bool:
    """Whether Clip is 0 wherever z ≤ 0: bounds are 0 and, where there is one, a number from 0 on;
    a higher bound below the lower one wins.
    """
    low, high = [*clip.inputs[1:], None, None][:2]
    bottom, top = (None if bound is None else constant_array(bound) for bound in (low, high))
    if bottom is None or bottom.any():
        return False
    return high is None or (top is not None and bool((top >= 0).all()))


def total(emit: Emit, parts: Sequence[Relevance]) -> Relevance:
    """The sum over all consumers of a tensor; it stays a product if all share a factor."""
    if len(parts) == 1:
        return parts[0]
    factors = {part.factor for part in parts}
    shared = factors.pop() if len(factors) == 1 else None
    summands = [p.coefficient if shared is not None else p.whole(emit) for p in parts]
    r, *others = summands
    for other in others:
        r = emit.op("Add", r, other)
    return Relevance(r, shared)
