"""Relevance as a product R = a·c that is not formed.

Most rules give R_in = x · c.  Formed, R_in is often only divided again by what x came from: by
epsilon R/(a + ε) with R = a·c is c · a/(a + ε), and where a tensor is read twice, x·c₁ + x·c₂ is
x · (c₁ + c₂).  So relevance stays a product until something needs it whole.

The product also says where relevance vanishes: R(t) = t·c is 0 where t is 0, and R(z) = relu(z)·c
wherever z ≤ 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from lrp_onnx.graph.builder import Emit
from lrp_onnx.graph.constant_values import constant_array
from lrp_onnx.graph.dialect import is_dialect, meant_by
from lrp_onnx.graph.dtypes import HALF
from lrp_onnx.graph.makers import made_by
from lrp_onnx.graph.shapes import same_sizes

__all__ = [
    "DoesNotApply",
    "Moved",
    "Relevance",
    "late",
    "masked",
    "summed",
    "whole",
]


class DoesNotApply(Exception):
    """Why a rewrite leaves a node as it is; no error."""


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

    @classmethod
    def of(cls, value: ir.Value) -> Relevance:
        """What is known of a tensor of relevance."""
        node = value.producer()
        if node is None or not is_dialect(value, "Product"):
            return cls(value)
        factor, coefficient = node.inputs
        assert coefficient is not None
        return cls(coefficient, factor, meant_by(node))

    def value(self, emit: Emit) -> ir.Value:
        """R as a tensor that rewrites can see through."""
        if self.factor is None:
            return self.coefficient
        parts = [self.factor, self.coefficient]
        return emit.dialect("Product", parts, [self.factor], self.moved)[0]

    def whole(self, emit: Emit) -> ir.Value:
        """R as one tensor."""
        if self.factor is None:
            return self.coefficient
        return emit.op("Mul", self.factor, self.coefficient)

    def is_of(self, z: ir.Value) -> bool:
        """Whether R = z · c, so that it is 0 where z is."""
        return self.factor is z and z.dtype not in HALF

    def gate_of(self, z: ir.Value) -> ir.Value | None:
        """g where R = z·g·c, since the factor is z·g; None where it is another."""
        gate = made_by(self.factor, "Mul")
        if gate is None or z.dtype in HALF:
            return None
        others = [v for v in gate.inputs if v is not z]
        return others[0] if len(others) == 1 and same_sizes(z, gate.outputs[0]) else None

    def is_of_relu(self, z: ir.Value) -> bool:
        """Whether R = relu(z) · c."""
        return self._follows(z) == "Relu"

    def is_zero_below(self, z: ir.Value) -> bool:
        """Whether R is 0 wherever z ≤ 0: behind a Relu, or a Clip from 0 on."""
        return self._follows(z) is not None

    def _follows(self, z: ir.Value) -> str | None:
        maker = made_by(self.factor, "Relu", "Clip")
        if maker is None or maker.inputs[0] is not z or z.dtype in HALF:
            return None
        return maker.op_type if maker.op_type == "Relu" or _is_zero_below(maker) else None


def _is_zero_below(clip: ir.Node) -> bool:
    """Whether Clip is 0 wherever z ≤ 0: bounds are 0 and, where there is one, a number from 0 on;
    a higher bound below the lower one wins.
    """
    low, high = [*clip.inputs[1:], None, None][:2]
    bottom, top = (None if bound is None else constant_array(bound) for bound in (low, high))
    if bottom is None or bottom.any():
        return False
    return high is None or (top is not None and bool((top >= 0).all()))


def late(emit: Emit, c: ir.Value, always: bool = False) -> ir.Value:
    """A coefficient, so that what it is multiplied with is computed before it.

    A share of the forward pass is then one tensor to keep instead of the two that it is made of.
    `always`: also where no convolution makes the coefficient.
    """
    return emit.dialect("Late", [c], [c], **({"always": 1} if always else {}))[0]


def summed(emit: Emit, node: ir.Node) -> list[ir.Value]:
    """Sum(x·c₁, x·c₂) = x·(c₁ + c₂); products of other factors are formed."""
    a, b = (Relevance.of(value) for value in node.inputs if value is not None)
    shared = a.factor if a.factor is b.factor else None
    pair = (a.whole(emit), b.whole(emit)) if shared is None else (a.coefficient, b.coefficient)
    total = emit.shaped(emit.op("Add", *pair), node.outputs[0])
    return [Relevance(total, shared).value(emit)]


def masked(emit: Emit, node: ir.Node) -> list[ir.Value]:
    """Mask(a·c, m) = a·(c·m)."""
    (r, mask) = node.inputs
    assert r is not None
    relevance = Relevance.of(r)
    c = emit.shaped(emit.op("Mul", relevance.coefficient, mask), node.outputs[0])
    return [Relevance(c, relevance.factor).value(emit)]


def whole(emit: Emit, node: ir.Node) -> list[ir.Value]:
    """Whole(a·c) = a·c, formed."""
    (r,) = node.inputs
    assert r is not None
    return [Relevance.of(r).whole(emit)]
